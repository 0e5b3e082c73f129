// Takes records from the bus: verifies them off the bus's back, folds the good ones into the roster, counts the
// others by reason. Nothing hostile throws or stalls here. Also says from when on the roster is complete, and by
// which clock leases end while the bus is lost.

import {
  isPodRecord,
  PODS_TOPIC,
  recordName,
  type VerifiedAnnouncement,
  type VerifiedPodRecord,
  type VerifiedRecord,
} from '../core/announcement';
import { ConflictFinder, type OwnClaims } from '../core/conflicts';
import type { NodeName } from '../core/ids';
import { type ClaimName, type OwnClaimsView, PodRoster, type RemotePod } from '../core/podroster';
import type { Result } from '../core/result';
import {
  fold,
  ownNode,
  type RecordOrder,
  type Roster,
  type RosterNode,
  rosterFrom,
  sweep,
  viewing,
} from '../core/roster';
import { type Sliced, whole } from '../core/slices';
import type { BusRecord, BusStatus, Clock, Log } from '../ports';
import type { Problems } from './problems';
import { type RecordCounts, Refusals } from './refusals';
import { StandingRecords } from './standing';

/** Records verified at once; the rest waits, so that a flood does not hold the event loop. */
const BATCH = 64;
/** Of node records, until their orders are written again: the file holds all of them, and is written with fsync. */
const UNWRITTEN = 1024;
/** Of claims, while what stood on the bus at the start is being read: else whenever nothing waits. */
const UNWRITTEN_CLAIMS = 8192;
/** Between looks for what can be forgotten, which are at all records. */
const SWEEP_MS = 60_000;
/** Records that wait before whoever reads them is asked to wait. */
const MAX_WAITING = 1024;
/** Records kept that other roots or revocations may make good. A flood of forgeries pushes out only its like. */
const MAX_DOUBTFUL = 1024;
/** Reasons that depend on what we trust, not on the record. */
const TRUST_REASONS: ReadonlySet<string> = new Set(['bad-chain', 'expired-certificate', 'revoked']);
/** How long a node that is gone is remembered, so that its old records stay superseded. */
const KEEP_MS = 24 * 3600_000;
/** Object of the problem. */
const ORDERS = 'orders of records on disk';

export interface RecordParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly verify: (record: BusRecord, nowMs: number) => Promise<Result<VerifiedRecord, string>>;
  readonly busStatus: () => BusStatus;
  /** After an outage peers are given this long to publish again before their leases count. */
  readonly graceMs: number;
  /** Keeps the highest orders seen, with fsync. */
  readonly remember: (highest: ReadonlyMap<NodeName, RecordOrder>) => Promise<void>;
  /** The same for the claims of pods' addresses. */
  readonly rememberPods: (highest: ReadonlyMap<ClaimName, RecordOrder>) => Promise<void>;
  readonly changed: () => void;
  /** Called between records: a chance for others. */
  readonly breathe?: () => Promise<void>;
}

interface Judged {
  readonly record: BusRecord;
  readonly verified: VerifiedRecord;
}

export class RecordIntake {
  private roster: Roster;
  private readonly claims: PodRoster;
  private claimsSaved: number;
  /** Node records that changed an order which is not written yet. */
  private unwritten = 0;
  private sweptMs = Number.NEGATIVE_INFINITY;
  /** By topic and key: of two records for one key only the later one stands on the bus. */
  private readonly waiting = new Map<string, BusRecord | 'standing'>();
  /** Who waits until less waits. */
  private blocked: (() => void)[] = [];
  private working: Promise<void> | undefined;
  private wasInSync = false;
  private outage: { frozenMs: number; endedMs: number | undefined } | undefined;
  private readonly refusals = new Map<string, number>();
  private readonly refused = new Refusals();
  private acceptedCount = 0;
  private readonly conflicts = new ConflictFinder();
  /** To be judged anew: what the roster was made from. */
  private readonly standing = new StandingRecords();
  /** Refused for a reason of trust. */
  private readonly doubtful = new Map<string, BusRecord>();
  private readonly distrusted = new Map<NodeName, string>();
  /** Why the highest orders of these are not on disk. */
  private readonly unkept = new Map<'nodes' | 'pods', unknown>();

