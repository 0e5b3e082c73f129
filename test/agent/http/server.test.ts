// The API: what it answers, what it refuses, and who may open its socket.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { agentClient } from '../../../agent/cli/client';
import type { Status } from '../../../agent/control/status';
import { KernelError, VxsealError } from '../../../agent/errors';
import { buildServer, listenUnix } from '../../../agent/http/server';
import type { Log } from '../../../agent/ports';
import { apiParts } from '../../fakes/api';
import { FakeAgent, sampleFlow, samplePeer, samplePod, sampleProbe, sampleStatus } from '../../fakes/status';

const SECRET = 'c0ffee00c0ffee00';
const written: object[] = [];
const keep = (fields: object): void => void written.push(fields);
const log: Log = { debug: keep, info: keep, warn: keep, error: keep };

let agent: FakeAgent;
let server: FastifyInstance;

beforeEach(() => {
  agent = new FakeAgent();
  server = buildServer(apiParts(agent, log), 'unix');
  written.length = 0;
});
afterEach(() => server.close());

async function get(url: string): Promise<{ status: number; body: unknown }> {
  const answer = await server.inject({ method: 'GET', url });
  return { status: answer.statusCode, body: answer.json() as unknown };
}

describe('reading', () => {
  test('every field of a status arrives, as its schema names it', async () => {
    // Types and schemas are written apart; this holds them together in both directions.
    expect(await get('/v1/status')).toEqual({ status: 200, body: sampleStatus() });
    expect(await get('/v1/peers')).toEqual({ status: 200, body: { peers: [samplePeer()] } });
    expect(await get('/v1/peers/node2')).toEqual({ status: 200, body: samplePeer() });
    expect(await get('/v1/pods')).toEqual({ status: 200, body: { pods: [samplePod()] } });
    expect(await get('/v1/sas')).toEqual({ status: 200, body: { sas: sampleStatus().sas } });
    expect(await get('/v1/drops')).toEqual({
      status: 200,
      body: { drops: sampleStatus().drops, recentDrops: [sampleFlow()] },
    });
    expect(await get('/livez')).toEqual({ status: 200, body: { live: true } });
    expect(await get('/readyz')).toEqual({ status: 200, body: { ready: true, blockers: [] } });
  });

  test('problems, blockers and drops of a peer arrive too', async () => {
    const drops = [
      { node: 'node2', reason: 'replay', direction: 'ingress' as const, packets: 3, bytes: 420 },
    ];
    agent.current = sampleStatus({
      readiness: { ready: false, blockers: [{ name: 'keys', reason: 'r', remedy: 'm' }] },
      problems: [{ object: 'bus', reason: 'r', remedy: 'm', sinceMs: 5, count: 2 }],
      peers: [samplePeer({ dropsByReason: drops, sinceMs: 1.5, loss: 0.25 })],
    });
    expect(await get('/v1/status')).toEqual({ status: 200, body: agent.current });
    expect(await get('/readyz')).toEqual({ status: 503, body: agent.current.readiness });
  });

  test('what no schema names does not leave the process', async () => {
    const [sa] = sampleStatus().sas;
    const leaky = {
      ...sampleStatus(),
      secret: SECRET,
      sas: [{ ...sa, key: SECRET, salt: SECRET }],
      peers: [{ ...samplePeer(), epochs: { ...samplePeer().epochs, key: SECRET } }],
    } as unknown as Status;
    agent.current = leaky;
    expect(JSON.stringify(leaky)).toContain(SECRET);
    for (const url of ['/v1/status', '/v1/sas', '/v1/peers', '/v1/peers/node2']) {
      const answer = await server.inject({ method: 'GET', url });
      expect([url, answer.statusCode, answer.body.includes(SECRET)]).toEqual([url, 200, false]);
    }
  });

  test.each([
    ['/v1/peers/node9', 'peer node9: no record of such a node'],
    ['/v1/nothing', 'GET /v1/nothing: there is no such resource here'],
    ['/v2/status', 'GET /v2/status: there is no such resource here'],
  ])('%s is not found', async (url, message) => {
    const { status, body } = await get(url);
    expect([status, body]).toEqual([404, { code: 'not-found', message, remedy: expect.stringMatching(/./) }]);
  });
});

