// Pods of several agents on one bus: who knows whose pods, and what the data plane makes of it.
import type { Prefix } from '../../../agent/core/ids';
import { PEER_NONE } from '../../../agent/core/ids';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock } from '../../fakes/clock';
import { FakeFabric } from '../../fakes/fabric';
import { addPod } from '../../fakes/netlink';
import { FakeNode, HOST_VNI, LEASE_MS, RECONCILE_MS } from '../../fakes/node';

const POOL = '10.9.0.0/16' as Prefix;

async function cluster(size: number) {
  const clock = new ManualClock();
  const world = { clock, fabric: new FakeFabric(clock), topics: new MemoryTopics() };
  const nodes = Array.from(
    { length: size },
    (_, i) =>
      new FakeNode(world, `node${i + 1}`, {
        vtep: `192.0.2.${i + 1}`,
        prefix: `10.${i + 1}.0.0/24`,
        pools: [POOL],
      }),
  );
  for (const node of nodes) await node.room.start();
  await clock.advance(10_000);
  const node = (index: number): FakeNode => {
    const found = nodes[index - 1];
    if (found === undefined) throw new Error(`no node${index}`);
    return found;
  };
  return { clock, node };
}

async function attach(node: FakeNode, name: string, address: string): Promise<string> {
  const { path } = addPod(node.network, node.opener, name, address);
  return (await node.room.attachPod({ netnsPath: path, name, namespace: 'shop' })).id;
}

const known = (node: FakeNode): string[] =>
  node.room.remotePods().map((pod) => `${pod.node} ${pod.namespace}/${pod.name} ${pod.address} ${pod.state}`);
/** Whose the address is in the data plane: a peer's number, 0 for ours, -1 for nobody's, undefined for no entry. */
const ownerOf = (node: FakeNode, address: string): number | undefined => {
  const peer = node.pins.overlay.get(`${HOST_VNI}/${address}/32`)?.peer;
  return peer === PEER_NONE ? -1 : peer;
};
const numberOf = (node: FakeNode, peer: string): number | undefined =>
  node.room.status().peers.find((each) => each.node === peer)?.number;
const claims = (node: FakeNode): string[] =>
  node.room
    .status()
    .problems.filter(({ object }) => object === 'addresses of pods')
    .map(({ reason }) => reason);

test('1 a pod is known elsewhere soon after it is attached, and no more soon after it is gone', async () => {
  const { clock, node } = await cluster(2);
  const id = await attach(node(1), 'web', '10.1.0.5');
  await clock.advance(RECONCILE_MS);
  expect(known(node(2))).toEqual(['node1 shop/web 10.1.0.5 live']);
  expect(known(node(1))).toEqual([]);
  // Within its node's prefix it needs no entry of its own.
  expect(ownerOf(node(2), '10.1.0.5')).toBeUndefined();
  await node(1).room.detachPod(id);
  await clock.advance(RECONCILE_MS);
  expect(known(node(2))).toEqual([]);
});

test('2 it stays known over its lease and over restarts of either agent', async () => {
  const { clock, node } = await cluster(2);
  await attach(node(1), 'web', '10.1.0.5');
  await clock.advance(2 * LEASE_MS);
  expect(known(node(2))).toEqual(['node1 shop/web 10.1.0.5 live']);
  for (const index of [1, 2]) {
    await node(index).renew(false);
    await node(index).room.start();
    await clock.advance(RECONCILE_MS);
    expect(known(node(2))).toEqual(['node1 shop/web 10.1.0.5 live']);
  }
});

test('3 an address of the pool leads to the node that has the pod, and moves with it', async () => {
  const { clock, node } = await cluster(3);
  const id = await attach(node(1), 'web', '10.9.0.5');
  await clock.advance(RECONCILE_MS);
  expect(ownerOf(node(1), '10.9.0.5')).toBe(0);
  expect(ownerOf(node(3), '10.9.0.5')).toBe(numberOf(node(3), 'node1'));
  const routes = [...node(3).network.routeTable.values()];
  expect(routes).toContainEqual({ prefix: '10.9.0.5/32', device: 'vxseal0', source: '192.0.2.3' });
  await node(1).room.detachPod(id);
  await attach(node(2), 'web', '10.9.0.5');
  await clock.advance(2 * RECONCILE_MS);
  expect(ownerOf(node(3), '10.9.0.5')).toBe(numberOf(node(3), 'node2'));
  expect(ownerOf(node(1), '10.9.0.5')).toBe(numberOf(node(1), 'node2'));
});

test('4 claimed by two it is nobody’s, and that is told; until one gives it up', async () => {
  const { clock, node } = await cluster(3);
  const id = await attach(node(1), 'a', '10.9.0.5');
  await attach(node(2), 'b', '10.9.0.5');
  await clock.advance(RECONCILE_MS);
  expect(known(node(3))).toEqual(['node1 shop/a 10.9.0.5 quarantined', 'node2 shop/b 10.9.0.5 quarantined']);
  expect(ownerOf(node(3), '10.9.0.5')).toBe(-1);
  expect(claims(node(3))).toEqual([`VNI ${HOST_VNI}: node1 and node2 claim 10.9.0.5`]);
  // Each of the two keeps its own pod.
  expect([ownerOf(node(1), '10.9.0.5'), ownerOf(node(2), '10.9.0.5')]).toEqual([0, 0]);
  expect(claims(node(2))).toEqual([`VNI ${HOST_VNI}: node1 and node2 claim 10.9.0.5`]);
  await node(1).room.detachPod(id);
  await clock.advance(2 * RECONCILE_MS);
  expect(ownerOf(node(3), '10.9.0.5')).toBe(numberOf(node(3), 'node2'));
  expect(claims(node(3))).toEqual([]);
});

test('5 losing the bus takes no pod away', async () => {
  const { clock, node } = await cluster(2);
  await attach(node(1), 'web', '10.9.0.5');
  await clock.advance(RECONCILE_MS);
  node(2).bus.disconnect();
  await clock.advance(3 * LEASE_MS);
  expect(known(node(2))).toEqual(['node1 shop/web 10.9.0.5 live']);
  expect(ownerOf(node(2), '10.9.0.5')).toBe(numberOf(node(2), 'node1'));
});
