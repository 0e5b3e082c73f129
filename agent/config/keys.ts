// The one table of configuration keys. File, environment, flags, `config show` and docs/configuration.md all follow
// from it; a key of Config that is missing here, or has another type, does not compile.
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Config } from '../config';
import type { NodeName, Vni } from '../core/ids';
import { installationFolder } from '../installation';
import { sharedServices } from './sharedvalues';
import * as values from './values';

type Leaf = string | number | bigint | boolean | readonly unknown[];

/** Every dotted path of a value: "nodeName", "underlay.espPort". */
type PathsOf<T> = {
  [K in keyof T & string]: T[K] extends Leaf ? K : `${K}.${PathsOf<T[K]>}`;
}[keyof T & string];

type ValueAt<T, P extends string> = P extends `${infer Head}.${infer Rest}`
  ? Head extends keyof T
    ? ValueAt<T[Head], Rest>
    : never
  : P extends keyof T
    ? T[P]
    : never;

export type KeyPath = PathsOf<Config>;
export type KeyValue<P extends KeyPath> = ValueAt<Config, P>;

export interface KeySpec<T> {
  readonly type: values.ValueType<T>;
  /** Undefined: the key must be given. */
  readonly fallback: (() => T) | undefined;
  /** For the reference, where the default is found out at run time. */
  readonly fallbackText?: string;
  readonly description: string;
}

type KeyTable = { readonly [P in KeyPath]: KeySpec<KeyValue<P>> };

const SECOND_MS = 1000;
const HOUR_MS = 3_600_000;