describe('changing', () => {
  const request = { netnsPath: '/run/netns/p', name: 'p', namespace: 'default' };

  test('attach, detach, rotate', async () => {
    const full = { ...request, device: 'eth1', vni: 42 };
    const attached = await server.inject({ method: 'POST', url: '/v1/pods', payload: full });
    expect([attached.statusCode, attached.json()]).toEqual([
      200,
      samplePod({ name: 'p', netnsPath: '/run/netns/p' }),
    ]);
    expect(agent.attached).toEqual([full]);
    const there = await server.inject({ method: 'DELETE', url: '/v1/pods/4%3A4026532001' });
    expect([there.statusCode, there.json()]).toEqual([200, { detached: true }]);
    const gone = await server.inject({ method: 'DELETE', url: '/v1/pods/1:1' });
    expect([gone.statusCode, gone.json()]).toEqual([200, { detached: false }]);
    expect(agent.detached).toEqual(['4:4026532001', '1:1']);
    const rotated = await server.inject({ method: 'POST', url: '/v1/rotate' });
    expect([rotated.statusCode, rotated.json()]).toEqual([200, { epoch: 5 }]);
  });

  test('probe: every field arrives, and what was asked for', async () => {
    const wanted = { peers: ['node2'], count: 20, timeoutMs: 10_000 };
    for (const payload of [wanted, {}]) {
      const answer = await server.inject({ method: 'POST', url: '/v1/probe', payload });
      expect([answer.statusCode, answer.json()]).toEqual([200, { peers: [sampleProbe()] }]);
    }
    expect(agent.probes).toEqual([wanted, {}]);
  });

  test.each<[string, unknown]>([
    ['no peer', { peers: [] }],
    ['an unnamed peer', { peers: [''] }],
    ['1,001 peers', { peers: Array.from({ length: 1001 }, () => 'n') }],
    ['no probe', { count: 0 }],
    ['21 pairs', { count: 21 }],
    ['99 ms', { timeoutMs: 99 }],
    ['10 s and more', { timeoutMs: 10_001 }],
    ['a number as text', { count: '5' }],
    ['a stray field', { interval: 1 }],
  ])('probe refuses %s', async (_name, payload) => {
    const answer = await server.inject({ method: 'POST', url: '/v1/probe', payload: payload as object });
    expect([answer.statusCode, answer.json()]).toMatchObject([400, { code: 'request' }]);
    expect(agent.probes).toEqual([]);
  });

  test('the description names it with its bounds, on the socket only', async () => {
    const described = (await server.inject({ url: '/openapi.json' })).json() as { paths: object };
    expect(JSON.stringify(Reflect.get(described.paths, '/v1/probe'))).toContain('"maximum":20');
    const readOnly = buildServer(apiParts(agent, log), 'tcp');
    const { paths } = (await readOnly.inject({ url: '/openapi.json' })).json() as { paths: object };
    await readOnly.close();
    expect(Object.keys(paths)).toContain('/v1/peers');
    expect(Object.keys(paths)).not.toContain('/v1/probe');
  });

  test.each<[string, unknown]>([
    ['no namespace path', { name: 'p', namespace: 'd' }],
    ['a stray field', { ...request, key: 'x' }],
    ['VNI 0', { ...request, vni: 0 }],
    ['VNI of 25 bits', { ...request, vni: 16777216 }],
    ['VNI as text', { ...request, vni: '1' }],
    ['a device of 16 characters', { ...request, device: 'a'.repeat(16) }],
    ['a list', [request]],
    ['a body too large', { ...request, name: 'a'.repeat(70_000) }],
  ])('refuses %s', async (_name, payload) => {
    const answer = await server.inject({ method: 'POST', url: '/v1/pods', payload: payload as object });
    expect([400, 413]).toContain(answer.statusCode);
    expect(answer.json()).toMatchObject({ code: 'request', remedy: expect.stringMatching(/./) });
    expect(agent.attached).toEqual([]);
  });

  test.each<[Error, number, string]>([
    [new VxsealError('request', 'pod p: bad', 'do'), 400, 'request'],
    [new VxsealError('not-found', 'pod p: gone', 'do'), 404, 'not-found'],
    [new VxsealError('not-ready', 'pod p: wait', 'do'), 503, 'not-ready'],
    [new KernelError('attach', 1, 'EPERM'), 500, 'kernel'],
  ])('%s keeps its code', async (failure, status, code) => {
    agent.failure = failure;
    const answer = await server.inject({ method: 'POST', url: '/v1/rotate' });
    const remedy = failure instanceof VxsealError ? failure.remedy : '';
    expect([answer.statusCode, answer.json()]).toEqual([status, { code, message: failure.message, remedy }]);
  });

  test("a bug's text stays in the log", async () => {
    const failure = new TypeError(`cannot read ${SECRET}`);
    agent.failure = failure;
    const answer = await server.inject({ method: 'POST', url: '/v1/rotate' });
    expect([answer.statusCode, answer.body.includes(SECRET)]).toEqual([500, false]);
    expect(answer.json()).toMatchObject({ code: 'internal' });
    expect(written).toEqual([expect.objectContaining({ error: failure })]);
  });

  test('a listener without the changing group knows none of it', async () => {
    const readOnly = buildServer(apiParts(agent, log), 'tcp');
    const asked = [
      await readOnly.inject({ method: 'POST', url: '/v1/rotate' }),
      await readOnly.inject({ method: 'POST', url: '/v1/probe', payload: {} }),
      await readOnly.inject({ method: 'POST', url: '/v1/pods', payload: request }),
      await readOnly.inject({ method: 'DELETE', url: '/v1/pods/1:1' }),
    ];
    expect(asked.map(({ statusCode }) => statusCode)).toEqual([404, 404, 404, 404]);
    expect([agent.rotations, agent.probes, agent.attached, agent.detached]).toEqual([0, [], [], []]);
    await readOnly.close();
  });
});

