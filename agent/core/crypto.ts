// The pure functions of cryptography that core/ needs: SHA-256, HKDF, X25519. The one file of core/ that imports
// node:crypto, and of it only what has no state: no randomness, no key objects, no clock.
import { createHash, createHmac } from 'node:crypto';
import { scalarMult } from 'tweetnacl';
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

/**
 * RFC 7748 §6.1. An all-zero result is refused: the public key was of low order, and everybody knows the secret.
 * @param secret 32 bytes @param publicKey 32 bytes, of the other side @returns 32 secret bytes
 */
export function x25519(secret: Uint8Array, publicKey: Uint8Array): Result<Uint8Array, 'low-order'> {
  const shared = scalarMult(secret, publicKey);
  let bits = 0;
  for (const byte of shared) bits |= byte; // no early exit: the time must not tell the first non-zero byte
  if (bits === 0) return refuse('low-order', 'X25519 public key of low order');
  return accept(shared);
}

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
