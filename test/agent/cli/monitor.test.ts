// `vxseal monitor` and `vxseal events`: against a real server on a real socket, event by event.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { wordsOf } from '../../../agent/cli/completion';
import type { DoctorParts } from '../../../agent/cli/doctor';
import type { ExitCode } from '../../../agent/cli/io';
import { flowLine, matches } from '../../../agent/cli/monitor';
import { runCli } from '../../../agent/cli/program';
import { EventParser } from '../../../agent/cli/stream';
import type { FlowStatus } from '../../../agent/control/status';
import { listenUnix, type RunningServer } from '../../../agent/http/server';
import { apiParts } from '../../fakes/api';
import { keptIo } from '../../fakes/io';
import { FakeAgent, sampleFlow, sampleStatus } from '../../fakes/status';

const folder = mkdtempSync(join(tmpdir(), 'vxseal-monitor-'));
let agent: FakeAgent;
let running: RunningServer;
beforeEach(async () => {
  agent = new FakeAgent();
  running = await listenUnix(apiParts(agent), join(folder, 'agent.sock'));
});
afterEach(() => running.close());
afterAll(() => rmSync(folder, { recursive: true }));

interface Outcome {
  readonly code: ExitCode;
  readonly out: string[];
  readonly err: string[];
}

async function vxseal(...args: string[]): Promise<Outcome> {
  const { io, out, err } = keptIo(folder);
  const doctor: DoctorParts = {
    probeKernel: async () => ({ release: '6.18', checks: [] }),
    readIdentity: () => Promise.reject(new Error('none')),
    readDevices: () => Promise.reject(new Error('none')),
    readText: () => undefined,
    readBus: () => ({ records: 0, newestMs: 0 }),
  };
  const none = async (): Promise<void> => {};
  const labKeys = { lines: async () => [] };
  const parts = { version: '1.2.3', agent: { run: none, cleanup: none }, doctor, labKeys, register: [] };
  const code = await runCli(args, io, parts);
  return { code, out, err };
}

