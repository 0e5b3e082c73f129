// The keeper of policies: what it installs and when, what it says when the source fails, and which policies it names for
// a packet that was refused.
import { Flows } from '../../../agent/control/flows';
import type { AttachedPod } from '../../../agent/control/inspection';
import { PolicyKeeper } from '../../../agent/control/policies';
import { Problems } from '../../../agent/control/problems';
import type { FlowStatus } from '../../../agent/control/status';
import type { IpAddress, Vni } from '../../../agent/core/ids';
import type { NetworkPolicy, PolicyReading } from '../../../agent/core/policy';
import type { FlowReport } from '../../../agent/ports';
import { ManualClock } from '../../fakes/clock';
import { FakePolicies } from '../../fakes/datapath';
import { QuietLog } from '../../fakes/log';

const VNI = 100 as Vni;
const policy = (name: string, rest: Partial<NetworkPolicy>): NetworkPolicy => ({
  namespace: 'x',
  name,
  podSelector: { labels: {}, expressions: [] },
  ...rest,
});
const attached = (name: string, ifindex: number): AttachedPod =>
  ({
    pod: { vni: VNI, namespace: 'x', name, addresses: [`10.1.0.${ifindex}` as IpAddress] },
    entry: { vni: VNI, ifindex, addresses: [`10.1.0.${ifindex}` as IpAddress] },
  }) as unknown as AttachedPod;
const PODS = [attached('a', 7), attached('b', 8)];

let policies: FakePolicies;
let problems: Problems;
let read: () => Promise<PolicyReading>;
let clock: ManualClock;

beforeEach(() => {
  clock = new ManualClock();
  policies = new FakePolicies();
  problems = new Problems(clock, new QuietLog());
  read = async () => reading([policy('q', { ingress: [] }), policy('p', { ingress: [], egress: [] })]);
});

const reading = (given: NetworkPolicy[], issues: string[] = []): PolicyReading => ({
  policies: given,
  namespaces: [{ name: 'x', labels: {} }],
  pods: [],
  issues,
});

const keeper = (with_ = true): PolicyKeeper =>
  new PolicyKeeper({
    netlink: { addresses: async () => [] },
    datapath: { policies },
    problems,
    source: with_ ? { read: () => read() } : undefined,
    hostVni: VNI,
    signed: () => ({ policies: [], namespaces: [], pods: [] }),
    remote: () => ({ version: 0, pods: () => [] }),
  });

test('installs once for one meaning, and again for another', async () => {
  const one = keeper();
  await one.pass(PODS);
  await one.pass(PODS);
  expect([policies.generation(), one.status().policies]).toEqual([1, ['x/p', 'x/q']]);
  await one.pass(PODS.slice(0, 1));
  expect(policies.generation()).toBe(2);
});

test('what changes nothing on this node is not written, and is told as in force', async () => {
  const one = keeper();
  await one.pass(PODS);
  const elsewhere: NetworkPolicy = { ...policy('z', { ingress: [] }), namespace: 'y' };
  const far = { vni: VNI, namespace: 'y', name: 'far', labels: {}, ports: [] };
  const before = await read();
  read = async () => ({
    ...before,
    policies: [...before.policies, elsewhere],
    pods: [{ ...far, addresses: ['10.2.0.9' as IpAddress] }],
  });
  await one.pass(PODS);
  expect([policies.generation(), one.status().policies]).toEqual([1, ['x/p', 'x/q', 'y/z']]);
  policies.clear(); // somebody's
  await one.pass(PODS);
  expect(policies.installed).toBeDefined();
});

test('no source, no policies', async () => {
  await keeper().pass(PODS);
  expect(policies.installed).toBeDefined();
  await keeper(false).pass(PODS);
  expect([policies.generation(), policies.installed?.rulesets]).toEqual([2, []]);
});

