// Runs long work in slices of the event loop: packets' answers, API calls and records have their turn in between. It
// knows nothing of the work.
import type { Sliced } from '../core/slices';
import type { Clock } from '../ports';

/** Longest stretch at a time, as far as the work's own steps allow. */
const SLICE_NS = 10_000_000n;

export class Slices {
  private pausedNs = 0n;

  constructor(private readonly clock: Pick<Clock, 'monotonicNs'>) {}

  async run<T>(work: Sliced<T>): Promise<T> {
    for (;;) {
      const step = work.next();
      if (step.done === true) return step.value;
      if (this.due()) await this.pause();
    }
  }

  /** A part that cannot be cut, with a chance to pause before it. */
  async part<T>(work: () => T): Promise<T> {
    await this.breathe();
    return work();
  }

  /** To be asked between steps of work that is no generator. */
  async breathe(): Promise<void> {
    if (this.due()) await this.pause();
  }

  private due(): boolean {
    return this.clock.monotonicNs() - this.pausedNs >= SLICE_NS;
  }

  private async pause(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.pausedNs = this.clock.monotonicNs();
  }
}
