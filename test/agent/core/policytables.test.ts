// The compiler of policies, held to a naive twin that reads the policies themselves, rule by rule, for every packet.
import { hostPrefix } from '../../../agent/core/bytes';
import type { IpAddress, Prefix, Vni } from '../../../agent/core/ids';
import type { NetworkPolicy, PolicyPod, PolicyWorld } from '../../../agent/core/policy';
import { decide } from '../../../agent/core/policyexplain';
import {
  compilePolicies,
  findRule,
  IDENTITY_ANY,
  identityOf,
  type PolicyTables,
  PROTOCOLS,
} from '../../../agent/core/policytables';
import { splitPorts } from '../../../agent/core/ports';
import { allowedByTables } from './policylookup';
import { allowedByPolicies } from './policytwin';
import { HOST_VNI, PROTOCOL_NAMES, randomWorld, upstreamNamespaces, upstreamPods } from './policyworlds';
import { seeded } from './random';

const HOST = '192.0.2.1' as IpAddress;
const STRANGERS = ['192.168.1.9', '192.168.4.1', '10.0.0.1'] as IpAddress[];

const local = (pods: readonly PolicyPod[]) => pods.map((pod, i) => ({ ...pod, ifindex: 100 + i }));
const compile = (world: PolicyWorld): PolicyTables =>
  compilePolicies({ ...world, local: local(world.pods), hostVni: HOST_VNI, hostAddresses: [HOST] });

/** @param pod its place in the world */
const allowed = (
  tables: PolicyTables,
  pod: number,
  ...rest: TailOf<Parameters<typeof allowedByTables>>
): boolean => allowedByTables(tables, 100 + pod, ...rest);
type TailOf<T> = T extends [unknown, unknown, ...infer Rest] ? Rest : never;

const CASES = 100_000;
const QUERIES = 100;

/** Some of its namespaces and pods were told by an author who is not trusted any more. */
function doubted(world: PolicyWorld, random: () => number): PolicyWorld {
  const doubt = <T>(each: T): T => (random() < 0.15 ? { ...each, distrusted: true } : each);
  return { ...world, namespaces: world.namespaces.map(doubt), pods: world.pods.map(doubt) };
}

test.each([
  ['', CASES, (world: PolicyWorld) => world],
  [', some labels not to be believed', CASES / 5, doubted],
])('random packets under random policies%s: the tables say what the policies say', (_, cases, given) => {
  const random = seeded(7);
  let passed = 0;
  for (let done = 0; done < cases; done += QUERIES) {
    const world = given(randomWorld(random), random);
    const tables = compile(world);
    const known = new Map<IpAddress, number>();
    for (let query = 0; query < QUERIES; query++) {
      const podIndex = Math.floor(random() * world.pods.length);
      const pod = world.pods[podIndex] as PolicyPod;
      const remotes = [
        ...world.pods.map((each) => ({ address: each.addresses[0] as IpAddress, pod: each })),
        ...STRANGERS.map((address) => ({ address, pod: undefined })),
      ];
      const remote = remotes[Math.floor(random() * remotes.length)] as (typeof remotes)[number];
      const protocol = random() < 0.05 ? undefined : PROTOCOL_NAMES[Math.floor(random() * 3)];
      const port = protocol === undefined ? 0 : 78 + Math.floor(random() * 9);
      const direction = random() < 0.5 ? 'ingress' : 'egress';
      const number = protocol === undefined ? 1 : PROTOCOLS[protocol];
      const expected = allowedByPolicies(world, pod, direction, remote, protocol, port);
      const got = allowed(tables, podIndex, direction, remote.address, number, port, known);
      const mine = { pod, address: pod.addresses[0] };
      const [from, to] = direction === 'egress' ? [mine, remote] : [remote, mine];
      const told = decide(world, { from, to, protocol, port }, direction).allowed;
      if (told !== (expected || remote.pod === pod)) throw new Error(`explained otherwise: ${told}`);
      if (got !== expected)
        throw new Error(
          JSON.stringify({ world: world.policies, pod, direction, remote, protocol, port, expected }),
        );
      if (got) passed++;
    }
  }
  // A generator that lets all or nothing through would compare nothing.
  expect(passed / cases).toBeGreaterThan(0.2);
  expect(passed / cases).toBeLessThan(0.8);
});

test('into a shared service: what is explained is what the tables say without the rules for everybody', () => {
  const random = seeded(13);
  let passed = 0;
  for (let round = 0; round < 300; round++) {
    const world = randomWorld(random);
    const all = compile(world);
    const tables = { ...all, rules: all.rules.filter(({ identity }) => identity !== IDENTITY_ANY) };
    for (let query = 0; query < 30; query++) {
      const index = Math.floor(random() * world.pods.length);
      const pod = world.pods[index] as PolicyPod;
      const client = STRANGERS[query % STRANGERS.length] as IpAddress;
      const protocol = PROTOCOL_NAMES[Math.floor(random() * 3)] as 'TCP' | 'UDP' | 'SCTP';
      const port = 78 + Math.floor(random() * 9);
      const ruleset = tables.pods[index]?.ingress ?? 0;
      const identity = identityOf(tables, pod.vni, hostPrefix(client));
      const expected =
        ruleset !== 0 && findRule(tables, ruleset, identity, PROTOCOLS[protocol], port) !== undefined;
      const to = { pod, address: pod.addresses[0] };
      const told = decide(world, { from: { address: client }, to, protocol, port }, 'ingress', true);
      expect(told.allowed).toBe(expected);
      if (expected) passed++;
    }
  }
  expect(passed).toBeGreaterThan(100);
});