  constructor(
    private readonly parts: RecordParts,
    highest: ReadonlyMap<NodeName, RecordOrder>,
    highestOfPods: ReadonlyMap<ClaimName, RecordOrder>,
  ) {
    this.roster = rosterFrom(highest, parts.clock.nowMs());
    this.claims = new PodRoster(highestOfPods, parts.clock.nowMs());
    this.claimsSaved = this.claims.version;
  }

  /** Never throws. */
  receive(record: BusRecord): void {
    this.waiting.set(recordName(record), record);
    this.begin();
  }

  /** Resolves when there is room for more: whoever reads faster than is judged must not fill the memory with it. */
  async ready(): Promise<void> {
    if (this.waiting.size >= MAX_WAITING)
      await new Promise<void>((resolve) => {
        this.blocked.push(resolve);
      });
  }

  /** Roots or revocations have changed: whoever was believed may not be any more, and the other way round. */
  judgeAnew(): void {
    for (const [name, record] of this.doubtful) if (!this.waiting.has(name)) this.waiting.set(name, record);
    for (const name of this.standing.names()) if (!this.waiting.has(name)) this.waiting.set(name, 'standing');
    this.doubtful.clear();
    this.begin();
  }

  private begin(): void {
    this.working ??= this.work().finally(() => {
      this.working = undefined;
      if (this.waiting.size > 0) return this.begin(); // came while orders were written
      // Until the bus was read nothing is complete: passes come by their interval, and take in what there is.
      if (!this.isReading()) this.parts.changed();
    });
  }

  /** What stood on the bus at the start is on its way. */
  private isReading(): boolean {
    const { connected, inSync } = this.parts.busStatus();
    return connected && !inSync && !this.wasInSync;
  }

  /** True from when everything that stood on the bus at the start was read and judged; stays true. */
  inSync(): boolean {
    if (!this.wasInSync && this.parts.busStatus().inSync && this.working === undefined) this.wasInSync = true;
    return this.wasInSync;
  }

  nodes(own: OwnClaims): RosterNode[] {
    return whole(this.viewing(own));
  }

  /** The same in slices; as it was when this was called. */
  viewing(own: OwnClaims): Sliced<RosterNode[]> {
    return viewing(this.roster, own, this.leaseNowMs(), new Map(this.distrusted), this.conflicts);
  }

  /** Why a node's records are not believed although they are well signed; undefined when they are. */
  distrustOf(node: NodeName): string | undefined {
    return this.distrusted.get(node);
  }

  own(claims: OwnClaims): RosterNode | undefined {
    return ownNode(this.roster, claims, this.leaseNowMs());
  }

  /** Pods of other nodes, by their nodes' records. @param nodes what nodes() gave */
  pods(nodes: readonly RosterNode[], own: NodeName): readonly RemotePod[] {
    return whole(this.viewingPods(nodes, own));
  }

  /** The same in slices. Claims that come meanwhile may be in it or not: another pass follows them. */
  viewingPods(nodes: readonly RosterNode[], own: NodeName): Sliced<readonly RemotePod[]> {
    return this.claims.viewing(nodes, own, this.leaseNowMs());
  }

  /** What stands under our own name. */
  ownPods(own: NodeName): OwnClaimsView {
    return {
      standing: this.claims.claimsOf(own, this.leaseNowMs()),
      orderOf: (key) => this.claims.orderOf(key, own),
    };
  }

  counts(): RecordCounts {
    const refused = [...this.refusals].map(([reason, count]) => ({ reason, count }));
    return { accepted: this.acceptedCount, refused: refused.sort((a, b) => b.count - a.count) };
  }

