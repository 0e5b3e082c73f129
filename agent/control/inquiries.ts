// Inquiries that run, so that an agent that stops does not wait for answers: it gives them up and says so to whoever
// asked, instead of taking peers for silent.
import { VxsealError } from '../errors';
import type { Clock } from '../ports';
import { inquire } from './inquiry';
import type { Picture } from './reconciler';
import type { ProbeRequest, ProbeStatus } from './status';
import type { ViewParts } from './view';

export class Inquiries {
  private readonly running = new Set<Promise<unknown>>();
  private readonly waits = new Set<() => void>();
  private ended = false;

  constructor(private readonly parts: ViewParts) {}

  /** Errors: as inquire(), and VxsealError 'not-ready' when the agent stops. */
  async ask(request: ProbeRequest, picture: Picture | undefined): Promise<ProbeStatus[]> {
    this.refuseEnded();
    const asking = inquire(request, picture, { ...this.parts, clock: this.clock() }, () =>
      this.refuseEnded(),
    );
    this.running.add(asking);
    try {
      return await asking;
    } finally {
      this.running.delete(asking);
    }
  }

  async stop(): Promise<void> {
    this.ended = true;
    for (const run of [...this.waits]) run();
    await Promise.allSettled(this.running);
  }

  private refuseEnded(): void {
    if (!this.ended) return;
    throw new VxsealError('not-ready', 'the agent stops: nothing more is probed', 'Ask again once it runs.');
  }

  /** The agent's, but for waits that end when it does. */
  private clock(): Clock {
    const { clock } = this.parts;
    return {
      nowMs: () => clock.nowMs(),
      monotonicNs: () => clock.monotonicNs(),
      after: (delayMs, run) => {
        if (this.ended) {
          queueMicrotask(run);
          return () => undefined;
        }
        const fire = (): void => {
          cancel();
          run();
        };
        const stopWaiting = clock.after(delayMs, fire);
        const cancel = (): void => {
          stopWaiting();
          this.waits.delete(fire);
        };
        this.waits.add(fire);
        return cancel;
      },
    };
  }
}
