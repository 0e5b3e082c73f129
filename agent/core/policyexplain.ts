// Which rule decides, for people: reads the policies themselves, one connection at a time. The data plane's tables are
// policytables.ts'; a test holds the two to each other. Pure.
import { hostPrefix } from './bytes';
import type { IpAddress } from './ids';
import {
  closed,
  isolating,
  namesAddress,
  namesPod,
  namespaceLabels,
  type PolicyDirection,
  type PolicyPod,
  type PolicyProtocol,
  type PolicyRule,
  type PolicyWorld,
  policyName,
  rulesOf,
} from './policy';

/** An end of a connection. */
export interface Party {
  /** Undefined: the address is no pod's. */
  readonly pod?: PolicyPod | undefined;
  /** The one that is used, of the pod's; undefined: not known, then no ipBlock names it. */
  readonly address?: IpAddress | undefined;
}

export interface Decision {
  readonly allowed: boolean;
  /** That isolate the pod in this direction, "namespace/name"; none: everything is allowed. */
  readonly isolating: readonly string[];
  /** The policy whose rule allows it, and the rule's place in it, from 1. */
  readonly by?: { readonly policy: string; readonly rule: number };
}

export interface Connection {
  readonly from: Party;
  readonly to: Party;
  /** Undefined: another, such as ICMP. */
  readonly protocol: PolicyProtocol | undefined;
  /** Destination port; 0 where there is none. */
  readonly port: number;
}

/**
 * @param across the ends are of two tenants: then each is only an address to the other, and into a shared service only a
 * rule lets that names the client's address
 * @returns what the pod's own side says; a party that is no pod has no policies.
 */
export function decide(
  world: PolicyWorld,
  connection: Connection,
  direction: PolicyDirection,
  across = false,
): Decision {
  const { from, to } = connection;
  const [mine, theirs] = direction === 'egress' ? [from, to] : [to, from];
  if (mine.pod === undefined) return { allowed: true, isolating: [] };
  const policies = isolating(world.policies, mine.pod, direction);
  const names = policies.map(policyName);
  const namedOnly = across && direction === 'ingress';
  if ((policies.length === 0 || mine.pod === theirs.pod) && !namedOnly)
    return { allowed: true, isolating: names };
  const other: Party = across ? { address: theirs.address } : theirs;
  for (const policy of mine.pod.distrusted ? policies.map(closed) : policies) {
    const rules = rulesOf(policy, direction) ?? [];
    const index = rules.findIndex(
      (rule) =>
        (!namedOnly || rule.peers.length > 0) &&
        namesParty(world, policy.namespace, rule, other) &&
        namesPort(rule, connection, across && direction === 'egress'),
    );
    if (index >= 0)
      return { allowed: true, isolating: names, by: { policy: policyName(policy), rule: index + 1 } };
  }
  return { allowed: false, isolating: names };
}

function namesParty(
  world: PolicyWorld,
  namespace: string,
  { peers }: PolicyRule,
  { pod, address }: Party,
): boolean {
  if (peers.length === 0) return true;
  return peers.some(
    (peer) =>
      (pod !== undefined &&
        namesPod(peer, namespace, pod, (name) => namespaceLabels(world.namespaces, name, pod.vni))) ||
      (address !== undefined && namesAddress(peer, hostPrefix(address))),
  );
}

/** @param nameless the receiver's names for its ports are not known */
function namesPort({ ports }: PolicyRule, { to, protocol, port }: Connection, nameless: boolean): boolean {
  if (ports.length === 0) return true;
  return ports.some((each) => {
    if (each.protocol !== protocol) return false;
    if (each.port === undefined) return true;
    if (typeof each.port === 'number') return port >= each.port && port <= (each.endPort ?? each.port);
    return ((nameless ? undefined : to.pod?.ports) ?? []).some(
      (named) => named.name === each.port && named.protocol === protocol && named.port === port,
    );
  });
}
