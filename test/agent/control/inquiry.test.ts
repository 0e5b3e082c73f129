// Probes on demand between two whole agents without a kernel: what is sent, what is said of it, and that it ends.
import type { ProbeRequest, ProbeStatus } from '../../../agent/control/status';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock } from '../../fakes/clock';
import { FakeFabric } from '../../fakes/fabric';
import { FakeNode, PROBE_MS } from '../../fakes/node';

const MTU_BYTES = 1408;
const SMALL_BYTES = 46;
const HEADER_BYTES = 14;
/** In which even three rounds for the size have ended. */
const LONG_MS = 12_000;

async function started(vtep2 = '192.0.2.2') {
  const clock = new ManualClock();
  const fabric = new FakeFabric(clock);
  const world = { clock, fabric, topics: new MemoryTopics() };
  const one = new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24' });
  const two = new FakeNode(world, 'node2', { vtep: vtep2, prefix: '10.2.0.0/24' });
  await one.room.start();
  await two.room.start();
  await clock.advance(10_000);
  return { clock, fabric, one, two };
}

type Made = Awaited<ReturnType<typeof started>>;

/** Node 1 probes; also how long that took. */
async function probe({ clock, one }: Made, request: ProbeRequest = {}) {
  const startedMs = clock.nowMs();
  let tookMs = -1;
  let answer: readonly ProbeStatus[] = [];
  const asked = one.room.probe(request).then((peers) => {
    answer = peers;
    tookMs = clock.nowMs() - startedMs;
  });
  for (let atMs = 0; atMs < LONG_MS && tookMs < 0; atMs += 50) await clock.advance(50);
  if (tookMs < 0) throw new Error(`not answered within ${LONG_MS} ms`);
  await asked;
  const [peer] = answer;
  if (peer === undefined) throw new Error('no peer was probed');
  return { peer, peers: answer, tookMs };
}

test('1 all is well: every probe comes back, at full size, and no answer is waited for longer than it takes', async () => {
  const { peer, tookMs } = await probe(await started());
  expect(peer).toEqual({
    node: 'node2',
    state: 'up',
    local: '192.0.2.1',
    vtep: '192.0.2.2',
    sent: 10,
    answered: 10,
    rtt: { leastMs: 0.25, meanMs: 0.25, mostMs: 0.25 },
    mtuBytes: MTU_BYTES,
    largestBytes: MTU_BYTES,
    why: '',
    remedy: '',
  });
  expect(tookMs).toBeLessThanOrEqual(450);
});

test('2 nothing arrives there: silent both ways, told at the deadline, while the status still stands', async () => {
  const made = await started();
  made.fabric.lose = () => true;
  const { peer, tookMs } = await probe(made, { count: 2, timeoutMs: 3000 });
  expect(peer).toMatchObject({
    state: 'stalled',
    sent: 4,
    answered: 0,
    rtt: { leastMs: -1 },
    largestBytes: -1,
    why: 'no packet from it is authenticated any more, and no probe is answered',
    remedy: expect.stringContaining('let UDP port 4500 pass between 192.0.2.1 and 192.0.2.2'),
  });
  expect(tookMs).toBeGreaterThanOrEqual(3000);
  expect(tookMs).toBeLessThanOrEqual(3150);
  expect(made.one.room.status().peers[0]?.state).toBe('up');
});

test('3 only the way there fails: its own probes arrive meanwhile', async () => {
  const made = await started();
  made.fabric.lose = (from) => from === 'node1';
  const { peer } = await probe(made, { count: 1, timeoutMs: PROBE_MS + 500 });
  expect(peer).toMatchObject({
    state: 'stalled',
    why: 'its packets arrive here, ours are not answered: the way from here to it fails',
  });
});

test.each([
  [MTU_BYTES - 1, 1404],
  [1405, 1404],
  [1404, 1404],
  [1403, 1400],
  [1208, 1208],
  [700, 700],
  [51, 48],
  [48, 48],
  [47, SMALL_BYTES],
  [SMALL_BYTES, SMALL_BYTES],
])('4 a path that carries %i bytes: the largest that comes back has %i', async (limit, largest) => {
  const made = await started();
  made.fabric.lose = (_from, _to, bytes) => bytes > HEADER_BYTES + limit;
  const { peer, tookMs } = await probe(made);
  expect(peer).toMatchObject({
    state: 'mtu',
    sent: 10,
    answered: 5,
    largestBytes: largest,
    why: `small probes are answered, those of 1408 bytes are not; the largest that is has ${largest}`,
    remedy: expect.stringContaining('raise the MTU'),
  });
  expect(tookMs).toBeLessThan(2000);
});

