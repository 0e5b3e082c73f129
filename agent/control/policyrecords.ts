// Takes policy records from the bus: verifies them off the bus's back, writes the good ones through to disk, folds them
// into the policy that holds, counts the others by reason. What was accepted stands until its signed successor or
// withdrawal: no loss of the bus, null, end of a certificate or restart takes it away.
import type { PolicyWorld } from '../core/policy';
import { POLICIES_TOPIC, type PolicyRecord, type VerifiedPolicy } from '../core/policyrecord';
import {
  EMPTY_POLICY_ROSTER,
  foldPolicy,
  type PolicyFloors,
  type PolicyRoster,
  raiseFloor,
  roomFor,
  viewPolicies,
  vniOfKey,
} from '../core/policyroster';
import type { Result } from '../core/result';
import { VxsealError } from '../errors';
import type { BusRecord, BusStatus, Clock, Log } from '../ports';
import { type Problems, reasonOf } from './problems';
import { type RecordCounts, Refusals } from './refusals';

/** Documents of one VNI that a node keeps, the withdrawn ones among them. */
export const MAX_DOCUMENTS = 4096;
/** Records kept that other roots or revocations may make good. */
const MAX_DOUBTFUL = 256;
/** Reasons that depend on what we trust, not on the record. */
const TRUST_REASONS: ReadonlySet<string> = new Set(['bad-chain', 'revoked']);
const KEEPING = 'policy on disk';
const GONE = 'policy record ';

export interface PolicyRecordParts {
  readonly verify: (record: BusRecord, nowMs: number) => Promise<Result<VerifiedPolicy, string>>;
  /** What a record of our own disk says, without a look at its signature. */
  readonly read: (record: BusRecord) => Result<VerifiedPolicy, string>;
  readonly store: {
    load(): Promise<readonly BusRecord[]>;
    keep(record: BusRecord): Promise<void>;
    forget(key: string): Promise<void>;
  };
  /** Orders of withdrawals that had to make room; `highest` is as a former process left it. */
  readonly floors: {
    readonly highest: PolicyFloors;
    remember(floors: PolicyFloors): Promise<void>;
  };
}

export interface PolicyIntakeParts extends PolicyRecordParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly problems: Problems;
  readonly busStatus: () => BusStatus;
  readonly changed: () => void;
}

export class PolicyIntake {
  private roster: PolicyRoster = EMPTY_POLICY_ROSTER;
  /** Every pass asks. */
  private viewed = { roster: EMPTY_POLICY_ROSTER, world: viewPolicies(EMPTY_POLICY_ROSTER) };
  private readonly standing = new Map<string, BusRecord>();
  private readonly doubtful = new Map<string, BusRecord>();
  /** By key: of two records for one key only the later one stands on the bus. */
  private readonly waiting = new Map<string, BusRecord>();
  /** Documents in force whose record was nulled on the bus. */
  private readonly gone = new Set<string>();
  private working: Promise<void> | undefined;
  private wasInSync = false;
  private acceptedCount = 0;
  private readonly refusals = new Map<string, number>();
  private readonly refused = new Refusals('policy of ');

  private floors: PolicyFloors;

  constructor(private readonly parts: PolicyIntakeParts) {
    this.floors = parts.floors.highest;
  }

  /** What a former process accepted; before a pod is hooked. Throws VxsealError 'state' for what cannot be read. */
  async load(): Promise<void> {
    const roster = new Map(this.roster);
    for (const record of await this.parts.store.load()) {
      const kept = this.parts.read(record);
      if (!kept.ok)
        throw new VxsealError(
          'state',
          `policy ${record.key} on disk is damaged: ${kept.reason}: ${kept.detail}`,
          'restore stateDir/policies, or remove the file if that policy need not hold until the bus is read',
        );
      const verified = await this.parts.verify(record, this.parts.clock.nowMs());
      roster.set(record.key, {
        verified: verified.ok ? verified.value : kept.value,
        distrust: this.distrustOf(verified),
      });
      this.standing.set(record.key, record);
    }
    this.roster = roster;
  }

  /** Never throws. */
  receive(record: BusRecord): void {
    this.waiting.set(record.key, record);
    this.begin();
  }

  /** Roots or revocations have changed: whoever was believed may not be any more, and the other way round. */
  judgeAnew(): void {
    for (const record of [...this.doubtful.values(), ...this.standing.values()])
      if (!this.waiting.has(record.key)) this.waiting.set(record.key, record);
    this.doubtful.clear();
    this.begin();
  }

  /** True from when everything that stood on the bus at the start was read and judged; stays true. */
  inSync(): boolean {
    if (!this.wasInSync && this.parts.busStatus().inSync && this.working === undefined) this.wasInSync = true;
    return this.wasInSync;
  }

  world(): PolicyWorld {
    if (this.viewed.roster !== this.roster)
      this.viewed = { roster: this.roster, world: viewPolicies(this.roster) };
    return this.viewed.world;
  }

  counts(): RecordCounts {
    const refused = [...this.refusals].map(([reason, count]) => ({ reason, count }));
    return { accepted: this.acceptedCount, refused };
  }