  /** Refused records that stand on the bus, as problems. */
  tellRefusals(problems: Problems): void {
    this.refused.tell(problems);
  }

  /** That the orders are not on disk, so that a restart could be rolled back; tries once more before it says so. */
  async tellUnkept(problems: Problems): Promise<void> {
    if (this.unkept.has('nodes')) await this.keepOrders();
    if (this.unkept.has('pods')) await this.keepClaims();
    const [error] = this.unkept.values();
    if (error === undefined) problems.clear(ORDERS);
    else problems.reportError(ORDERS, error);
  }

  /** Told of every change of the bus's status. */
  noteStatus(): void {
    const { connected, lastSeenMs } = this.parts.busStatus();
    const nowMs = this.parts.clock.nowMs();
    // Before it is in sync there is only what a former process saw of the bus, at lastSeenMs.
    if (!connected && (this.wasInSync || lastSeenMs > 0)) {
      const frozenMs = this.outage?.frozenMs ?? (lastSeenMs === 0 ? nowMs : lastSeenMs);
      this.outage = { frozenMs, endedMs: undefined };
    } else if (connected && this.outage !== undefined) {
      const endedMs = this.outage.endedMs ?? nowMs;
      // Owners renew before a third of the lease is left: a short outage has cost nobody his lease.
      const isLong = endedMs - this.outage.frozenMs >= this.parts.graceMs / 3;
      this.outage = isLong ? { ...this.outage, endedMs } : undefined;
    }
    if (this.wasInSync) this.parts.changed();
    else this.begin(); // what was not written while the bus was read
  }

  /**
   * Losing the bus is not a deletion: time stands still for leases, and for a grace behind the outage, or all that
   * ran out meanwhile would go before their owners can publish again.
   */
  private leaseNowMs(): number {
    const nowMs = this.parts.clock.nowMs();
    if (this.outage === undefined) return nowMs;
    const { frozenMs, endedMs } = this.outage;
    if (endedMs === undefined || nowMs < endedMs + this.parts.graceMs) return frozenMs;
    this.outage = undefined;
    return nowMs;
  }

  private async work(): Promise<void> {
    while (this.waiting.size > 0) {
      this.take(await this.judgeBatch());
      if (this.unwritten >= UNWRITTEN) await this.keepOrders();
    }
    this.sweep();
    const isReading = this.isReading();
    if (this.unwritten > 0 && !isReading) await this.keepOrders();
    if (this.claims.version - this.claimsSaved > (isReading ? UNWRITTEN_CLAIMS : 0)) await this.keepClaims();
  }

  private async judgeBatch(): Promise<Judged[]> {
    const judging: Promise<Judged | undefined>[] = [];
    for (const [name, waiting] of this.waiting) {
      this.waiting.delete(name);
      const record = waiting === 'standing' ? this.standing.get(name) : waiting;
      if (record !== undefined) judging.push(this.judge(record));
      if (judging.length === BATCH) break;
      await this.parts.breathe?.();
    }
    if (this.waiting.size < MAX_WAITING) for (const resolve of this.blocked.splice(0)) resolve();
    return (await Promise.all(judging)).filter((each) => each !== undefined);
  }

  private take(judged: readonly Judged[]): void {
    const ofNodes = judged.filter(({ record, verified }) => {
      if (!isPodRecord(verified)) return true;
      this.takePod(record, verified);
      return false;
    });
    if (ofNodes.length > 0) this.takeNodes(ofNodes);
  }

  private takePod(record: BusRecord, verified: VerifiedPodRecord): void {
    const outcome = this.claims.fold(verified);
    if (outcome === 'superseded' || outcome === 'crowded') {
      this.count(outcome);
      return;
    }
    this.acceptedCount += 1;
    this.standing.set(recordName(record), record, verified.announcement);
  }

