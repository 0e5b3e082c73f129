// Chains that were found good, for the records that come under the same one: a node signs its own record and one for
// each of its pods, and judging a chain costs several times what a signature does. Holds no trust of its own: only what
// verifyChain() accepted, for the roots it was made with, and as long as every certificate of the path is valid.
import { createHash } from 'node:crypto';
import type { Result } from '../core/result';
import type { Certificate } from './certificate';
import { type ChainReason, type VerifiedIdentity, verifyChain } from './chain';

/** Records of a node come together, those of a few hundred nodes at a time. */
const MAX_CHAINS = 512;

export class ChainMemory {
  /** By digest of the presented certificates, the one used last at the end. */
  readonly #good = new Map<string, VerifiedIdentity>();

  constructor(
    private readonly roots: readonly Certificate[],
    private readonly trustDomain: string,
  ) {}

  /** As verifyChain(). */
  verify(x5c: readonly Uint8Array[], nowMs: number): Result<VerifiedIdentity, ChainReason> {
    const key = digestOf(x5c);
    const known = this.#good.get(key);
    this.#good.delete(key);
    if (known !== undefined && known.notBeforeMs <= nowMs && nowMs < known.notAfterMs) {
      this.#good.set(key, known);
      return { ok: true, value: known };
    }
    const verified = verifyChain(x5c, this.roots, nowMs, this.trustDomain);
    if (verified.ok) this.#good.set(key, verified.value);
    const [oldest] = this.#good.keys();
    if (this.#good.size > MAX_CHAINS && oldest !== undefined) this.#good.delete(oldest);
    return verified;
  }
}

/** Of every byte that was presented, and of where one certificate ends and the next begins. */
function digestOf(x5c: readonly Uint8Array[]): string {
  const hash = createHash('sha256');
  for (const der of x5c) hash.update(`${der.length} `).update(der);
  return hash.digest('base64');
}
