// The fold of verified records into who is in the overlay. Order of arrival does not matter: every step keeps a
// maximum, a minimum or a set, and time enters only when the roster is viewed. Trust was verify.ts'; a tombstone
// never comes here, it is only a hint to look again.
import type { NodeAnnouncement, VerifiedAnnouncement, VerifiedRecord } from './announcement';
import { type ConflictFinder, findingConflicts, type OwnClaims } from './conflicts';
import { sha256, toHex } from './crypto';
import type { NodeName } from './ids';
import { type Sliced, whole } from './slices';
import { MAX_LEASE_MS, MAX_SKEW_MS } from './verify';

/** Order of the records of a node: greater generation wins, then greater sequence. */
export interface RecordOrder {
  readonly generation: number;
  readonly sequence: number;
}

/** What one process of a node was seen to publish: two that overlap in time are a duplicate identity. */
export interface BootTrace {
  readonly bootId: string;
  readonly generation: number;
  readonly firstNotBeforeMs: number;
  readonly lastNotBeforeMs: number;
  readonly lastNotAfterMs: number;
}

export interface RosterEntry {
  readonly node: NodeName;
  /** Highest seen, also by a former process. */
  readonly highest: RecordOrder;
  /** The record of that order; undefined when only its order is known (after a restart). */
  readonly current: VerifiedAnnouncement | undefined;
  readonly boots: readonly BootTrace[];
  /** End of the last lease seen: until then a replay could count. */
  readonly lastNotAfterMs: number;
}

export type Roster = ReadonlyMap<NodeName, RosterEntry>;

/** `accepted` changed the winner; `repeated` is it again; `superseded` is older than what was seen. */
export type FoldOutcome = 'accepted' | 'repeated' | 'superseded';

export type NodeState = 'live' | 'expired' | 'withdrawn' | 'quarantined' | 'revoked';

/** A node as it counts now. */
export interface RosterNode {
  readonly node: NodeName;
  readonly state: NodeState;
  /** One sentence; '' when live. */
  readonly why: string;
  /** Undefined for a withdrawn node, and for a revoked one that we know by name only. */
  readonly record: NodeAnnouncement | undefined;
  readonly certificateNotAfterMs: number;
  /** Two live processes under one name. A warning: the newer one counts. */
  readonly duplicateIdentity: boolean;
}

export const EMPTY_ROSTER: Roster = new Map();

/**
 * Starts from the orders that a former process kept on disk: records below them are superseded.
 * @param nowMs wall clock: the leases it saw are not known any more, so they may still run for the longest time
 */
export function rosterFrom(highest: ReadonlyMap<NodeName, RecordOrder>, nowMs: number): Roster {
  const lastNotAfterMs = nowMs + MAX_LEASE_MS + MAX_SKEW_MS;
  return new Map(
    [...highest].map(([node, order]) => [
      node,
      { node, highest: order, current: undefined, boots: [], lastNotAfterMs },
    ]),
  );
}

/** Processes remembered for a node: enough to see two at once, bounded whatever a node publishes. */
const MAX_BOOTS = 4;

/** Takes in a batch (the roster is copied once). `outcomes` in the order of the records. */
export function fold(
  roster: Roster,
  records: readonly VerifiedAnnouncement[],
): { readonly roster: Roster; readonly outcomes: readonly FoldOutcome[] } {
  const entries = new Map(roster);
  const outcomes = records.map((verified): FoldOutcome => {
    const { entry, outcome } = foldOne(entries.get(verified.announcement.node), verified);
    entries.set(entry.node, entry);
    return outcome;
  });
  return { roster: entries, outcomes };
}

