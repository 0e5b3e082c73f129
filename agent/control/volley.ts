// Probes to one peer that are waited for together. Gives up what is not answered in time, so that nothing is kept.
import type { PeerNumber } from '../core/ids';
import type { Clock } from '../ports';
import { ETHERNET_HEADER_BYTES, type Prober } from './liveness';

/** Once some are answered the others are waited for as long as so many of the slowest round trips, but at least that. */
const ROUND_TRIPS = 20;
const LEAST_PATIENCE_MS = 250;

export class Volley {
  /** Round trips by size of the inner packet, as they came in. */
  private readonly answers = new Map<number, number[]>();
  private readonly giveUps: (() => void)[] = [];
  private outstanding = 0;
  private slowestMs = -1;
  private answered: () => void = () => {};

  constructor(
    private readonly clock: Clock,
    private readonly prober: Pick<Prober, 'ask'>,
    private readonly peer: PeerNumber,
  ) {}

  /** @param innerBytes of the packet in the inner frame, 46 or more */
  send(innerBytes: number): void {
    this.outstanding += 1;
    const giveUp = this.prober.ask(this.peer, ETHERNET_HEADER_BYTES + innerBytes, (rttMs) => {
      this.outstanding -= 1;
      this.slowestMs = Math.max(this.slowestMs, rttMs);
      this.answers.set(innerBytes, [...this.rttsMs(innerBytes), rttMs]);
      this.answered();
    });
    this.giveUps.push(giveUp);
  }

  rttsMs(innerBytes: number): readonly number[] {
    return this.answers.get(innerBytes) ?? [];
  }

  /** How long it is worth to wait after the last answer. */
  patienceMs(timeoutMs: number): number {
    if (this.slowestMs < 0) return timeoutMs;
    return Math.min(timeoutMs, Math.max(LEAST_PATIENCE_MS, ROUND_TRIPS * this.slowestMs));
  }

  /** Resolves when all are answered, or no further answer is to be expected. */
  async settle(timeoutMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      let cancel = (): void => {};
      const endCancel = this.clock.after(timeoutMs, () => end());
      const end = (): void => {
        cancel();
        endCancel();
        resolve();
      };
      this.answered = () => {
        cancel();
        if (this.outstanding === 0) end();
        else cancel = this.clock.after(this.patienceMs(timeoutMs), end);
      };
      if (this.slowestMs >= 0) this.answered();
    });
    this.answered = () => {};
    for (const giveUp of this.giveUps) giveUp();
  }
}
