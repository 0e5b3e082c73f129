// Random manifests as users write them, null and absent fields included: small worlds, so that selectors, blocks and
// ports hit and miss alike. Every pod has the labels `pod` and `tier`, every namespace `ns` and `team`; `extra` some.
import type { IpAddress } from '../../agent/core/ids';
import { pick, type Random, some } from '../agent/core/policyworlds';
import type { Manifest, Probe, Question } from './oracle';

const NAMESPACES = ['x', 'y', 'z'];
const PODS = ['a', 'b', 'c', 'd'];
const TIERS = ['front', 'back'];
const TEAMS = ['red', 'blue'];
const METADATA_NAME = 'kubernetes.io/metadata.name';
const PORT_NAMES = ['web', 'dns', 'sig', 'nobody'];
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;
const STRANGERS = ['10.0.0.1', '192.168.1.77', '192.168.4.1', 'fd00:0:0:1::77', 'fd00:0:0:9::1'];
const PROBED_PORTS = [1, 53, 79, 80, 81, 82, 83, 90, 443, 5353, 8080, 65535];

/** A field that may be left out, or say null, which is the same. */
const maybe = (random: Random, odds: number, key: string, make: () => unknown): Manifest => {
  if (random() < odds) return { [key]: make() };
  return random() < 0.1 ? { [key]: null } : {};
};

function randomPod(random: Random, namespace: string, name: string): Manifest {
  const [i, j] = [NAMESPACES.indexOf(namespace) + 1, PODS.indexOf(name) + 1];
  const addresses = [`192.168.${i}.${j}`, `fd00:0:0:${i}::${j}`];
  const ports = [
    { name: 'web', containerPort: pick(random, [80, 8080]), ...maybe(random, 0.5, 'protocol', () => 'TCP') },
    { name: 'dns', containerPort: pick(random, [53, 5353]), protocol: 'UDP' },
    { name: 'sig', containerPort: pick(random, [80, 90]), protocol: 'SCTP' },
    { containerPort: 443 },
  ].filter(() => random() < 0.8);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      labels: { pod: name, tier: pick(random, TIERS), ...(random() < 0.4 ? { extra: 'yes' } : {}) },
    },
    spec: { containers: [{ name: 'main', ports }] },
    status: { podIPs: (j < 4 ? addresses : addresses.slice(0, 1)).map((ip) => ({ ip })) },
  };
}

const randomNamespace = (random: Random, name: string): Manifest => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: {
    name,
    labels: { ns: name, team: pick(random, TEAMS), ...(random() < 0.4 ? { extra: 'yes' } : {}) },
  },
});

/** Keys that everything of the kind has, with their values. */
type Keys = Readonly<Record<string, readonly string[]>>;
const POD_KEYS: Keys = { pod: PODS, tier: TIERS };
const NAMESPACE_KEYS: Keys = { ns: NAMESPACES, team: TEAMS, [METADATA_NAME]: NAMESPACES };

/** @param notInOf keys that NotIn may name */
function requirement(random: Random, keys: Keys, notInOf: readonly string[]): Manifest {
  const operator = pick(random, ['In', 'NotIn', 'Exists', 'DoesNotExist']);
  const listed = operator === 'In' || operator === 'NotIn';
  const key = operator === 'NotIn' ? pick(random, notInOf) : pick(random, [...Object.keys(keys), 'extra']);
  const values = keys[key] ?? ['yes', 'no'];
  return {
    key,
    operator,
    ...(listed ? { values: [pick(random, values), ...some(random, 2, () => pick(random, values))] } : {}),
  };
}

function selector(random: Random, keys: Keys, notInOf: readonly string[] = Object.keys(keys)): Manifest {
  const labels = (): Manifest => {
    const key = pick(random, [...Object.keys(keys), 'extra']);
    return { [key]: pick(random, keys[key] ?? ['yes', 'no']) };
  };
  return {
    ...maybe(random, 0.35, 'matchLabels', labels),
    ...maybe(random, 0.45, 'matchExpressions', () =>
      some(random, 2, () => requirement(random, keys, notInOf)),
    ),
  };
}

/** NotIn of a key that may be absent too. */
export const randomSelector = (random: Random): Manifest =>
  selector(random, POD_KEYS, [...Object.keys(POD_KEYS), 'extra']);

export const randomLabels = (random: Random): Record<string, string> => ({
  ...(random() < 0.7 ? { pod: pick(random, PODS) } : {}),
  ...(random() < 0.7 ? { tier: pick(random, TIERS) } : {}),
  ...(random() < 0.5 ? { extra: pick(random, ['yes', 'no', '']) } : {}),
});

