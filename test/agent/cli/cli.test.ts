// The commands against a real server on a real socket with a made-up agent: exit codes, what is shown, and what
// happens when there is nobody to ask.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MOMENT_MS } from '../../../agent/cli/command';
import type { DoctorParts } from '../../../agent/cli/doctor';
import type { ExitCode, Io } from '../../../agent/cli/io';
import { type ProgramParts, runCli } from '../../../agent/cli/program';
import type { Config } from '../../../agent/config';
import type { Status } from '../../../agent/control/status';
import { VxsealError } from '../../../agent/errors';
import { listenUnix, type RunningServer } from '../../../agent/http/server';
import { apiParts } from '../../fakes/api';
import { keptIo } from '../../fakes/io';
import { FakeAgent, NOW_MS, samplePeer, samplePod, sampleStatus } from '../../fakes/status';

const folder = mkdtempSync(join(tmpdir(), 'vxseal-cli-'));
const socket = join(folder, 'agent.sock');
let agent: FakeAgent;
let running: RunningServer;

beforeAll(async () => {
  agent = new FakeAgent();
  running = await listenUnix(apiParts(agent), socket);
});
beforeEach(() => {
  agent.current = sampleStatus();
  agent.attached.length = 0;
  agent.detached.length = 0;
});
afterAll(async () => {
  await running.close();
  rmSync(folder, { recursive: true });
});

interface Outcome {
  readonly code: ExitCode;
  readonly out: string;
  readonly err: string;
}

const ran: { config: Config; what: string }[] = [];
const parts: ProgramParts = {
  version: '1.2.3',
  agent: {
    run: async (config) => void ran.push({ config, what: 'run' }),
    cleanup: async (config) => void ran.push({ config, what: 'cleanup' }),
  },
  doctor: {} as DoctorParts,
  labKeys: { lines: async () => ['a line'] },
  register: [],
};

async function vxseal(args: readonly string[], changes: Partial<Io> = {}): Promise<Outcome> {
  const { io, out, err } = keptIo(folder);
  const code = await runCli(args, { ...io, ...changes }, parts);
  return { code, out: out.join('\n'), err: err.join('\n') };
}

function broken(): Status {
  return sampleStatus({
    readiness: { ready: false, blockers: [{ name: 'keys', reason: 'node3 has no key', remedy: 'Wait.' }] },
    problems: [
      {
        object: 'hook seal on eth0',
        reason: 'EPERM',
        remedy: 'Grant CAP_BPF.',
        sinceMs: NOW_MS - 65_000,
        count: 9,
      },
    ],
    peers: [
      samplePeer(),
      samplePeer({
        node: 'node3',
        state: 'stalled',
        why: 'no probe answered for 20s',
        remedy: 'Check UDP 4500 between 192.0.2.1 and 192.0.2.3.',
        sinceMs: NOW_MS - 20_000,
        rttMs: -1,
        loss: 1,
        lastOpenedAgeMs: -1,
        epochs: { ours: [4], theirs: [], txSpi: '', rxSpis: [] },
      }),
    ],
  });
}

