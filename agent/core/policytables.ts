// From policies to the tables of the data plane (bpf/policy.h): addresses get identities, pods of this node rulesets,
// rulesets entries by longest prefix over protocol and port. Pure; equal worlds give equal tables. An identity stands
// for all addresses that no policy of this node tells apart, so their number does not grow with that of the pods.
import { hostPrefix, prefixContains, prefixCoversMapped } from './bytes';
import type { IpAddress, Prefix, Vni } from './ids';
import {
  addressesOf,
  isolating,
  type Labels,
  type NetworkPolicy,
  namesAddress,
  namesPod,
  namespaceLabels,
  type PolicyDirection,
  type PolicyPeer,
  type PolicyPod,
  type PolicyPort,
  type PolicyProtocol,
  type PolicyWorld,
  podName,
  policyName,
  rulesOf,
} from './policy';
import { splitPorts } from './ports';

/** In a rule: whoever it is. bpf/abi.h IDENTITY_*. */
export const IDENTITY_ANY = 0;
/** This node itself: never refused, so that it can probe its pods, and they it. */
export const IDENTITY_HOST = 1;
/** Addresses that no policy names. */
export const IDENTITY_WORLD = 2;
const FIRST_IDENTITY = 3;
const EVERY_IPV4 = '0.0.0.0/0' as Prefix;

export const PROTOCOLS: Readonly<Record<PolicyProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

export interface IdentityEntry {
  readonly vni: Vni;
  readonly prefix: Prefix;
  readonly identity: number;
}

/** `portBits`: how many leading bits of the port must match; -8 where the protocol is open too. */
export interface RuleEntry {
  readonly ruleset: number;
  readonly identity: number;
  readonly protocol: number;
  readonly port: number;
  readonly portBits: number;
  readonly policy: string;
}

/** Rulesets of a pod's device; 0: not isolated. */
export interface PolicyPodEntry {
  readonly ifindex: number;
  readonly ingress: number;
  readonly egress: number;
}

export interface RulesetEntry {
  readonly ruleset: number;
  readonly direction: PolicyDirection;
  /** One of the pods that have it. */
  readonly pod: string;
  /** That isolate it. */
  readonly policies: readonly string[];
}

export interface PolicyTables {
  readonly identities: readonly IdentityEntry[];
  readonly pods: readonly PolicyPodEntry[];
  readonly rules: readonly RuleEntry[];
  readonly rulesets: readonly RulesetEntry[];
}

