// The pure functions of cryptography that core/ needs: SHA-256, HKDF, X25519. The one file of core/ that imports
// node:crypto, and of it only what gives the same for the same input: no randomness, no clock. Key objects are a
// memory of the last conversion, never seen outside.
import {
  createHash,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hash,
  type KeyObject,
} from 'node:crypto';
import { accept, type Result, refuse } from './result';

export const SHA256_BYTES = 32;
export const X25519_BYTES = 32;
/** RFC 5869 §2.3. */
const HKDF_MAX_BYTES = 255 * SHA256_BYTES;

/** 32 bytes over the concatenation of the parts; text counts as UTF-8. */
export function sha256(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** The same over one piece, as hex: at once, without an object for each call. */
export const sha256Hex = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex');

function hmacSha256(key: Uint8Array, ...parts: readonly Uint8Array[]): Uint8Array {
  const hmac = createHmac('sha256', key);
  for (const part of parts) hmac.update(part);
  return hmac.digest();
}

/** RFC 5869 §2.2: a 32-byte pseudorandom key. */
export function hkdfExtract(salt: Uint8Array, ikm: Uint8Array): Uint8Array {
  return hmacSha256(salt, ikm);
}

/**
 * RFC 5869 §2.3. A longer output begins with every shorter one. By createHmac and not by hkdfSync: that one does
 * both steps at once, and the first is shared by all tenants of a pair of nodes.
 */
export function hkdfExpand(prk: Uint8Array, info: Uint8Array, lengthBytes: number): Uint8Array {
  if (lengthBytes > HKDF_MAX_BYTES)
    throw new RangeError(`HKDF-SHA-256 gives ${HKDF_MAX_BYTES} bytes at most`);
  const okm = new Uint8Array(lengthBytes);
  let block: Uint8Array = new Uint8Array(0);
  for (let offset = 0; offset < lengthBytes; offset += SHA256_BYTES) {
    block = hmacSha256(prk, block, info, Uint8Array.of(offset / SHA256_BYTES + 1));
    okm.set(block.subarray(0, Math.min(SHA256_BYTES, lengthBytes - offset)), offset);
  }
  return okm;
}

/** RFC 8410 §7: PKCS #8 around the 32 bytes of an X25519 private key. */
const PKCS8_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');

/**
 * OpenSSL takes half a millisecond to read a private key, and one epoch meets thousands of peers. Remembered for as
 * long as the caller keeps the array, and not beyond: then OpenSSL overwrites its copy. The digest notices that the
 * array was overwritten.
 */
const privateKeys = new WeakMap<Uint8Array, { readonly digest: string; readonly key: KeyObject }>();

function privateKeyOf(secret: Uint8Array): KeyObject {
  const digest = toHex(sha256('vxseal/1 memory', secret));
  const known = privateKeys.get(secret);
  if (known?.digest === digest) return known.key;
  const der = Buffer.concat([PKCS8_HEAD, secret]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  privateKeys.set(secret, { digest, key });
  return key;
}

/**
 * RFC 7748 §6.1. An all-zero result is refused: the public key was of low order, and everybody knows the secret.
 * By OpenSSL, since tweetnacl takes twenty times as long and the event loop stands still meanwhile.
 * @param secret 32 bytes @param publicKey 32 bytes, of the other side @returns 32 secret bytes
 */
export function x25519(secret: Uint8Array, publicKey: Uint8Array): Result<Uint8Array, 'low-order'> {
  if (secret.length !== X25519_BYTES || publicKey.length !== X25519_BYTES)
    throw new RangeError(`X25519 takes keys of ${X25519_BYTES} bytes`);
  const x = Buffer.from(publicKey).toString('base64url');
  const jwk = { kty: 'OKP', crv: 'X25519', x };
  const privateKey = privateKeyOf(secret);
  try {
    const shared = diffieHellman({ privateKey, publicKey: createPublicKey({ key: jwk, format: 'jwk' }) });
    const copy = Uint8Array.from(shared);
    shared.fill(0);
    return accept(copy);
  } catch {
    // Any 32 bytes are a point (RFC 7748 §5), so OpenSSL has nothing else to refuse.
    return refuse('low-order', 'X25519 public key of low order');
  }
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
