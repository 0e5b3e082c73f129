// Address blocks of a certificate: the IPAddrBlocks extension of RFC 3779 §2, its one canonical encoding, and
// containment. Knows families and ranges; who must contain whom is chain.ts. Throws DerError, inside this room only.
import { addressFamily, formatAddress, prefixBytes } from '../core/bytes';
import type { Prefix } from '../core/ids';
import { DerError, DerReader, encode, readBits, TAG } from './der';

/** RFC 3779 §2.2.1 */
export const ADDRESS_BLOCKS_OID = '1.3.6.1.5.5.7.1.7';

type Family = 4 | 6;
const FAMILIES: readonly Family[] = [4, 6];
const BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

/** Addresses from `first` to `last`, both included, as numbers within the family. */
export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Rising, with gaps between them; 'inherit' takes the issuer's. */
export type FamilyBlocks = readonly AddressRange[] | 'inherit';
/** A family that is absent has no address. */
export type AddressBlocks = ReadonlyMap<Family, FamilyBlocks>;
/** Blocks with nothing left to inherit. */
export type ResolvedBlocks = ReadonlyMap<Family, readonly AddressRange[]>;

export function blocksOf(prefixes: readonly Prefix[]): ResolvedBlocks {
  const blocks = new Map<Family, readonly AddressRange[]>();
  for (const family of FAMILIES) {
    const ranges = prefixes.filter((prefix) => addressFamily(prefix) === family).map(rangeOf);
    if (ranges.length > 0) blocks.set(family, merge(ranges));
  }
  return blocks;
}

/** The fewest prefixes that cover exactly these blocks, IPv4 first, rising. */
export function prefixesOf(blocks: ResolvedBlocks): Prefix[] {
  return FAMILIES.flatMap((family) =>
    (blocks.get(family) ?? []).flatMap((range) => splitRange(range, family)),
  );
}

/** RFC 3779 §2.3: every address of `inner` is in `outer`. */
export function containsBlocks(outer: ResolvedBlocks, inner: ResolvedBlocks): boolean {
  return [...inner].every(([family, ranges]) =>
    ranges.every(({ first, last }) =>
      // Ranges of `outer` have gaps between them, so one of them must hold all of it.
      (outer.get(family) ?? []).some((range) => range.first <= first && last <= range.last),
    ),
  );
}

/** Contents of the extension in the canonical form of RFC 3779 §2.2.3. */
export function encodeBlocks(blocks: AddressBlocks): Uint8Array {
  const families = FAMILIES.flatMap((family) => {
    const ranges = blocks.get(family);
    if (ranges === undefined) return [];
    const choice =
      ranges === 'inherit'
        ? encode(TAG.null)
        : encode(TAG.sequence, ...ranges.map((range) => encodeRange(range, family)));
    return [encode(TAG.sequence, encode(TAG.octetString, addressFamilyIdentifier(family)), choice)];
  });
  return encode(TAG.sequence, ...families);
}

/** @param body contents of the extension; throws DerError, also on a form that is not the canonical one. */
export function decodeBlocks(body: Uint8Array): AddressBlocks {
  const blocks = new Map<Family, FamilyBlocks>();
  const top = new DerReader(body);
  const families = top.into(TAG.sequence);
  top.end();
  while (!families.done) {
    const entry = families.into(TAG.sequence);
    const family = familyOf(entry.next(TAG.octetString).body);
    blocks.set(family, entry.nextTag === TAG.null ? readInherit(entry) : readRanges(entry, family));
    entry.end();
  }
  // Order of families and ranges, overlaps, neighbours to be joined, ranges that are prefixes, inexact bit
  // counts: all are the same question.
  if (Buffer.compare(encodeBlocks(blocks), body) !== 0)
    throw new DerError('address blocks not in canonical form');
  return blocks;
}

/** RFC 3779 §2.2.3.3, without a SAFI: multicast and the like are no use here. */
const addressFamilyIdentifier = (family: Family): Uint8Array => Uint8Array.of(0, family === 4 ? 1 : 2);

function familyOf(identifier: Uint8Array): Family {
  const family = FAMILIES.find((known) => Buffer.compare(addressFamilyIdentifier(known), identifier) === 0);
  if (family === undefined) throw new DerError('address family that is not IPv4 or IPv6');
  return family;
}

function readInherit(entry: DerReader): 'inherit' {
  if (entry.next(TAG.null).body.length !== 0) throw new DerError('NULL with contents');
  return 'inherit';
}

