// From two epochs to the key, salt and SPI of one direction (docs/keys.md §3). Deterministic: both nodes compute
// the same from what they announced, so there is no handshake. Stores nothing (secrets.ts remembers) and decides
// nothing: which epochs are in use is rotation.ts.
import { type AnnouncedEpoch, SUITE } from './announcement';
import { hkdfExpand, hkdfExtract, sha256, sha256Hex, toHex, x25519 } from './crypto';
import type { NodeName, Spi, Vni } from './ids';
import { accept, type Result } from './result';
import type { SaKeys } from './state';

const KEY_BYTES = 32;
const SALT_BYTES = 4;
const SPI_BYTES = 4;
const BLOCK_BYTES = KEY_BYTES + SALT_BYTES + SPI_BYTES;
/** Whole blocks that HKDF-SHA-256 can give. */
const MAX_BLOCKS = 204;
/** 0 to 255 are reserved (RFC 4303 §2.1). */
const FIRST_SPI = 256;

const SALT = new TextEncoder().encode('vxseal/1');
/** Another one, so that keys with and without a pre-shared key never meet. */
const SALT_PSK = new TextEncoder().encode('vxseal/1 psk');
const FINGERPRINT_LABEL = new TextEncoder().encode('vxseal/1 fingerprint');
const FINGERPRINT_BYTES = 8;
/** What is hashed for a fingerprint: thousands are made at every pass. Holds a key only while it is hashed. */
const fingerprinted = new Uint8Array(FINGERPRINT_LABEL.length + KEY_BYTES + SALT_BYTES);
fingerprinted.set(FINGERPRINT_LABEL);

/** One end of a direction. */
export interface Endpoint {
  readonly node: NodeName;
  readonly epoch: AnnouncedEpoch;
}

/** Keys with the name under which they may be shown. */
export interface DerivedSa extends SaKeys {
  readonly vni: Vni;
  readonly fingerprint: string;
}

/** First 8 bytes of SHA-256("vxseal/1 fingerprint" | key | salt), hex. */
export function saFingerprint(key: Uint8Array, salt: Uint8Array): string {
  if (key.length !== KEY_BYTES || salt.length !== SALT_BYTES)
    throw new RangeError(`a key has ${KEY_BYTES} bytes and a salt ${SALT_BYTES}`);
  fingerprinted.set(key, FINGERPRINT_LABEL.length);
  fingerprinted.set(salt, FINGERPRINT_LABEL.length + KEY_BYTES);
  const hex = sha256Hex(fingerprinted);
  fingerprinted.fill(0, FINGERPRINT_LABEL.length);
  return hex.slice(0, 2 * FINGERPRINT_BYTES);
}

/** Short public name of an epoch: first 8 bytes of SHA-256(public key), hex. */
export function epochFingerprint(publicKey: Uint8Array): string {
  return toHex(sha256(publicKey).subarray(0, FINGERPRINT_BYTES));
}

/**
 * The pseudorandom key of two epochs; the same for both directions and all VNIs.
 * @param secretKey 32 bytes, ours @param publicKey 32 bytes, theirs @param psk 32 bytes that all nodes share, if any
 */
export function derivePrk(
  secretKey: Uint8Array,
  publicKey: Uint8Array,
  psk?: Uint8Array,
): Result<Uint8Array, 'low-order'> {
  const shared = x25519(secretKey, publicKey);
  if (!shared.ok) return shared;
  const ikm = psk === undefined ? shared.value : Uint8Array.from([...shared.value, ...psk]);
  const prk = hkdfExtract(psk === undefined ? SALT : SALT_PSK, ikm);
  shared.value.fill(0); // V8 may hold copies we cannot reach
  ikm.fill(0);
  return accept(prk);
}

function bigEndian(value: number, bytes: 4 | 8): Uint8Array {
  const buffer = Buffer.alloc(bytes);
  if (bytes === 8) buffer.writeBigUInt64BE(BigInt(value));
  else buffer.writeUInt32BE(value);
  return buffer;
}

/** docs/keys.md §3: each field with its length in front, so no two contexts share an encoding. */
export function encodeInfo(sender: Endpoint, receiver: Endpoint, vni: Vni): Uint8Array {
  const fields = [
    Buffer.from('sa'),
    Buffer.from(sender.node),
    Buffer.from(receiver.node),
    bigEndian(sender.epoch.number, 8),
    bigEndian(receiver.epoch.number, 8),
    sender.epoch.publicKey,
    receiver.epoch.publicKey,
    bigEndian(vni, 4),
    Buffer.from(SUITE),
  ];
  return Buffer.concat(fields.flatMap((field) => [Buffer.of(field.length >> 8, field.length & 0xff), field]));
}

/**
 * SAs of one direction of a pair, one for each VNI. An SPI that is reserved, or that a lower VNI of this call has
 * taken, moves on to the next block: so both nodes must give the same VNIs.
 * @param prk 32 bytes of derivePrk() @param vnis in any order
 * @returns in rising order of VNI
 */
export function deriveSas(
  prk: Uint8Array,
  sender: Endpoint,
  receiver: Endpoint,
  vnis: readonly Vni[],
): DerivedSa[] {
  const taken = new Set<Spi>();
  return [...new Set(vnis)]
    .sort((a, b) => a - b)
    .map((vni) => {
      const sa = deriveSa(prk, encodeInfo(sender, receiver, vni), vni, taken);
      taken.add(sa.spi);
      return sa;
    });
}

/** Block 0 of 40 bytes (key, salt, SPI) whose SPI can be used, or the first one behind it. */
function deriveSa(prk: Uint8Array, info: Uint8Array, vni: Vni, taken: ReadonlySet<Spi>): DerivedSa {
  for (let block = 0; block < MAX_BLOCKS; block++) {
    const okm = hkdfExpand(prk, info, (block + 1) * BLOCK_BYTES).subarray(block * BLOCK_BYTES);
    const spi = Buffer.from(okm).readUInt32BE(KEY_BYTES + SALT_BYTES) as Spi;
    if (spi < FIRST_SPI || taken.has(spi)) continue;
    // from(), not slice(): that of a Buffer shares its memory, and what follows would zero the key.
    const key = Uint8Array.from(okm.subarray(0, KEY_BYTES));
    const salt = Uint8Array.from(okm.subarray(KEY_BYTES, KEY_BYTES + SALT_BYTES));
    okm.fill(0);
    return { vni, key, salt, spi, fingerprint: saFingerprint(key, salt) };
  }
  throw new Error(`VNI ${vni}: no usable SPI in ${MAX_BLOCKS} blocks`); // 1 in 2^4896 for one VNI: a bug
}
