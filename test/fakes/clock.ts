// A clock that stands still until told otherwise. Timers run in order of their time, then of their making.
import type { Clock } from '../../agent/ports';

interface Timer {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  private wallMs: number;
  private sinceBootNs = 1_000_000_000n;
  private timers: Timer[] = [];
  private made = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.wallMs = startMs;
  }

  nowMs(): number {
    return this.wallMs;
  }

  monotonicNs(): bigint {
    return this.sinceBootNs;
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { atMs: this.wallMs + Math.max(0, delayMs), order: this.made++, run };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  /** Timers that would still run. */
  get pending(): number {
    return this.timers.length;
  }

  /** Moves time on; what the timers start asynchronously has come to rest before the next timer runs. */
  async advance(byMs: number): Promise<void> {
    const endMs = this.wallMs + byMs;
    await settle();
    for (let next = this.due(endMs); next; next = this.due(endMs)) {
      this.timers = this.timers.filter((other) => other !== next);
      this.moveTo(Math.max(this.wallMs, next.atMs));
      next.run();
      await settle();
    }
    this.moveTo(endMs);
  }

  /** Somebody sets the wall clock; time itself, and with it every timer, goes on as it did. */
  setWall(toMs: number): void {
    const byMs = toMs - this.wallMs;
    this.wallMs = toMs;
    this.timers = this.timers.map((timer) => Object.assign(timer, { atMs: timer.atMs + byMs }));
  }

  private moveTo(wallMs: number): void {
    this.sinceBootNs += BigInt(Math.round((wallMs - this.wallMs) * 1e6));
    this.wallMs = wallMs;
  }

  private due(endMs: number): Timer | undefined {
    return this.timers
      .filter((timer) => timer.atMs <= endMs)
      .sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0];
  }
}

/** A process's hold on the clock: after kill() none of its timers runs. */
export class MortalClock implements Clock {
  private readonly cancels = new Set<() => void>();
  private dead = false;

  constructor(private readonly clock: Clock) {}

  nowMs(): number {
    return this.clock.nowMs();
  }

  monotonicNs(): bigint {
    return this.clock.monotonicNs();
  }

  after(delayMs: number, run: () => void): () => void {
    if (this.dead) return () => {};
    const cancel = this.clock.after(delayMs, run);
    this.cancels.add(cancel);
    return cancel;
  }

  kill(): void {
    this.dead = true;
    for (const cancel of this.cancels) cancel();
  }
}

/** Lets promises and immediates run until nothing of a bounded chain is left. */
export async function settle(turns = 30): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}
