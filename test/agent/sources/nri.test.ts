// The informer on a real socket against a runtime played by the test: connection, refusals that are counted, and the way
// back. Time is the test's own.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PodFacts } from '../../../agent/core/podfacts';
import { NriInformer } from '../../../agent/sources/nri';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';
import { asked, mux, readSaid, registered, request, stateChange, synchronize, ttrpc } from './nri/runtime';

const WITHIN_MS = 10_000;

let dir: string;
let path: string;
let server: Server | undefined;
let informer: NriInformer;
let clock: ManualClock;
let log: QuietLog;
/** Connections so far, the newest last. */
let connections: { readonly socket: Socket; readonly said: Buffer[] }[];
/** What the pod store was told. */
let told: (readonly PodFacts[])[];
let inform: (pods: readonly PodFacts[]) => Promise<void>;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-nri-'));
  path = join(dir, 'nri.sock');
  clock = new ManualClock();
  log = new QuietLog();
  connections = [];
  told = [];
  inform = async (pods) => void told.push(pods);
  informer = new NriInformer(path, { clock, log, random: () => 1 });
});

afterEach(async () => {
  await informer.stop();
  await close();
  rmSync(dir, { recursive: true });
});

async function listen(): Promise<void> {
  const made = createServer((socket) => {
    const said: Buffer[] = [];
    socket.on('data', (bytes: Buffer) => said.push(bytes));
    socket.on('error', () => undefined);
    connections.push({ socket, said });
  });
  server = made;
  await new Promise<void>((resolve) => made.listen(path, resolve));
}

async function close(): Promise<void> {
  const closed = server;
  server = undefined;
  for (const { socket } of connections) socket.destroy();
  if (closed !== undefined) await new Promise<void>((resolve) => closed.close(() => resolve()));
}

/** Real input and output takes real time. */
async function until(what: string, condition: () => boolean): Promise<void> {
  const endMs = Date.now() + WITHIN_MS;
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`not within ${WITHIN_MS} ms: ${what}`);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

const start = (): void => informer.start({ inform: (pods) => inform(pods) });

/** The informer has connected so often. */
async function connection(count: number): Promise<Socket> {
  await until(`connection ${count}`, () => (connections[count - 1]?.said.length ?? 0) > 0);
  return connections[count - 1]?.socket ?? never();
}

const never = (): never => {
  throw new Error('no connection');
};

const POD = { id: 'c0ffee', netnsPath: '/run/netns/cni-1', labels: { app: 'web' } };
const GREETING = Buffer.concat([
  registered(),
  asked(1, request('Configure', {})),
  asked(3, synchronize([POD])),
]);
const sandboxes = (): string[][] => told.map((pods) => pods.map(({ sandboxId }) => sandboxId));

test('1 connects, registers, tells what is there and what comes', async () => {
  await listen();
  start();
  const socket = await connection(1);
  expect(readSaid(Buffer.concat(connections[0]?.said ?? []))[0]?.fields.text(2)).toBe('RegisterPlugin');
  expect(informer.status()).toEqual({ socket: path, connected: false, reason: 'not asked yet', refused: [] });
  socket.write(GREETING);
  await until('pods are told', () => told.length === 1);
  expect(informer.status()).toEqual({ socket: path, connected: true, reason: '', refused: [] });
  socket.write(asked(5, stateChange(1, { ...POD, id: 'next' })));
  await until('the next is told', () => told.length === 2);
  expect(sandboxes()).toEqual([['c0ffee'], ['next']]);
  // Nothing waits for the end of the list any more.
  expect(clock.pending).toBe(0);
});

test('2 the runtime is answered before anything is done with what it says', async () => {
  let release = (): void => {};
  inform = (pods) =>
    new Promise<void>((resolve) => {
      told.push(pods);
      release = resolve;
    });
  await listen();
  start();
  const socket = await connection(1);
  socket.write(GREETING);
  await until('the store is busy', () => told.length === 1);
  socket.write(Buffer.concat([5, 7, 9].map((id) => asked(id, stateChange(1, { ...POD, id: `p${id}` })))));
  const answers = (): number => readSaid(Buffer.concat(connections[0]?.said ?? [])).length;
  await until('all is answered', () => answers() === 6);
  expect(told).toHaveLength(1);
  release();
  await until('the rest is told at once', () => told.length === 2);
  release();
  expect(sandboxes()[1]).toEqual(['p5', 'p7', 'p9']);
});