export const KEYS: KeyTable = {
  nodeName: {
    type: values.nodeName,
    fallback: () => hostname().toLowerCase() as NodeName,
    fallbackText: 'the host name',
    description: 'Name of this node; must be the one in its certificate.',
  },
  runDir: {
    type: values.absolutePath,
    fallback: () => '/run/vxseal',
    description: 'Run-time files: the socket agent.sock and the pods that are attached.',
  },
  stateDir: {
    type: values.absolutePath,
    fallback: () => '/var/lib/vxseal',
    description: 'What must survive a reboot: our generation, the highest sequences seen of others.',
  },
  pinDir: {
    type: values.absolutePath,
    fallback: () => '/sys/fs/bpf/vxseal',
    description: 'Folder on a bpffs where programs, links and maps are pinned.',
  },
  bpfDir: {
    type: values.absolutePath,
    fallback: () => join(installationFolder(), 'build', 'bpf'),
    fallbackText: 'build/bpf of the installation',
    description: 'Folder of the compiled eBPF programs.',
  },
  'identity.trustDomain': {
    type: values.trustDomain,
    fallback: undefined,
    description: 'SPIFFE trust domain of the cluster; certificates of any other are refused.',
  },
  'identity.key': {
    type: values.absolutePath,
    fallback: () => '/etc/vxseal/node.key',
    description: "PEM file of this node's private key (P-256), mode 0600.",
  },
  'identity.chain': {
    type: values.absolutePath,
    fallback: () => '/etc/vxseal/node.crt',
    description: "PEM file of this node's certificate, followed by its intermediates.",
  },
  'identity.roots': {
    type: values.absolutePath,
    fallback: () => '/etc/vxseal/roots.crt',
    description: 'PEM file of the root certificates that are trusted.',
  },
  'identity.revoked': {
    type: values.absolutePath,
    fallback: () => '/etc/vxseal/revoked',
    description:
      'List of nodes and certificates that are no longer trusted (docs/keys.md §2); need not exist.',
  },
  'bus.type': {
    type: values.choice('directory', 'kafka'),
    fallback: () => 'directory',
    description: 'Where topology records come from: a folder that all nodes see, or Apache Kafka.',
  },
  'bus.path': {
    type: values.absolutePath,
    fallback: () => '/var/lib/vxseal/bus',
    description: 'The folder of the records, of the bus `directory`.',
  },
  'kafka.brokers': {
    type: values.brokerAddresses,
    fallback: () => [],
    description: 'Brokers that are asked first, as host:port or [IPv6]:port; for the bus `kafka`.',
  },
  'kafka.clientId': {
    type: values.clientId,
    fallback: () => 'vxseal',
    description: 'Name under which the brokers know and limit us.',
  },
  'kafka.topicPrefix': {
    type: values.topicPrefix,
    fallback: () => '',
    fallbackText: 'none',
    description: 'Stands before the names of the topics, where clusters share brokers.',
  },
  'kafka.replicationFactor': {
    type: values.integer(0, 32767),
    fallback: () => 0,
    fallbackText: "0: the brokers' default",
    description: 'Copies of topics that the agent creates; three in production.',
  },
  'kafka.tls': {
    type: values.boolean,
    fallback: () => false,
    description: 'Connections to the brokers are encrypted, and their certificates checked.',
  },
  'kafka.tlsCa': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: "Node.js's own list",
    description: "PEM file of the CAs that the brokers' certificates must come from.",
  },
  'kafka.tlsCert': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description: 'PEM file of our certificate for the brokers (mTLS). Files are read again when they change.',
  },
  'kafka.tlsKey': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description: 'PEM file of its private key, mode 0600.',
  },
  'kafka.saslMechanism': {
    type: values.choice('none', 'plain', 'scram-sha-256', 'scram-sha-512'),
    fallback: () => 'none',
    description: 'How we authenticate with a password; `plain` only with `kafka.tls`.',
  },
  'kafka.saslUsername': {
    type: values.saslUsername,
    fallback: () => '',
    fallbackText: 'none',
    description: 'User name for the brokers.',
  },
  'kafka.saslPasswordFile': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description: 'File of the password, mode 0600.',
  },
  'underlay.devices': {
    type: values.deviceNames,
    fallback: () => [],
    fallbackText: 'those that carry the VTEP addresses',
    description: 'Network devices that carry encrypted packets between nodes.',
  },
  'underlay.vteps': {
    type: values.vtepAddresses,
    fallback: () => [],
    fallbackText: "those of the certificate's grant that are configured here",
    description: 'Our outer addresses, at most one of each family.',
  },
  'underlay.espPort': {
    type: values.port,
    fallback: () => 4500,
    description: 'UDP port for ESP (RFC 3948).',
  },
  'underlay.sharedPort': {
    type: values.boolean,
    fallback: () => false,
    description: 'An IKE daemon uses the same UDP port: what is not ours passes to the stack.',
  },
  'underlay.xdp': {
    type: values.choice('auto', 'native', 'tc'),
    fallback: () => 'auto',
    description:
      "Where packets are decrypted: in the driver's XDP where it has it and else in tc ingress, or in one of the two only.",
  },
  'underlay.tune': {
    type: values.choice('auto', 'off'),
    fallback: () => 'auto',
    description: 'Switch threaded NAPI and GRO on for the underlay devices, and back at --cleanup.',
  },
  'overlay.engine': {
    type: values.choice('bpf', 'xfrm'),
    fallback: () => 'bpf',
    description:
      "Who encrypts: our programs, or the kernel's own IPsec where it has ESP (docs/engines.md). Nodes of both mix.",
  },
  'overlay.device': {
    type: values.deviceName,
    fallback: () => 'vxseal0',
    description: 'Name of the VXLAN device that the agent makes.',
  },
  'overlay.vni': {
    type: values.vni,
    fallback: () => 1 as Vni,
    description: 'VNI of the host and of pods that name none (RFC 7348 §5).',
  },
  'overlay.port': {
    type: values.port,
    // Not 4789 or 8472: hypervisor networks swallow or rewrite those. It is inside the ciphertext anyway.
    fallback: () => 14789,
    description: 'UDP port of VXLAN, inside the ciphertext.',
  },
  'overlay.mtuBytes': {
    // RFC 791: 68 is the least a link must carry; the inner packet's length field ends the range.
    type: choiceOfMtu(),
    fallback: () => 0,
    fallbackText: '0: computed from the underlay',
    description: 'MTU of the pods, bytes.',
  },
  'overlay.prefixes': {
    type: values.prefixGroups,
    fallback: () => [],
    description: 'Pod prefixes of this node.',
  },
  'overlay.protectedPrefixes': {
    type: values.prefixGroups,
    fallback: undefined,
    description:
      'Whole pod ranges of the cluster, for each VNI in use; they hold `overlay.prefixes`. What lies in them and belongs to no peer is dropped.',
  },
  'overlay.pools': {
    type: values.prefixGroups,
    fallback: () => [],
    description:
      'Ranges of `overlay.vni` whose addresses belong to whichever node has the pod: each is claimed by a signed record of its own.',
  },
  'overlay.shared': {
    type: sharedServices,
    fallback: () => [],
    description:
      'Services that a tenant shares with named addresses of others, the same on every node (docs/policy.md).',
  },
  'adoption.permissivePrefixes': {
    type: values.prefixGroups,
    fallback: () => [],
    description:
      'Ranges of `overlay.protectedPrefixes` that permissive pods speak with in clear until a node announces them (docs/adoption.md).',
  },
  'adoption.allow': {
    type: values.weakerModes,
    fallback: () => [],
    description: 'Modes that a network, an annotation or a command may give a pod besides `strict`.',
  },
  'policies.path': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description: 'Folder of NetworkPolicy, Namespace and Pod manifests, beside those that the bus carries.',
  },
  'keys.packetLimit': {
    // Beyond the limit the counter goes on by a packet a CPU; half the range leaves room for any number of them.
    type: values.bigInteger(1024n, 1n << 63n),
    fallback: () => 1n << 40n,
    description: 'Packets that one key may seal; at the limit it stops.',
  },
  'keys.leaseMs': {
    // What peers believe at most, core/verify.ts MAX_LEASE_MS.
    type: values.duration(10 * SECOND_MS, 24 * HOUR_MS),
    fallback: () => 12 * HOUR_MS,
    description: 'How long a record of ours stands without renewal; renewed when half of it is over.',
  },
  'keys.hardLimitMs': {
    type: values.duration(10 * SECOND_MS, 30 * 24 * HOUR_MS),
    fallback: () => 24 * HOUR_MS,
    description: 'After this long in a retired epoch a peer is down, never in clear.',
  },
  'keys.rotateMs': {
    type: values.duration(10 * SECOND_MS, 30 * 24 * HOUR_MS),
    fallback: () => HOUR_MS,
    description:
      'New keys at the latest after this long; each node at a moment of its own in the second half.',
  },
  'keys.pskFile': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description: 'File of a key that all nodes share, 64 hex digits, mode 0600; mixed into every key.',
  },
  'probes.intervalMs': {
    type: values.duration(100, HOUR_MS),
    fallback: () => 3 * SECOND_MS,
    description: 'How often each tunnel is probed.',
  },
  'probes.timeoutMs': {
    type: values.duration(200, HOUR_MS),
    fallback: () => 12 * SECOND_MS,
    description: 'A peer that has answered no probe for this long is stalled.',
  },
  'cni.confDir': {
    type: values.optionalPath,
    fallback: () => '',
    description:
      "The container runtime's network lists, where our plugin is put back whenever it is missing; empty: never.",
  },
  'cni.network': {
    type: values.networkName,
    fallback: () => '',
    fallbackText: 'the one that the runtime takes',
    description: 'Name of the network that our plugin is kept in.',
  },
  'cni.nriSocket': {
    type: values.optionalPath,
    fallback: () => '',
    fallbackText: 'none',
    description:
      "The container runtime's NRI socket, usually /var/run/nri/nri.sock: it tells the labels of its pods.",
  },
  reconcileIntervalMs: {
    type: values.duration(100, HOUR_MS),
    fallback: () => 3 * SECOND_MS,
    description: 'How often what is in the kernel is compared with what should be.',
  },
  'http.listen': {
    type: values.listenAddress,
    fallback: () => '127.0.0.1:9477',
    description: 'Status page, metrics and read-only API: address:port, or "" for none.',
  },
  'log.level': {
    type: values.choice('debug', 'info', 'warn', 'error'),
    fallback: () => 'info',
    description: 'Least severe level that is written.',
  },
};

