// Chains that were found good, for the records that come under the same one: a node signs its own record and one for
// each of its pods, and judging a chain costs several times what a signature does. Holds no trust of its own: only what
// verifyChain() accepted, for the roots it was made with, and as long as every certificate of the path is valid. The records
// of a large cluster come in any order, so for a while it remembers all of its chains, until others are asked for.
import { hash } from 'node:crypto';
import type { Result } from '../core/result';
import type { Certificate } from './certificate';
import { type ChainReason, type VerifiedIdentity, verifyChain } from './chain';

/** A chain that nobody asks for in this time is forgotten, at the latest after twice of it. */
const FORGET_MS = 60_000;
/** Remembered within that time: more than a cluster has nodes. */
const MAX_CHAINS = 8192;

export class ChainMemory {
  /** By digest of the presented certificates: those asked for since the last turn, and before it. */
  #good = new Map<string, VerifiedIdentity>();
  #former: ReadonlyMap<string, VerifiedIdentity> = new Map();
  #turnedMs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly roots: readonly Certificate[],
    private readonly trustDomain: string,
    private readonly most = MAX_CHAINS,
  ) {}

  /** As verifyChain(). */
  verify(x5c: readonly Uint8Array[], nowMs: number): Result<VerifiedIdentity, ChainReason> {
    this.#turn(nowMs);
    const key = digestOf(x5c);
    const known = this.#good.get(key) ?? this.#former.get(key);
    if (known !== undefined && known.notBeforeMs <= nowMs && nowMs < known.notAfterMs) {
      this.#good.set(key, known);
      return { ok: true, value: known };
    }
    this.#good.delete(key);
    const verified = verifyChain(x5c, this.roots, nowMs, this.trustDomain);
    if (verified.ok) this.#good.set(key, verified.value);
    return verified;
  }

  /** @param nowMs may go back, when the clock is set */
  #turn(nowMs: number): void {
    const passedMs = Math.abs(nowMs - this.#turnedMs);
    if (this.#good.size < this.most && passedMs < FORGET_MS) return;
    this.#former = passedMs < 2 * FORGET_MS ? this.#good : new Map();
    this.#good = new Map();
    this.#turnedMs = nowMs;
  }
}

/** Of every byte that was presented, and of where one certificate ends and the next begins. */
const digestOf = (x5c: readonly Uint8Array[]): string =>
  hash('sha256', Buffer.concat(x5c.flatMap((der) => [Buffer.from(`${der.length} `), der])), 'base64');
