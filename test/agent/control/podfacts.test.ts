// What the runtime tells of pods: whom it is put to, what of it counts, what outlives a restart, and that policies go by
// it where no manifest names the pod.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileCheckpoint } from '../../../agent/control/checkpoint';
import { PodStore } from '../../../agent/control/pods';
import { PolicyKeeper } from '../../../agent/control/policies';
import { Problems } from '../../../agent/control/problems';
import type { Prefix, Vni } from '../../../agent/core/ids';
import type { PodFacts } from '../../../agent/core/podfacts';
import type { NetworkPolicy, PolicyPod } from '../../../agent/core/policy';
import { MemoryCheckpoint } from '../../fakes/checkpoint';
import { ManualClock } from '../../fakes/clock';
import { FakePolicies } from '../../fakes/datapath';
import { QuietLog } from '../../fakes/log';
import { addPod, FakeNetnsOpener, FakeNetwork } from '../../fakes/netlink';

const hostVni = 42 as Vni;
const prefixes = [{ vni: hostVni, prefixes: ['10.1.0.0/24' as Prefix] }];

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'vxseal-facts-'));
});
afterEach(() => rmSync(runDir, { recursive: true }));

function bench() {
  const host = new FakeNetwork();
  const opener = new FakeNetnsOpener();
  const clock = new ManualClock();
  const log = new QuietLog();
  const control = { passes: 0 };
  const make = () =>
    new PodStore(
      { hostVni, prefixes },
      {
        opener,
        netlink: host.netlink(),
        clock,
        log,
        checkpoint: new FileCheckpoint(runDir, log),
        offCheckpoint: new MemoryCheckpoint(),
        mtuBytes: () => 1408,
        reconcile: async () => {
          control.passes += 1;
        },
        missing: () => undefined,
        blockers: () => [],
      },
    );
  return { host, opener, control, log, make, store: make() };
}

const runtimeOf = (containerId: string) => ({
  attachment: { network: 'cbr0', containerId, ifname: 'eth0' },
  uid: '',
  annotations: { given: 'by CNI' },
});
const byRuntime = (netnsPath: string, containerId = 'abc') => ({
  netnsPath,
  name: 'abc',
  namespace: 'cbr0',
  runtime: runtimeOf(containerId),
});
const facts = (netnsPath: string, changes: Partial<PodFacts> = {}): PodFacts => ({
  sandboxId: 'abc',
  netnsPath,
  name: 'web',
  namespace: 'shop',
  uid: 'u1',
  labels: { app: 'web' },
  annotations: { note: 'x' },
  ...changes,
});

async function attached() {
  const made = bench();
  const { path } = addPod(made.host, made.opener, 'pod1', '10.1.0.5');
  await made.store.attach(byRuntime(path));
  made.control.passes = 0;
  return { ...made, path, pod: () => made.store.list()[0]?.pod };
}

test('1 fills what CNI did not say, and a pass follows', async () => {
  const { store, path, pod, control } = await attached();
  await store.inform([facts(path)]);
  expect(pod()).toMatchObject({
    name: 'web',
    namespace: 'shop',
    labels: { app: 'web' },
    runtime: { uid: 'u1', annotations: { given: 'by CNI', note: 'x' }, attachment: { containerId: 'abc' } },
  });
  expect(control.passes).toBe(1);
});

test('2 the same once more changes nothing and costs no pass', async () => {
  const { store, path, control } = await attached();
  await store.inform([facts(path)]);
  await store.inform([facts(path), facts(path)]);
  expect(control.passes).toBe(1);
  await store.inform([facts(path, { labels: {} })]);
  expect(control.passes).toBe(2);
});

test.each<[string, (path: string) => PodFacts]>([
  ['a namespace that is gone', () => facts('/run/netns/gone')],
  ['an earlier pod in a namespace of the same number', (path) => facts(path, { sandboxId: 'former' })],
])('3 passed over: %s', async (_name, told) => {
  const { store, path, pod, control } = await attached();
  await store.inform([told(path)]);
  expect([pod()?.labels, pod()?.name, control.passes]).toEqual([undefined, 'abc', 0]);
});

