// When keys change, over two whole control rooms: by time, with a peer that does not follow, and at the hard limit.
import { preSharedKey } from '../../../agent/core/psk';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock } from '../../fakes/clock';
import { FakeFabric, type Outcome } from '../../fakes/fabric';
import { FakeNode, type FakeNodeOptions, HOST_VNI, LEASE_MS, RECONCILE_MS } from '../../fakes/node';

const ROTATE_MS = 120_000;

async function started(options: Omit<FakeNodeOptions, 'vtep' | 'prefix'> = {}) {
  const clock = new ManualClock();
  const fabric = new FakeFabric(clock);
  const world = { clock, fabric, topics: new MemoryTopics() };
  const one = new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24', ...options });
  const two = new FakeNode(world, 'node2', { vtep: '192.0.2.2', prefix: '10.2.0.0/24', ...options });
  await one.room.start();
  await two.room.start();
  await clock.advance(10_000);
  return { ...world, one, two };
}
type Made = Awaited<ReturnType<typeof started>>;

/** A packet each way every 100 ms; what became of them. */
async function traffic({ clock, fabric }: Made, forMs: number) {
  const outcomes = new Map<Outcome, number>();
  for (let atMs = 0; atMs < forMs; atMs += 100) {
    for (const [from, to] of [
      ['node1', 'node2'],
      ['node2', 'node1'],
    ] as const) {
      const outcome = fabric.send(from, to, HOST_VNI);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    await clock.advance(100);
  }
  return Object.fromEntries(outcomes);
}

const epochOf = (node: FakeNode): number => node.room.status().node.epoch.number;
const problemOf = (node: FakeNode, object: string) =>
  node.room.status().problems.find((problem) => problem.object === object);

test('1 by time: several epochs of both nodes, nothing lost, none much older than configured', async () => {
  const made = await started({ rotateMs: ROTATE_MS });
  expect(Object.keys(await traffic(made, 5 * ROTATE_MS))).toEqual(['delivered']);
  for (const node of [made.one, made.two]) {
    expect(epochOf(node)).toBeGreaterThanOrEqual(5);
    expect(epochOf(node)).toBeLessThanOrEqual(12);
    expect(problemOf(node, 'rotation')).toBeUndefined();
    expect(node.room.status().node.epoch.retiring.length).toBeLessThanOrEqual(2);
  }
});

test('2 idle tunnels move too: probes are the proof', async () => {
  const made = await started({ rotateMs: ROTATE_MS });
  await made.clock.advance(3 * ROTATE_MS);
  expect(epochOf(made.one)).toBeGreaterThanOrEqual(4);
  expect(made.one.room.status().node.epoch.laggards).toEqual([]);
  expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
});

test('3 a dead agent: its peer rotates on, names it, and loses nothing before the hard limit', async () => {
  const made = await started({ rotateMs: ROTATE_MS });
  await made.two.renew(false);
  expect(Object.keys(await traffic(made, 2 * ROTATE_MS))).toEqual(['delivered']);
  expect(epochOf(made.one)).toBeGreaterThanOrEqual(3);
  expect(made.one.room.status().node.epoch.laggards).toEqual(['node2']);
  expect(problemOf(made.one, 'rotation')?.reason).toMatch(/^not moved to epoch \d+: node2$/);
  await made.two.room.start();
  expect(Object.keys(await traffic(made, 60_000))).toEqual(['delivered']);
  expect(made.one.room.status().node.epoch.laggards).toEqual([]);
});

test('4 at the hard limit the peer is down, and its traffic is dropped, not sent in clear', async () => {
  const made = await started({ rotateMs: 10 * LEASE_MS, hardLimitMs: 100_000 });
  const { one, two } = made;
  await two.renew(false); // its data plane answers, its agent does not
  await one.room.rotate();
  expect(Object.keys(await traffic(made, 90_000))).toEqual(['delivered']);
  const old = one.pins.tx.values().next().value?.spi;
  await made.clock.advance(10_000 + RECONCILE_MS);
  // What it sends now is sealed under the new keys, which the other cannot open: dropped there, and never in clear.
  expect(one.pins.tx.values().next().value?.spi).not.toBe(old);
  expect(made.fabric.send('node1', 'node2', HOST_VNI)).toBe('unknown-spi');
  await made.clock.advance(30_000);
  expect(one.room.status().peers[0]).toMatchObject({ node: 'node2', state: 'stalled' });
  expect(one.room.status().node.epoch).toMatchObject({ number: 2, retiring: [] });
});

test.each([
  ['5a ahead', 24 * 3600_000],
  ['5b back', -24 * 3600_000],
])(
  '%s by a day and mended: rotation and tunnels go on as if nothing had happened, but it is told',
  async (_, byMs) => {
    const made = await started({ rotateMs: ROTATE_MS });
    const before = epochOf(made.one);
    made.clock.setWall(made.clock.nowMs() + byMs);
    expect(Object.keys(await traffic(made, 2 * ROTATE_MS))).toEqual(['delivered']);
    expect(epochOf(made.one)).toBeGreaterThan(before);
    expect(epochOf(made.one)).toBeLessThan(before + 6);
    expect(problemOf(made.one, 'clock')?.reason).toMatch(/^the wall clock was set (ahead|back) by 86400 s$/);
    made.clock.setWall(made.clock.nowMs() - byMs);
    expect(Object.keys(await traffic(made, 30_000))).toEqual(['delivered']);
    expect(problemOf(made.one, 'clock')).toBeUndefined();
  },
);

test('6 a renewed certificate: a new epoch, and nothing lost; twice in a row makes one more, not two at once', async () => {
  const made = await started();
  made.one.room.changed({ own: true, trust: false });
  made.one.room.changed({ own: true, trust: false });
  expect(Object.keys(await traffic(made, 30_000))).toEqual(['delivered']);
  expect(epochOf(made.one)).toBe(2);
  made.one.room.changed({ own: true, trust: true });
  expect(Object.keys(await traffic(made, 30_000))).toEqual(['delivered']);
  expect(epochOf(made.one)).toBe(3);
  expect(made.two.room.status().peers[0]).toMatchObject({ state: 'up', rotating: false });
});

test('7 a revoked peer goes down with the reason, its traffic is dropped; let in again, it comes back under new keys', async () => {
  const made = await started();
  const { one, clock, fabric } = made;
  one.revoked.add('node2');
  one.room.changed({ own: false, trust: true });
  await clock.advance(RECONCILE_MS);
  expect(one.room.status().peers[0]).toMatchObject({
    node: 'node2',
    state: 'revoked',
    why: 'revoked: the node is revoked',
    remedy: expect.stringContaining('issue a certificate'),
  });
  expect([one.pins.tx.size, one.pins.rx.size, one.network.tunnelRoutes().length]).toEqual([0, 0, 0]);
  expect(fabric.send('node1', 'node2', HOST_VNI)).toBe('no-peer');
  expect(fabric.send('node2', 'node1', HOST_VNI)).toBe('unknown-spi');
  one.revoked.clear();
  one.room.changed({ own: false, trust: true });
  await clock.advance(30_000);
  expect(one.room.status().peers[0]).toMatchObject({ node: 'node2', state: 'up' });
  expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
});

describe('a peer that is off', () => {
  const off = async (made: Made): Promise<void> => {
    made.fabric.lose = () => true;
    await made.clock.advance(5 * ROTATE_MS);
  };

  test('8 does not keep others from changing keys, and comes back under new ones after a reboot', async () => {
    const made = await started({ rotateMs: ROTATE_MS });
    const { one, two, fabric } = made;
    await two.renew(false);
    await off(made);
    expect(epochOf(one)).toBeGreaterThanOrEqual(6);
    expect(one.room.status().node.epoch.retiring.length).toBeLessThanOrEqual(2);
    expect(one.room.status().problems).toEqual([]);
    expect(one.room.status().peers[0]?.state).not.toBe('up');
    fabric.lose = () => false;
    two.pins.tx.clear();
    two.pins.rx.clear();
    await two.room.start();
    await made.clock.advance(30_000);
    expect(one.room.status().peers[0]).toMatchObject({ state: 'up', rotating: false });
    expect(Object.keys(await traffic(made, ROTATE_MS))).toEqual(['delivered']);
  });

  test('9 and after a cut of the network, both agents alive', async () => {
    const made = await started({ rotateMs: ROTATE_MS });
    await off(made);
    for (const node of [made.one, made.two]) expect(epochOf(node)).toBeGreaterThanOrEqual(6);
    made.fabric.lose = () => false;
    await made.clock.advance(30_000);
    for (const node of [made.one, made.two])
      expect(node.room.status().peers[0]).toMatchObject({ state: 'up', rotating: false });
    expect(Object.keys(await traffic(made, ROTATE_MS))).toEqual(['delivered']);
  });
});

describe('a pre-shared key', () => {
  const [key, other] = [1, 2].map((byte) => preSharedKey(new Uint8Array(32).fill(byte)));

  test('10 introduced on one node after the other: nothing is lost, and what is between them is said', async () => {
    const made = await started();
    const { one, two } = made;
    one.psk = key;
    await one.renew(false);
    await one.room.start();
    expect(Object.keys(await traffic(made, 60_000))).toEqual(['delivered']);
    const reason = `its pre-shared key is not ours: it has ${key?.id}, we have none`;
    expect(two.room.status().peers[0]?.why).toContain(reason);
    expect([epochOf(one), epochOf(two)]).toEqual([2, 1]);
    two.psk = key;
    await two.renew(false);
    await two.room.start();
    expect(Object.keys(await traffic(made, 60_000))).toEqual(['delivered']);
    for (const node of [one, two])
      expect(node.room.status().peers[0]).toMatchObject({ state: 'up', why: '', rotating: false });
    // Keys without it are gone.
    await made.clock.advance(60_000);
    expect([one.pins.rx.size, two.pins.rx.size]).toEqual([1, 1]);
  });

  test('11 another one from the beginning: no keys, the reason on both nodes, and no epoch after the other', async () => {
    const made = await started();
    const { one, two, clock } = made;
    for (const [node, psk] of [
      [one, key],
      [two, other],
    ] as const) {
      node.psk = psk;
      await node.renew(false);
      node.pins.tx.clear();
      node.pins.rx.clear();
      await node.room.start();
    }
    await clock.advance(60_000);
    expect(made.fabric.send('node1', 'node2', HOST_VNI)).toBe('no-sa');
    expect(one.room.status().peers[0]).toMatchObject({
      state: 'no-key',
      why: `its pre-shared key is not ours: it has ${other?.id}, we have ${key?.id}`,
      remedy: expect.stringContaining('pskFile'),
    });
    expect([epochOf(one), epochOf(two)]).toEqual([2, 2]);
  });
});
