// The intake of policy by itself, and in a whole agent: what is on disk holds before a pod is hooked, a full disk and a
// full store close and never open, and the folder's policies and those of the bus add up.

import { PolicyKeeper } from '../../../agent/control/policies';
import { MAX_DOCUMENTS, PolicyIntake } from '../../../agent/control/policyrecords';
import { Problems } from '../../../agent/control/problems';
import type { PolicyReading } from '../../../agent/core/policy';
import type { PolicyDocument } from '../../../agent/core/policydocument';
import type { PolicyRecord } from '../../../agent/core/policyrecord';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock, settle } from '../../fakes/clock';
import { FakePolicies } from '../../fakes/datapath';
import { FakeFabric } from '../../fakes/fabric';
import { QuietLog } from '../../fakes/log';
import { FakeNode, HOST_VNI } from '../../fakes/node';
import { MemoryPolicyStore, plainPolicy, plainPolicyRecords } from '../../fakes/policies';

const everything = { labels: {}, expressions: [] };
const denyAll = (name: string): PolicyDocument => ({
  kind: 'NetworkPolicy',
  policy: { namespace: 'x', name, podSelector: everything, ingress: [] },
});
const record = (name: string, changes: Partial<PolicyRecord> = {}): PolicyRecord => ({
  author: 'ops' as PolicyRecord['author'],
  key: `${HOST_VNI}/x/${name}`,
  generation: 1,
  sequence: 1,
  document: denyAll(name),
  ...changes,
});

function bench(store = new MemoryPolicyStore(), revoked = new Set<string>()) {
  const clock = new ManualClock();
  const problems = new Problems(clock, new QuietLog());
  const status = { connected: true, inSync: true, lastSeenMs: 0, error: '' };
  const intake = new PolicyIntake({
    ...plainPolicyRecords(store, revoked),
    clock,
    log: new QuietLog(),
    problems,
    busStatus: () => status,
    changed: () => {},
  });
  const receive = async (...records: PolicyRecord[]): Promise<void> => {
    for (const each of records) intake.receive(plainPolicy(each));
    while (!intake.inSync()) await settle();
    await settle();
  };
  const holds = () => intake.world().policies.map(({ name }) => name);
  return { intake, problems, store, receive, holds, revoked };
}

test('in sync only once what was received is judged', async () => {
  const { intake, holds } = bench();
  intake.receive(plainPolicy(record('p')));
  expect([intake.inSync(), holds()]).toEqual([false, []]);
  await settle();
  expect([intake.inSync(), holds()]).toEqual([true, ['p']]);
});

test('it is on disk before it counts', async () => {
  const store = new MemoryPolicyStore();
  const { holds, intake } = bench(store);
  let written: () => void = () => {};
  const keep = store.keep.bind(store);
  store.keep = async (each) => {
    await new Promise<void>((resolve) => {
      written = resolve;
    });
    await keep(each);
  };
  intake.receive(plainPolicy(record('p')));
  await settle();
  expect([holds(), store.records.size]).toEqual([[], 0]);
  written();
  await settle();
  expect([holds(), store.records.size]).toEqual([['p'], 1]);
});

test('a disk that is full keeps no policy from holding, and is told', async () => {
  const store = new MemoryPolicyStore();
  const { receive, holds, problems } = bench(store);
  store.keep = async () => {
    throw new Error('ENOSPC');
  };
  await receive(record('p'));
  expect(holds()).toEqual(['p']);
  expect(problems.get('policy on disk')?.reason).toContain('ENOSPC');
});

test('a damaged file ends the start: nobody would know what it said', async () => {
  const store = new MemoryPolicyStore();
  store.records.set('x', { topic: 't', key: 'x', value: Uint8Array.of(1) });
  await expect(bench(store).intake.load()).rejects.toMatchObject({ code: 'state' });
});

describe(`${MAX_DOCUMENTS} documents of a VNI`, () => {
  const full = async (given: ReturnType<typeof bench>) => {
    await given.receive(...Array.from({ length: MAX_DOCUMENTS }, (_, i) => record(`p${i}`)));
    return given;
  };

  test('those that hold stay, and withdrawn ones make room', async () => {
    const { receive, holds, intake, store } = await full(bench());
    await receive(record('one-more', { generation: 3 }));
    expect(holds()).toHaveLength(MAX_DOCUMENTS);
    expect(intake.counts().refused).toEqual([{ reason: 'too-many', count: 1 }]);
    await receive(record('p7', { generation: 2, document: undefined }));
    await receive(record('one-more', { generation: 3 }));
    expect(holds()).toHaveLength(MAX_DOCUMENTS);
    expect(holds()).toContain('one-more');
    expect(store.records.has(`${HOST_VNI}/x/p7`)).toBe(false);
  });

  test('another VNI has room of its own', async () => {
    const { receive, intake } = await full(bench());
    await receive(record('p', { key: '7/x/p' }));
    expect(intake.world().policies.filter(({ vni }) => vni === 7)).toHaveLength(1);
  });

  test('a document whose withdrawal made room does not come back, after a restart neither', async () => {
    const first = await full(bench());
    const withdrawal = record('p7', { generation: 2, document: undefined });
    await first.receive(withdrawal, record('one-more', { generation: 3 }));
    await first.receive(withdrawal, record('p7'));
    expect(first.holds()).not.toContain('p7');
    expect(first.intake.counts().refused).toEqual([
      { reason: 'superseded', count: 1 },
      { reason: 'too-many', count: 1 },
    ]);
    const again = bench(first.store);
    await again.intake.load();
    await again.receive(record('p9', { generation: 4, document: undefined }), record('p7'));
    expect(again.holds()).not.toContain('p7');
    await again.receive(record('p7', { generation: 5 }));
    expect(again.holds()).toContain('p7');
  });
});

