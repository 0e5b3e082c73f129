// Debian's kernels as files: which package a short name stands for, fetched and unpacked below build/kernels, never
// installed. The generic flavour: the cloud flavour has no 9p, through which a test machine gets its root.
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../lab/command';
import { packageRoot } from '../lab/layout';

/** The two that every change is tried on, and the newest that apt offers. */
export const DEFAULT_KERNELS = ['6.1', '6.12', 'newest'];
/** Debian 12 names the meta package of its own kernel without a number. */
const META_PACKAGES: Readonly<Record<string, string>> = { '6.1': 'linux-image-amd64' };
const FETCH_TIMEOUT_MS = 600_000;

export interface Kernel {
  /** "6.1.0-56-amd64": what uname says, the folder below build/kernels. */
  readonly release: string;
  readonly dir: string;
  readonly image: string;
}

/** "6.12.117+deb12-amd64" of "linux-image-6.12.117+deb12-amd64"; undefined for other packages and flavours. */
export function releaseOf(packageName: string): string | undefined {
  const release = /^linux-image-(\d+\.\d+(?:\.\d+)?[a-z0-9.+~-]*-amd64)$/.exec(packageName)?.[1];
  return release === undefined || /-(cloud|rt|unsigned|dbg)-/.test(`${release}-`) ? undefined : release;
}

/** Orders releases by their numbers: 6.12.9 before 6.12.10. */
export function compareReleases(a: string, b: string): number {
  const numbers = (text: string) => (text.match(/\d+/g) ?? []).map(Number);
  const [left, right] = [numbers(a), numbers(b)];
  for (let i = 0; i < Math.max(left.length, right.length); i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * Releases for short names, each once, oldest first. @param available names of packages that apt offers
 * @throws for a name that nothing offered fits
 */
export function chooseReleases(names: readonly string[], available: readonly string[]): string[] {
  const offered = available.flatMap((name) => releaseOf(name) ?? []).sort(compareReleases);
  const chosen = names.map((name) => {
    const fitting = name === 'newest' ? offered : offered.filter((r) => r === name || isOfSeries(r, name));
    const release = fitting.at(-1);
    if (release === undefined)
      throw new Error(`no kernel ${name}: apt offers ${offered.join(', ') || 'none'}. Run apt-get update`);
    return release;
  });
  return [...new Set(chosen)].sort(compareReleases);
}

/** 6.1 is 6.1.0-56, and not 6.12. */
const isOfSeries = (release: string, series: string): boolean =>
  release.startsWith(series) && !/\d/.test(release.charAt(series.length));

/** What the meta packages of a series depend on now; of the others, all names: apt keeps superseded ones. */
function offeredPackages(names: readonly string[]): string[] {
  const metas = names.filter((name) => /^\d+\.\d+$/.test(name));
  const current = metas.flatMap((name) => {
    const meta = META_PACKAGES[name] ?? `linux-image-${name}-amd64`;
    return [...run(['apt-cache', 'depends', meta]).matchAll(/Depends: (linux-image-\S+)/g)].flatMap(
      ([, found]) => (found !== undefined && isOfSeries(releaseOf(found) ?? '', name) ? [found] : []),
    );
  });
  const all = run(['apt-cache', 'pkgnames', 'linux-image-']).trim().split('\n');
  const ofOthers = all.filter((name) => !metas.some((meta) => isOfSeries(releaseOf(name) ?? '', meta)));
  return [...current, ...ofOthers];
}

/** Fetches and unpacks what is not there yet. */
export function provideKernels(names: readonly string[]): Kernel[] {
  return chooseReleases(names, offeredPackages(names)).map((release) => {
    const base = join(packageRoot(), 'build/kernels');
    const dir = join(base, release);
    if (!existsSync(dir)) unpack(base, release);
    return { release, dir, image: join(dir, 'boot', `vmlinuz-${release}`) };
  });
}

/** Unpacked beside its place and moved into it: a folder that is there is whole. */
function unpack(base: string, release: string): void {
  const fresh = join(base, `${release}.new`);
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(join(fresh, 'deb'), { recursive: true });
  const fetch = ['apt-get', 'download', '-q', '-o', 'APT::Sandbox::User=root', `linux-image-${release}`];
  run(['sh', '-c', 'cd "$0" && exec "$@"', join(fresh, 'deb'), ...fetch], '', FETCH_TIMEOUT_MS);
  const [archive] = readdirSync(join(fresh, 'deb'));
  if (archive === undefined) throw new Error(`apt-get download linux-image-${release} left no file`);
  run(['dpkg-deb', '-x', join(fresh, 'deb', archive), fresh], '', FETCH_TIMEOUT_MS);
  rmSync(join(fresh, 'deb'), { recursive: true });
  run(['depmod', '-b', fresh, release], '', FETCH_TIMEOUT_MS);
  renameSync(fresh, join(base, release));
}
