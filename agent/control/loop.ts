// When a pass runs: at once when kicked, at the latest after an interval, never two at a time. Kicks that come while
// a pass runs make one more pass behind it. It knows nothing of what a pass does.
import type { Clock } from '../ports';

export class Loop {
  private running: Promise<void> | undefined;
  private next: Promise<void> | undefined;
  private cancel: () => void = () => {};
  private stopped = false;

  /** @param pass must not reject: what goes wrong in it is its own to report. */
  constructor(
    private readonly clock: Clock,
    private readonly intervalMs: number,
    private readonly pass: () => Promise<void>,
  ) {}

  /** Begins with a pass at once. */
  start(): void {
    this.kick();
  }

  kick(): void {
    void this.run();
  }

  /** Resolves when a pass that began after this call has ended; at once when stopped. */
  run(): Promise<void> {
    if (this.stopped) return Promise.resolve();
    // Between two passes, when the first has ended and the next has not begun, `next` is what to wait for.
    if (this.next !== undefined) return this.next;
    if (this.running === undefined) return this.begin();
    this.next = this.running.then(() => {
      this.next = undefined;
      return this.stopped ? undefined : this.begin();
    });
    return this.next;
  }

  /** Resolves when the pass under way has ended; none begins after it. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.cancel();
    await this.running;
  }

  private begin(): Promise<void> {
    this.cancel();
    this.running = this.pass().finally(() => {
      this.running = undefined;
      if (!this.stopped) this.cancel = this.clock.after(this.intervalMs, () => this.kick());
    });
    return this.running;
  }
}