describe('the socket', () => {
  let folder: string;
  let path: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'vxseal-http-'));
    path = join(folder, 'run', 'agent.sock');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  test('is private whatever the umask, answers, and is gone afterwards', async () => {
    const before = process.umask(0);
    const running = await listenUnix(apiParts(agent, log), path);
    expect(process.umask(before)).toBe(0);
    expect((statSync(path).mode & 0o777).toString(8)).toBe('600');
    expect(await agentClient(path).get('/livez')).toEqual({ live: true });
    await running.close();
    expect(existsSync(path)).toBe(false);
  });

  test('of a live agent is left alone', async () => {
    const running = await listenUnix(apiParts(agent, log), path);
    await expect(listenUnix(apiParts(new FakeAgent(), log), path)).rejects.toMatchObject({
      code: 'state',
      message: `socket ${path}: another agent answers on it`,
    });
    expect(await agentClient(path).get('/livez')).toEqual({ live: true });
    await running.close();
  });

  test('of a dead one is replaced', async () => {
    // What SIGKILL leaves: a socket file that nobody listens on.
    path = join(folder, 'agent.sock');
    await leaveStale(path);
    expect(statSync(path).isSocket()).toBe(true);
    const next = await listenUnix(apiParts(agent, log), path);
    expect(await agentClient(path).get('/livez')).toEqual({ live: true });
    await next.close();
  });

  test('never replaces a file', async () => {
    rmSync(join(folder, 'run'), { recursive: true, force: true });
    path = join(folder, 'agent.sock');
    writeFileSync(path, 'precious');
    await expect(listenUnix(apiParts(agent, log), path)).rejects.toMatchObject({ code: 'state' });
    expect(statSync(path).isFile()).toBe(true);
  });
});

/** A process of its own binds and is killed. */
async function leaveStale(path: string): Promise<void> {
  const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => console.log('up'))`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
}