test('trust that comes back opens again what it had closed', async () => {
  const { receive, intake, revoked } = bench();
  const open = {
    ...denyAll('p'),
    policy: { namespace: 'x', name: 'p', podSelector: everything, ingress: [{ ports: [], peers: [] }] },
  };
  await receive(record('p', { document: open as PolicyDocument }));
  const rules = () => intake.world().policies.map(({ ingress }) => ingress?.length);
  expect(rules()).toEqual([1]);
  revoked.add('ops');
  intake.judgeAnew();
  await settle();
  expect(rules()).toEqual([0]);
  revoked.delete('ops');
  intake.judgeAnew();
  await settle();
  expect(rules()).toEqual([1]);
});

test('an author who is trusted later is believed then', async () => {
  const { receive, intake, holds, revoked } = bench();
  revoked.add('ops');
  await receive(record('p'));
  expect(holds()).toEqual([]);
  revoked.clear();
  intake.judgeAnew();
  await settle();
  expect(holds()).toEqual(['p']);
});

describe('in an agent', () => {
  const made = () => {
    const clock = new ManualClock();
    const topics = new MemoryTopics();
    const world = { clock, topics, fabric: new FakeFabric(clock) };
    return {
      clock,
      topics,
      node: new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24' }),
    };
  };

  test('what the bus says holds, also when the agent starts again with the bus down', async () => {
    const { clock, topics, node } = made();
    topics.write(plainPolicy(record('p')));
    await node.room.start();
    await clock.advance(10_000);
    expect(node.room.policies()).toMatchObject({
      policies: ['x/p'],
      sources: [{ policy: 'x/p', vni: HOST_VNI, source: 'bus, signed by ops' }],
    });
    expect(node.room.policies().generation).toBeGreaterThan(0);
    topics.records.clear();
    await node.renew(false, false);
    await node.room.start();
    expect(node.room.policies().policies).toEqual(['x/p']);
    topics.write(plainPolicy(record('p', { sequence: 2, document: undefined })));
    await clock.advance(10_000);
    const { policies, sources, generation } = node.room.policies();
    expect([policies, sources]).toEqual([[], []]);
    expect(generation).toBeGreaterThan(0);
  });

  test('refusals of policy are counted with those of nodes', async () => {
    const { clock, topics, node } = made();
    topics.write({ ...plainPolicy(record('p')), value: Uint8Array.of(0) });
    topics.write({ topic: 'vxseal.nodes.v1', key: 'node9', value: Uint8Array.of(0) });
    await node.room.start();
    await clock.advance(10_000);
    expect(node.room.status().bus.refusedRecords).toEqual([{ reason: 'malformed', count: 2 }]);
    expect(node.room.status().bus.records.filter(({ result }) => result !== 'accepted')).toEqual([
      { kind: 'topology', result: 'malformed', count: 1 },
      { kind: 'policy', result: 'malformed', count: 1 },
    ]);
  });
});

describe('folder and bus', () => {
  const reading = (names: readonly string[]): PolicyReading => ({
    policies: names.map((name) => ({ namespace: 'x', name, podSelector: everything, ingress: [] })),
    namespaces: [],
    pods: [],
    issues: [],
  });
  function keeper(source: (() => Promise<PolicyReading>) | undefined, signed: PolicyReading) {
    const policies = new FakePolicies();
    const keeping = new PolicyKeeper({
      netlink: { addresses: async () => [] },
      datapath: { policies },
      problems: new Problems(new ManualClock(), new QuietLog()),
      source: source && { read: source },
      signed: () => signed,
      remote: () => ({ version: 0, pods: () => [] }),
      hostVni: HOST_VNI,
    });
    return { policies, keeping };
  }

  test('add up', async () => {
    const { keeping } = keeper(async () => reading(['a']), reading(['b']));
    await keeping.pass([]);
    expect(keeping.status().policies).toEqual(['x/a', 'x/b']);
  });

  test('a folder that cannot be read at the start leaves what stands, and takes nothing from it', async () => {
    const { keeping, policies } = keeper(async () => Promise.reject(new Error('EIO')), reading(['b']));
    policies.install({ identities: [], pods: [], rules: [], rulesets: [] });
    await keeping.pass([]);
    expect([policies.generation(), keeping.status().policies]).toEqual([1, []]);
  });

  test('neither, and never any: nothing is in force, and no packet pays', async () => {
    const { keeping, policies } = keeper(undefined, reading([]));
    await keeping.pass([]);
    expect([policies.generation(), policies.installed]).toEqual([0, undefined]);
  });

  test('neither any more: a new generation without rules, since an old number would bring its connections back', async () => {
    const { keeping, policies } = keeper(undefined, reading([]));
    policies.install({
      identities: [],
      pods: [{ ifindex: 7, ingress: 1, egress: 1 }],
      rules: [],
      rulesets: [],
    });
    await keeping.pass([]);
    expect([policies.generation(), policies.installed?.pods]).toEqual([2, []]);
    await keeping.pass([]);
    expect(policies.generation()).toBe(2);
  });
});