  private takeNodes(judged: readonly Judged[]): void {
    const { roster, outcomes } = fold(
      this.roster,
      judged.map(({ verified }) => verified as VerifiedAnnouncement),
    );
    this.roster = roster;
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome === 'superseded') this.count(outcome);
      else this.acceptedCount += 1;
      if (outcome === 'accepted') this.unwritten += 1;
      const each = judged[index];
      if (each === undefined || outcome === 'superseded') continue;
      this.standing.set(recordName(each.record), each.record, each.verified.announcement);
      this.distrusted.delete(each.verified.announcement.node);
    }
  }

  private keepOrders(): Promise<void> {
    this.unwritten = 0;
    const highest = new Map([...this.roster].map(([node, entry]) => [node, entry.highest]));
    return this.keep('nodes', this.parts.remember(highest));
  }

  /** Forgets what cannot count any more; whether a lease has ended is looked at whenever it matters. */
  private sweep(): void {
    const nowMs = this.parts.clock.nowMs();
    if (nowMs < this.sweptMs + SWEEP_MS) return;
    this.sweptMs = nowMs;
    this.roster = sweep(this.roster, this.leaseNowMs(), KEEP_MS);
    this.claims.sweep(this.leaseNowMs());
    for (const name of this.standing.names()) {
      const key = name.slice(name.indexOf('\n') + 1);
      const known = name.startsWith(`${PODS_TOPIC}\n`)
        ? this.claims.has(key)
        : this.roster.has(key as NodeName);
      if (!known) this.standing.delete(name);
    }
  }

  /** Once for all that came together: there may be tens of thousands. */
  private keepClaims(): Promise<void> {
    this.claimsSaved = this.claims.version;
    return this.keep('pods', this.parts.rememberPods(this.claims.orders()));
  }

  private async keep(what: 'nodes' | 'pods', written: Promise<void>): Promise<void> {
    await written.then(
      () => this.unkept.delete(what),
      (error: unknown) => this.unkept.set(what, error),
    );
  }

  private async judge(record: BusRecord): Promise<Judged | undefined> {
    const result = await this.parts.verify(record, this.parts.clock.nowMs());
    if (result.ok) {
      this.refused.accepted(record);
      return { record, verified: result.value };
    }
    this.refused.refused(record, result.reason, result.detail);
    // The first of each reason is logged; an attacker must not be able to fill the log.
    if (this.count(result.reason) === 1)
      this.parts.log.warn({ reason: result.reason, detail: result.detail }, 'record refused');
    if (TRUST_REASONS.has(result.reason)) this.doubt(record, result.reason, result.detail);
    return undefined;
  }

  /**
   * Kept for another look. It takes its node down only if it is the very record that the node's place rests on, or
   * if there is none: whoever holds an old certificate can still put old records onto the bus.
   */
  private doubt(record: BusRecord, reason: string, detail: string): void {
    const key = recordName(record);
    if (record.topic === PODS_TOPIC) {
      // Whether its node counts is said by the node's own record; this one is only to be judged again.
      this.keepDoubtful(key, record);
      return;
    }
    const node = record.key as NodeName; // verified: its key is its node
    if (this.standing.holds(key, record)) {
      // An end that came by itself is the roster's to tell.
      if (reason !== 'expired-certificate') this.distrusted.set(node, `${reason}: ${detail}`);
      return;
    }
    // Only `revoked` is said of a record whose signature is good: its key is its node.
    if (reason === 'revoked' && !this.standing.has(key)) this.distrusted.set(node, `${reason}: ${detail}`);
    this.keepDoubtful(key, record);
  }

  private keepDoubtful(key: string, record: BusRecord): void {
    this.doubtful.delete(key);
    this.doubtful.set(key, record);
    const [oldest] = this.doubtful.keys();
    if (this.doubtful.size > MAX_DOUBTFUL && oldest !== undefined) this.doubtful.delete(oldest);
  }

  private count(reason: string): number {
    const count = (this.refusals.get(reason) ?? 0) + 1;
    this.refusals.set(reason, count);
    return count;
  }
}