export const KEY_PATHS = Object.keys(KEYS) as readonly KeyPath[];

/** Sections of the file: "identity", "underlay", … */
export const SECTIONS: ReadonlySet<string> = new Set(
  KEY_PATHS.filter((path) => path.includes('.')).map((path) => path.slice(0, path.indexOf('.'))),
);

export function isKeyPath(path: string): path is KeyPath {
  return Object.hasOwn(KEYS, path);
}

/** "underlay.espPort" -> "VXSEAL_UNDERLAY_ESP_PORT". */
export function environmentName(path: KeyPath): string {
  return `VXSEAL_${words(path).join('_').toUpperCase()}`;
}

/** "underlay.espPort" -> "--underlay-esp-port". */
export function flagName(path: KeyPath): string {
  return `--${words(path).join('-').toLowerCase()}`;
}

function words(path: string): string[] {
  return path.replace(/[A-Z]/g, (letter) => `.${letter}`).split('.');
}

/** 0, or a size that an IP packet can have. */
function choiceOfMtu(): values.ValueType<number> {
  const size = values.integer(68, 65535);
  return {
    label: `0 or ${size.label}`,
    parse: (raw) => (raw === 0 || raw === 0n || raw === '0' ? { ok: true, value: 0 } : size.parse(raw)),
    plain: (value) => value,
  };
}
