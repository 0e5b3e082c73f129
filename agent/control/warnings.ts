// What is told although everything still works: a bus that is lost, a certificate near its end, a clock that was set,
// a name that somebody else uses too. Reports and clears, decides nothing.
import type { NodeName } from '../core/ids';
import type { BusStatus, Clock } from '../ports';
import type { OwnIdentity } from './parts';
import type { Problems } from './problems';

/** A certificate is renewed at two thirds of its life; in its last sixth that is told to be late. */
const CERTIFICATE_LATE_SHARE = 1 / 6;

export interface WarningFacts {
  readonly busInSync: boolean;
  /** Why peers that judge as we do would not believe us; undefined when they would. */
  readonly distrust: string | undefined;
  readonly duplicateIdentity: boolean;
}

export class Warnings {
  constructor(
    private readonly node: NodeName,
    private readonly parts: {
      readonly clock: Clock;
      readonly problems: Problems;
      readonly identity: () => OwnIdentity;
      readonly busStatus: () => BusStatus;
    },
  ) {}

  note({ busInSync, distrust, duplicateIdentity }: WarningFacts): void {
    const { connected, error } = this.parts.busStatus();
    this.tell(
      'bus',
      connected || !busInSync ? undefined : error || 'not connected',
      'check that it can be reached; what stands goes on',
    );
    this.tell(
      'certificate',
      this.certificate(),
      'renew it with `vxseal ca renew`: the agent reads it by itself',
    );
    this.tell('identity', distrust, 'peers drop this node; see the list of revocations and the roots');
    this.tell(
      `node ${this.node}`,
      duplicateIdentity ? 'another live process publishes under our name' : undefined,
      'stop one of the two, or give one a name and a certificate of its own',
    );
    this.tell(
      'clock',
      this.clock(),
      'see that time synchronisation works; if it stays so for 10 minutes it is believed, and leases count by it',
    );
  }

  private certificate(): string | undefined {
    const { notBeforeMs, notAfterMs } = this.parts.identity();
    const leftMs = notAfterMs - this.parts.clock.nowMs();
    if (leftMs <= 0) return 'it has ended';
    const late = leftMs < (notAfterMs - notBeforeMs) * CERTIFICATE_LATE_SHARE;
    return late ? `it ends ${new Date(notAfterMs).toISOString()}` : undefined;
  }

  private clock(): string | undefined {
    const jumpMs = this.parts.clock.heldJumpMs?.() ?? 0;
    if (jumpMs === 0) return undefined;
    return `the wall clock was set ${jumpMs > 0 ? 'ahead' : 'back'} by ${Math.round(Math.abs(jumpMs) / 1000)} s`;
  }

  private tell(object: string, reason: string | undefined, remedy: string): void {
    if (reason === undefined) this.parts.problems.clear(object);
    else this.parts.problems.report(object, reason, remedy);
  }
}