function ipBlock(random: Random): Manifest {
  const i = 1 + Math.floor(random() * 4);
  const [cidr, inside] = pick<readonly [string, readonly string[]]>(random, [
    ['0.0.0.0/0', ['10.0.0.0/8', `192.168.${i}.0/24`, '192.168.0.0/16']],
    ['192.168.0.0/16', [`192.168.${i}.0/24`, `192.168.${i}.2/32`, '192.168.0.0/22']],
    [`192.168.${i}.0/24`, [`192.168.${i}.0/30`, `192.168.${i}.1/32`, `192.168.${i}.3/31`]],
    [`192.168.${i}.3/30`, [`192.168.${i}.2/31`]],
    [`192.168.${i}.1/32`, []],
    ['::/0', ['fd00::/16', `fd00:0:0:${i}::/64`]],
    ['fd00::/16', [`fd00:0:0:${i}::/64`, `fd00:0:0:${i}::2/128`]],
    [`fd00:0:0:${i}::/64`, [`fd00:0:0:${i}::/126`, `fd00:0:0:${i}::1/128`]],
    [`fd00:0:0:${i}::1/128`, []],
  ]);
  const except = inside.filter(() => random() < 0.35);
  return { cidr, ...(except.length > 0 ? { except } : maybe(random, 0.2, 'except', () => [])) };
}

function peer(random: Random): Manifest {
  if (random() < 0.35) return { ipBlock: ipBlock(random) };
  const which = Math.floor(random() * 3);
  const left = random() < 0.2 ? null : undefined;
  const podSelector = which === 1 ? left : selector(random, POD_KEYS);
  const namespaceSelector = which === 0 ? left : selector(random, NAMESPACE_KEYS);
  return {
    ...(podSelector === undefined ? {} : { podSelector }),
    ...(namespaceSelector === undefined ? {} : { namespaceSelector }),
  };
}

function port(random: Random): Manifest {
  const protocol = maybe(random, 0.75, 'protocol', () => pick(random, PROTOCOLS));
  const kind = random();
  if (kind < 0.15) return protocol;
  if (kind < 0.45) return { ...protocol, port: pick(random, PORT_NAMES) };
  const first = pick(random, PROBED_PORTS);
  if (kind < 0.7) return { ...protocol, port: first };
  const endPort = Math.min(65535, first + pick(random, [0, 1, 3, 10, 5000, 65535]));
  return { ...protocol, port: first, endPort };
}

const rule = (random: Random, side: 'from' | 'to'): Manifest => ({
  ...maybe(random, 0.65, 'ports', () => some(random, 2, () => port(random))),
  ...maybe(random, 0.75, side, () => some(random, 2, () => peer(random))),
});

const randomPolicy = (random: Random, name: string): Manifest => ({
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  metadata: { namespace: pick(random, NAMESPACES), name },
  spec: {
    podSelector: selector(random, POD_KEYS),
    ...maybe(random, 0.6, 'policyTypes', () =>
      pick(random, [[], ['Ingress'], ['Egress'], ['Ingress', 'Egress'], ['Egress', 'Ingress']]),
    ),
    ...maybe(random, 0.7, 'ingress', () => some(random, 2, () => rule(random, 'from'))),
    ...maybe(random, 0.7, 'egress', () => some(random, 2, () => rule(random, 'to'))),
  },
});

/** @param probes how many; none is of a pod to itself */
export function randomQuestion(random: Random, probes: number): Question {
  const namespaces = NAMESPACES.map((name) => randomNamespace(random, name));
  const pods = NAMESPACES.flatMap((namespace) => PODS.map((name) => randomPod(random, namespace, name)));
  const count = 1 + Math.floor(random() * 6);
  const policies = Array.from({ length: count }, (_, i) => randomPolicy(random, `p${i}`));
  return { namespaces, pods, policies, probes: Array.from({ length: probes }, () => randomProbe(random)) };
}

function randomProbe(random: Random): Probe {
  const family = random() < 0.6 ? 4 : 6;
  const strangers = STRANGERS.filter((address) => address.includes(':') === (family === 6));
  const ends = NAMESPACES.flatMap((namespace, i) =>
    (family === 4 ? PODS : PODS.slice(0, 3)).map((name, j) => ({
      pod: `${namespace}/${name}`,
      ip: (family === 4 ? `192.168.${i + 1}.${j + 1}` : `fd00:0:0:${i + 1}::${j + 1}`) as IpAddress,
    })),
  );
  const mine = pick(random, ends);
  const other =
    random() < 0.25
      ? { ip: pick(random, strangers) as IpAddress }
      : pick(
          random,
          ends.filter((end) => end !== mine),
        );
  const [from, to] = random() < 0.5 ? [mine, other] : [other, mine];
  const protocol = random() < 0.05 ? 'ICMP' : pick(random, PROTOCOLS);
  return { from, to, protocol, port: protocol === 'ICMP' ? 0 : pick(random, PROBED_PORTS) };
}