test('3 no socket: a note, tried again at growing intervals, told once', async () => {
  start();
  for (const [pauseMs, attempt] of [500, 1000, 2000, 4000, 8000, 10_000, 10_000].map((ms, i) => [ms, i])) {
    await until(
      `attempt ${attempt} has failed`,
      () => clock.pending === 1 && informer.status().reason !== '',
    );
    await until('it failed for want of a socket', () => informer.status().reason.includes('ENOENT'));
    await clock.advance((pauseMs ?? 0) - 1);
    expect(clock.pending).toBe(1);
    await clock.advance(1);
  }
  expect(log.matching('NRI is not connected')).toHaveLength(1);
  expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  await listen();
  await clock.advance(10_000);
  (await connection(1)).write(GREETING);
  await until('connected', () => informer.status().connected);
  expect(log.matching('NRI connected')).toHaveLength(1);
});

test('4 the runtime goes and comes back: all pods are told again', async () => {
  await listen();
  start();
  (await connection(1)).write(GREETING);
  await until('connected', () => informer.status().connected);
  await close();
  await until('the loss is noticed', () => !informer.status().connected);
  await listen();
  await clock.advance(500);
  const more = synchronize([POD, { ...POD, id: 'missed' }]);
  (await connection(2)).write(Buffer.concat([registered(), asked(1, more)]));
  await until('told again', () => told.length === 2);
  expect(sandboxes()[1]).toEqual(['c0ffee', 'missed']);
  expect(informer.status().refused).toEqual([]);
});

test.each<[string, Buffer]>([
  ['oversize', mux(1, Buffer.alloc(0), 0x7fffffff)],
  ['frame', mux(1, ttrpc(2, 1, Buffer.alloc(0)))],
  ['protobuf', asked(5, Buffer.from([0x0a, 0xff]))],
  ['rejected', registered({ 1: 16, 2: 'not you' })],
])('5 %s is counted, the connection given up and made anew', async (reason, bytes) => {
  await listen();
  start();
  for (const count of [1, 2, 3]) {
    const socket = await connection(count);
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    // What comes after it is not looked at.
    socket.write(Buffer.concat([bytes, GREETING]));
    await gone;
    await until('it is counted', () => informer.status().refused[0]?.count === count);
    expect(informer.status()).toMatchObject({ connected: false, refused: [{ reason, count }] });
    expect(informer.status().reason).toMatch(`${reason}: `);
    await clock.advance(10_000);
  }
  expect(told).toEqual([]);
  (await connection(4)).write(GREETING);
  await until('connected all the same', () => informer.status().connected);
});

test('6 a runtime that says nothing is given up after a minute', async () => {
  await listen();
  start();
  await connection(1);
  await clock.advance(59_999);
  expect(informer.status().refused).toEqual([]);
  await clock.advance(1);
  expect(informer.status().refused).toEqual([{ reason: 'silent', count: 1 }]);
  await clock.advance(500);
  await connection(2);
});

test('7 a pod that cannot be used is counted, and the connection stands', async () => {
  await listen();
  start();
  (await connection(1)).write(Buffer.concat([GREETING, asked(5, stateChange(1, { ...POD, id: '' }))]));
  await until('it is counted', () => informer.status().refused.length === 1);
  expect(informer.status()).toMatchObject({ connected: true, refused: [{ reason: 'pod', count: 1 }] });
});

test('8 Shutdown is no refusal', async () => {
  await listen();
  start();
  (await connection(1)).write(Buffer.concat([GREETING, asked(5, request('Shutdown', {}))]));
  await until('it has left', () => !informer.status().connected && told.length === 1);
  expect(informer.status()).toMatchObject({ reason: 'the runtime shuts down', refused: [] });
});

test('9 stopped it is silent: no timer, no connection', async () => {
  await listen();
  start();
  const socket = await connection(1);
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  await informer.stop();
  await gone;
  expect(clock.pending).toBe(0);
  await clock.advance(60_000);
  expect(connections).toHaveLength(1);
});

test('10 a runtime that does not read answers is given up', async () => {
  await listen();
  start();
  const socket = await connection(1);
  socket.write(GREETING);
  await until('connected', () => informer.status().connected);
  socket.pause();
  const questions = Buffer.concat(Array.from({ length: 2000 }, () => asked(5, request('Nothing', {}))));
  while (informer.status().connected) {
    socket.write(questions);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  expect(informer.status().refused).toEqual([{ reason: 'unread', count: 1 }]);
});
