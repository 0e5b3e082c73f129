// Types of configuration values: how each is read from text (environment, flag) or from a YAML value, and how it is
// written back. Knows no key; says what was wrong and what would be right.
import { posix } from 'node:path';
import type { WeakerMode } from '../core/adoption';
import { addressFamily, parseAddress, parsePrefix } from '../core/bytes';
import type { IpAddress, NodeName, Prefix, Vni } from '../core/ids';
import { parseNodeName } from '../core/names';
import { accept, type Result, refuse } from '../core/result';

export type ValueResult<T> = Result<T, 'invalid'>;

export interface ValueType<T> {
  /** For the reference and for remedies: "integer 1 to 65535". */
  readonly label: string;
  /** @param raw text, or what YAML made of it: boolean, number, bigint, array, plain object. */
  parse(raw: unknown): ValueResult<T>;
  /** What parse() would read again; plain JSON. */
  plain(value: T): unknown;
}

export interface PrefixGroup {
  readonly vni: Vni;
  readonly prefixes: readonly Prefix[];
}

/** Stands for overlay.vni in a prefix that names no VNI, until all keys are known. */
export const UNNAMED_VNI = 0 as Vni;
const MAX_VNI = 16777215; // RFC 7348 §5: 24 bits

export function invalid<T>(raw: unknown, reason: string): ValueResult<T> {
  return refuse('invalid', `${quote(raw)} ${reason}`);
}

function quote(raw: unknown): string {
  const text = typeof raw === 'string' ? JSON.stringify(raw) : describeRaw(raw);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

function describeRaw(raw: unknown): string {
  if (typeof raw === 'object' && raw !== null) {
    return Array.isArray(raw) ? 'a list' : 'a section';
  }
  return String(raw);
}

const NODE_NAME_REASON =
  'is not a node name: 1 to 63 of a-z, 0-9, "-" and ".", beginning and ending with a letter or digit';

function textType<T extends string>(label: string, pattern: RegExp, reason: string): ValueType<T> {
  return {
    label,
    parse: (raw) =>
      typeof raw === 'string' && pattern.test(raw) ? accept(raw as T) : invalid(raw, textReason(raw, reason)),
    plain: (value) => value,
  };
}

function textReason(raw: unknown, reason: string): string {
  return typeof raw === 'string' ? reason : `${reason} (if it is meant as text, put it in quotes)`;
}

export const nodeName: ValueType<NodeName> = {
  label: 'node name',
  parse: (raw) => {
    const parsed = parseNodeName(typeof raw === 'string' ? raw : '');
    return parsed.ok ? accept(parsed.value) : invalid(raw, textReason(raw, NODE_NAME_REASON));
  },
  plain: (value) => value,
};

// SPIFFE-ID §2.1.
export const trustDomain: ValueType<string> = textType(
  'trust domain',
  /^[a-z0-9._-]{1,255}$/,
  'is not a trust domain: 1 to 255 of a-z, 0-9, ".", "-" and "_"',
);

// What the kernel takes (dev_valid_name, IFNAMSIZ) without what would break a list or a path of sysctl.
const DEVICE = /^(?!\.{1,2}$)[^\s/:,]{1,15}$/;

export const deviceName: ValueType<string> = textType(
  'device name',
  DEVICE,
  'is not a device name: 1 to 15 characters without spaces, "/", ":" and ","',
);

export const absolutePath: ValueType<string> = {
  label: 'absolute path',
  parse: (raw) => {
    if (typeof raw !== 'string' || !raw.startsWith('/') || raw.includes('\0')) {
      return invalid(raw, textReason(raw, 'is not an absolute path: it must begin with "/"'));
    }
    const path = posix.normalize(raw);
    return accept(path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path);
  },
  plain: (value) => value,
};

/** '' for none. */
export const optionalPath: ValueType<string> = {
  ...absolutePath,
  parse: (raw) => (raw === '' ? accept('') : absolutePath.parse(raw)),
};

export const boolean: ValueType<boolean> = {
  label: 'true or false',
  parse: (raw) => {
    if (raw === true || raw === 'true') return accept(true);
    if (raw === false || raw === 'false') return accept(false);
    return invalid(raw, 'is neither true nor false');
  },
  plain: (value) => value,
};

export function choice<T extends string>(...words: readonly T[]): ValueType<T> {
  const label = words.join(', ');
  return {
    label,
    parse: (raw) => {
      const found = words.find((word) => word === raw);
      return found === undefined ? invalid(raw, `is none of: ${label}`) : accept(found);
    },
    plain: (value) => value,
  };
}

/** Whole number within the limits, both included. */
export function bigInteger(min: bigint, max: bigint): ValueType<bigint> {
  const label = `integer ${min} to ${max}`;
  return {
    label,
    parse: (raw) => {
      const value = toBigint(raw);
      if (value === undefined) return invalid(raw, 'is not a whole number');
      return value < min || value > max ? invalid(raw, `is not from ${min} to ${max}`) : accept(value);
    },
    plain: (value) => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value.toString()),
  };
}