/** Sends once somebody watches. */
async function feed(...flows: Partial<FlowStatus>[]): Promise<void> {
  while (agent.watchers.size === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  for (const flow of flows) agent.flow(flow);
}

test('shows what passes the filters and ends after the count', async () => {
  const watching = vxseal('monitor', '--peer', 'node2', '--verdict', 'dropped', '--count', '2');
  await feed(
    { node: 'node3' },
    { verdict: 'forwarded', reason: '' },
    { reason: 'no_sa', unreported: 7 },
    { reason: 'bad_icv' },
    { reason: 'too_late' },
  );
  const { code, out } = await watching;
  expect(code).toBe(0);
  expect(out).toEqual([
    '03:04:00.000  dropped  ingress  no_sa          <UDP 192.0.2.2:51234 -> 192.0.2.1:4500>  140 B  peer node2, +7',
    '03:04:00.000  dropped  ingress  bad_icv        <UDP 192.0.2.2:51234 -> 192.0.2.1:4500>  140 B  peer node2',
  ]);
});

test.each(['0', '-1', '1.5', 'two', '', '1e3'])('--count "%s" is wrong usage', async (count) => {
  const { code, out, err } = await vxseal('monitor', '--count', count);
  expect([code, out]).toEqual([2, []]);
  expect(err.join('\n')).toContain('whole number from 1 on');
});

test('--json is one object a line', async () => {
  const watching = vxseal('monitor', '--json', '--count', '1');
  await feed({ pod: 'a/\u009bb' });
  const { out, err } = await watching;
  expect(out[0]).not.toContain('\u009b');
  expect([JSON.parse(out[0] ?? ''), err]).toEqual([sampleFlow({ pod: 'a/\u009bb' }), []]);
});

test('an agent that stops is a failure with a remedy', async () => {
  const watching = vxseal('monitor');
  await feed();
  await running.close();
  const { code, err } = await watching;
  expect([code, err.join('\n')]).toEqual([
    1,
    expect.stringMatching(/ended the stream\n {2}-> Start it again/),
  ]);
});

test.each([
  [{ verdict: 'maybe' }, ['--verdict', 'maybe']],
  [{ direction: 'up' }, ['--direction', 'up']],
])('%j is wrong usage', async (_what, args) => {
  expect((await vxseal('monitor', ...args)).code).toBe(2);
});

test.each<[number, Partial<FlowStatus>, Record<string, string>, boolean]>([
  [1, {}, {}, true],
  [2, { node: 'a' }, { peer: 'a' }, true],
  [3, { node: '' }, { peer: 'a' }, false],
  [4, { pod: 'ns/web' }, { pod: 'ns/web' }, true],
  [5, { pod: 'ns/web' }, { pod: 'web' }, true],
  [6, { pod: 'ns/web' }, { pod: 'ns' }, false],
  [7, { pod: '' }, { pod: 'web' }, false],
  [8, { reason: 'no_sa' }, { reason: 'no_sa' }, true],
  [9, { reason: 'no_sa' }, { reason: 'replay' }, false],
  [10, { direction: 'egress' }, { direction: 'ingress' }, false],
  [11, { reason: 'no_sa', node: 'a' }, { reason: 'no_sa', peer: 'b' }, false],
])('%d: %j under %j: %s', (_number, flow, values, shown) => {
  expect(matches(sampleFlow(flow), values)).toBe(shown);
});

test('a line of IPv6, of ICMP, and of what is not IP', () => {
  const pod = { outer: false, verdict: 'forwarded' as const, reason: '', pod: 'lab/p', node: '' };
  const six = { source: 'fd00::1', destination: 'fd00::2', protocol: 6, sourcePort: 1, destinationPort: 2 };
  expect(flowLine(sampleFlow({ ...pod, ...six }), false)).toBe(
    '03:04:00.000  passed   ingress  -              TCP [fd00::1]:1 -> [fd00::2]:2  140 B  pod lab/p',
  );
  const refused = { outer: false, reason: 'policy', pod: 'x/a', node: '', policies: ['x/p', 'x/q'] };
  expect(flowLine(sampleFlow(refused), false)).toMatch(/pod x\/a, no rule of x\/p, x\/q allows it$/);
  const ping = { protocol: 1, sourcePort: 0, destinationPort: 0 };
  expect(flowLine(sampleFlow({ ...pod, ...ping }), false)).toContain('ICMP 192.0.2.2 -> 192.0.2.1  ');
  expect(flowLine(sampleFlow({ source: '', destination: '', outer: false }), false)).toContain('  not IP  ');
});

test('events: a change with its remedy', async () => {
  const asked = jest.spyOn(agent, 'status');
  const looks = async (count: number): Promise<void> => {
    while (asked.mock.calls.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const watching = vxseal('events');
  await looks(1); // what stood when it began
  const problem = { object: 'bus', reason: 'gone', remedy: 'look', sinceMs: 1, count: 1 };
  agent.current = sampleStatus({ problems: [problem] });
  await looks(3);
  await running.close();
  const { out } = await watching;
  expect(out).toEqual([
    expect.stringMatching(/^..:..:...... {2}problem bus: problem: gone$/),
    expect.stringMatching(/-> look$/),
  ]);
});

describe('events come in pieces', () => {
  const whole = 'event: a\ndata: {"x":"ü"}\n\n: \n\nevent: b\ndata: nonsense\n\nevent: c\ndata: 1\n\n';
  const expected = [
    { name: 'a', data: { x: 'ü' } },
    { name: 'c', data: 1 },
  ];
  test.each([1, 2, 3, 7, 1000])('of %d bytes', (size) => {
    const parser = new EventParser();
    const bytes = Buffer.from(whole);
    const events = [];
    for (let at = 0; at < bytes.length; at += size)
      events.push(...parser.push(bytes.subarray(at, at + size)));
    expect(events).toEqual(expected);
  });
});

describe('report', () => {
  test('holds status, doctor, configuration and metrics, and is private', async () => {
    const file = join(folder, 'report.json');
    const { code, out, err } = await vxseal(
      'report',
      '--out',
      file,
      '--identity-trust-domain',
      'example.org',
      '--overlay-protected-prefixes',
      '10.244.0.0/16',
    );
    expect([code, out]).toEqual([0, [expect.stringMatching(/report\.json: \d+ KiB/)]]);
    expect(err).toEqual(['asking the agent…', 'examining the machine…']);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const report = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    expect(report).toMatchObject({
      version: '1.2.3',
      configuration: { identity: { trustDomain: 'example.org' } },
      agent: { '/v1/status': sampleStatus(), '/readyz': { ready: true } },
      metrics: expect.stringContaining('vxseal_ready 1'),
    });
    expect(report.doctor).toContainEqual(expect.objectContaining({ name: 'agent', level: 'ok' }));
    const told = await vxseal('report', '--out', file, '--json');
    expect(JSON.parse(told.out.join('\n'))).toEqual({ file, bytes: statSync(file).size });
  });

  test('without an agent says so and has the rest', async () => {
    await running.close();
    const { code, out } = await vxseal('report', '--out', '-');
    expect(code).toBe(0);
    expect(JSON.parse(out.join('\n'))).toMatchObject({
      agent: { '/v1/status': { error: expect.stringContaining('not running') } },
      configuration: {
        issues: [
          expect.objectContaining({ field: 'identity.trustDomain' }),
          expect.objectContaining({ field: 'overlay.protectedPrefixes' }),
        ],
      },
    });
  });

  test('a file that cannot be written is a failure', async () => {
    const { code, err } = await vxseal('report', '--out', '/nonexistent/x');
    expect([code, err.join('\n')]).toEqual([1, expect.stringContaining('--out FILE')]);
  });
});

describe('completion', () => {
  const program = new Command('p');
  program.command('ca').command('issue').option('--dir <d>', 'x');
  program.command('status').option('--json', 'x');

  test('knows every command and option', () => {
    expect([...wordsOf(program)]).toEqual([
      ['', ['ca', 'status', '--help']],
      ['ca', ['issue', '--help']],
      ['ca issue', ['--dir', '--help']],
      ['status', ['--json', '--help']],
    ]);
  });

  test.each([
    [['vxseal', 'sta'], ['status']],
    [['vxseal', 'pods', 'at'], ['attach']],
    [['vxseal', 'pods', 'list', '--js'], ['--json']],
    [['vxseal', 'monitor', '--ver'], ['--verdict']],
    [['vxseal', 'cni', 'install', '--mo'], ['--mode']],
  ])('bash: %j', async (words, expected) => {
    const { out } = await vxseal('completion', 'bash');
    const quoted = words.map((word) => `'${word}'`).join(' ');
    const ask = `\nCOMP_WORDS=(${quoted}); COMP_CWORD=${words.length - 1}; _vxseal; echo "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', out.join('\n') + ask], { encoding: 'utf8' });
    expect([stdout.trim().split(' '), stderr]).toEqual([expected, '']);
  });

  test('every command answers as JSON, but the daemon, a script for the shell, and what only labs are for', async () => {
    const { out } = await vxseal('completion', 'bash');
    const cases = [...out.join('\n').matchAll(/^ +"(.*)"\) words="(.*)" ;;$/gm)];
    const paths = cases.map(([, path]) => path ?? '');
    const mute = cases.flatMap(([, path = '', words = '']) => {
      const leads = path === '' || paths.some((other) => other.startsWith(`${path} `));
      return leads || words.includes('--json') ? [] : [path];
    });
    expect(paths).toContain('probe');
    expect(mute).toEqual(['agent', 'lab-keys', 'completion']);
  });

  test.each(['zsh', 'fish'])('%s names the commands', async (shell) => {
    expect((await vxseal('completion', shell)).out.join('\n')).toContain('monitor');
  });
});