function foldOne(
  entry: RosterEntry | undefined,
  verified: VerifiedAnnouncement,
): { readonly entry: RosterEntry; readonly outcome: FoldOutcome } {
  const { announcement } = verified;
  const { node, generation, sequence } = announcement;
  const outcome = compareToEntry(verified, entry);
  const wins = outcome === 'accepted';
  return {
    outcome,
    entry: {
      node,
      highest: wins || entry === undefined ? { generation, sequence } : entry.highest,
      current: wins ? verified : entry?.current,
      boots: announcement.kind === 'node' ? noteBoot(entry?.boots ?? [], announcement) : (entry?.boots ?? []),
      lastNotAfterMs: Math.max(entry?.lastNotAfterMs ?? 0, announcement.notAfterMs),
    },
  };
}

/** Negative, zero, positive as for sorting. */
export function compareOrder(a: RecordOrder, b: RecordOrder): number {
  return a.generation - b.generation || a.sequence - b.sequence;
}

function compareToEntry(verified: VerifiedAnnouncement, entry: RosterEntry | undefined): FoldOutcome {
  if (entry === undefined) return 'accepted';
  const order = compareOrder(verified.announcement, entry.highest);
  if (order !== 0) return order > 0 ? 'accepted' : 'superseded';
  if (entry.current === undefined) return 'accepted'; // the one that a former process saw
  // Two records of one order: their owner signed both. Any choice will do that does not depend on arrival.
  const [ours, theirs] = [contentOf(verified), contentOf(entry.current)];
  if (ours === theirs) return 'repeated';
  return ours > theirs ? 'accepted' : 'superseded';
}

/** Of two records of one order: equal for the same one. */
export const contentOf = (verified: VerifiedRecord): string => {
  const text = JSON.stringify(verified, (_, value) => (value instanceof Uint8Array ? toHex(value) : value));
  return toHex(sha256(text));
};

function noteBoot(boots: readonly BootTrace[], record: NodeAnnouncement): readonly BootTrace[] {
  const { bootId, generation, notBeforeMs, notAfterMs } = record;
  const known = boots.find((boot) => boot.bootId === bootId);
  const noted: BootTrace = {
    bootId,
    generation: Math.max(known?.generation ?? generation, generation),
    firstNotBeforeMs: Math.min(known?.firstNotBeforeMs ?? notBeforeMs, notBeforeMs),
    lastNotBeforeMs: Math.max(known?.lastNotBeforeMs ?? notBeforeMs, notBeforeMs),
    lastNotAfterMs: Math.max(known?.lastNotAfterMs ?? notAfterMs, notAfterMs),
  };
  return [...boots.filter((boot) => boot.bootId !== bootId), noted]
    .sort((a, b) => b.generation - a.generation || (a.bootId < b.bootId ? -1 : 1))
    .slice(0, MAX_BOOTS);
}

/**
 * Two processes at once: one of them signed something after one of a later generation had begun. A restart is not
 * that: all of the older process's records are from before. Records of the two are compared by one clock only when
 * the duplicate runs on the same machine; a clone elsewhere with a clock behind is seen as late by its difference.
 */
function hasDuplicate(boots: readonly BootTrace[], nowMs: number): boolean {
  const live = boots.filter((boot) => boot.lastNotAfterMs > nowMs);
  return live.some((older) =>
    live.some(
      (newer) =>
        newer.bootId !== older.bootId &&
        newer.generation >= older.generation &&
        older.lastNotBeforeMs > newer.firstNotBeforeMs,
    ),
  );
}

/** Forgets nodes whose last lease ended more than `keepMs` ago: nothing they ever signed in our sight counts. */
export function sweep(roster: Roster, nowMs: number, keepMs: number): Roster {
  const gone = [...roster.values()].filter((entry) => entry.lastNotAfterMs + keepMs <= nowMs);
  if (gone.length === 0) return roster;
  const left = new Map(roster);
  for (const { node } of gone) left.delete(node);
  return left;
}

/** Entries do not change, and most look the same for hours. */
const views = new WeakMap<
  RosterEntry,
  { readonly view: RosterNode | undefined; readonly fromMs: number; readonly untilMs: number }
>();