test('a source that fails leaves the rules in force and is told', async () => {
  const one = keeper();
  await one.pass(PODS);
  const before = policies.installed;
  read = () => Promise.reject(new Error('no folder'));
  await one.pass(PODS);
  expect(policies.installed).toBe(before);
  expect(problems.list()).toEqual([expect.objectContaining({ object: 'policies', reason: 'no folder' })]);
  read = async () => reading([], ['a.yaml: not YAML', 'b.yaml: not YAML']);
  await one.pass(PODS);
  expect(problems.list()[0]?.reason).toBe('a.yaml: not YAML (and 1 more)');
});

test('tables that do not fit leave the rules in force and are told', async () => {
  const one = keeper();
  policies.install = () => {
    throw new Error('E2BIG');
  };
  await one.pass(PODS);
  expect(problems.list()).toEqual([
    expect.objectContaining({ object: 'policies of the data plane', reason: 'E2BIG' }),
  ]);
  expect(one.status().policies).toEqual([]);
});

test('refused packets are told by pod, direction and policies, over generations', async () => {
  const one = keeper();
  await one.pass(PODS);
  await one.pass(PODS.slice(0, 1));
  const ruleset = (direction: string): number =>
    policies.installed?.rulesets.find((each) => each.direction === direction)?.ruleset ?? 0;
  policies.refused = [
    { generation: 1, ruleset: ruleset('ingress'), packets: 3n, bytes: 300n },
    { generation: 2, ruleset: ruleset('ingress'), packets: 2n, bytes: 200n },
    { generation: 2, ruleset: ruleset('egress'), packets: 1n, bytes: 60n },
    { generation: 99, ruleset: 1, packets: 9n, bytes: 900n }, // of a former process: its rulesets are not known
  ];
  expect(one.status().drops).toEqual([
    { pod: 'x/a', direction: 'ingress', policies: ['x/p', 'x/q'], packets: 5, bytes: 500 },
    { pod: 'x/a', direction: 'egress', policies: ['x/p'], packets: 1, bytes: 60 },
  ]);
});

test('a packet that policy refused names the policies of that pod and direction; others name none', async () => {
  const one = keeper();
  await one.pass(PODS);
  let report: (flow: FlowReport) => void = () => undefined;
  const flows = new Flows({
    clock,
    datapath: {
      onFlow: (listener) => {
        report = listener;
      },
      sampleFlows: () => undefined,
    },
    nameOf: () => '',
    pods: () => PODS,
    policiesAt: (ifindex, direction) => one.isolatingAt(ifindex, direction),
  });
  const seen: FlowStatus[] = [];
  flows.watch((flow) => void seen.push(flow));
  const packet: FlowReport = {
    peer: 0 as FlowReport['peer'],
    atNs: 0n,
    reason: 'policy',
    direction: 'egress',
    vni: VNI,
    ifindex: 8,
    outer: false,
    source: '10.1.0.8' as IpAddress,
    destination: '10.9.9.9' as IpAddress,
    protocol: 6,
    sourcePort: 1,
    destinationPort: 80,
    bytes: 60,
    unreported: 0,
  };
  report(packet);
  report({ ...packet, direction: 'ingress' });
  report({ ...packet, reason: 'no_peer' });
  report({ ...packet, ifindex: 99 });
  expect(seen.map(({ pod, policies: names }) => [pod, names])).toEqual([
    ['x/b', ['x/p']],
    ['x/b', ['x/p', 'x/q']],
    ['x/b', []],
    ['x/b', []],
  ]);
});

test('a pod that no rules were made for is not ready: it would be open', async () => {
  const one = keeper();
  await one.pass(PODS);
  const [pod] = PODS;
  if (pod === undefined) throw new Error('no pod');
  const late = attached('late', 9);
  expect([one.missing(pod), one.missing(late)]).toEqual([undefined, 'its policies are not in force yet']);
  const install = jest.spyOn(policies, 'install').mockImplementation(() => {
    throw new Error('the map is full');
  });
  read = async () => reading([policy('other', { ingress: [] })]);
  await one.pass([...PODS, late]);
  expect(one.missing(pod)).toBeUndefined();
  expect(one.missing(late)).toBe('the map is full');
  install.mockRestore();
  await one.pass([...PODS, late]);
  expect(one.missing(late)).toBeUndefined();
  expect(keeper(false).missing(late)).toBeUndefined();
});
