// The real clock, and one that is not led astray by it. Tests use a manual one; nothing else in the agent asks the
// system for the time.
import { uptime } from 'node:os';
import type { Clock } from './ports';

/** Longest delay setTimeout takes; a longer one would fire at once. */
const MAX_DELAY_MS = 2 ** 31 - 1;

export class SystemClock implements Clock {
  nowMs(): number {
    return Date.now();
  }

  /** libuv reads CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns. */
  monotonicNs(): bigint {
    return process.hrtime.bigint();
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = setTimeout(run, Math.min(Math.max(0, delayMs), MAX_DELAY_MS));
    return () => clearTimeout(timer);
  }
}

/** A step of this size and less is what time synchronisation does all day. */
const SMALL_STEP_MS = 1000;
/** So long a wall clock that was set must stay as it is to be believed: time for whoever set it wrong to notice. */
export const HOLD_MS = 10 * 60_000;

/**
 * A wall clock that goes on by CLOCK_MONOTONIC when the system's is set while we run. By leases and certificates a day
 * ahead everybody would be gone, and what we sign a day behind would be long over; most such days end within minutes.
 */
export class SteadyClock implements Clock {
  /** nowMs() less what has passed since boot. */
  private offsetMs: number;
  private asleepMs: number;
  private setAtMs: number | undefined;

  /** @param sinceBootMs goes on while the machine sleeps (CLOCK_BOOTTIME), unlike monotonicNs() */
  constructor(
    private readonly system: Clock,
    private readonly sinceBootMs: () => number = () => uptime() * 1000,
  ) {
    this.offsetMs = system.nowMs() - this.awakeMs();
    this.asleepMs = this.sinceBootMs() - this.awakeMs();
  }

  nowMs(): number {
    const wallMs = this.system.nowMs();
    if (Math.abs(wallMs - this.expectedMs()) > SMALL_STEP_MS) this.noteSleep();
    if (Math.abs(wallMs - this.expectedMs()) <= SMALL_STEP_MS || this.heldLongEnough()) {
      this.offsetMs = wallMs - this.awakeMs();
      this.setAtMs = undefined;
    }
    return Math.round(this.expectedMs());
  }

  heldJumpMs(): number {
    const nowMs = this.nowMs();
    return this.setAtMs === undefined ? 0 : this.system.nowMs() - nowMs;
  }

  monotonicNs(): bigint {
    return this.system.monotonicNs();
  }

  after(delayMs: number, run: () => void): () => void {
    return this.system.after(delayMs, run);
  }

  private awakeMs(): number {
    return Number(this.system.monotonicNs()) / 1e6;
  }

  private expectedMs(): number {
    return this.offsetMs + this.awakeMs();
  }

  /** Time that passed in sleep is no jump. */
  private noteSleep(): void {
    const asleepMs = this.sinceBootMs() - this.awakeMs();
    const sleptMs = asleepMs - this.asleepMs;
    if (Math.abs(sleptMs) <= SMALL_STEP_MS) return;
    this.asleepMs = asleepMs;
    this.offsetMs += sleptMs;
  }

  private heldLongEnough(): boolean {
    this.setAtMs ??= this.awakeMs();
    return this.awakeMs() - this.setAtMs >= HOLD_MS;
  }
}
