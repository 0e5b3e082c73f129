// What is wrong now, by object: one entry each, kept until the object is well again. Logs the first failure and the
// recovery and counts the rest. It decides nothing.
import { VxsealError } from '../errors';
import type { Clock, Log } from '../ports';
import type { Problem } from './status';

export class Problems {
  private readonly entries = new Map<string, Problem>();

  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** @param object what failed, as the user knows it: "hook steer on veth12". */
  report(object: string, reason: string, remedy: string): void {
    const before = this.entries.get(object);
    if (before === undefined || before.reason !== reason) {
      this.log.warn({ object, reason, remedy }, `${object}: ${reason}`);
    }
    this.entries.set(object, {
      object,
      reason,
      remedy,
      sinceMs: before?.sinceMs ?? this.clock.nowMs(),
      count: (before?.count ?? 0) + 1,
    });
  }

  reportError(object: string, error: unknown): void {
    this.report(object, reasonOf(error), error instanceof VxsealError ? error.remedy : '');
  }

  clear(object: string): void {
    const before = this.entries.get(object);
    if (before === undefined) return;
    this.entries.delete(object);
    this.log.info({ object, failures: before.count }, `${object}: well again`);
  }

  /** Clears every object of the kind that is not in `still`: "route " for all routes. */
  clearOthers(kind: string, still: ReadonlySet<string>): void {
    for (const object of [...this.entries.keys()])
      if (object.startsWith(kind) && !still.has(object)) this.clear(object);
  }

  get(object: string): Problem | undefined {
    return this.entries.get(object);
  }

  /** Oldest first. */
  list(): Problem[] {
    return [...this.entries.values()].sort((a, b) => a.sinceMs - b.sinceMs || (a.object < b.object ? -1 : 1));
  }
}

/** The message of whatever was thrown; objects that are not errors say only their type. */
export function reasonOf(error: unknown): string {
  const message: unknown = Object(error).message;
  return typeof message === 'string' ? message : `unexpected ${typeof error}`;
}