/** Packets that the policies of a ruleset refused. */
export interface PolicyDrop {
  readonly generation: number;
  readonly ruleset: number;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** Port: the tables as the data plane has them; kernel/policy.ts. */
export interface InstalledPolicies {
  /** Of the tables in force; 0 when there are none. Goes on over a restart. */
  generation(): number;
  /** Switches to new tables between two packets, and returns their generation. Throws KernelError; the old ones stand. */
  install(tables: PolicyTables): number;
  /** No policies: nothing is refused by any. */
  clear(): void;
  drops(): PolicyDrop[];
}

/** A pod of this node, with the device in front of it. */
export interface LocalPolicyPod extends PolicyPod {
  readonly ifindex: number;
}

export interface PolicyInput extends PolicyWorld {
  readonly local: readonly LocalPolicyPod[];
  readonly hostVni: Vni;
  /** Every address of this node. */
  readonly hostAddresses: readonly IpAddress[];
}

/** Whether the addresses of a class are named by a peer of a policy in a namespace. */
interface PeerSpec {
  readonly namespace: string;
  readonly peer: PolicyPeer;
}

interface Class {
  readonly identity: number;
  readonly specs: ReadonlySet<string>;
  /** Ports by name that receive, of the pods in it. */
  readonly ports: PolicyPod['ports'];
}

const specKey = (namespace: string, peer: PolicyPeer): string =>
  'ipBlock' in peer ? JSON.stringify(peer) : JSON.stringify([namespace, peer]);

export function compilePolicies(input: PolicyInput): PolicyTables {
  const used = usedPolicies(input);
  const identities: IdentityEntry[] = [];
  const pods: PolicyPodEntry[] = [];
  const rules: RuleEntry[] = [];
  const rulesets: RulesetEntry[] = [];
  let nextIdentity = FIRST_IDENTITY;
  for (const vni of [...new Set([input.hostVni, ...input.local.map((pod) => pod.vni)])].sort(
    (a, b) => a - b,
  )) {
    const { entries, classes } = classify(input, used, vni, nextIdentity);
    nextIdentity += classes.length;
    identities.push(...entries);
    const known = new Map<string, number>();
    for (const pod of sorted(input.local.filter((local) => local.vni === vni))) {
      const numberOf = (direction: PolicyDirection): number => {
        const policies = isolating(input.policies, pod, direction);
        if (policies.length === 0) return 0;
        const made = rulesetOf(policies, pod, direction, classes);
        const key = JSON.stringify([direction, policies.map(policyName), made]);
        const before = known.get(key);
        if (before !== undefined) return before;
        const ruleset = rulesets.length + 1;
        known.set(key, ruleset);
        rules.push(...made.map((rule) => ({ ...rule, ruleset })));
        rulesets.push({ ruleset, direction, pod: podName(pod), policies: policies.map(policyName) });
        return ruleset;
      };
      pods.push({ ifindex: pod.ifindex, ingress: numberOf('ingress'), egress: numberOf('egress') });
    }
  }
  return { identities, pods, rules, rulesets };
}

const sorted = (pods: readonly LocalPolicyPod[]): LocalPolicyPod[] =>
  [...pods].sort((a, b) => a.ifindex - b.ifindex);

/** Only those of pods of this node matter here. */
function usedPolicies({ policies, local }: PolicyInput): NetworkPolicy[] {
  const isUsed = (policy: NetworkPolicy): boolean =>
    local.some((pod) =>
      (['ingress', 'egress'] as const).some((direction) => isolating([policy], pod, direction).length > 0),
    );
  return policies.filter(isUsed);
}

/**
 * Every prefix that a rule names and every pod's address, with the class of the addresses that lie in it and in no
 * longer one: within that region no rule tells two addresses apart.
 */
function classify(
  input: PolicyInput,
  used: readonly NetworkPolicy[],
  vni: Vni,
  firstIdentity: number,
): { readonly entries: IdentityEntry[]; readonly classes: Class[] } {
  const specs = peerSpecs(used);
  const named = namedPorts(used);
  const regions = new Map<Prefix, PolicyPod | undefined>();
  for (const { peer } of specs.values()) {
    if ('ipBlock' in peer)
      for (const prefix of [peer.ipBlock.cidr, ...peer.ipBlock.except]) regions.set(prefix, undefined);
  }
  // In the data plane IPv4 addresses lie within ::/0 too (IPv4-mapped): a region of their own keeps them out of it.
  if ([...regions.keys()].some(prefixCoversMapped)) regions.set(EVERY_IPV4, regions.get(EVERY_IPV4));
  for (const pod of input.pods) {
    if (pod.vni === vni) for (const address of addressesOf(pod)) regions.set(address, pod);
  }
  const labels = new Map<string, Labels>();
  const labelsOf = (namespace: string): Labels => {
    const known = labels.get(namespace) ?? namespaceLabels(input.namespaces, namespace);
    labels.set(namespace, known);
    return known;
  };
  const hosts = new Set<Prefix>(vni === input.hostVni ? input.hostAddresses.map(hostPrefix) : []);
  const classes = new Map<string, Class>();
  const entries = [...regions].map(([prefix, pod]): IdentityEntry => {
    const matched = [...specs].filter(
      ([, { namespace, peer }]) =>
        namesAddress(peer, prefix) || (pod !== undefined && namesPod(peer, namespace, pod, labelsOf)),
    );
    const ports = (pod?.ports ?? []).filter((port) => named.has(`${port.protocol}/${port.name}`));
    const key = JSON.stringify([matched.map(([spec]) => spec), ports]);
    if (matched.length === 0 && ports.length === 0) return { vni, prefix, identity: IDENTITY_WORLD };
    const known = classes.get(key) ?? {
      identity: firstIdentity + classes.size,
      specs: new Set(matched.map(([spec]) => spec)),
      ports,
    };
    classes.set(key, known);
    return { vni, prefix, identity: known.identity };
  });
  const others = entries.filter((entry) => !hosts.has(entry.prefix));
  const own = [...hosts].map((prefix) => ({ vni, prefix, identity: IDENTITY_HOST }));
  return { entries: [...own, ...others], classes: [...classes.values()] };
}

function peerSpecs(used: readonly NetworkPolicy[]): Map<string, PeerSpec> {
  const specs = new Map<string, PeerSpec>();
  for (const { namespace, ingress = [], egress = [] } of used)
    for (const { peers } of [...ingress, ...egress])
      for (const peer of peers) specs.set(specKey(namespace, peer), { namespace, peer });
  return specs;
}

/** "TCP/web" for names that egress rules use: there the name is the other pod's. */
function namedPorts(used: readonly NetworkPolicy[]): Set<string> {
  return new Set(
    used.flatMap(({ egress = [] }) =>
      egress.flatMap(({ ports }) =>
        ports.flatMap(({ protocol, port }) => (typeof port === 'string' ? [`${protocol}/${port}`] : [])),
      ),
    ),
  );
}

type Draft = Omit<RuleEntry, 'ruleset'>;

function rulesetOf(
  policies: readonly NetworkPolicy[],
  pod: PolicyPod,
  direction: PolicyDirection,
  classes: readonly Class[],
): Draft[] {
  const drafts = new Map<string, Draft>();
  const add = (draft: Draft): void => {
    const key = `${draft.identity}/${draft.protocol}/${draft.port}/${draft.portBits}`;
    if (!drafts.has(key)) drafts.set(key, draft);
  };
  for (const policy of policies) {
    for (const { ports, peers } of rulesOf(policy, direction) ?? []) {
      const wanted = peers.map((peer) => specKey(policy.namespace, peer));
      const members = classes.filter(({ specs }) => wanted.some((spec) => specs.has(spec)));
      const numbers = peers.length === 0 ? [IDENTITY_ANY] : members.map(({ identity }) => identity);
      const where = { policy: policyName(policy) };
      if (ports.length === 0)
        for (const identity of numbers) add({ identity, protocol: 0, port: 0, portBits: -8, ...where });
      for (const port of ports) {
        const protocol = PROTOCOLS[port.protocol];
        if (typeof port.port === 'string' && direction === 'egress') {
          for (const { identity, ports: theirs } of peers.length === 0 ? classes : members)
            for (const number of numbersOf(port, theirs))
              add({ identity, protocol, port: number, portBits: 16, ...where });
          continue;
        }
        for (const { first, bits } of portPrefixes(port, pod))
          for (const identity of numbers) add({ identity, protocol, port: first, portBits: bits, ...where });
      }
    }
  }
  return [...drafts.values()];
}

const numbersOf = ({ protocol, port }: PolicyPort, ports: PolicyPod['ports']): number[] =>
  ports.flatMap((each) => (each.name === port && each.protocol === protocol ? [each.port] : []));

/** @param pod the one that receives, whose names count */
function portPrefixes(
  port: PolicyPort,
  pod: PolicyPod,
): readonly { readonly first: number; readonly bits: number }[] {
  if (port.port === undefined) return [{ first: 0, bits: 0 }];
  if (typeof port.port === 'string') return numbersOf(port, pod.ports).map((first) => ({ first, bits: 16 }));
  return splitPorts(port.port, port.endPort ?? port.port);
}

/** What the data plane finds for an address: the longest prefix. */
export function identityOf(tables: PolicyTables, vni: Vni, address: Prefix): number {
  const found = tables.identities
    .filter((entry) => entry.vni === vni && prefixContains(entry.prefix, address))
    .sort((a, b) => bitsOf(b.prefix) - bitsOf(a.prefix))[0];
  return found?.identity ?? IDENTITY_WORLD;
}

const bitsOf = (prefix: Prefix): number => Number(prefix.slice(prefix.indexOf('/') + 1));

/**
 * The entry that allows it, as the data plane looks it up; undefined: none does.
 * @param protocol IP protocol number
 * @param port destination of the first packet of the connection; 0 where the protocol has none
 */
export function findRule(
  tables: PolicyTables,
  ruleset: number,
  identity: number,
  protocol: number,
  port: number,
): RuleEntry | undefined {
  return tables.rules
    .filter((rule) => rule.ruleset === ruleset && [identity, IDENTITY_ANY].includes(rule.identity))
    .filter((rule) => rule.portBits < 0 || rule.protocol === protocol)
    .filter(
      (rule) => rule.portBits <= 0 || rule.port >> (16 - rule.portBits) === port >> (16 - rule.portBits),
    )
    .sort((a, b) => b.portBits - a.portBits)[0];
}