function toBigint(raw: unknown): bigint | undefined {
  if (typeof raw === 'bigint') return raw;
  if (typeof raw === 'number' && Number.isSafeInteger(raw)) return BigInt(raw);
  return typeof raw === 'string' && /^-?\d{1,20}$/.test(raw) ? BigInt(raw) : undefined;
}

export function integer<T extends number = number>(min: number, max: number): ValueType<T> {
  const { label, parse } = bigInteger(BigInt(min), BigInt(max));
  return {
    label,
    parse: (raw) => {
      const parsed = parse(raw);
      return parsed.ok ? accept(Number(parsed.value) as T) : parsed;
    },
    plain: (value) => value,
  };
}

export const port = integer(1, 65535);
export const vni = integer<Vni>(1, MAX_VNI);

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds. Text is a number with a unit ("1h30m", "1.5s"); a bare number is milliseconds. */
export function duration(minMs: number, maxMs: number): ValueType<number> {
  const label = `duration ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return {
    label,
    parse: (raw) => {
      const ms = toMs(raw);
      if (ms === undefined) return invalid(raw, 'is not a duration such as 500ms, 5s, 1h or 1h30m');
      const range = `is not from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
      return ms < minMs || ms > maxMs ? invalid(raw, range) : accept(ms);
    },
    plain: (value) => value,
  };
}

function toMs(raw: unknown): number | undefined {
  const whole = toBigint(raw);
  if (whole !== undefined) return Number(whole);
  if (typeof raw !== 'string' || !/^(\d{1,12}(\.\d{1,6})?(ms|s|m|h|d))+$/.test(raw)) return undefined;
  let ms = 0;
  for (const [, amount, unit] of raw.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)) {
    ms += Number(amount) * (UNIT_MS[unit ?? ''] ?? Number.NaN);
  }
  return Number.isInteger(ms) ? ms : undefined;
}

/** The largest unit that divides it: 5000 -> "5s". */
export function formatDuration(ms: number): string {
  const units = Object.entries(UNIT_MS).reverse();
  const [name, size] = units.find(([, unitMs]) => ms !== 0 && ms % unitMs === 0) ?? ['ms', 1];
  return `${ms / size}${name}`;
}

/** In text the elements stand between commas. Order is kept, repetition refused. */
function listOf<T extends string>(element: ValueType<T>, label: string): ValueType<readonly T[]> {
  return {
    label,
    parse: (raw) => {
      const parts = splitList(raw);
      if (parts === undefined) return invalid(raw, 'is not a list');
      const values: T[] = [];
      for (const part of parts) {
        const parsed = element.parse(part);
        if (!parsed.ok) return parsed;
        if (values.includes(parsed.value)) return invalid(part, 'stands twice in the list');
        values.push(parsed.value);
      }
      return accept(values);
    },
    plain: (value) => value,
  };
}

export function splitList(raw: unknown): readonly unknown[] | undefined {
  if (Array.isArray(raw)) return raw;
  if (typeof raw !== 'string') return undefined;
  return raw.trim() === '' ? [] : raw.split(',').map((part) => part.trim());
}

export const deviceNames = listOf(deviceName, 'list of device names');

export const weakerModes = listOf(choice<WeakerMode>('permissive', 'off'), 'list of permissive, off');

const address: ValueType<IpAddress> = {
  label: 'IP address',
  parse: (raw) => {
    const parsed = parseAddress(typeof raw === 'string' ? raw : '');
    return parsed.ok ? accept(parsed.value) : invalid(raw, textReason(raw, 'is not an IP address'));
  },
  plain: (value) => value,
};

/** Outer addresses: the packet format has room for one of each family. */
export const vtepAddresses: ValueType<readonly IpAddress[]> = {
  ...listOf(address, 'list of IP addresses, one of each family'),
  parse: (raw) => {
    const parsed = listOf(address, '').parse(raw);
    if (!parsed.ok) return parsed;
    const families = new Set(parsed.value.map(addressFamily));
    return families.size === parsed.value.length ? parsed : invalid(raw, 'has two addresses of one family');
  },
};

/** '' for none. Addresses only: what a name means could change under us. */
export const listenAddress: ValueType<string> = {
  label: 'address:port or [IPv6]:port',
  parse: (raw) => {
    if (raw === '') return accept('');
    const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(typeof raw === 'string' ? raw : '');
    const [, six, four = '', portText = ''] = parts ?? [];
    const host = parseAddress(six ?? four);
    const number = port.parse(portText);
    const fits = host.ok && addressFamily(host.value) === (six === undefined ? 4 : 6);
    if (!fits || !number.ok) return invalid(raw, textReason(raw, 'is not address:port or [IPv6]:port'));
    return accept(`${six === undefined ? host.value : `[${host.value}]`}:${number.value}`);
  },
  plain: (value) => value,
};

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

/** Host names as resolvers take them (RFC 1123 §2.1). */
const HOST =
  /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*$/;