function readRanges(entry: DerReader, family: Family): AddressRange[] {
  const items = entry.into(TAG.sequence);
  if (items.done) throw new DerError('empty address blocks'); // RFC 3779 §2.2.3.6
  const ranges: AddressRange[] = [];
  while (!items.done) {
    if (items.nextTag === TAG.bitString) {
      const bits = items.next(TAG.bitString).body;
      ranges.push({ first: readBound(bits, family, 0n), last: readBound(bits, family, 1n) });
      continue;
    }
    const pair = items.into(TAG.sequence);
    const first = readBound(pair.next(TAG.bitString).body, family, 0n);
    const last = readBound(pair.next(TAG.bitString).body, family, 1n);
    pair.end();
    if (first > last) throw new DerError('address range that ends before it begins');
    ranges.push({ first, last });
  }
  // The encoder does not merge: overlapping or touching ranges must not survive the comparison.
  return merge(ranges);
}

/** Address with the bits behind those given filled with `fill` (RFC 3779 §2.1.2). */
function readBound(body: Uint8Array, family: Family, fill: 0n | 1n): bigint {
  const { bytes, unused } = readBits(body);
  const count = bytes.length * 8 - unused;
  if (count > BITS[family]) throw new DerError('address longer than its family');
  const given = bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`) >> BigInt(unused);
  const rest = BigInt(BITS[family] - count);
  return (given << rest) | (fill === 1n ? (1n << rest) - 1n : 0n);
}

function encodeRange(range: AddressRange, family: Family): Uint8Array {
  const open = trailing(range.first ^ range.last, 1n, family);
  if ((range.first ^ range.last) === (1n << BigInt(open)) - 1n && trailing(range.first, 0n, family) >= open) {
    return encodeBound(range.first, BITS[family] - open, family);
  }
  return encode(
    TAG.sequence,
    encodeBound(range.first, BITS[family] - trailing(range.first, 0n, family), family),
    encodeBound(range.last, BITS[family] - trailing(range.last, 1n, family), family),
  );
}

/** BIT STRING of the first `count` bits. */
function encodeBound(address: bigint, count: number, family: Family): Uint8Array {
  const unused = (8 - (count % 8)) % 8;
  const kept = (address >> BigInt(BITS[family] - count)) << BigInt(unused);
  const digits = Math.ceil(count / 8) * 2;
  const bytes = digits === 0 ? Buffer.alloc(0) : Buffer.from(kept.toString(16).padStart(digits, '0'), 'hex');
  return encode(TAG.bitString, Uint8Array.of(unused), bytes);
}

/** How many of the lowest bits are all `bit`. */
function trailing(address: bigint, bit: 0n | 1n, family: Family): number {
  let count = 0;
  while (count < BITS[family] && ((address >> BigInt(count)) & 1n) === bit) count++;
  return count;
}

function rangeOf(prefix: Prefix): AddressRange {
  const { bytes, mappedBits } = prefixBytes(prefix);
  const width = addressFamily(prefix) === 4 ? 4 : 16;
  const first = BigInt(`0x${Buffer.from(bytes.subarray(16 - width)).toString('hex')}`);
  return { first, last: first + (1n << BigInt(128 - mappedBits)) - 1n };
}

function merge(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: AddressRange[] = [];
  for (const range of [...ranges].sort((a, b) => (a.first < b.first ? -1 : 1))) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1n) merged.push(range);
    else if (range.last > before.last) merged[merged.length - 1] = { first: before.first, last: range.last };
  }
  return merged;
}

function splitRange(range: AddressRange, family: Family): Prefix[] {
  const prefixes: Prefix[] = [];
  for (let first = range.first; first <= range.last; ) {
    let open = trailing(first, 0n, family);
    while (first + (1n << BigInt(open)) - 1n > range.last) open--;
    prefixes.push(`${addressOf(first, family)}/${BITS[family] - open}` as Prefix);
    first += 1n << BigInt(open);
  }
  return prefixes;
}

function addressOf(address: bigint, family: Family): string {
  const bytes = new Uint8Array(16);
  if (family === 4) bytes.set([0xff, 0xff], 10);
  bytes.set(Buffer.from(address.toString(16).padStart(BITS[family] / 4, '0'), 'hex'), 16 - BITS[family] / 8);
  return formatAddress(bytes);
}
