// NetworkPolicy (networking.k8s.io/v1) as plain values, and its meaning: which pods a policy selects, which peers a
// rule names. Pure. From texts to these values is sources/manifests.ts; from them to the data plane is policytables.ts.
import { hostPrefix, prefixContains } from './bytes';
import type { IpAddress, Prefix, Vni } from './ids';

export type PolicyProtocol = 'TCP' | 'UDP' | 'SCTP';
export type PolicyDirection = 'ingress' | 'egress';
export type Labels = Readonly<Record<string, string>>;

export interface LabelRequirement {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  readonly values: readonly string[];
}

/** All requirements must hold; none: everything. */
export interface LabelSelector {
  readonly labels: Labels;
  readonly expressions: readonly LabelRequirement[];
}

export interface IpBlock {
  readonly cidr: Prefix;
  readonly except: readonly Prefix[];
}

/** Pods by selectors (an absent one of pods means all, an absent one of namespaces the policy's own), or addresses. */
export type PolicyPeer =
  | { readonly podSelector?: LabelSelector; readonly namespaceSelector?: LabelSelector }
  | { readonly ipBlock: IpBlock };

/** A name is the pod's that receives; `endPort` makes a number the first of a range. */
export interface PolicyPort {
  readonly protocol: PolicyProtocol;
  readonly port?: number | string;
  readonly endPort?: number;
}

/** No ports: all, of every protocol. No peers: everybody. */
export interface PolicyRule {
  readonly ports: readonly PolicyPort[];
  readonly peers: readonly PolicyPeer[];
}

export interface NetworkPolicy {
  /** Of the pods that it may select; undefined: any. */
  readonly vni?: Vni;
  readonly namespace: string;
  readonly name: string;
  readonly podSelector: LabelSelector;
  /** Undefined: the policy does not speak of this direction (policyTypes). Empty: nothing is allowed. */
  readonly ingress?: readonly PolicyRule[];
  readonly egress?: readonly PolicyRule[];
  /** Where it comes from, for people. */
  readonly origin?: string;
}

export interface NamedPort {
  readonly name: string;
  readonly protocol: PolicyProtocol;
  readonly port: number;
}

export interface PolicyPod {
  readonly vni: Vni;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly IpAddress[];
  readonly ports: readonly NamedPort[];
  /** Nobody who is trusted says so: what its labels isolate stays isolated, and no selector names it. */
  readonly distrusted?: true;
}

export interface PolicyNamespace {
  /** Of the pods whose namespace it is; undefined: any. */
  readonly vni?: Vni | undefined;
  readonly name: string;
  readonly labels: Labels;
  /** No selector of namespaces names it. */
  readonly distrusted?: true;
}

export interface PolicyWorld {
  readonly policies: readonly NetworkPolicy[];
  readonly namespaces: readonly PolicyNamespace[];
  /** Of all nodes, as far as they are known. */
  readonly pods: readonly PolicyPod[];
}

/** What policies there are, and whom they may name. */
export interface PolicyReading extends PolicyWorld {
  /** What could not be read: object, reason. */
  readonly issues: readonly string[];
}

/** Port: sources/policyfolder.ts. */
export interface PolicySource {
  /** Rejects when nothing can be read at all. */
  read(): Promise<PolicyReading>;
}

export function selects(selector: LabelSelector, labels: Labels): boolean {
  const same = Object.entries(selector.labels).every(([key, value]) => own(labels, key) === value);
  return same && selector.expressions.every((requirement) => meets(requirement, labels));
}

function meets({ key, operator, values }: LabelRequirement, labels: Labels): boolean {
  const value = own(labels, key);
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
}

const own = (labels: Labels, key: string): string | undefined =>
  Object.hasOwn(labels, key) ? labels[key] : undefined;

/**
 * Every namespace has one label, whatever its manifest says (Kubernetes 1.22).
 * @returns undefined: what is said of it is not to be believed
 */
export function namespaceLabels(
  namespaces: readonly PolicyNamespace[],
  name: string,
  vni: Vni,
): Labels | undefined {
  const found = namespaces.find((each) => each.name === name && (each.vni ?? vni) === vni);
  if (found?.distrusted) return undefined;
  return { ...found?.labels, 'kubernetes.io/metadata.name': name };
}

export const rulesOf = (
  policy: NetworkPolicy,
  direction: PolicyDirection,
): readonly PolicyRule[] | undefined => policy[direction];

/** Isolates the same pods in the same directions, and allows nothing. */
export function closed({ ingress, egress, ...rest }: NetworkPolicy): NetworkPolicy {
  return { ...rest, ...(ingress && { ingress: [] }), ...(egress && { egress: [] }) };
}

/** Policies that isolate the pod in that direction; none: everything is allowed. */
export function isolating(
  policies: readonly NetworkPolicy[],
  pod: Pick<PolicyPod, 'vni' | 'namespace' | 'labels'>,
  direction: PolicyDirection,
): NetworkPolicy[] {
  return policies.filter(
    (policy) =>
      policy.namespace === pod.namespace &&
      (policy.vni ?? pod.vni) === pod.vni &&
      rulesOf(policy, direction) !== undefined &&
      selects(policy.podSelector, pod.labels),
  );
}

/** @param namespace of the policy */
export function namesPod(
  peer: PolicyPeer,
  namespace: string,
  pod: Pick<PolicyPod, 'namespace' | 'labels' | 'distrusted'>,
  labelsOf: (namespace: string) => Labels | undefined,
): boolean {
  if ('ipBlock' in peer || pod.distrusted) return false;
  const { podSelector, namespaceSelector } = peer;
  if (podSelector !== undefined && !selects(podSelector, pod.labels)) return false;
  if (namespaceSelector === undefined) return pod.namespace === namespace;
  const labels = labelsOf(pod.namespace);
  return labels !== undefined && selects(namespaceSelector, labels);
}

export function namesAddress(peer: PolicyPeer, address: Prefix): boolean {
  if (!('ipBlock' in peer)) return false;
  const { cidr, except } = peer.ipBlock;
  return prefixContains(cidr, address) && !except.some((excluded) => prefixContains(excluded, address));
}

export const podName = ({ namespace, name }: Pick<PolicyPod, 'namespace' | 'name'>): string =>
  `${namespace}/${name}`;

export const policyName = podName as (policy: Pick<NetworkPolicy, 'namespace' | 'name'>) => string;

export const addressesOf = (pod: PolicyPod): Prefix[] => pod.addresses.map(hostPrefix);
