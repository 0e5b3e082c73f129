// Which peers have lately sent under keys that we do not have: their drops of that reason rose. It tells a silent path
// from two nodes that do not know each other's newest keys.
import type { PeerNumber } from '../core/ids';
import type { Clock, DropCount } from '../ports';

const REASON = 'unknown_spi';

export class UnknownKeys {
  private readonly seen = new Map<PeerNumber, { readonly packets: bigint; readonly roseMs: number }>();

  constructor(
    private readonly clock: Clock,
    /** How long a rise counts. */
    private readonly windowMs: number,
  ) {}

  note(counts: readonly DropCount[]): void {
    for (const { peer, reason, packets } of counts) {
      if (reason !== REASON || peer === 0) continue;
      const before = this.seen.get(peer);
      // What was counted before this process looked is no news.
      const roseMs =
        before !== undefined && packets > before.packets ? this.clock.nowMs() : (before?.roseMs ?? 0);
      this.seen.set(peer, { packets, roseMs });
    }
  }

  sentLately(peer: PeerNumber): boolean {
    const roseMs = this.seen.get(peer)?.roseMs ?? 0;
    return roseMs !== 0 && this.clock.nowMs() - roseMs < this.windowMs;
  }
}
