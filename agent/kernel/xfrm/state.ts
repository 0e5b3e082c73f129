// SAs of the kernel's IPsec as messages (struct xfrm_usersa_info and its attributes): ESP in transport mode as
// docs/wire-format.md has it. A message that was written or read here holds a key: wipe it after use.
import type { IpAddress, Spi } from '../../core/ids';
import { saFingerprint } from '../../core/keyschedule';
import type { SaKeys } from '../../core/state';
import {
  Attribute,
  type Attributes,
  decodeMessage,
  encodeLifetime,
  encodeRequest,
  encodeSelector,
  familyNumber,
  IPPROTO_ESP,
  LIFETIME_BYTES,
  MessageType,
  readAddress,
  readPacketLimit,
  uint32,
  writeAddress,
} from './messages';

/** By which the kernel joins our policies and states, and by which we know them again: "vxse". */
export const REQID = 0x7678_7365;

const ALGORITHM = 'rfc7539esp(chacha20,poly1305)';
const ALGORITHM_NAME_BYTES = 64;
const KEY_BYTES = 32;
const SALT_BYTES = 4;
const ICV_BITS = 128;
const STATE_BYTES = 224;
const STATE_ID_BYTES = 24;
const MODE_TRANSPORT = 0;
const XFRM_STATE_ESN = 128;
const UDP_ENCAP_ESPINUDP = 2;
/** Widest that the kernel takes, and as wide as that of our programs (abi.h REPLAY_WINDOW). */
const REPLAY_WINDOW = 4096;
const REPLAY_WORDS = REPLAY_WINDOW / 32;
const ESN_HEADER_BYTES = 24;
/** Of struct xfrm_usersa_info. */
const AT = {
  destination: 56,
  spi: 72,
  protocol: 76,
  source: 80,
  lifetime: 96,
  packets: 168,
  replays: 196,
  forged: 200,
  reqid: 208,
  family: 212,
  mode: 214,
  flags: 216,
} as const;

export interface StateId {
  readonly destination: IpAddress;
  readonly spi: Spi;
}

export interface NewState extends StateId, SaKeys {
  readonly source: IpAddress;
  /** Of UDP inside: the state carries nothing else, and nothing between other ends. */
  readonly port: number;
  /** skb->mark of what went through it. */
  readonly setMark: number;
  /** Sending: how many packets. */
  readonly limit?: bigint;
  /** Sending: UDP port around ESP (RFC 3948). A state that receives gets ESP without UDP, from our program. */
  readonly encapPort?: number;
}

export interface FoundState extends StateId {
  readonly source: IpAddress;
  readonly setMark: number;
  readonly fingerprint: string;
  readonly limit: bigint;
  readonly sent: bigint;
  /** Highest number authenticated. */
  readonly top: bigint;
  readonly packets: bigint;
  readonly replays: number;
  readonly forged: number;
}

export function encodeNewState(state: NewState): Buffer {
  const body = Buffer.alloc(STATE_BYTES);
  const family = familyNumber(state.source);
  encodeSelector({ family, ends: state, port: state.port }).copy(body);
  writeId(body, AT.destination, state);
  body.writeUInt8(IPPROTO_ESP, AT.protocol);
  writeAddress(body, AT.source, state.source);
  encodeLifetime(state.limit).copy(body, AT.lifetime);
  body.writeUInt32LE(REQID, AT.reqid);
  body.writeUInt16LE(family, AT.family);
  body.writeUInt8(MODE_TRANSPORT, AT.mode);
  body.writeUInt8(XFRM_STATE_ESN, AT.flags);
  const algorithm = encodeAlgorithm(state);
  const attributes: Attributes = [
    [Attribute.ALG_AEAD, algorithm],
    [Attribute.REPLAY_ESN_VAL, emptyWindow()],
    [Attribute.SET_MARK, uint32(state.setMark)],
    [Attribute.SET_MARK_MASK, uint32(0xffff_ffff)],
    ...encapsulation(state.encapPort),
  ];
  try {
    return encodeRequest(MessageType.NEWSA, body, attributes);
  } finally {
    algorithm.fill(0);
  }
}

