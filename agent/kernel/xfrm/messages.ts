// The framing of NETLINK_XFRM (linux/netlink.h, linux/xfrm.h): headers, attributes, addresses, selectors. Bytes only;
// states and policies are in files of their own. Numbers are the machine's (little-endian) unless named otherwise.
import { addressBytes, addressFamily, formatAddress } from '../../core/bytes';
import type { IpAddress } from '../../core/ids';

export const NETLINK_XFRM = 6;

export const MessageType = {
  NEWSA: 0x10,
  DELSA: 0x11,
  GETSA: 0x12,
  NEWPOLICY: 0x13,
  DELPOLICY: 0x14,
  GETPOLICY: 0x15,
  UPDPOLICY: 0x19,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

/** enum xfrm_attr_type_t, those that are written or read here. */
export const Attribute = {
  ENCAP: 4,
  TMPL: 5,
  ALG_AEAD: 18,
  MARK: 21,
  REPLAY_ESN_VAL: 23,
  SET_MARK: 29,
  SET_MARK_MASK: 30,
} as const;

const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;

export const AF_INET = 2;
export const AF_INET6 = 10;
export const IPPROTO_UDP = 17;
export const IPPROTO_ESP = 50;
export const SELECTOR_BYTES = 56;
export const LIFETIME_BYTES = 64;
const ADDRESS_BYTES = 16;
/** XFRM_INF: no limit. */
const UNLIMITED = 0xffff_ffff_ffff_ffffn;

export type Attributes = readonly (readonly [number, Buffer])[];

const aligned = (bytes: number): number => (bytes + 3) & ~3;

/** A change, or a question for one object: the kernel acknowledges it. */
export const encodeRequest = (type: MessageType, body: Buffer, attributes: Attributes = []): Buffer =>
  encode(type, NLM_F_REQUEST | NLM_F_ACK, body, attributes);

/** A question for all objects of a kind; the kernel wants no body. */
export const encodeDump = (type: MessageType): Buffer =>
  encode(type, NLM_F_REQUEST | NLM_F_DUMP, Buffer.alloc(0), []);

function encode(type: MessageType, flags: number, body: Buffer, attributes: Attributes): Buffer {
  const sizes = attributes.map(([, value]) => aligned(ATTRIBUTE_HEADER_BYTES + value.length));
  const length = HEADER_BYTES + aligned(body.length) + sizes.reduce((sum, size) => sum + size, 0);
  const message = Buffer.alloc(length);
  message.writeUInt32LE(length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  body.copy(message, HEADER_BYTES);
  let at = HEADER_BYTES + aligned(body.length);
  for (const [index, [kind, value]] of attributes.entries()) {
    message.writeUInt16LE(ATTRIBUTE_HEADER_BYTES + value.length, at);
    message.writeUInt16LE(kind, at + 2);
    value.copy(message, at + ATTRIBUTE_HEADER_BYTES);
    at += sizes[index] ?? 0;
  }
  return message;
}

/** A message as the kernel sent it: the structure in front, and the attributes. Views, no copies. */
export interface Received {
  readonly type: number;
  readonly body: Buffer;
  readonly attributes: ReadonlyMap<number, Buffer>;
}

/** @param bodyBytes of the structure that the type has. Undefined for a message that is shorter than it. */
export function decodeMessage(message: Buffer, bodyBytes: number): Received | undefined {
  const end = HEADER_BYTES + aligned(bodyBytes);
  if (message.length < end) return undefined;
  const attributes = new Map<number, Buffer>();
  for (let at = end; at + ATTRIBUTE_HEADER_BYTES <= message.length; ) {
    const length = message.readUInt16LE(at);
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > message.length) return undefined;
    attributes.set(message.readUInt16LE(at + 2), message.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length));
    at += aligned(length);
  }
  return {
    type: message.readUInt16LE(4),
    body: message.subarray(HEADER_BYTES, HEADER_BYTES + bodyBytes),
    attributes,
  };
}

export const familyNumber = (address: IpAddress): number =>
  addressFamily(address) === 4 ? AF_INET : AF_INET6;

/** xfrm_address_t: an IPv4 address stands in the first four bytes. */
export function writeAddress(into: Buffer, at: number, address: IpAddress): void {
  const mapped = addressBytes(address);
  into.set(addressFamily(address) === 4 ? mapped.subarray(12) : mapped, at);
}

export function readAddress(from: Buffer, at: number, family: number): IpAddress {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  if (family === AF_INET) {
    bytes.set([0xff, 0xff], 10);
    bytes.set(from.subarray(at, at + 4), 12);
  } else bytes.set(from.subarray(at, at + ADDRESS_BYTES));
  return formatAddress(bytes);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** UDP to a port, between two hosts or any. */
export interface Selector {
  /** AF_INET or AF_INET6. */
  readonly family: number;
  readonly ends: { readonly source: IpAddress; readonly destination: IpAddress } | undefined;
  readonly port: number;
}

/** struct xfrm_selector. */
export function encodeSelector({ family, ends, port }: Selector): Buffer {
  const bytes = Buffer.alloc(SELECTOR_BYTES);
  bytes.writeUInt16BE(port, 32); // destination port, then its mask
  bytes.writeUInt16BE(0xffff, 34);
  bytes.writeUInt16LE(family, 40);
  bytes.writeUInt8(IPPROTO_UDP, 44);
  if (ends !== undefined) {
    const bits = family === AF_INET ? 32 : 128;
    writeAddress(bytes, 0, ends.destination);
    writeAddress(bytes, ADDRESS_BYTES, ends.source);
    bytes.writeUInt8(bits, 42);
    bytes.writeUInt8(bits, 43);
  }
  return bytes;
}

/** Undefined for a selector that is not of our shape. */
export function decodeSelector(bytes: Buffer): Selector | undefined {
  const family = bytes.readUInt16LE(40);
  const [toBits, fromBits] = [bytes.readUInt8(42), bytes.readUInt8(43)];
  const full = family === AF_INET ? 32 : 128;
  const known = family === AF_INET || family === AF_INET6;
  if (!known || bytes.readUInt8(44) !== IPPROTO_UDP || toBits !== fromBits) return undefined;
  if (bytes.readUInt16BE(34) !== 0xffff || (toBits !== 0 && toBits !== full)) return undefined;
  const ends =
    toBits === 0
      ? undefined
      : { source: readAddress(bytes, ADDRESS_BYTES, family), destination: readAddress(bytes, 0, family) };
  return { family, ends, port: bytes.readUInt16BE(32) };
}

/** struct xfrm_lifetime_cfg: nothing ends by time or bytes. @param packets after which the state may do no more */
export function encodeLifetime(packets = UNLIMITED): Buffer {
  const bytes = Buffer.alloc(LIFETIME_BYTES);
  for (const at of [0, 8, 16]) bytes.writeBigUInt64LE(UNLIMITED, at);
  bytes.writeBigUInt64LE(packets, 24);
  return bytes;
}

/** Hard limit of packets in a struct xfrm_lifetime_cfg. */
export const readPacketLimit = (bytes: Buffer): bigint => bytes.readBigUInt64LE(24);
