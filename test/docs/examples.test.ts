// The examples of docs/examples name only flags, paths and rights that there are: the systemd unit (also judged by
// systemd itself, where it is installed) and the Nomad job, beside what the chart gives the agent.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ProgramParts, runCli } from '../../agent/cli/program';
import type { Config } from '../../agent/config';
import { KEYS } from '../../agent/config/keys';

const ROOT = join(__dirname, '../..');
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const unit = read('docs/examples/vxseal.service');
const job = read('docs/examples/vxseal.nomad.hcl');
const daemonSet = read('charts/vxseal/templates/daemonset.yaml');

const folder = mkdtempSync(join(tmpdir(), 'vxseal-examples-'));
afterAll(() => rmSync(folder, { recursive: true }));

const CONFIG = `nodeName: node1
identity: {trustDomain: example.org}
overlay: {prefixes: [10.244.1.0/24], protectedPrefixes: [10.244.0.0/16]}
runDir: ${folder}
`;

/** What an agent that is started with these arguments gets to see. */
async function started(args: readonly string[]): Promise<Config | undefined> {
  const file = join(folder, 'config.yaml');
  writeFileSync(file, CONFIG);
  let seen: Config | undefined;
  const parts = {
    version: '0',
    agent: {
      run: async (config: Config) => {
        seen = config;
      },
      cleanup: async () => undefined,
    },
    doctor: {},
    register: [],
  } as unknown as ProgramParts;
  const io = { out: () => {}, err: () => {}, colour: false, environment: {}, nowMs: () => 0 };
  const local = args.map((word) => (word === '/etc/vxseal/config.yaml' ? file : word));
  expect(await runCli(local, io, parts)).toBe(0);
  return seen;
}

const defaultOf = (key: 'runDir' | 'stateDir' | 'pinDir'): string => String(KEYS[key].fallback?.());
const sorted = (names: readonly string[]): string[] => names.map((name) => name.toUpperCase()).sort();
const words = (text: string): string[] => [...text.matchAll(/"([^"]+)"/g)].map(([, word = '']) => word);

describe('systemd', () => {
  const value = (key: string): string => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? '';

  test('the command is one that the agent understands', async () => {
    const [program, ...args] = value('ExecStart').split(' ');
    expect(program).toBe('/usr/local/bin/vxseal');
    expect((await started(args))?.nodeName).toBe('node1');
  });

  test('folders and capabilities are those that the agent needs', () => {
    expect(`/run/${value('RuntimeDirectory')}`).toBe(defaultOf('runDir'));
    expect(`/var/lib/${value('StateDirectory')}`).toBe(defaultOf('stateDir'));
    const chart = /add: \[([^\]]*)\]/.exec(daemonSet)?.[1]?.split(', ') ?? [];
    expect(sorted(value('CapabilityBoundingSet').split(' '))).toEqual(
      sorted(chart.map((name) => `CAP_${name}`)),
    );
  });

  const analyze = '/usr/bin/systemd-analyze';
  const withSystemd = existsSync(analyze) ? test : test.skip;
  withSystemd(`systemd takes it${existsSync(analyze) ? '' : ' (missing: systemd-analyze)'}`, () => {
    const root = join(folder, 'root');
    mkdirSync(root);
    const file = join(root, 'vxseal.service');
    // The program is not installed where tests run.
    const verify = (text: string): string => {
      writeFileSync(file, text.replace('/usr/local/bin/vxseal', process.execPath));
      const { stdout, stderr } = spawnSync(analyze, ['verify', '--man=no', file], { encoding: 'utf8' });
      return `${stdout}${stderr}`;
    };
    const complaints = (text: string): string[] =>
      verify(text)
        .split('\n')
        .filter((line) => line.includes('vxseal.service'));
    expect(complaints(unit)).toEqual([]);
    expect(complaints(unit.replace('Restart=always', 'Restart=maybe'))).not.toEqual([]);
  });
});

describe('Nomad', () => {
  test('the command is one that the agent understands', async () => {
    const args = words(/args\s*=\s*\[([^\]]*)\]/.exec(job)?.[1] ?? '');
    expect((await started(args))?.nodeName).toBe('node1');
  });

  test('image, folders and capabilities', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string };
    expect(job).toContain(`image           = "vxseal:${version}"`);
    const chart = /add: \[([^\]]*)\]/.exec(daemonSet)?.[1]?.split(', ') ?? [];
    const added = /cap_add\s*=\s*\[([^\]]*)\]/.exec(job)?.[1] ?? '';
    expect(sorted(words(added))).toEqual(sorted(chart));
    const targets = [...job.matchAll(/target\s*=\s*"([^"]+)"/g)].map(([, path = '']) => path);
    expect(targets).toEqual([
      '/etc/vxseal',
      defaultOf('runDir'),
      defaultOf('stateDir'),
      '/sys/fs/bpf',
      '/host/proc/sys/net',
      '/host/sys/kernel/rcu_expedited',
      '/run/netns',
    ]);
    expect(daemonSet).toContain('mountPath: /host/proc/sys/net');
    expect(daemonSet).toContain('mountPath: /host/sys/kernel/rcu_expedited');
  });

  test('brackets and quotes close', () => {
    const code = job.replaceAll(/#.*$/gm, '');
    for (const [open = '', close = ''] of ['{}', '[]'].map((pair) => [...pair]))
      expect(code.split(open).length).toBe(code.split(close).length);
    expect((code.split('"').length - 1) % 2).toBe(0);
  });
});
