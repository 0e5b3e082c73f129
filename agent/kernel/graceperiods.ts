// How long a change of a tcx hook takes: the kernel waits for an RCU grace period (some 4 to 16 ms at 250 Hz) with the
// lock of all network devices held. Its own waits under that lock it expedites (synchronize_net), this one it does not
// unless /sys/kernel/rcu_expedited says so; here it is said for the time of one call. Touches that switch alone and
// leaves it as it was found. A kernel that shall never expedite (rcu_normal, as for real time) is left alone.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../ports';

/** Runs the call at once, on this thread. */
export type Expedite = <T>(call: () => T) => T;

export const unhurried: Expedite = (call) => call();

/** A container's own /sys is read-only: the host's switch stands beside it. */
const MOUNTED = '/host/sys/kernel';
const OWN = '/sys/kernel';
const SWITCH = 'rcu_expedited';
const FORBIDDEN = 'rcu_normal';

export interface GracePeriodOptions {
  /** Tells a next process that the switch was ours when we died; as short-lived as the switch, so below /run. */
  readonly file: string;
  readonly mounted?: string;
  readonly own?: string;
}

export class GracePeriods {
  private readonly own: string;
  private readonly switchPath: string;
  private told = false;

  constructor(
    private readonly log: Log,
    private readonly options: GracePeriodOptions,
  ) {
    const { mounted = MOUNTED, own = OWN } = options;
    this.own = own;
    this.switchPath = join(existsSync(join(mounted, SWITCH)) ? mounted : own, SWITCH);
  }

  /** Takes back what a former process left behind when it was killed within a call. */
  restore(): void {
    if (existsSync(this.options.file)) this.release();
  }

  /** A switch that cannot be thrown costs time, and nothing else. */
  readonly expedite: Expedite = (call) => {
    if (!this.take()) return call();
    try {
      return call();
    } finally {
      this.release();
    }
  };

  /** @returns false where it is not ours to take: forbidden, in force already, or not to be written. */
  private take(): boolean {
    try {
      if (this.isOn(join(this.own, FORBIDDEN)) || this.isOn(this.switchPath)) return false;
      // Remembered first: a change that nobody remembers would stay for ever.
      writeFileSync(this.options.file, '', { mode: 0o600 });
    } catch (cause) {
      return this.cannot(cause);
    }
    try {
      writeFileSync(this.switchPath, '1');
      return true;
    } catch (cause) {
      rmSync(this.options.file, { force: true });
      return this.cannot(cause);
    }
  }

  private cannot(cause: unknown): false {
    this.tell(cause, 'grace periods are not expedited: pods take longer to come and go');
    return false;
  }

  private release(): void {
    try {
      writeFileSync(this.switchPath, '0');
      rmSync(this.options.file, { force: true });
    } catch (cause) {
      this.tell(cause, 'expedited grace periods stay switched on: the next start takes them back');
    }
  }

  private isOn(path: string): boolean {
    return readFileSync(path, 'utf8').trim() !== '0';
  }

  private tell(cause: unknown, message: string): void {
    if (this.told) return;
    this.told = true;
    this.log.info(
      { file: this.switchPath, reason: cause instanceof Error ? cause.message : String(cause) },
      message,
    );
  }
}
