// Debian's arm64 kernel under qemu, with one static program in it (init.c): does every program load there, and does
// the cipher, as that processor's JIT compiled it, answer as it should? Everything is fetched and built below
// build/kernels/arm64; this machine's package state is left alone.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, start } from '../../lab/command';
import { packageRoot } from '../../lab/layout';
import type { LoadedProgram } from '../loads';
import { cipherCases } from './cases';

const FETCH_TIMEOUT_MS = 600_000;
const RUN_TIMEOUT_MS = 180_000;
const META_PACKAGE = 'linux-image-arm64';
const LIBRARIES = ['libbpf-dev', 'libelf-dev', 'zlib1g-dev'];

export interface Arm64 {
  readonly release: string;
  readonly programs: readonly (LoadedProgram & { readonly jited: number })[];
  /** Cases of the cipher that held, of how many; names of those that did not. */
  readonly passed: number;
  readonly cases: number;
  readonly failed: readonly string[];
}

/** An apt of its own: the same sources, another architecture, its own lists. */
function aptOptions(state: string): string[] {
  const options = {
    'APT::Architecture': 'arm64',
    'APT::Architectures': 'arm64',
    'Dir::State': state,
    'Dir::State::status': join(state, 'status'),
    'Dir::Cache': join(state, 'cache'),
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(options).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
}

/** Unpacked beside its place and moved into it: a folder that is there is whole. @returns it */
function provide(): string {
  const dir = join(packageRoot(), 'build/kernels/arm64');
  if (existsSync(dir)) return dir;
  const fresh = `${dir}.new`;
  rmSync(fresh, { recursive: true, force: true });
  const [state, debs] = [join(fresh, 'apt'), join(fresh, 'deb')];
  for (const folder of ['apt/lists/partial', 'apt/cache/archives/partial', 'deb'])
    mkdirSync(join(fresh, folder), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const apt = aptOptions(state);
  run(['apt-get', 'update', '-qq', ...apt], '', FETCH_TIMEOUT_MS);
  const kernel = /Depends: (linux-image-\S+)/.exec(run(['apt-cache', 'depends', META_PACKAGE, ...apt]))?.[1];
  if (kernel === undefined) throw new Error(`apt offers no ${META_PACKAGE}`);
  const fetch = ['apt-get', 'download', '-q', ...apt, kernel, ...LIBRARIES];
  run(['sh', '-c', 'cd "$0" && exec "$@"', debs, ...fetch], '', FETCH_TIMEOUT_MS);
  for (const archive of readdirSync(debs))
    run(['dpkg-deb', '-x', join(debs, archive), fresh], '', FETCH_TIMEOUT_MS);
  for (const done of [state, debs, join(fresh, 'lib/modules')])
    rmSync(done, { recursive: true, force: true });
  renameSync(fresh, dir);
  return dir;
}

function buildInitramfs(provided: string, dir: string): { readonly archive: string; readonly cases: number } {
  const root = join(dir, 'initramfs');
  for (const folder of ['bpf', 'dev', 'proc']) mkdirSync(join(root, folder), { recursive: true });
  const library = (name: string): string => join(provided, 'usr/lib/aarch64-linux-gnu', name);
  const libraries = ['libbpf.a', 'libelf.a', 'libz.a'].map(library);
  const source = join(packageRoot(), 'test/kernels/arm64/init.c');
  const flags = ['-static', '-O2', '-Wall', '-Wextra', '-Werror', `-I${join(provided, 'usr/include')}`];
  run(['aarch64-linux-gnu-gcc', ...flags, '-o', join(root, 'init'), source, ...libraries]);
  const build = join(packageRoot(), 'build');
  for (const file of readdirSync(join(build, 'bpf')).filter((name) => name.endsWith('.bpf.o')))
    copyFileSync(join(build, 'bpf', file), join(root, 'bpf', file));
  copyFileSync(join(build, 'test/bpf/aead.bpf.o'), join(root, 'aead.bpf.o'));
  const { bytes, count } = cipherCases();
  writeFileSync(join(root, 'cases'), bytes);
  const archive = join(dir, 'initramfs.gz');
  run(['sh', '-c', 'cd "$0" && find . | cpio -o -H newc --quiet | gzip -1 >"$1"', root, archive]);
  return { archive, cases: count };
}

/** Boots, and returns what the machine said before it switched off. */
export async function tryArm64(): Promise<Arm64> {
  const provided = provide();
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-arm64-'));
  try {
    const { archive, cases } = buildInitramfs(provided, dir);
    const image = readdirSync(join(provided, 'boot')).find((name) => name.startsWith('vmlinuz-'));
    if (image === undefined) throw new Error(`no kernel in ${provided}/boot`);
    const { stdout, stderr } = await start(
      [
        ...['qemu-system-aarch64', '-machine', 'virt', '-cpu', 'cortex-a72', '-accel', 'tcg,thread=multi'],
        ...['-smp', '2', '-m', '1024', '-display', 'none', '-no-reboot', '-serial', 'stdio', '-nic', 'none'],
        ...['-kernel', join(provided, 'boot', image), '-initrd', archive],
        ...['-append', 'console=ttyAMA0 quiet panic=-1 mitigations=off'],
      ],
      RUN_TIMEOUT_MS,
    );
    return { ...parse(`${stdout}${stderr}`), cases };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Throws with the console where the machine did not come to its end. */
export function parse(said: string): Omit<Arm64, 'cases'> {
  const lines = [...said.matchAll(/^vxseal: (\{.*\})\r?$/gm)].map(
    ([, line]) => JSON.parse(line ?? '') as Record<string, unknown>,
  );
  const release = lines.find((line) => 'release' in line)?.release;
  const passed = lines.find((line) => 'passed' in line)?.passed;
  const failed = lines.flatMap((line) => ('failed' in line ? [String(line.failed)] : []));
  if (typeof release !== 'string' || (typeof passed !== 'number' && failed.length === 0))
    throw new Error(`the arm64 machine did not get to its end:\n${said.slice(-2000)}`);
  // Its files are the objects by which other kernels' findings go.
  const objectOf = (file: unknown): string => String(file).replace(/\.bpf\.o$/, '');
  const programs = lines.flatMap((line) =>
    'program' in line ? [{ ...line, object: objectOf(line.object), program: objectOf(line.program) }] : [],
  ) as unknown as Arm64['programs'];
  return { release, programs, passed: typeof passed === 'number' ? passed : 0, failed };
}