test('every range of 16 bits at its limits is covered exactly, by 30 prefixes at most', () => {
  const random = seeded(11);
  const limits = [1, 2, 3, 79, 80, 81, 1023, 1024, 32767, 32768, 65534, 65535];
  const ranges = limits.flatMap((first) =>
    limits.filter((last) => last >= first).map((last) => [first, last] as const),
  );
  for (let i = 0; i < 200; i++) {
    const first = 1 + Math.floor(random() * 65535);
    ranges.push([first, first + Math.floor(random() * (65536 - first))]);
  }
  for (const [first, last] of ranges) {
    const prefixes = splitPorts(first, last);
    expect(prefixes.length).toBeLessThanOrEqual(30);
    let next = first;
    for (const { first: at, bits } of prefixes) {
      expect(at).toBe(next);
      expect(at % 2 ** (16 - bits)).toBe(0);
      next = at + 2 ** (16 - bits);
    }
    expect(next).toBe(last + 1);
  }
});

describe('details', () => {
  const everything = { labels: {}, expressions: [] };
  const world = (policy: Omit<NetworkPolicy, 'namespace' | 'name' | 'podSelector'>): PolicyTables =>
    compile({
      policies: [{ namespace: 'x', name: 'p', podSelector: everything, ...policy }],
      namespaces: upstreamNamespaces(),
      pods: upstreamPods(),
    });

  test('pods that no policy selects are not isolated, and identities do not grow with pods', () => {
    const tables = world({ ingress: [{ ports: [], peers: [{ namespaceSelector: everything }] }] });
    expect(tables.pods.map(({ ingress, egress }) => `${ingress}${egress}`).join(' ')).toBe(
      '10 10 10 00 00 00 00 00 00',
    );
    expect(new Set(tables.identities.map((entry) => entry.identity)).size).toBe(2); // the node, all pods
    expect(tables.rulesets).toEqual([{ ruleset: 1, direction: 'ingress', pod: 'x/a', policies: ['x/p'] }]);
  });

  test('pods like the addresses around them have no entry', () => {
    const block = (cidr: string, ...except: string[]) => ({
      ipBlock: { cidr: cidr as Prefix, except: except as Prefix[] },
    });
    const prefixes = (tables: PolicyTables): string[] => tables.identities.map(({ prefix }) => prefix).sort();
    expect(prefixes(world({ ingress: [] }))).toEqual([`${HOST}/32`]);
    const around = { peers: [block('192.168.0.0/16', '192.168.1.0/24')], ports: [] };
    const all = [`${HOST}/32`, '192.168.0.0/16', '192.168.1.0/24'].sort();
    expect(prefixes(world({ ingress: [around] }))).toEqual(all);
    const one = { peers: [{ podSelector: { labels: { pod: 'a' }, expressions: [] } }], ports: [] };
    expect(prefixes(world({ ingress: [around, one] }))).toEqual([...all, '192.168.1.1/32'].sort());
  });

  test('::/0 does not reach IPv4', () => {
    const peers = [{ ipBlock: { cidr: '::/0' as Prefix, except: [] } }];
    const tables = world({ egress: [{ ports: [], peers }] });
    expect(allowed(tables, 0, 'egress', 'fd00::9' as IpAddress, 6, 80)).toBe(true);
    expect(allowed(tables, 0, 'egress', '10.0.0.1' as IpAddress, 6, 80)).toBe(false);
    expect(tables.identities.some(({ prefix }) => prefix === '0.0.0.0/0')).toBe(true);
  });

  test('pods of another VNI are named by no selector, and may have the same address', () => {
    const pods = upstreamPods();
    const twin = { ...(pods[3] as PolicyPod), vni: 101 as Vni, namespace: 't' };
    const tables = compilePolicies({
      policies: [
        {
          namespace: 'x',
          name: 'p',
          podSelector: everything,
          ingress: [{ ports: [], peers: [{ namespaceSelector: { labels: { ns: 't' }, expressions: [] } }] }],
        },
      ],
      namespaces: [...upstreamNamespaces(), { name: 't', labels: { ns: 't' } }],
      pods: [...pods, twin],
      local: local(pods),
      hostVni: HOST_VNI,
      hostAddresses: [],
    });
    expect(allowed(tables, 0, 'ingress', twin.addresses[0] as IpAddress, 6, 80)).toBe(false);
  });

  test('this node is never refused', () => {
    const tables = world({ ingress: [], egress: [] });
    expect(allowed(tables, 0, 'ingress', HOST, 6, 80)).toBe(true);
    expect(allowed(tables, 0, 'egress', HOST, 6, 80)).toBe(true);
    expect(allowed(tables, 0, 'egress', '192.0.2.2' as IpAddress, 6, 80)).toBe(false);
  });
});
