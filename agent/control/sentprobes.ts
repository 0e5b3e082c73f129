// The last probes sent to one peer: which were answered. A ring of numbers, since a cluster has thousands of peers and
// each is probed every few seconds.

export type Size = 'small' | 'full';

/** Probes over which loss is taken, of each size. */
const LOSS_WINDOW = 20;
const KEPT = 2 * LOSS_WINDOW;
const SMALL = 1;
const ANSWERED = 2;

export class SentProbes {
  readonly #ids = new Float64Array(KEPT).fill(-1);
  readonly #sentMs = new Float64Array(KEPT);
  readonly #flags = new Uint8Array(KEPT);
  #next = 0;

  /** @param id not negative, of all probes of the process each once @param sentMs of any clock that does not go back */
  sent(id: number, size: Size, sentMs: number): void {
    const at = this.#next % KEPT;
    this.#next += 1;
    this.#ids[at] = id;
    this.#sentMs[at] = sentMs;
    this.#flags[at] = size === 'small' ? SMALL : 0;
  }

  /** @returns undefined when it is none of these, or was answered before */
  answered(id: number): Size | undefined {
    const at = id < 0 ? -1 : this.#ids.indexOf(id);
    const flags = this.#flags[at] ?? ANSWERED;
    if ((flags & ANSWERED) !== 0) return undefined;
    this.#flags[at] = flags | ANSWERED;
    return (flags & SMALL) === 0 ? 'full' : 'small';
  }

  /** Share of small probes unanswered; -1 when there is none that was answered or sent by then. */
  loss(dueMs: number): number {
    let [due, lost] = [0, 0];
    for (let at = 0; at < Math.min(this.#next, KEPT); at++) {
      const flags = this.#flags[at] ?? 0;
      if ((flags & SMALL) === 0) continue;
      const isAnswered = (flags & ANSWERED) !== 0;
      if (!isAnswered && (this.#sentMs[at] ?? 0) > dueMs) continue;
      due += 1;
      if (!isAnswered) lost += 1;
    }
    return due === 0 ? -1 : lost / due;
  }
}