/** For one state: to read or to remove it. */
export function encodeStateRequest(type: 'GETSA' | 'DELSA', id: StateId): Buffer {
  const body = Buffer.alloc(STATE_ID_BYTES);
  writeId(body, 0, id);
  body.writeUInt16LE(familyNumber(id.destination), 20);
  body.writeUInt8(IPPROTO_ESP, 22);
  return encodeRequest(MessageType[type], body);
}

/** Undefined for a state that is not ours. */
export function decodeState(message: Buffer): FoundState | undefined {
  const received = decodeMessage(message, STATE_BYTES);
  if (received?.type !== MessageType.NEWSA || received.body.readUInt32LE(AT.reqid) !== REQID)
    return undefined;
  const { body, attributes } = received;
  const family = body.readUInt16LE(AT.family);
  const algorithm = attributes.get(Attribute.ALG_AEAD);
  const esn = attributes.get(Attribute.REPLAY_ESN_VAL);
  if (algorithm === undefined || esn === undefined || esn.length < ESN_HEADER_BYTES) return undefined;
  return {
    destination: readAddress(body, AT.destination, family),
    spi: body.readUInt32BE(AT.spi) as Spi,
    source: readAddress(body, AT.source, family),
    setMark: attributes.get(Attribute.SET_MARK)?.readUInt32LE() ?? 0,
    fingerprint: fingerprintOf(algorithm),
    limit: readPacketLimit(body.subarray(AT.lifetime, AT.lifetime + LIFETIME_BYTES)),
    sent: wide(esn.readUInt32LE(12), esn.readUInt32LE(4)),
    top: wide(esn.readUInt32LE(16), esn.readUInt32LE(8)),
    packets: body.readBigUInt64LE(AT.packets),
    replays: body.readUInt32LE(AT.replays),
    forged: body.readUInt32LE(AT.forged),
  };
}

function writeId(into: Buffer, at: number, { destination, spi }: StateId): void {
  writeAddress(into, at, destination);
  into.writeUInt32BE(spi, at + 16);
}

/** struct xfrm_algo_aead. */
function encodeAlgorithm({ key, salt }: SaKeys): Buffer {
  const bytes = Buffer.alloc(ALGORITHM_NAME_BYTES + 8 + KEY_BYTES + SALT_BYTES);
  bytes.write(ALGORITHM);
  bytes.writeUInt32LE((KEY_BYTES + SALT_BYTES) * 8, ALGORITHM_NAME_BYTES);
  bytes.writeUInt32LE(ICV_BITS, ALGORITHM_NAME_BYTES + 4);
  bytes.set(key, ALGORITHM_NAME_BYTES + 8);
  bytes.set(salt, ALGORITHM_NAME_BYTES + 8 + KEY_BYTES);
  return bytes;
}

function fingerprintOf(algorithm: Buffer): string {
  const keys = algorithm.subarray(ALGORITHM_NAME_BYTES + 8);
  return saFingerprint(keys.subarray(0, KEY_BYTES), keys.subarray(KEY_BYTES, KEY_BYTES + SALT_BYTES));
}

/** struct xfrm_replay_state_esn. */
function emptyWindow(): Buffer {
  const bytes = Buffer.alloc(ESN_HEADER_BYTES + REPLAY_WORDS * 4);
  bytes.writeUInt32LE(REPLAY_WORDS, 0);
  bytes.writeUInt32LE(REPLAY_WINDOW, 20);
  return bytes;
}

/** struct xfrm_encap_tmpl; the source port is written anew by seal. */
function encapsulation(port: number | undefined): Attributes {
  if (port === undefined) return [];
  const bytes = Buffer.alloc(24);
  bytes.writeUInt16LE(UDP_ENCAP_ESPINUDP, 0);
  bytes.writeUInt16BE(port, 2);
  bytes.writeUInt16BE(port, 4);
  return [[Attribute.ENCAP, bytes]];
}

const wide = (high: number, low: number): bigint => (BigInt(high) << 32n) | BigInt(low);
