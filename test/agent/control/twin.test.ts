// A node that remembers and rests on what it read before, against its twin that forgets everything before each pass and
// reads all anew: under the same records, epochs, withdrawals, leases that end and interference, in random order, their
// data planes must end up the same.
import { serialize } from 'node:v8';
import type { Reconciler } from '../../../agent/control/reconciler';
import { NODES_TOPIC, SUITE } from '../../../agent/core/announcement';
import { DesiredMemory } from '../../../agent/core/desired';
import { Settled } from '../../../agent/core/plan';
import { SteadyChoices } from '../../../agent/core/steady';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock, settle } from '../../fakes/clock';
import { fakeFingerprint } from '../../fakes/datapath';
import { FakeFabric } from '../../fakes/fabric';
import { FakeNode, HOST_VNI, LEASE_MS, RECONCILE_MS } from '../../fakes/node';
import { randomBytes, seeded } from '../core/random';

const PEERS = 8;

interface Twin {
  readonly clock: ManualClock;
  readonly topics: MemoryTopics;
  readonly node: FakeNode;
  passes: number;
  reads: number;
}

async function makeTwin(forgets: boolean): Promise<Twin> {
  const clock = new ManualClock();
  const topics = new MemoryTopics();
  const world = { clock, topics, fabric: new FakeFabric(clock) };
  const node = new FakeNode(world, 'node0', { vtep: '192.0.2.200', prefix: '10.200.0.0/24' });
  const twin: Twin = { clock, topics, node, passes: 0, reads: 0 };
  const reconciler = Reflect.get(node.room, 'reconciler') as Reconciler;
  const pass = reconciler.pass.bind(reconciler);
  const read = (Reflect.get(reconciler, 'read') as () => Promise<unknown>).bind(reconciler);
  const forget = () => ({
    steady: new SteadyChoices(),
    memory: new DesiredMemory(),
    settled: new Settled(),
    mirror: undefined,
    config: undefined,
  });
  Object.assign(reconciler, {
    pass: (fresh: boolean) => {
      twin.passes += 1;
      if (forgets) Object.assign(reconciler, forget());
      return pass(fresh || forgets);
    },
    read: () => {
      twin.reads += 1;
      return read();
    },
  });
  await node.room.start();
  return twin;
}

/** What each peer says, as both twins hear it. */
interface Said {
  sequence: number;
  epoch: number;
  second: boolean;
  clash: boolean;
}

function record(index: number, said: Said, nowMs: number, withdrawn: boolean) {
  const node = `node${index}`;
  const order = { generation: 1, sequence: said.sequence, notAfterMs: nowMs + LEASE_MS };
  const prefixes = [`10.${index}.0.0/24`, ...(said.second ? [`10.${index}.1.0/24`] : [])];
  const epoch = (number: number) => ({ number, publicKey: randomBytes(32, seeded(1000 * index + number)) });
  const announcement = withdrawn
    ? { kind: 'withdrawal', node, ...order }
    : {
        kind: 'node',
        node,
        bootId: 'boot',
        ...order,
        notBeforeMs: nowMs,
        agentVersion: '0.1.0',
        vteps: [`192.0.2.${index}`],
        port: 4500,
        prefixes: [{ vni: HOST_VNI, prefixes: said.clash ? [...prefixes, '10.100.0.0/24'] : prefixes }],
        suites: [SUITE],
        epoch: epoch(said.epoch),
        olderEpochs: said.epoch > 1 ? [epoch(said.epoch - 1)] : [],
      };
  return { topic: NODES_TOPIC, key: node, value: serialize(announcement) };
}

function stateOf({ node: { pins, network, room } }: Twin) {
  const sas = (entries: Iterable<{ key: Uint8Array; salt: Uint8Array }>) =>
    [...entries].map((sa) => fakeFingerprint(sa.key, sa.salt)).sort();
  const values = (entries: Iterable<object>) => [...entries].map((entry) => JSON.stringify(entry)).sort();
  return {
    overlay: values(pins.overlay.values()),
    peers: values(pins.peers.values()),
    rx: sas(pins.rx.values()),
    tx: sas(pins.tx.values()),
    hooks: values(pins.hooks.values()).length,
    routes: values(network.routeTable.values()),
    states: room.status().peers.map(({ node, state }) => `${node} ${state}`),
  };
}

/** Changes the same in both. */
function step(twins: readonly Twin[], said: Map<number, Said>, roll: () => number): void {
  const index = 1 + Math.floor(roll() * PEERS);
  const before = said.get(index) ?? { sequence: 0, epoch: 1, second: false, clash: false };
  const kind = roll();
  if (kind < 0.1) {
    // Somebody else takes entries away.
    for (const { node } of twins) {
      const [route] = [...node.network.routeTable.keys()].sort();
      const [entry] = [...node.pins.overlay.keys()].sort();
      if (route !== undefined) node.network.routeTable.delete(route);
      if (entry !== undefined) node.pins.overlay.delete(entry);
    }
    return;
  }
  const next = { ...before, sequence: before.sequence + 1 };
  if (kind < 0.4) next.second = !before.second;
  else if (kind < 0.6) next.epoch = before.epoch + 1;
  else if (kind < 0.7) next.clash = !before.clash;
  said.set(index, next);
  for (const { topics, clock } of twins) topics.write(record(index, next, clock.nowMs(), kind >= 0.9));
}

test('remembering changes nothing but the work', async () => {
  const sum = { passes: 0, reads: 0 };
  for (let seed = 1; seed <= 3; seed++) {
    const roll = seeded(seed);
    const [fast, naive] = [await makeTwin(false), await makeTwin(true)];
    const twins = [fast, naive];
    const said = new Map<number, Said>();
    for (let count = 0; count < 50; count++) {
      step(twins, said, roll);
      const waitMs = roll() < 0.1 ? LEASE_MS / 2 : roll() * 2000;
      for (const { clock } of twins) await clock.advance(waitMs);
      // Only interference waits for the next whole reading; then everything is the same.
      if (count % 5 === 4) for (const { clock } of twins) await clock.advance(2 * RECONCILE_MS);
      await settle();
      if (count % 5 === 4) expect(stateOf(fast)).toEqual(stateOf(naive));
    }
    sum.passes += fast.passes;
    sum.reads += fast.reads;
    expect(naive.reads).toBeGreaterThanOrEqual(naive.passes);
  }
  // It did rest on what it had read.
  expect(sum.reads).toBeLessThan(sum.passes);
});
