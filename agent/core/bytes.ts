// Addresses, prefixes and MACs between text and bytes. Every address is 16 bytes here, an IPv4 address in its
// IPv4-mapped form (RFC 4291 §2.5.5.2), as in bpf/abi.h. Pure; knows nothing of maps or records.
import type { IpAddress, Prefix } from './ids';
import { accept, type Result, refuse } from './result';

export type AddressFamily = 4 | 6;
export type AddressReason = 'bad-address';
export type PrefixReason = 'bad-prefix';
export type MacReason = 'bad-mac';

const MAPPED_BITS = 96;
/** Text is quoted in a refusal only up to here: it may be hostile and of any length. */
const QUOTED_CHARS = 64;

const quote = (text: string): string => JSON.stringify(text.slice(0, QUOTED_CHARS));

function ipv4Octets(text: string): number[] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  const octets: number[] = [];
  for (const part of match.slice(1)) {
    // A leading zero is octal to some parsers and decimal to others: an ambiguous address is none.
    if ((part.length > 1 && part.startsWith('0')) || Number(part) > 255) return undefined;
    octets.push(Number(part));
  }
  return octets;
}

/** Groups of one side of "::", the last of them possibly dotted IPv4 (RFC 4291 §2.2). */
function ipv6Groups(text: string, dottedAllowed: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const octets = dottedAllowed && index === parts.length - 1 ? ipv4Octets(part) : undefined;
    if (octets === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = octets;
    groups.push(a * 256 + b, c * 256 + d);
  }
  return groups;
}

function ipv6Bytes(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined; // eight groups, the last two dotted
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const head = ipv6Groups(halves[0] ?? '', halves.length === 1);
  const tail = halves.length === 2 ? ipv6Groups(halves[1] ?? '', true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const used = head.length + tail.length;
  if (halves.length === 1 ? used !== 8 : used > 7) return undefined;
  const bytes = new Uint8Array(16);
  const groups = [...head, ...new Array<number>(8 - used).fill(0), ...tail];
  for (const [index, group] of groups.entries()) {
    bytes[2 * index] = group >> 8;
    bytes[2 * index + 1] = group & 0xff;
  }
  return bytes;
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

function textBytes(text: string): Uint8Array | undefined {
  const octets = ipv4Octets(text);
  if (octets === undefined) return text.includes(':') ? ipv6Bytes(text) : undefined;
  const bytes = new Uint8Array(16);
  bytes.set([0xff, 0xff, ...octets], 10);
  return bytes;
}

/**
 * Text of any notation to its canonical form (RFC 5952 §4 for IPv6). Zone identifiers are refused, and so are
 * IPv4-mapped IPv6 addresses: two texts for one address would let a check pass under the other.
 */
export function parseAddress(text: string): Result<IpAddress, AddressReason> {
  const bytes = textBytes(text);
  if (bytes === undefined) return refuse('bad-address', `${quote(text)} is not an IP address`);
  if (text.includes(':') && isMapped(bytes)) {
    return refuse('bad-address', `${quote(text)} is IPv4-mapped: write the IPv4 address`);
  }
  return accept(formatAddress(bytes));
}

/** 16 bytes, IPv4 mapped. Throws RangeError on text that did not come from parseAddress: a bug. */
export function addressBytes(address: IpAddress): Uint8Array {
  const bytes = textBytes(address);
  if (bytes === undefined) throw new RangeError(`${quote(address)} is not an IP address`);
  return bytes;
}

/** @param bytes 16 bytes; an IPv4-mapped address comes out as IPv4. */
export function formatAddress(bytes: Uint8Array): IpAddress {
  if (bytes.length !== 16) throw new RangeError(`an address has 16 bytes, not ${bytes.length}`);
  if (isMapped(bytes)) return bytes.subarray(12).join('.') as IpAddress;
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i] ?? 0) * 256 + (bytes[i + 1] ?? 0));
  // RFC 5952 §4.2: the longest run of at least two zero groups, the first of equals.
  let start = 0;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (length < 2) return hex.join(':') as IpAddress;
  return `${hex.slice(0, start).join(':')}::${hex.slice(start + length).join(':')}` as IpAddress;
}

export function addressFamily(address: IpAddress | Prefix): AddressFamily {
  return address.includes(':') ? 6 : 4;
}

/** Clears every bit from `bits` (0 to 128) on, in place. */
export function clearHostBits(bytes: Uint8Array, bits: number): void {
  for (let i = 0; i < bytes.length; i++) {
    const kept = Math.min(8, Math.max(0, bits - 8 * i));
    bytes[i] = (bytes[i] ?? 0) & (0xff00 >> kept);
  }
}

const equalBytes = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, index) => byte === b[index]);

