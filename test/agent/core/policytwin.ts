// NetworkPolicy read naively, for one packet at a time: what the compiler and the data plane are compared with.
import { hostPrefix } from '../../../agent/core/bytes';
import type { IpAddress } from '../../../agent/core/ids';
import {
  type NetworkPolicy,
  namesAddress,
  namesPod,
  namespaceLabels,
  type PolicyDirection,
  type PolicyPod,
  type PolicyProtocol,
  type PolicyWorld,
  selects,
} from '../../../agent/core/policy';

/** The definition of the API, word by word. @param port destination; @param protocol undefined: another, such as ICMP */
export function allowedByPolicies(
  world: PolicyWorld,
  pod: PolicyPod,
  direction: PolicyDirection,
  remote: { readonly address: IpAddress; readonly pod: PolicyPod | undefined },
  protocol: PolicyProtocol | undefined,
  port: number,
): boolean {
  const applies = (policy: NetworkPolicy): boolean =>
    policy[direction] !== undefined &&
    policy.namespace === pod.namespace &&
    (policy.vni === undefined || policy.vni === pod.vni) &&
    selects(policy.podSelector, pod.labels);
  const mine = world.policies.filter(applies);
  if (mine.length === 0) return true;
  if (pod.distrusted) return false;
  const receiver = direction === 'ingress' ? pod : remote.pod;
  return mine.some((policy) =>
    (policy[direction] ?? []).some((rule) => {
      const from = rule.peers.some(
        (peer) =>
          namesAddress(peer, hostPrefix(remote.address)) ||
          (remote.pod !== undefined &&
            namesPod(peer, policy.namespace, remote.pod, (name) =>
              namespaceLabels(world.namespaces, name, pod.vni),
            )),
      );
      const at = rule.ports.some((each) => {
        if (each.protocol !== protocol) return false;
        if (each.port === undefined) return true;
        if (typeof each.port === 'string')
          return (receiver?.ports ?? []).some(
            (known) => known.name === each.port && known.protocol === protocol && known.port === port,
          );
        return port >= each.port && port <= (each.endPort ?? each.port);
      });
      return (rule.peers.length === 0 || from) && (rule.ports.length === 0 || at);
    }),
  );
}