describe('status', () => {
  test('well', async () => {
    const { code, out, err } = await vxseal(['status']);
    expect([code, err]).toEqual([0, '']);
    expect(`\n${out}\n`).toBe(`
node node1: ready, up 2h13m, epoch 4, version 0.1.0
  overlay   vxseal0, VNI 1, MTU 1408, engine bpf; pods ready: 1 of 1
  underlay  192.0.2.1 on eth0 (1500)
  bus       directory: in sync, last seen 2s ago; records refused: bad-signature 2
  labels    from the runtime; messages refused: protobuf 1
  identity  certificate ends in 20 days
  shared    dns: 10.7.0.53/32 of VNI 7 to 8=10.8.0.0/24
  shared    log: 10.9.0.1/32 of VNI 9 to 8=10.8.0.0/24; no keys of VNI 9
  adoption  0 pods permissive towards 10.244.3.0/24; in clear: 5 packets sent, 4 received

PEERS  1 of 1 up
PEER   STATE      RTT  LOSS   SENT  RECEIVED  EPOCHS  LAST  WHY
node2  up     0.21 ms    0%  12345      250k  4,3/7     1s  -

DROPS
REASON  DIRECTION  PEER   PACKETS  BYTES
replay  ingress    node2        3    420
`);
  });

  test('labels that the runtime does not tell are a note, and none that nobody asked for', async () => {
    const away = { socket: '/nri.sock', connected: false, reason: 'connect ENOENT /nri.sock', refused: [] };
    agent.current = sampleStatus({ informer: away });
    const { code, out } = await vxseal(['status']);
    expect([code, out]).toEqual([
      0,
      expect.stringContaining('\n  labels    not told by the runtime (connect ENOENT /nri.sock)\n'),
    ]);
    agent.current = sampleStatus({ informer: { ...away, socket: '' } });
    expect((await vxseal(['status'])).out).not.toContain('labels');
  });

  test('not well: what, since when, and what to do', async () => {
    agent.current = broken();
    const { code, out, err } = await vxseal(['status']);
    expect([code, err]).toEqual([1, '']);
    expect(out).toContain(`
PROBLEMS
  keys: node3 has no key
    -> Wait.
  hook seal on eth0: EPERM (since 1m5s)
    -> Grant CAP_BPF.
  peer node3: stalled: no probe answered for 20s (since 20s)
    -> Check UDP 4500 between 192.0.2.1 and 192.0.2.3.

PEERS  1 of 2 up
PEER   STATE        RTT  LOSS   SENT  RECEIVED  EPOCHS  LAST  WHY
node2  up       0.21 ms    0%  12345      250k  4,3/7     1s  -
node3  stalled        -  100%  12345      250k  4/-        -  no probe answered for 20s
`);
    expect(Math.max(...out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  test.each<[string, Partial<Status>, ExitCode]>([
    ['nothing', {}, 0],
    ['no peers', { peers: [] }, 0],
    ['drops', { drops: [{ node: '', reason: 'r', direction: 'egress', packets: 1, bytes: 1 }] }, 0],
    ['not ready without a blocker', { readiness: { ready: false, blockers: [] } }, 1],
    ['a peer without key', { peers: [samplePeer({ state: 'no-key' })] }, 1],
    ['a rotating peer', { peers: [samplePeer({ rotating: true })] }, 0],
    ['a problem', { problems: [{ object: 'o', reason: 'r', remedy: '', sinceMs: 0, count: 1 }] }, 1],
  ])('%s: exit code', async (_name, changes, expected) => {
    agent.current = sampleStatus(changes);
    expect((await vxseal(['status'])).code).toBe(expected);
    expect((await vxseal(['status', '--json'])).code).toBe(expected);
  });

  test('colours are for terminals', async () => {
    const start = '\u001b[';
    expect((await vxseal(['status'], { colour: true })).out).toContain(`${start}32mready${start}0m`);
    expect((await vxseal(['status'], { colour: false })).out).not.toContain(start);
  });

  test('text of others cannot steer the terminal', async () => {
    const evil = 'x\u001b]0;owned\u0007\u009b31m\u202e\ny';
    const drops = [{ node: evil, reason: evil, direction: 'ingress' as const, packets: 1, bytes: 1 }];
    const peers = [samplePeer({ node: evil, state: 'stalled', why: evil, remedy: evil, agentVersion: evil })];
    const problems = [{ object: evil, reason: evil, remedy: evil, sinceMs: 0, count: 1 }];
    agent.current = sampleStatus({ drops, peers, problems });
    for (const args of [['status'], ['peers'], ['peers', evil], ['drops'], ['status', '--json']]) {
      const { out } = await vxseal(args);
      expect(out).toContain('owned');
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/);
    }
  });
});

describe('listings', () => {
  test('--json gives what the API gives', async () => {
    const status = sampleStatus();
    const json = async (...args: string[]): Promise<unknown> =>
      JSON.parse((await vxseal([...args, '--json'])).out);
    expect(await json('status')).toEqual(status);
    expect(await json('peers')).toEqual({ peers: status.peers });
    expect(await json('peers', 'node2')).toEqual(status.peers[0]);
    expect(await json('pods')).toEqual({ pods: status.pods });
    expect(await json('pods', 'list')).toEqual({ pods: status.pods });
    expect(await json('sas')).toEqual({ sas: status.sas });
    expect(await json('drops')).toEqual({ drops: status.drops, recentDrops: status.recentDrops });
    expect(await json('rotate')).toEqual({ epoch: 5 });
  });

  test('one peer in full', async () => {
    agent.current = broken();
    expect((await vxseal(['peers'])).code).toBe(1);
    expect((await vxseal(['peers', 'node2'])).code).toBe(0);
    const { code, out } = await vxseal(['peers', 'node3']);
    expect(code).toBe(1);
    expect(out).toContain(
      'state               stalled\nwhy                 no probe answered for 20s\nsince               20s ago',
    );
    expect(out).toContain('SPI sending         -');
  });

  test('tables of pods and SAs', async () => {
    agent.current = sampleStatus({
      pods: [samplePod(), samplePod({ name: 'b', ready: false, why: 'no hook' })],
    });
    const pods = await vxseal(['pods']);
    expect(pods.code).toBe(1);
    expect(pods.out.split('\n')[2]).toBe(
      'default/b       not ready  strict  10.244.1.2    1  1408  pod1-1  4:4026532001  no hook',
    );
    expect((await vxseal(['sas'])).out.split('\n')[1]).toBe(
      'node2  tx           1  0x1a2b3c4d  0011223344556677     12345  1.1T left     -',
    );
  });
});

describe('changes', () => {
  test('attach fills in what is not said', async () => {
    const short = await vxseal(['pods', 'attach', '--netns', '/run/netns/pod7']);
    const full = await vxseal(
      'pods attach --netns /proc/7/ns/net --device e1 --name n --namespace s --vni 42'.split(' '),
    );
    expect([short.code, full.code]).toEqual([0, 0]);
    expect(agent.attached).toEqual([
      { netnsPath: '/run/netns/pod7', device: 'eth0', name: 'pod7', namespace: 'default' },
      { netnsPath: '/proc/7/ns/net', device: 'e1', name: 'n', namespace: 's', vni: 42 },
    ]);
  });

  test('detach tells whether there was one; both are well', async () => {
    expect(await vxseal(['pods', 'detach', '4:4026532001'])).toMatchObject({
      code: 0,
      out: 'pod 4:4026532001 is detached',
    });
    expect(await vxseal(['pods', 'detach', '1:1'])).toMatchObject({ code: 0, out: 'there is no pod 1:1' });
    expect(agent.detached).toEqual(['4:4026532001', '1:1']);
  });

  test("the agent's refusal is shown with its remedy", async () => {
    agent.failure = new VxsealError('not-ready', 'pod p: no hook yet', 'Try again.');
    expect(await vxseal(['rotate'])).toEqual({
      code: 1,
      out: '',
      err: 'vxseal: pod p: no hook yet\n  -> Try again.',
    });
    agent.failure = new VxsealError('not-ready', 'pod p: no hook yet', 'Try again.');
    const { code, out } = await vxseal(['rotate', '--json']);
    expect([code, JSON.parse(out)]).toEqual([
      1,
      { error: { code: 'not-ready', message: 'pod p: no hook yet', remedy: 'Try again.' } },
    ]);
  });
});

describe('what takes longer', () => {
  const slow = (watched: boolean): Promise<Outcome> => {
    let release = (): void => {};
    agent.rotate = () =>
      new Promise((resolve) => {
        release = () => resolve({ epoch: 5 });
      });
    const asked = vxseal(['rotate', '--socket', socket], {
      watched,
      err: (text) => {
        lines.push(text);
        release();
      },
    });
    if (!watched) setTimeout(() => release(), 1.5 * MOMENT_MS);
    return asked;
  };
  const lines: string[] = [];
  beforeEach(() => {
    lines.length = 0;
  });
  afterEach(() => {
    Reflect.deleteProperty(agent, 'rotate');
  });

  test('says what it waits for, where somebody looks', async () => {
    expect(await slow(true)).toMatchObject({ code: 0, out: expect.stringContaining('epoch 5') });
    expect(lines).toEqual(['waiting until the new epoch is published…']);
  });

  test('is silent where nobody does', async () => {
    expect(await slow(false)).toMatchObject({ code: 0, out: expect.stringContaining('epoch 5') });
    expect(lines).toEqual([]);
  });

  test('nothing is said of what is quick', async () => {
    const { code, err } = await vxseal(['status', '--socket', socket], { watched: true });
    expect([code, err]).toEqual([0, '']);
  });
});

test('only the agent lists every configuration key in its help; the others take them all the same', async () => {
  expect((await vxseal(['agent', '--help'])).out).toContain('--underlay-esp-port');
  for (const command of [['doctor'], ['report'], ['config', 'check']]) {
    const { code, out } = await vxseal([...command, '--help']);
    expect([code, out]).toEqual([0, expect.not.stringContaining('--underlay-esp-port')]);
    expect(out).toContain('vxseal agent --help lists them');
  }
  const { out } = await vxseal(['config', 'check', '--underlay-esp-port', '0', '--json']);
  expect(out).toContain('underlay.espPort');
});

describe('nobody to ask', () => {
  const elsewhere = { VXSEAL_RUN_DIR: '/nonexistent' };

  test.each([
    ['status'],
    ['peers'],
    ['peers', 'node2'],
    ['pods'],
    ['pods', 'detach', '1:1'],
    ['sas'],
    ['drops'],
    ['rotate'],
    ['probe'],
    ['probe', 'node2'],
  ])('%s %s', async (...args) => {
    const { code, out, err } = await vxseal(args, { environment: elsewhere });
    expect([code, out]).toEqual([1, '']);
    expect(err).toContain('agent at /nonexistent/agent.sock: is not running\n  -> Start it (vxseal agent');
  });

  test('--socket says where', async () => {
    const { code } = await vxseal(['status', '--socket', socket], { environment: elsewhere });
    expect(code).toBe(0);
  });

  test('runDir of the configuration file says where', async () => {
    const file = join(folder, 'config.yaml');
    writeFileSync(file, `runDir: ${folder}\noverlay: {vni: wrong}\n`);
    expect((await vxseal(['status', '--config', file], { environment: {} })).code).toBe(0);
  });

  test.each<[string, (server: Server) => void, string]>([
    [
      'answers nonsense',
      (server) => server.on('request', (_, answer) => answer.end('<html>')),
      'the answer is no JSON',
    ],
    ['hangs up', (server) => server.on('request', (request) => request.socket.destroy()), 'socket hang up'],
  ])('somebody else, who %s', async (_name, prepare, message) => {
    const path = join(folder, 'other.sock');
    const server = createServer();
    prepare(server);
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const { code, err } = await vxseal(['status', '--socket', path]);
    await new Promise((resolve) => server.close(resolve));
    expect([code, err]).toEqual([1, expect.stringContaining(message)]);
  });
});

describe('usage', () => {
  test.each<[string, ExitCode]>([
    ['bogus', 2],
    ['status --bogus', 2],
    ['status extra', 2],
    ['pods attach', 2],
    ['pods attach --netns /n --vni x', 2],
    ['pods detach', 2],
    ['agent --underlay-esp-port', 2],
    ['', 2],
    ['--help', 0],
    ['status --help', 0],
    ['--version', 0],
    ['pods attach --netns relative', 1],
    ['agent --underlay-esp-port 0 --identity-trust-domain t', 1],
  ])('vxseal %s: %i', async (line, expected) => {
    const { code, out, err } = await vxseal(line.split(' ').filter((word) => word !== ''));
    expect(code).toBe(expected);
    expect((expected === 0 ? out : err).length).toBeGreaterThan(0);
  });
});

describe('agent and config', () => {
  const ranges = ['--overlay-protected-prefixes', '10.244.0.0/16'];
  const good = ['--identity-trust-domain', 'lab', '--node-name', 'n1', ...ranges];

  test('agent runs with the configuration, or cleans up', async () => {
    ran.length = 0;
    expect((await vxseal(['agent', ...good, '--underlay-shared-port', '--overlay-vni', '9'])).code).toBe(0);
    expect((await vxseal(['agent', ...good, '--cleanup', '--underlay-shared-port', 'false'])).code).toBe(0);
    expect(ran.map(({ what, config }) => [what, config.overlay.vni, config.underlay.sharedPort])).toEqual([
      ['run', 9, true],
      ['cleanup', 1, false],
    ]);
  });

  test('check', async () => {
    expect(await vxseal(['config', 'check', ...good])).toEqual({
      code: 0,
      out: 'the configuration is good',
      err: '',
    });
    const bad = await vxseal(['config', 'check', ...good, '--overlay-vni', '0']);
    expect([bad.code, bad.out]).toEqual([1, '']);
    expect(bad.err).toContain('overlay.vni (flag --overlay-vni): "0" is not from 1 to 16777215.');
    const json = await vxseal(['config', 'check', ...good, '--overlay-vni', '0', '--json']);
    expect([json.code, JSON.parse(json.out)]).toMatchObject([
      1,
      { ok: false, issues: [{ field: 'overlay.vni' }] },
    ]);
  });

  test('show', async () => {
    const { code, out } = await vxseal(['config', 'show', ...good]);
    expect(code).toBe(0);
    expect(out).toMatch(/^nodeName +n1 +flag --node-name$/m);
    expect(out).toMatch(/^underlay.espPort +4500 +default$/m);
    const json = JSON.parse((await vxseal(['config', 'show', ...good, '--json'])).out) as {
      nodeName: string;
    };
    expect(json.nodeName).toBe('n1');
  });
});

test('the built program: exit code and streams', () => {
  const root = join(__dirname, '../../..');
  const build = spawnSync(
    process.execPath,
    [join(root, 'build/agent/cli/vxseal.js'), 'status', '--socket', '/nonexistent'],
    {
      encoding: 'utf8',
    },
  );
  expect([build.status, build.stdout, build.stderr]).toEqual([
    1,
    '',
    expect.stringContaining('agent at /nonexistent: is not running'),
  ]);
});
