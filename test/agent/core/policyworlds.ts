// Random policies, pods and namespaces, small enough that selectors hit and miss alike. Shared by the tests that hold
// the compiler to a naive twin, to another project's implementation, and to real packets.
import type { IpAddress, Prefix, Vni } from '../../../agent/core/ids';
import type {
  LabelRequirement,
  LabelSelector,
  NetworkPolicy,
  PolicyPeer,
  PolicyPod,
  PolicyPort,
  PolicyProtocol,
  PolicyRule,
  PolicyWorld,
} from '../../../agent/core/policy';

export const HOST_VNI = 100 as Vni;
export const NAMESPACES = ['x', 'y', 'z'] as const;
export const PODS = ['a', 'b', 'c'] as const;
export const PROTOCOL_NAMES: readonly PolicyProtocol[] = ['TCP', 'UDP', 'SCTP'];

export type Random = () => number;

export const pick = <T>(random: Random, from: readonly T[]): T =>
  from[Math.floor(random() * from.length)] as T;
export const some = <T>(random: Random, most: number, make: () => T): T[] =>
  Array.from({ length: Math.floor(random() * (most + 1)) }, make);

/** Three namespaces of three pods, as in the upstream tests: label ns=… on namespaces, pod=… on pods. */
export function upstreamPods(): PolicyPod[] {
  return NAMESPACES.flatMap((namespace, i) =>
    PODS.map((name, j) => ({
      vni: HOST_VNI,
      namespace,
      name,
      labels: { pod: name },
      addresses: [`192.168.${i + 1}.${j + 1}` as IpAddress],
      ports: [
        { name: 'serve-80-tcp', protocol: 'TCP', port: 80 },
        { name: 'serve-81-tcp', protocol: 'TCP', port: 81 },
        { name: 'serve-80-udp', protocol: 'UDP', port: 80 },
        { name: 'serve-81-udp', protocol: 'UDP', port: 81 },
      ],
    })),
  );
}

export const upstreamNamespaces = () => NAMESPACES.map((name) => ({ name, labels: { ns: name } }));

function selector(random: Random, key: string, values: readonly string[]): LabelSelector {
  const labels = random() < 0.3 ? { [key]: pick(random, values) } : {};
  const requirement = (): LabelRequirement => {
    const operator = pick(random, ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const);
    const listed = operator === 'In' || operator === 'NotIn';
    return {
      key: random() < 0.85 ? key : 'absent',
      operator,
      values: listed ? [pick(random, values), ...some(random, 1, () => pick(random, values))] : [],
    };
  };
  return { labels, expressions: random() < 0.4 ? [requirement()] : [] };
}

const podSelector = (random: Random): LabelSelector => selector(random, 'pod', PODS);
const namespaceSelector = (random: Random): LabelSelector => selector(random, 'ns', NAMESPACES);

function ipBlock(random: Random): PolicyPeer {
  const third = Math.floor(random() * 4);
  const cidr = pick(random, [
    '0.0.0.0/0',
    '192.168.0.0/16',
    `192.168.${third}.0/24`,
    `192.168.${third}.0/30`,
  ]);
  const inside = [
    '192.168.0.0/22',
    `192.168.${third}.0/25`,
    `192.168.${third}.2/32`,
    `192.168.${third}.1/32`,
  ];
  const bits = (prefix: string): number => Number(prefix.split('/')[1]);
  const except = some(random, 2, () => pick(random, inside)).filter((each) => bits(each) > bits(cidr));
  return { ipBlock: { cidr: cidr as Prefix, except: [...new Set(except)] as Prefix[] } };
}

function peer(random: Random): PolicyPeer {
  if (random() < 0.3) return ipBlock(random);
  const which = Math.floor(random() * 3);
  return {
    ...(which !== 1 ? { podSelector: podSelector(random) } : {}),
    ...(which !== 0 ? { namespaceSelector: namespaceSelector(random) } : {}),
  };
}

function port(random: Random): PolicyPort {
  const protocol = pick(random, PROTOCOL_NAMES);
  const kind = random();
  if (kind < 0.2) return { protocol };
  if (kind < 0.45)
    return { protocol, port: `serve-${pick(random, ['80', '81'])}-${pick(random, ['tcp', 'udp'])}` };
  const first = pick(random, [79, 80, 81, 82]);
  return kind < 0.75
    ? { protocol, port: first }
    : { protocol, port: first, endPort: first + Math.floor(random() * 4) };
}

const rule = (random: Random): PolicyRule => ({
  ports: some(random, 2, () => port(random)),
  peers: some(random, 2, () => peer(random)),
});

export function randomPolicy(random: Random, name: string): NetworkPolicy {
  const types = Math.floor(random() * 3);
  return {
    namespace: pick(random, NAMESPACES),
    name,
    podSelector: podSelector(random),
    ...(types !== 1 ? { ingress: some(random, 2, () => rule(random)) } : {}),
    ...(types !== 0 ? { egress: some(random, 2, () => rule(random)) } : {}),
  };
}

export function randomWorld(random: Random, mostPolicies = 4): PolicyWorld {
  const count = 1 + Math.floor(random() * mostPolicies);
  return {
    policies: Array.from({ length: count }, (_, i) => ({
      ...randomPolicy(random, `p${i}`),
      // Of another VNI it selects nothing here.
      ...(random() < 0.3 && { vni: pick(random, [HOST_VNI, HOST_VNI, HOST_VNI, (HOST_VNI + 1) as Vni]) }),
    })),
    namespaces: upstreamNamespaces(),
    pods: upstreamPods(),
  };
}
