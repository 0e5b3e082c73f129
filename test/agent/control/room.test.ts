import { MemoryTopics } from '../../fakes/bus';
import { ManualClock } from '../../fakes/clock';
import { FakeFabric } from '../../fakes/fabric';
import { FakeNode, HOST_VNI, LEASE_MS, RECONCILE_MS } from '../../fakes/node';

function pair() {
  const clock = new ManualClock();
  const fabric = new FakeFabric(clock);
  const topics = new MemoryTopics();
  const world = { clock, fabric, topics };
  const one = new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24' });
  const two = new FakeNode(world, 'node2', { vtep: '192.0.2.2', prefix: '10.2.0.0/24' });
  return { ...world, one, two };
}

async function started() {
  const made = pair();
  await made.one.room.start();
  await made.two.room.start();
  await made.clock.advance(10_000);
  return made;
}

const stateOf = (node: FakeNode, peer: string) =>
  node.room.status().peers.find((other) => other.node === peer)?.state;

test('1 two agents on one bus reach keys both ways, and say so', async () => {
  const { one, two, fabric } = await started();
  expect(fabric.send('node1', 'node2', HOST_VNI)).toBe('delivered');
  expect(fabric.send('node2', 'node1', HOST_VNI)).toBe('delivered');
  for (const [node, peer] of [
    [one, 'node2'],
    [two, 'node1'],
  ] as const) {
    const status = node.room.status();
    expect(status.readiness).toEqual({ ready: true, blockers: [] });
    expect(status.problems).toEqual([]);
    expect(status.peers).toHaveLength(1);
    expect(status.peers[0]).toMatchObject({ node: peer, state: 'up', why: '', rotating: false, loss: 0 });
    expect([...node.network.routeTable.values()].map((route) => route.device)).toEqual(['vxseal0']);
  }
});
