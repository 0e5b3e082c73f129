// The real clock. Tests use a manual one; nothing else in the agent asks the system for the time.
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