function viewEntry(entry: RosterEntry, nowMs: number): RosterNode | undefined {
  const known = views.get(entry);
  if (known !== undefined && known.fromMs <= nowMs && nowMs < known.untilMs) return known.view;
  const view = viewEntryAt(entry, nowMs);
  views.set(entry, { view, fromMs: nowMs, untilMs: nextChangeMs(entry, nowMs) });
  return view;
}

/** The first of the times that viewEntryAt() compares with now which is still to come. */
function nextChangeMs({ current, boots }: RosterEntry, nowMs: number): number {
  const times = boots.map((boot) => boot.lastNotAfterMs);
  if (current !== undefined) times.push(current.announcement.notAfterMs, current.certificateNotAfterMs);
  return Math.min(...times.filter((atMs) => atMs > nowMs));
}

function viewEntryAt({ node, current, boots }: RosterEntry, nowMs: number): RosterNode | undefined {
  if (current === undefined) return undefined;
  const { announcement, certificateNotAfterMs } = current;
  const common = { node, certificateNotAfterMs, duplicateIdentity: hasDuplicate(boots, nowMs) };
  if (announcement.kind === 'withdrawal') {
    return { ...common, state: 'withdrawn', why: 'the node withdrew', record: undefined };
  }
  const endMs = Math.min(announcement.notAfterMs, certificateNotAfterMs);
  if (endMs > nowMs) return { ...common, state: 'live', why: '', record: announcement };
  const what = announcement.notAfterMs <= nowMs ? 'lease' : 'certificate';
  const why = `its ${what} ended ${new Date(endMs).toISOString()}`;
  return { ...common, state: 'expired', why, record: announcement };
}

function viewNode(
  node: NodeName,
  entry: RosterEntry | undefined,
  nowMs: number,
  distrust: string | undefined,
): RosterNode | undefined {
  const viewed = entry === undefined ? undefined : viewEntry(entry, nowMs);
  if (distrust === undefined || viewed?.state === 'withdrawn') return viewed;
  const known = viewed ?? { node, record: undefined, certificateNotAfterMs: 0, duplicateIdentity: false };
  return { ...known, state: 'revoked', why: distrust };
}

/**
 * Every node but our own, in order of name.
 * @param nowMs wall clock; while the bus is lost, of its last sign of life: losing the bus is not a deletion
 * @param distrusted why a node's record counts no more, although its signature is good
 */
export function viewRoster(
  roster: Roster,
  own: OwnClaims,
  nowMs: number,
  distrusted: ReadonlyMap<NodeName, string> = new Map(),
): RosterNode[] {
  return whole(viewing(roster, own, nowMs, distrusted, { finding: findingConflicts }));
}

/** The same in slices. @param finder with a memory of what it found before */
export function* viewing(
  roster: Roster,
  own: OwnClaims,
  nowMs: number,
  distrusted: ReadonlyMap<NodeName, string>,
  finder: Pick<ConflictFinder, 'finding'>,
): Sliced<RosterNode[]> {
  const names = [...new Set([...roster.keys(), ...distrusted.keys()])].sort();
  yield;
  const nodes: RosterNode[] = [];
  for (const name of names) {
    if (name === own.node) continue;
    const node = viewNode(name, roster.get(name), nowMs, distrusted.get(name));
    if (node !== undefined) nodes.push(node);
    yield;
  }
  const conflicts = yield* finder.finding(own, nodes);
  if (conflicts.size === 0) return nodes;
  return nodes.map((node) => {
    const why = conflicts.get(node.node);
    return node.state === 'live' && why !== undefined ? { ...node, state: 'quarantined', why } : node;
  });
}

/** Our own record as the bus shows it, for the detection of a duplicate identity. */
export function ownNode(roster: Roster, own: OwnClaims, nowMs: number): RosterNode | undefined {
  const entry = roster.get(own.node);
  return entry === undefined ? undefined : viewEntry(entry, nowMs);
}

export type { OwnClaims };
