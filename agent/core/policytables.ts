// From policies to the tables of the data plane (bpf/policy.h): addresses get identities, pods of this node rulesets,
// rulesets entries by longest prefix over protocol and port. Pure; equal worlds give equal tables. An identity stands
// for all addresses that no policy of this node tells apart, so their number does not grow with that of the pods.
import { prefixContains } from './bytes';
import type { Prefix, Vni } from './ids';
import {
  closed,
  isolating,
  type NetworkPolicy,
  type PolicyDirection,
  type PolicyPod,
  type PolicyPort,
  type PolicyProtocol,
  type PolicyWorld,
  podName,
  policyName,
  rulesOf,
} from './policy';
import { type Classes, type ClassInput, classify, IDENTITY_WORLD, type IdentityEntry } from './policyclasses';
import { splitPorts } from './ports';

/** In a rule: whoever it is. bpf/abi.h IDENTITY_*. */
export const IDENTITY_ANY = 0;
const FIRST_IDENTITY = 3;

export const PROTOCOLS: Readonly<Record<PolicyProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

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

export interface PolicyInput extends PolicyWorld, ClassInput {
  readonly local: readonly LocalPolicyPod[];
}

export function compilePolicies(input: PolicyInput): PolicyTables {
  const used = usedPolicies(input);
  const identities: IdentityEntry[] = [];
  const pods: PolicyPodEntry[] = [];
  const rulesets = new Rulesets(input.policies);
  let nextIdentity = FIRST_IDENTITY;
  for (const vni of [...new Set([input.hostVni, ...input.local.map((pod) => pod.vni)])].sort(
    (a, b) => a - b,
  )) {
    const classes = classify(input, used, vni, nextIdentity);
    nextIdentity += classes.all.length;
    for (const entry of classes.entries) identities.push(entry);
    for (const pod of sorted(input.local.filter((local) => local.vni === vni))) {
      const ingress = rulesets.numberOf(pod, 'ingress', classes);
      const egress = rulesets.numberOf(pod, 'egress', classes);
      pods.push({ ifindex: pod.ifindex, ingress, egress });
    }
  }
  return { identities, pods, rules: rulesets.rules, rulesets: rulesets.entries };
}

/** Numbers them; pods of one VNI that nothing tells apart share theirs. */
class Rulesets {
  readonly rules: RuleEntry[] = [];
  readonly entries: RulesetEntry[] = [];
  private readonly known = new Map<string, number>();

  constructor(private readonly policies: readonly NetworkPolicy[]) {}

  /** 0: the pod is not isolated. */
  numberOf(pod: LocalPolicyPod, direction: PolicyDirection, classes: Classes): number {
    const policies = isolating(this.policies, pod, direction);
    if (policies.length === 0) return 0;
    const names = policies.map(policyName);
    // What a ruleset is made of, so that it is not made for each pod: of the pod itself only what its ports are called.
    const ports = direction === 'ingress' && policies.some(usesPortNames) ? pod.ports : [];
    const places = policies.map((policy) => this.policies.indexOf(policy));
    const key = JSON.stringify([pod.vni, direction, places, ports, pod.distrusted]);
    const before = this.known.get(key);
    if (before !== undefined) return before;
    const ruleset = this.entries.length + 1;
    this.known.set(key, ruleset);
    const counting = pod.distrusted ? policies.map(closed) : policies;
    for (const draft of rulesetOf(counting, pod, direction, classes)) this.rules.push({ ...draft, ruleset });
    this.entries.push({ ruleset, direction, pod: podName(pod), policies: names });
    return ruleset;
  }
}

const usesPortNames = ({ ingress = [] }: NetworkPolicy): boolean =>
  ingress.some(({ ports }) => ports.some(({ port }) => typeof port === 'string'));

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

type Draft = Omit<RuleEntry, 'ruleset'>;

function rulesetOf(
  policies: readonly NetworkPolicy[],
  pod: PolicyPod,
  direction: PolicyDirection,
  classes: Classes,
): Draft[] {
  const drafts = new Map<string, Draft>();
  const add = (draft: Draft): void => {
    const key = `${draft.identity}/${draft.protocol}/${draft.port}/${draft.portBits}`;
    if (!drafts.has(key)) drafts.set(key, draft);
  };
  for (const policy of policies) {
    for (const { ports, peers } of rulesOf(policy, direction) ?? []) {
      const members = classes.named(policy.namespace, peers);
      const numbers = peers.length === 0 ? [IDENTITY_ANY] : members.map(({ identity }) => identity);
      const where = { policy: policyName(policy) };
      if (ports.length === 0)
        for (const identity of numbers) add({ identity, protocol: 0, port: 0, portBits: -8, ...where });
      for (const port of ports) {
        const protocol = PROTOCOLS[port.protocol];
        if (typeof port.port === 'string' && direction === 'egress') {
          for (const { identity, ports: theirs } of peers.length === 0 ? classes.all : members)
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