const brokerAddress: ValueType<string> = {
  label: 'host:port',
  parse: (raw) => {
    const text = typeof raw === 'string' ? raw : '';
    const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([^[\]:]+)):(\d{1,5})$/.exec(text);
    const number = port.parse(parts?.[3] ?? '');
    const [, bracketed, plainHost = ''] = parts ?? [];
    const inner = bracketed === undefined ? undefined : parseAddress(bracketed);
    const hostIsGood =
      inner === undefined ? HOST.test(plainHost) : inner.ok && addressFamily(inner.value) === 6;
    if (!number.ok || !hostIsGood) return invalid(raw, textReason(raw, 'is not host:port or [IPv6]:port'));
    return accept(`${inner?.ok ? `[${inner.value}]` : plainHost}:${number.value}`);
  },
  plain: (value) => value,
};

export const brokerAddresses: ValueType<readonly BrokerAddress[]> = {
  label: 'list of host:port',
  parse: (raw) => {
    const parsed = listOf(brokerAddress, '').parse(raw);
    if (!parsed.ok) return parsed;
    return accept(
      parsed.value.map((text) => {
        const colon = text.lastIndexOf(':');
        return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
      }),
    );
  },
  plain: (value) =>
    value.map(({ host, port: number }) => `${host.includes(':') ? `[${host}]` : host}:${number}`),
};

export const clientId: ValueType<string> = textType(
  'name',
  /^[A-Za-z0-9._-]{1,100}$/,
  'is not a client id: 1 to 100 of A-Z, a-z, 0-9, ".", "-" and "_"',
);

/** Leaves room for our names: topics have at most 249 characters. */
export const topicPrefix: ValueType<string> = textType(
  'beginning of a topic name, or nothing',
  /^[A-Za-z0-9._-]{0,200}$/,
  'is not the beginning of a topic name: up to 200 of A-Z, a-z, 0-9, ".", "-" and "_"',
);

export const saslUsername: ValueType<string> = textType(
  'user name',
  /^[^\p{Cc}]{0,255}$/u,
  'is not a user name: up to 255 characters, none of control',
);

export const networkName: ValueType<string> = textType(
  'network name',
  /^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,252})?$/,
  'is not the name of a CNI network: letters, digits, "_", "." and "-"',
);

/**
 * Prefixes by VNI, sorted by VNI and then text. An element is "10.1.0.0/24" (the host's VNI), "42=10.1.0.0/24", or
 * in the file also {vni: 42, prefixes: [...]}.
 */
export const prefixGroups: ValueType<readonly PrefixGroup[]> = {
  label: 'list of prefixes, each as 10.1.0.0/24 or 42=10.1.0.0/24 (VNI 42)',
  parse: (raw) => {
    const parts = splitList(raw);
    if (parts === undefined) return invalid(raw, 'is not a list');
    const groups: PrefixGroup[] = [];
    for (const part of parts) {
      const parsed = typeof part === 'string' ? parseTagged(part) : parseGroup(part);
      if (!parsed.ok) return parsed;
      groups.push(parsed.value);
    }
    return accept(mergeGroups(groups));
  },
  plain: (value) => value,
};

function parseTagged(text: string): ValueResult<PrefixGroup> {
  const separator = text.indexOf('=');
  const tag: ValueResult<Vni> = separator < 0 ? accept(UNNAMED_VNI) : vni.parse(text.slice(0, separator));
  if (!tag.ok) return tag;
  const prefix = parsePrefix(text.slice(separator + 1));
  return prefix.ok
    ? accept({ vni: tag.value, prefixes: [prefix.value] })
    : invalid(text, `is not usable: ${prefix.detail}`);
}

function parseGroup(raw: unknown): ValueResult<PrefixGroup> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    return invalid(raw, 'is neither a prefix nor {vni: …, prefixes: […]}');
  }
  const { vni: rawVni, prefixes: rawPrefixes, ...rest } = raw as Readonly<Record<string, unknown>>;
  const stray = Object.keys(rest)[0];
  if (stray !== undefined)
    return invalid(stray, 'is no key of a prefix group; its keys are vni and prefixes');
  const tag = rawVni === undefined ? accept(UNNAMED_VNI) : vni.parse(rawVni);
  if (!tag.ok) return tag;
  if (!Array.isArray(rawPrefixes)) return invalid(rawPrefixes, 'is not a list of prefixes');
  const prefixes: Prefix[] = [];
  for (const rawPrefix of rawPrefixes) {
    const prefix = parsePrefix(typeof rawPrefix === 'string' ? rawPrefix : '');
    if (!prefix.ok) return invalid(rawPrefix, `is not usable: ${prefix.detail}`);
    prefixes.push(prefix.value);
  }
  return accept({ vni: tag.value, prefixes });
}

/** One group per VNI; equal prefixes once. */
export function mergeGroups(groups: readonly PrefixGroup[]): readonly PrefixGroup[] {
  const byVni = new Map<Vni, Set<Prefix>>();
  for (const group of groups) {
    const merged = byVni.get(group.vni) ?? new Set();
    byVni.set(group.vni, merged);
    for (const prefix of group.prefixes) merged.add(prefix);
  }
  return [...byVni]
    .sort(([a], [b]) => a - b)
    .map(([tag, prefixes]) => ({ vni: tag, prefixes: [...prefixes].sort() }));
}