  /** Refused records that stand on the bus, authors that are not trusted any more, and records that were nulled. */
  tell(): void {
    const { problems } = this.parts;
    this.refused.tell(problems);
    const told = new Set<string>();
    const tell = (key: string, reason: string, remedy: string): void => {
      told.add(`${GONE}${key}`);
      problems.report(`${GONE}${key}`, reason, remedy);
    };
    for (const [key, { verified, distrust }] of this.roster) {
      if (distrust !== undefined)
        tell(
          key,
          `its author ${verified.record.author} is not trusted (${distrust}): it isolates, and allows nothing`,
          'have it signed again, or withdrawn, by an author who is: vxseal policy apply',
        );
      else if (this.gone.has(key))
        tell(
          key,
          'its record is gone from the bus: it holds here, and new nodes do not learn of it',
          'sign it again, or withdraw it: vxseal policy apply | withdraw',
        );
    }
    problems.clearOthers(GONE, told);
  }

  private begin(): void {
    this.working ??= this.work().finally(() => {
      this.working = undefined;
      this.parts.changed();
    });
  }

  private async work(): Promise<void> {
    for (;;) {
      const [next] = this.waiting.values();
      if (next === undefined) return;
      this.waiting.delete(next.key);
      await this.judge(next);
    }
  }

  private async judge(record: BusRecord): Promise<void> {
    const result = await this.parts.verify(record, this.parts.clock.nowMs());
    if (result.ok) await this.take(record, result.value);
    else this.refuse(record, result.reason, result.detail);
  }

  private async take(record: BusRecord, verified: VerifiedPolicy): Promise<void> {
    const { key } = record;
    const space = roomFor(this.roster, this.floors, verified.record, MAX_DOCUMENTS);
    // The very withdrawal, read again.
    if (space === 'forgotten' && verified.record.document === undefined) {
      this.count('superseded');
      return;
    }
    if (typeof space === 'string') return this.refuse(record, 'too-many', crowded(vniOfKey(key), space));
    const { entry, outcome } = foldPolicy(this.roster.get(key), verified);
    if (outcome === 'superseded') {
      this.count(outcome);
      return;
    }
    this.acceptedCount += 1;
    this.refused.accepted(record);
    this.gone.delete(key);
    // On disk before it counts: a restart must not find less than what was in force.
    if (space.evict !== undefined) this.floors = raiseFloor(this.floors, space.evict);
    if (outcome === 'accepted') await this.keep(record, space.evict);
    const roster = new Map(this.roster);
    if (space.evict !== undefined) roster.delete(space.evict.key);
    this.roster = roster.set(key, entry);
    if (space.evict !== undefined) this.standing.delete(space.evict.key);
    if (outcome === 'accepted' || !this.standing.has(key)) this.standing.set(key, record);
  }

  private async keep(record: BusRecord, evict: PolicyRecord | undefined): Promise<void> {
    const { store, floors, problems } = this.parts;
    try {
      if (evict !== undefined) {
        await floors.remember(this.floors);
        await store.forget(evict.key);
      }
      await store.keep(record);
      problems.clear(KEEPING);
    } catch (error) {
      // It holds all the same: a full disk must not keep a policy from closing.
      problems.report(
        KEEPING,
        `${reasonOf(error)}: a restart could be rolled back`,
        'make room in the state directory',
      );
    }
  }

  private refuse(record: BusRecord, reason: string, detail: string): void {
    const { key } = record;
    if (this.count(reason) === 1) this.parts.log.warn({ reason, detail }, 'policy record refused');
    const standing = this.roster.get(key);
    if (reason === 'tombstone') {
      if (standing?.verified.record.document !== undefined) this.gone.add(key);
      return;
    }
    if (!TRUST_REASONS.has(reason)) {
      this.refused.refused(record, reason, detail);
      return;
    }
    if (standing !== undefined && isSame(this.standing.get(key), record)) {
      this.roster = new Map(this.roster).set(key, { ...standing, distrust: `${reason}: ${detail}` });
      return;
    }
    this.refused.refused(record, reason, detail);
    this.doubtful.delete(key);
    this.doubtful.set(key, record);
    const [oldest] = this.doubtful.keys();
    if (this.doubtful.size > MAX_DOUBTFUL && oldest !== undefined) this.doubtful.delete(oldest);
  }

  /** Of what our disk holds. It was good once: a clock that is behind takes nothing from it. */
  private distrustOf(verified: Result<VerifiedPolicy, string>): string | undefined {
    return verified.ok || verified.reason === 'bad-generation'
      ? undefined
      : `${verified.reason}: ${verified.detail}`;
  }

  private count(reason: string): number {
    const count = (this.refusals.get(reason) ?? 0) + 1;
    this.refusals.set(reason, count);
    return count;
  }
}

const isSame = (a: BusRecord | undefined, b: BusRecord): boolean =>
  a?.value !== undefined && b.value !== undefined && Buffer.compare(a.value, b.value) === 0;

const crowded = (vni: string, why: 'full' | 'forgotten'): string =>
  why === 'full'
    ? `${MAX_DOCUMENTS} documents of VNI ${vni} are kept`
    : `older than withdrawals of VNI ${vni} that are forgotten, and maybe one of those documents: sign it again`;

export const isPolicyRecord = ({ topic }: BusRecord): boolean => topic === POLICIES_TOPIC;