test('5 one size that is lost by chance costs a step at most, never more than was seen to pass', async () => {
  const made = await started();
  let packet = 0;
  made.fabric.lose = (_from, _to, bytes) =>
    bytes > HEADER_BYTES + 1208 || (bytes > 100 && packet++ % 7 === 0);
  const { peer } = await probe(made);
  expect(peer.largestBytes).toBeGreaterThan(1100);
  expect(peer.largestBytes).toBeLessThanOrEqual(1208);
});

test('6 a part is lost: up, with how many of each', async () => {
  const made = await started();
  let small = 0;
  made.fabric.lose = (from, _to, bytes) => from === 'node1' && bytes < 100 && small++ % 2 === 0;
  const { peer } = await probe(made, { count: 4 });
  expect(peer).toMatchObject({
    state: 'up',
    sent: 8,
    answered: 6,
    why: 'lost: 2 of 4 small probes, 0 of 4 full-size ones',
    remedy: expect.stringContaining('vxseal drops'),
  });
});

test('7 answers count as signs of life, silence does not', async () => {
  const made = await started();
  const { clock, fabric, one } = made;
  const state = (): string | undefined => one.room.status().peers[0]?.state;
  fabric.lose = () => true;
  await clock.advance(30_000);
  expect(state()).toBe('stalled');
  fabric.lose = () => false;
  await probe(made, { count: 1 });
  expect(state()).toBe('up');
  // Less than the regular probes' timeout.
  fabric.lose = () => true;
  await probe(made, { count: 20, timeoutMs: 2000 });
  expect(one.room.status().peers[0]).toMatchObject({ state: 'up', loss: expect.any(Number) });
});

test('8 a peer without keys: nothing is sent, and the status says why', async () => {
  const { peer, tookMs } = await probe(await started('2001:db8::2'));
  expect(peer).toMatchObject({ state: 'no-route', sent: 0, answered: 0, local: '', vtep: '2001:db8::2' });
  expect(peer.remedy).not.toBe('');
  expect(tookMs).toBe(0);
});

test('9 the named ones only; an unknown one is refused, and nothing is sent', async () => {
  const made = await started();
  const probes = (): number => made.one.pins.calls.filter((call) => call.startsWith('sendProbe')).length;
  const before = probes();
  await expect(made.one.room.probe({ peers: ['node2', 'node9'] })).rejects.toMatchObject({
    code: 'not-found',
    message: 'peer node9: no record of such a node',
  });
  expect(probes()).toBe(before);
  expect((await probe(made, { peers: ['node2'] })).peers).toHaveLength(1);
});

test('10 before the kernel was looked at it says so', async () => {
  const clock = new ManualClock();
  const world = { clock, fabric: new FakeFabric(clock), topics: new MemoryTopics() };
  const one = new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24' });
  await expect(one.room.probe({})).rejects.toMatchObject({ code: 'not-ready' });
});

test('11 nothing is kept when it is over, answered or not', async () => {
  const made = await started();
  const kept = (): number => {
    const prober = Reflect.get(made.one.room, 'prober') as object;
    return (Reflect.get(prober, 'asked') as Map<number, unknown>).size;
  };
  const asking = made.one.room.probe({ timeoutMs: 1000 });
  made.fabric.lose = () => true;
  await made.clock.advance(100);
  expect(kept()).toBeGreaterThan(0);
  await made.clock.advance(LONG_MS);
  await asking;
  expect(kept()).toBe(0);
});

test('12 an agent that stops gives it up at once, says so, and leaves no timer', async () => {
  const made = await started();
  const { clock, one, two, fabric } = made;
  fabric.lose = () => true;
  const refused = { code: 'not-ready', message: expect.stringContaining('the agent stops') };
  const asked = expect(one.room.probe({ count: 20, timeoutMs: 10_000 })).rejects.toMatchObject(refused);
  await clock.advance(250);
  const probes = (): number => one.pins.calls.filter((call) => call.startsWith('sendProbe')).length;
  const before = probes();
  await one.room.stop();
  await asked;
  expect(probes()).toBe(before);
  await expect(one.room.probe({})).rejects.toMatchObject(refused);
  await two.room.stop();
  expect(clock.pending).toBe(0);
});