test('4 a namespace without a pod of ours is passed over, its neighbours are not', async () => {
  const { host, opener, store, path, pod } = await attached();
  const other = addPod(host, opener, 'pod2', '10.1.0.6').path;
  await store.inform([facts(other, { sandboxId: 'other' }), facts(path)]);
  expect(store.list()).toHaveLength(1);
  expect(pod()?.labels).toEqual({ app: 'web' });
});

test('5 names that are none leave what stands', async () => {
  const { store, path, pod } = await attached();
  await store.inform([facts(path, { name: '', namespace: '', uid: '' })]);
  expect(pod()).toMatchObject({
    name: 'abc',
    namespace: 'cbr0',
    runtime: { uid: '' },
    labels: { app: 'web' },
  });
});

test('6 a pod attached by hand gets labels and keeps its name', async () => {
  const { host, opener, store } = bench();
  const { path } = addPod(host, opener, 'pod1', '10.1.0.5');
  await store.attach({ netnsPath: path, name: 'mine', namespace: 'lab' });
  await store.inform([facts(path)]);
  expect(store.list()[0]?.pod).toMatchObject({ name: 'mine', namespace: 'lab', labels: { app: 'web' } });
  expect(store.list()[0]?.pod.runtime).toBeUndefined();
  await store.attach({ netnsPath: path, name: 'renamed', namespace: 'lab' });
  expect(store.list()[0]?.pod).toMatchObject({ name: 'renamed', labels: { app: 'web' } });
});

test('7 ADD once more keeps what was told; another pod in the namespace begins anew', async () => {
  const { store, path, pod } = await attached();
  await store.inform([facts(path)]);
  const told = pod();
  await store.attach(byRuntime(path));
  expect(pod()).toEqual(told);
  await store.attach(byRuntime(path, 'def'));
  expect(pod()).toMatchObject({ name: 'abc', runtime: { uid: '' } });
  expect(pod()?.labels).toBeUndefined();
});

test('8 what was told outlives the process', async () => {
  const { store, path, pod, make } = await attached();
  await store.inform([facts(path)]);
  const next = make();
  await next.reload();
  expect(next.list()[0]?.pod).toEqual(pod());
});

describe('9 policies', () => {
  const isolateWeb: NetworkPolicy = {
    namespace: 'shop',
    name: 'web',
    podSelector: { labels: { app: 'web' }, expressions: [] },
    ingress: [],
  };

  test.each<[string, PolicyPod['labels'] | undefined, boolean]>([
    ['by the labels that the runtime tells', undefined, true],
    ["by the manifest's, where one names the pod", { app: 'db' }, false],
  ])('%s', async (_name, labels, isolated) => {
    const { host, store, path, log } = await attached();
    const policies = new FakePolicies();
    const manifest = { vni: hostVni, namespace: 'shop', name: 'web', addresses: [], ports: [] };
    const reading = {
      policies: [isolateWeb],
      namespaces: [],
      pods: labels === undefined ? [] : [{ ...manifest, labels }],
      issues: [],
    };
    const keeper = new PolicyKeeper({
      netlink: host.netlink(),
      datapath: { policies },
      problems: new Problems(new ManualClock(), log),
      source: { read: async () => reading },
      remote: () => ({ version: 0, pods: () => [] }),
      signed: () => ({ policies: [], namespaces: [], pods: [] }),
      hostVni,
    });
    await keeper.pass(store.list());
    expect(policies.installed?.pods.map(({ ingress }) => ingress !== 0)).toEqual([false]);
    await store.inform([facts(path)]);
    await keeper.pass(store.list());
    expect(policies.installed?.pods.map(({ ingress }) => ingress !== 0)).toEqual([isolated]);
    // What the pod's record tells other nodes.
    expect(store.list().map((pod) => keeper.describe(pod).labels)).toEqual([labels ?? { app: 'web' }]);
  });
});
