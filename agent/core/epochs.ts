// Epochs as rotation sees them: ours, and those that peers announced over time. Owns how announcements become a
// history of epochs and when an epoch is too old to be used. Times are CLOCK_MONOTONIC, nanoseconds.
import type { AnnouncedEpoch } from './announcement';
import { sha256 } from './crypto';
import type { NodeName } from './ids';
import { offeredPsk } from './psk';
import { epochKey, type SecretEpoch } from './secrets';
import { type Sliced, whole } from './slices';

/** An epoch of this process. */
export interface OwnEpoch extends SecretEpoch {
  /** When a record that announces it was published; undefined: nobody can know it yet. */
  readonly publishedNs: bigint | undefined;
  /** When a newer one was published; undefined for the newest published and what comes after it. */
  readonly supersededNs: bigint | undefined;
}

/** An epoch of a peer, as we came to know it. */
export interface SeenEpoch extends AnnouncedEpoch {
  readonly firstSeenNs: bigint;
  /** When its record first named a newer one; undefined for the newest. */
  readonly supersededNs: bigint | undefined;
  /** Id of the pre-shared key of the process that it belongs to; '' for none. */
  readonly psk: string;
}

export interface RotationTiming {
  /**
   * An obsolete rx SA goes when nothing was opened under it for this long. Also how much longer than tx SAs the rx
   * SAs of an epoch live at the hard limit: the peer must hear from us before we stop to understand it.
   */
  readonly idleMs: number;
  /** After this long in a superseded epoch an SA goes, whatever still uses it. */
  readonly hardLimitMs: number;
  /** After this long with an adopted tx SA and no proof (both ends restarted) newer epochs are used unproven. */
  readonly stalemateMs: number;
  /** Longest time for which an epoch of ours is the newest. */
  readonly rotateMs: number;
  /** A peer from which nothing was authenticated for this long, probes included, is off: it holds no old epoch. */
  readonly silentMs: number;
}

export const nsOf = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

/**
 * How long an epoch is our newest: between half of the longest time and all of it. Node and number decide, so that a
 * cluster started at one moment spreads its rotations by itself, and no clock has to be right.
 */
export function lifeMs(node: NodeName, number: number, { rotateMs }: RotationTiming): number {
  const draw = Buffer.from(sha256(`vxseal/1 life ${node} ${number}`)).readUInt32BE(0) / 2 ** 32;
  return Math.floor((rotateMs / 2) * (1 + draw));
}

/** Whether we may still send under it. */
export function mayCarryTx(
  supersededNs: bigint | undefined,
  nowNs: bigint,
  { hardLimitMs }: RotationTiming,
): boolean {
  return supersededNs === undefined || nowNs - supersededNs < nsOf(hardLimitMs);
}

/** Whether we may still receive under it. */
export function mayCarryRx(
  supersededNs: bigint | undefined,
  nowNs: bigint,
  { hardLimitMs, idleMs }: RotationTiming,
): boolean {
  return supersededNs === undefined || nowNs - supersededNs < nsOf(hardLimitMs + idleMs);
}

/** Epochs seen of each peer, newest first: kept over calls by the control room. */
export type EpochBook = ReadonlyMap<NodeName, readonly SeenEpoch[]>;

/** A peer cannot make us derive and install more than this, however often it rotates. */
const MAX_SEEN_EPOCHS = 6;

export interface EpochsOfNode {
  readonly node: NodeName;
  readonly epoch: AnnouncedEpoch;
  readonly olderEpochs?: readonly AnnouncedEpoch[];
  readonly suites: readonly string[];
}

/**
 * Adds what live nodes announce now (NodeAnnouncement fits in); forgets nodes not among them and epochs past the
 * hard limit. The order is that of the records, not of the numbers: a node that lost its disk counts from 1 again.
 */
export function noteEpochs(
  book: EpochBook,
  live: readonly EpochsOfNode[],
  nowNs: bigint,
  timing: RotationTiming,
): EpochBook {
  return whole(notingEpochs(book, live, nowNs, timing));
}

/** The same in slices; the same book when nothing is to be noted. */
export function* notingEpochs(
  book: EpochBook,
  live: readonly EpochsOfNode[],
  nowNs: bigint,
  timing: RotationTiming,
): Sliced<EpochBook> {
  const noted = new Map<NodeName, readonly SeenEpoch[]>();
  let changed = false;
  for (const record of live) {
    const before = book.get(record.node);
    const epochs =
      before !== undefined && isTold(before, record) ? before : noteNode(before ?? [], record, nowNs, timing);
    changed ||= epochs !== before;
    noted.set(record.node, epochs);
    yield;
  }
  return changed || noted.size !== book.size ? noted : book;
}

/** Which record the epochs were last noted from. */
const notedFrom = new WeakMap<readonly SeenEpoch[], EpochsOfNode>();

/** The record says nothing new, and no epoch grows old. */
const isTold = (epochs: readonly SeenEpoch[], record: EpochsOfNode): boolean =>
  notedFrom.get(epochs) === record && epochs.every((seen) => seen.supersededNs === undefined);

function noteNode(
  before: readonly SeenEpoch[],
  record: EpochsOfNode,
  nowNs: bigint,
  timing: RotationTiming,
): readonly SeenEpoch[] {
  const { epoch, olderEpochs = [], suites } = record;
  const known = new Map(before.map((seen) => [epochKey(seen), seen]));
  const listed = [epoch, ...olderEpochs, ...before];
  const once = [...new Map(listed.map((each) => [epochKey(each), each])).values()];
  const noted = once.map((each, index): SeenEpoch => {
    const seen = known.get(epochKey(each));
    return {
      number: each.number,
      publicKey: each.publicKey,
      firstSeenNs: seen?.firstSeenNs ?? nowNs,
      supersededNs: index === 0 ? undefined : (seen?.supersededNs ?? nowNs),
      psk: seen?.psk ?? offeredPsk(suites) ?? '',
    };
  });
  const kept = noted.filter((seen) => mayCarryRx(seen.supersededNs, nowNs, timing)).slice(0, MAX_SEEN_EPOCHS);
  notedFrom.set(kept, record);
  return kept;
}
