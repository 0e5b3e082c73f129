// `vxseal probe` against the real socket and a made-up agent: what it asks for, what it shows, how it ends.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoctorParts } from '../../../agent/cli/doctor';
import type { ExitCode } from '../../../agent/cli/io';
import { runCli } from '../../../agent/cli/program';
import { VxsealError } from '../../../agent/errors';
import { listenUnix, type RunningServer } from '../../../agent/http/server';
import { apiParts } from '../../fakes/api';
import { keptIo } from '../../fakes/io';
import { FakeAgent, sampleProbe } from '../../fakes/status';

const folder = mkdtempSync(join(tmpdir(), 'vxseal-probe-'));
const parts = {
  version: '1.2.3',
  agent: { run: async () => undefined, cleanup: async () => undefined },
  doctor: {} as DoctorParts,
  labKeys: { lines: async () => [] },
  register: [],
};
let agent: FakeAgent;
let running: RunningServer;

beforeEach(async () => {
  agent = new FakeAgent();
  running = await listenUnix(apiParts(agent), join(folder, 'agent.sock'));
});
afterEach(() => running.close());
afterAll(() => rmSync(folder, { recursive: true }));

async function vxseal(...args: string[]): Promise<{ code: ExitCode; out: string; err: string }> {
  const { io, out, err } = keptIo(folder);
  const code = await runCli(['probe', ...args], io, parts);
  return { code, out: out.join('\n'), err: err.join('\n') };
}

const silent = sampleProbe({
  node: 'node3',
  vtep: '192.0.2.3',
  state: 'stalled',
  answered: 0,
  rtt: { leastMs: -1, meanMs: -1, mostMs: -1 },
  largestBytes: -1,
  why: 'no probe is answered',
  remedy: 'let UDP port 4500 pass',
});
const narrow = sampleProbe({
  node: 'node4',
  vtep: '192.0.2.4',
  state: 'mtu',
  answered: 5,
  largestBytes: 1208,
  why: 'those of 1408 bytes are not',
  remedy: 'raise the MTU',
});
const keyless = sampleProbe({
  node: 'node5',
  vtep: '192.0.2.5',
  local: '',
  state: 'no-route',
  sent: 0,
  answered: 0,
  rtt: { leastMs: -1, meanMs: -1, mostMs: -1 },
  largestBytes: -1,
  why: 'no address family in common',
  remedy: '',
});

test('all answered: exit code 0', async () => {
  const { code, out, err } = await vxseal();
  expect([code, err]).toEqual([0, '']);
  expect(`\n${out}\n`).toBe(`
PEER   STATE  PATH                   RTT LEAST/MEAN/MOST     LOST       LARGEST
node2  up     192.0.2.1 > 192.0.2.2    0.18/0.21/0.40 ms  0 of 10  1408 of 1408
`);
});

test('not all: what is wrong and what to do, a peer at a time', async () => {
  agent.probed = [sampleProbe(), silent, narrow, keyless];
  const { code, out } = await vxseal();
  expect(code).toBe(1);
  expect(`\n${out}\n`).toBe(`
PEER   STATE     PATH                   RTT LEAST/MEAN/MOST      LOST       LARGEST
node2  up        192.0.2.1 > 192.0.2.2    0.18/0.21/0.40 ms   0 of 10  1408 of 1408
node3  stalled   192.0.2.1 > 192.0.2.3                    -  10 of 10             -
node4  mtu       192.0.2.1 > 192.0.2.4    0.18/0.21/0.40 ms   5 of 10  1208 of 1408
node5  no-route  192.0.2.5                                -         -             -
peer node3: stalled: no probe is answered
  -> let UDP port 4500 pass
peer node4: mtu: those of 1408 bytes are not
  -> raise the MTU
peer node5: no-route: no address family in common
`);
});

test.each([
  ['one probe is lost', [sampleProbe({ answered: 9, why: 'lost: 1 of 5 small probes', remedy: 'again' })]],
  ['one peer is silent', [sampleProbe(), silent]],
  ['nothing could be sent', [keyless]],
  ['there is no peer', []],
])('exit code 1 when %s', async (_name, probed) => {
  agent.probed = probed;
  expect((await vxseal()).code).toBe(1);
  const { code, out } = await vxseal('--json');
  expect([code, JSON.parse(out)]).toEqual([1, { peers: probed }]);
});

test('no peer is said to be none', async () => {
  agent.probed = [];
  expect((await vxseal()).out).toBe('no peer is known yet: nothing was probed');
});

test('names, count and timeout reach the agent; a name given twice is one', async () => {
  await vxseal('node2', 'node3', 'node2', '--count', '20', '--timeout', '10s');
  await vxseal('--timeout', '1500ms', 'node3');
  await vxseal();
  expect(agent.probes).toEqual([
    { peers: ['node2', 'node3'], count: 20, timeoutMs: 10_000 },
    { peers: ['node3'], timeoutMs: 1500 },
    {},
  ]);
});

test.each([
  ['--count', '0'],
  ['--count', '21'],
  ['--count', 'x'],
  ['--timeout', '99ms'],
  ['--timeout', '11s'],
  ['--timeout', 'soon'],
  ['--bogus', ''],
])('%s %s is wrong usage', async (...args) => {
  const { code, out, err } = await vxseal(...args);
  expect([code, out, agent.probes]).toEqual([2, '', []]);
  expect(err).toMatch(/./);
});

test("the agent's refusal is shown with its remedy", async () => {
  agent.failure = new VxsealError('not-found', 'peer node9: no record of such a node', 'List them.');
  expect(await vxseal('node9')).toEqual({
    code: 1,
    out: '',
    err: 'vxseal: peer node9: no record of such a node\n  -> List them.',
  });
});

test('what a peer calls itself is no order to the terminal', async () => {
  agent.probed = [{ ...silent, why: 'a\u001b[31mb' }];
  expect((await vxseal()).out).toContain('stalled: a?[31mb');
});
