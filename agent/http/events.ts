// The stream of changes: looks at the status once a second while somebody listens, and never otherwise.
import type { AgentView, Status } from '../control/status';
import { type ChangeEvent, changesBetween } from './changes';

const LOOK_MS = 1000;

export class Events {
  private readonly listeners = new Set<(event: ChangeEvent) => void>();
  private last: Status | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly agent: Pick<AgentView, 'status'>) {}

  /** @returns how to stop listening. */
  listen(listener: (event: ChangeEvent) => void): () => void {
    this.listeners.add(listener);
    if (this.timer === undefined) {
      this.last = this.agent.status();
      this.timer = setInterval(() => this.look(), LOOK_MS);
    }
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      clearInterval(this.timer);
      this.timer = undefined;
      this.last = undefined;
    };
  }

  private look(): void {
    const now = this.agent.status();
    const changes = changesBetween(this.last ?? now, now, Date.now());
    this.last = now;
    for (const change of changes) for (const listener of this.listeners) listener(change);
  }
}
