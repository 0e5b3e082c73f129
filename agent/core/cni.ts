// The words of the Container Network Interface (CNI spec 1.1.0): what a call of the runtime says, what is answered.
// Pure grammar. Whether there is such a pod, and what to do with it, is sources/cni.ts'.
import { POD_MODES } from './adoption';
import { accept, type Result, refuse } from './result';

/** Result formats of 0.3.0 and later; those before have one address a family and no interfaces. */
export const CNI_VERSIONS: readonly string[] = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

/** CNI spec §"Error"; 100 and above are the plugin's own. */
export const CNI_CODE = {
  version: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  environment: 4,
  decode: 6,
  config: 7,
  tryLater: 11,
  notAvailable: 50,
  checkFailed: 100,
  internal: 999,
} as const;

export type CniCode = (typeof CNI_CODE)[keyof typeof CNI_CODE];
export type CniReason = 'version' | 'unsupportedField' | 'environment' | 'decode' | 'config';

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;
export type CniCommand = (typeof COMMANDS)[number];

export type JsonObject = { readonly [key: string]: unknown };

/** What the runtime calls a pod's connection to a network: unique on the node. */
export interface CniAttachment {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

export type ContainerDevice = Omit<CniAttachment, 'network'>;

export interface CniCall {
  readonly command: CniCommand;
  readonly cniVersion: string;
  /** Container id and device are '' for GC and STATUS. */
  readonly attachment: CniAttachment;
  /** '' where the runtime has none any more, or never had. */
  readonly netnsPath: string;
  /** From CNI_ARGS as the kubelet's runtimes set it; without, the container's id in the network. */
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly annotations: Readonly<Record<string, string>>;
  readonly vni: number | undefined;
  /** Of the network, as it stands there; what it means is adoption.ts'. */
  readonly mode: string | undefined;
  readonly prevResult: JsonObject | undefined;
  /** What the runtime still knows; only of GC, and only if it says so. */
  readonly valid: readonly ContainerDevice[] | undefined;
}

const ANNOTATIONS_CAPABILITY = 'io.kubernetes.cri.pod-annotations';
/** Ours, those that libcni fills in, and the spec's general ones. A mistyped "vni" would join the wrong tenant. */
const KNOWN_KEYS = new Set([
  'args',
  'capabilities',
  'cniVersion',
  'disableCheck',
  'disableGC',
  'dns',
  'ipMasq',
  'ipam',
  'mode',
  'name',
  'prevResult',
  'runtimeConfig',
  'socket',
  'type',
  'vni',
]);
const RESERVED_PREFIX = 'cni.dev/';
const MAX_ANNOTATIONS = 1000;
const MAX_VNI = 2 ** 24 - 1;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * @param bytes "NAME=value\0" for each variable, one more "\0", then the network configuration, as native/cni-shim.c
 *   sends them. Hostile: everything is refused by reason, nothing throws.
 */
export function decodeCniCall(bytes: Uint8Array): Result<CniCall, CniReason> {
  const split = splitRequest(bytes);
  if (split === undefined) return refuse('decode', 'the request is cut off');
  const { environment, text } = split;
  const command = COMMANDS.find((known) => known === environment.get('CNI_COMMAND'));
  if (command === undefined) return refuse('environment', `CNI_COMMAND is none of ${COMMANDS.join(', ')}`);
  const config = parseObject(text);
  if (config === undefined) return refuse('decode', 'the network configuration is no JSON object');
  const wrong = wrongEnvironment(command, environment) ?? wrongConfig(command, config);
  if (wrong !== undefined) return wrong;
  const network = String(config.name);
  const containerId = environment.get('CNI_CONTAINERID') ?? '';
  return accept({
    command,
    cniVersion: String(config.cniVersion),
    attachment: { network, containerId, ifname: environment.get('CNI_IFNAME') ?? '' },
    netnsPath: environment.get('CNI_NETNS') ?? '',
    pod: podOf(environment.get('CNI_ARGS') ?? '', network, containerId),
    annotations: annotationsOf(config),
    vni: typeof config.vni === 'number' ? config.vni : undefined,
    mode: typeof config.mode === 'string' ? config.mode : undefined,
    prevResult: isObject(config.prevResult) ? config.prevResult : undefined,
    valid: validAttachments(config),
  });
}

function splitRequest(bytes: Uint8Array): { environment: Map<string, string>; text: string } | undefined {
  const environment = new Map<string, string>();
  const decoder = new TextDecoder();
  for (let at = 0; ; ) {
    const end = bytes.indexOf(0, at);
    if (end < 0) return undefined;
    if (end === at) return { environment, text: decoder.decode(bytes.subarray(end + 1)) };
    const line = decoder.decode(bytes.subarray(at, end));
    const equals = line.indexOf('=');
    if (equals > 0) environment.set(line.slice(0, equals), line.slice(equals + 1));
    at = end + 1;
  }
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return isObject(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

type Refusal = Extract<Result<CniCall, CniReason>, { readonly ok: false }>;

/** CNI spec §"Parameters": which variables each command needs, and what they may hold. */
function wrongEnvironment(
  command: CniCommand,
  environment: ReadonlyMap<string, string>,
): Refusal | undefined {
  if (command === 'GC' || command === 'STATUS') return undefined;
  const containerId = environment.get('CNI_CONTAINERID') ?? '';
  const ifname = environment.get('CNI_IFNAME') ?? '';
  const netns = environment.get('CNI_NETNS') ?? '';
  if (!isContainerId(containerId)) return refuse('environment', 'CNI_CONTAINERID is missing or not an id');
  if (!isDeviceName(ifname)) return refuse('environment', 'CNI_IFNAME is missing or not a device name');
  if (netns.length > 4096 || (command !== 'DEL' && !netns.startsWith('/')))
    return refuse('environment', 'CNI_NETNS is missing or not an absolute path');
  return undefined;
}

const isContainerId = (text: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$/.test(text);
const isDeviceName = (text: string): boolean =>
  /^[^/:\s\p{Cc}]{1,15}$/u.test(text) && text !== '.' && text !== '..';

/** What is left must leave: DEL and GC mind only what they need. */
function wrongConfig(command: CniCommand, config: JsonObject): Refusal | undefined {
  const { cniVersion, name, vni, mode } = config;
  if (typeof cniVersion !== 'string' || !CNI_VERSIONS.includes(cniVersion))
    return refuse(
      'version',
      `cniVersion ${short(cniVersion)} is none of ${CNI_VERSIONS.join(', ')}: change it in the conflist`,
    );
  if (typeof name !== 'string' || !/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/.test(name))
    return refuse('config', 'the network has no name, or one that is none: set "name" in the conflist');
  if (command === 'GC' && validAttachments(config) === undefined && listOf(config) !== undefined)
    return refuse('config', 'cni.dev/valid-attachments is no list of attachments');
  if (command !== 'ADD' && command !== 'CHECK') return undefined;
  const unknown = Object.keys(config).find((key) => !KNOWN_KEYS.has(key) && !key.startsWith(RESERVED_PREFIX));
  if (unknown !== undefined)
    return refuse(
      'unsupportedField',
      `${short(unknown)}: ${short(config[unknown])} is not a field of this plugin`,
    );
  if (vni !== undefined && !(Number.isInteger(vni) && Number(vni) >= 1 && Number(vni) <= MAX_VNI))
    return refuse('config', `vni ${short(vni)} is no whole number from 1 to ${MAX_VNI}`);
  if (mode !== undefined && !POD_MODES.some((known) => known === mode))
    return refuse('config', `mode ${short(mode)} is none of ${POD_MODES.join(', ')}`);
  if (!isObject(config.prevResult))
    return refuse(
      'config',
      'there is no prevResult: this plugin comes after the one that makes the pod its network',
    );
  return undefined;
}

const short = (value: unknown): string => String(JSON.stringify(value)).slice(0, 80);

/** CNI_ARGS is "KEY=VALUE;KEY=VALUE"; lengths are those of Kubernetes' names. */
function podOf(args: string, network: string, containerId: string): CniCall['pod'] {
  const pairs = new Map(
    args.split(';').map((pair) => {
      const equals = pair.indexOf('=');
      return [pair.slice(0, equals), pair.slice(equals + 1)] as const;
    }),
  );
  const take = (key: string, fallback: string): string => {
    const value = pairs.get(key) ?? '';
    return /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}$/.test(value) ? value : fallback;
  };
  return {
    name: take('K8S_POD_NAME', containerId.slice(0, 63)),
    namespace: take('K8S_POD_NAMESPACE', network),
    uid: take('K8S_POD_UID', ''),
  };
}

function annotationsOf({ runtimeConfig }: JsonObject): Record<string, string> {
  const given = isObject(runtimeConfig) ? runtimeConfig[ANNOTATIONS_CAPABILITY] : undefined;
  const entries = isObject(given) ? Object.entries(given).slice(0, MAX_ANNOTATIONS) : [];
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** "cni.dev/attachments" is the name that release candidates of 1.1.0 used. */
const listOf = (config: JsonObject): unknown =>
  'cni.dev/valid-attachments' in config ? config['cni.dev/valid-attachments'] : config['cni.dev/attachments'];

/** Undefined where there is none: libcni may call without, and nothing is to be judged then. */
function validAttachments(config: JsonObject): ContainerDevice[] | undefined {
  // libcni writes an empty list as null.
  const given = listOf(config) === null ? [] : listOf(config);
  if (!Array.isArray(given)) return undefined;
  const valid = given.flatMap((entry: unknown) => {
    if (!isObject(entry)) return [];
    const { containerID, ifname } = entry;
    return typeof containerID === 'string' && typeof ifname === 'string'
      ? [{ containerId: containerID, ifname }]
      : [];
  });
  return valid.length === given.length ? valid : undefined;
}

/**
 * The result that is passed on: the former plugins' as it came, but for MTUs that we have lowered. Only results of
 * 1.1.0 and later hold any.
 */
export function passOn(call: CniCall, mtuBytes: number): JsonObject {
  const { prevResult = {}, cniVersion, netnsPath, attachment } = call;
  const { interfaces, routes } = prevResult;
  const lower = (entry: unknown): unknown =>
    isObject(entry) && typeof entry.mtu === 'number' && entry.mtu > mtuBytes
      ? { ...entry, mtu: mtuBytes }
      : entry;
  const isOurs = (entry: unknown): boolean =>
    isObject(entry) && entry.name === attachment.ifname && entry.sandbox === netnsPath;
  return {
    ...prevResult,
    cniVersion,
    ...(Array.isArray(interfaces)
      ? { interfaces: interfaces.map((entry: unknown) => (isOurs(entry) ? lower(entry) : entry)) }
      : {}),
    ...(Array.isArray(routes) ? { routes: routes.map(lower) } : {}),
  };
}