/** "address/bits" with host bits zero, to its canonical text. An address without a length is not a prefix. */
export function parsePrefix(text: string): Result<Prefix, PrefixReason> {
  const match = /^([^/]*)\/(0|[1-9]\d{0,2})$/.exec(text);
  const address = match === null ? undefined : parseAddress(match[1] ?? '');
  if (match === null || address?.ok !== true) return refuse('bad-prefix', `${quote(text)} is not a prefix`);
  const bits = Number(match[2]);
  if (bits > (addressFamily(address.value) === 4 ? 32 : 128)) {
    return refuse('bad-prefix', `${quote(text)}: the length is too large`);
  }
  const prefix = networkPrefix(address.value, bits);
  if (prefix !== `${address.value}/${bits}`) {
    return refuse('bad-prefix', `${quote(text)}: bits behind the prefix are set; ${prefix} is meant?`);
  }
  return accept(prefix);
}

/** The prefix of `bits` bits (of the address's own family) that the address is in. */
export function networkPrefix(address: IpAddress, bits: number): Prefix {
  const family = addressFamily(address);
  if (!Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) {
    throw new RangeError(`${bits} is not a prefix length of IPv${family}`);
  }
  const bytes = addressBytes(address);
  clearHostBits(bytes, family === 4 ? MAPPED_BITS + bits : bits);
  return formatPrefix(bytes, family === 4 ? MAPPED_BITS + bits : bits);
}

/** The single address as a prefix: /32 or /128. */
export function hostPrefix(address: IpAddress): Prefix {
  return `${address}/${addressFamily(address) === 4 ? 32 : 128}` as Prefix;
}

/** @returns bytes: 16, host bits zero; mappedBits: 96 + the length for IPv4, the length for IPv6. */
export function prefixBytes(prefix: Prefix): { readonly bytes: Uint8Array; readonly mappedBits: number } {
  const slash = prefix.lastIndexOf('/');
  const bits = Number(prefix.slice(slash + 1));
  const family = addressFamily(prefix);
  if (slash < 0 || !Number.isInteger(bits) || bits < 0 || bits > (family === 4 ? 32 : 128)) {
    throw new RangeError(`${quote(prefix)} is not a prefix`);
  }
  const bytes = addressBytes(prefix.slice(0, slash) as IpAddress);
  return { bytes, mappedBits: family === 4 ? MAPPED_BITS + bits : bits };
}

/**
 * Inverse of prefixBytes. A prefix shorter than 96 bits over the mapped range is taken as IPv6, which is why
 * prefixCoversMapped() ones must not be given to the data plane.
 */
export function formatPrefix(bytes: Uint8Array, mappedBits: number): Prefix {
  const ipv4 = isMapped(bytes) && mappedBits >= MAPPED_BITS;
  return `${formatAddress(bytes)}/${ipv4 ? mappedBits - MAPPED_BITS : mappedBits}` as Prefix;
}

/** Every address of `inner` is in `outer`. Families never contain each other, not even ::/0. */
export function prefixContains(outer: Prefix, inner: Prefix): boolean {
  if (addressFamily(outer) !== addressFamily(inner)) return false;
  const wide = prefixBytes(outer);
  const narrow = prefixBytes(inner);
  if (narrow.mappedBits < wide.mappedBits) return false;
  clearHostBits(narrow.bytes, wide.mappedBits);
  return equalBytes(wide.bytes, narrow.bytes);
}

/** The two share an address: for prefixes that is, one contains the other. */
export function prefixOverlaps(a: Prefix, b: Prefix): boolean {
  return prefixContains(a, b) || prefixContains(b, a);
}

/**
 * An IPv6 prefix so wide that ::ffff:0:0/96 lies in it, such as ::/0. In a longest-prefix map with mapped
 * addresses it would match every IPv4 address as well.
 */
export function prefixCoversMapped(prefix: Prefix): boolean {
  if (addressFamily(prefix) === 4) return false;
  const { bytes, mappedBits } = prefixBytes(prefix);
  const mapped = addressBytes('0.0.0.0' as IpAddress);
  clearHostBits(mapped, mappedBits);
  return mappedBits <= MAPPED_BITS && equalBytes(bytes, mapped);
}

/** Six hexadecimal pairs with ':' to lower case. Groups have two digits: "2:0:…" is refused. */
export function parseMac(text: string): Result<string, MacReason> {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) {
    return refuse('bad-mac', `${quote(text)} is not a MAC address`);
  }
  return accept(text.toLowerCase());
}

/** 6 bytes. Throws RangeError on text that did not come from parseMac: a bug. */
export function macBytes(mac: string): Uint8Array {
  const parsed = parseMac(mac);
  if (!parsed.ok) throw new RangeError(parsed.detail);
  return Uint8Array.from(parsed.value.split(':'), (pair) => Number.parseInt(pair, 16));
}

/** @param bytes 6 bytes. */
export function formatMac(bytes: Uint8Array): string {
  if (bytes.length !== 6) throw new RangeError(`a MAC address has 6 bytes, not ${bytes.length}`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
