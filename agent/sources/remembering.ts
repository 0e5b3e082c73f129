// A bus that remembers: what was found good on it is kept on disk, and comes first at the next start, also when the bus
// itself is down. Stands between any bus and the control room; trusts its own disk no more than the bus.
import type { VerifiedRecord } from '../core/announcement';
import type { Result } from '../core/result';
import type { BusRecord, BusStatus, Clock, TopologyBus } from '../ports';
import type { TopologyCache } from './topology-cache';

type Verify = (record: BusRecord, nowMs: number) => Promise<Result<VerifiedRecord, string>>;

export interface RememberingBusParts {
  readonly bus: TopologyBus;
  readonly cache: TopologyCache;
  readonly clock: Clock;
  readonly verify: Verify;
}

export class RememberingBus implements TopologyBus {
  #aliveMs = 0;

  constructor(private readonly parts: RememberingBusParts) {}

  /** As the bus's; what was kept is delivered first. Throws VxsealError 'state' when that cannot be read. */
  async start(receive: (record: BusRecord) => void, ready?: () => Promise<void>): Promise<void> {
    const { bus, cache, clock, verify } = this.parts;
    this.#aliveMs = await cache.load(async (record) => {
      const verified = await verify(record, clock.nowMs());
      if (!verified.ok) return; // a root or a certificate has ended since, or the file was changed
      cache.holds(record, verified.value.announcement);
      receive(record);
      await ready?.();
    });
    await bus.start(receive, ready);
    cache.watch(() => bus.status().connected);
  }

  /** For whoever verifies what this bus delivers: keeps what is good. */
  async verify(record: BusRecord, nowMs: number): ReturnType<Verify> {
    const verified = await this.parts.verify(record, nowMs);
    if (verified.ok) await this.parts.cache.keep(record, verified.value.announcement);
    return verified;
  }

  publish(topic: string, key: string, value: Uint8Array): Promise<void> {
    return this.parts.bus.publish(topic, key, value);
  }

  /** The last sign of life may be one that a former process saw. */
  status(): BusStatus {
    const status = this.parts.bus.status();
    return status.lastSeenMs === 0 ? { ...status, lastSeenMs: this.#aliveMs } : status;
  }

  onStatus(listener: () => void): void {
    this.parts.bus.onStatus(listener);
  }

  async stop(): Promise<void> {
    await this.parts.bus.stop();
    await this.parts.cache.stop();
  }
}
