// The fold of verified records into who is in the overlay. Order of arrival does not matter: every step keeps a
// maximum, a minimum or a set, and time enters only when the roster is viewed. Trust was verify.ts'; a tombstone
// never comes here, it is only a hint to look again.
import type { NodeAnnouncement, NodeWithdrawal, VerifiedAnnouncement } from './announcement';
import type { IpAddress, NodeName, Prefix, Vni } from './ids';

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

export type NodeState = 'live' | 'expired' | 'withdrawn' | 'quarantined';

/** A node as it counts now. `record` is undefined only for a withdrawn one. */
export interface RosterNode {
  readonly node: NodeName;
  readonly state: NodeState;
  /** One sentence; '' when live. */
  readonly why: string;
  readonly record: NodeAnnouncement | undefined;
  readonly certificateNotAfterMs: number;
  /** Two live processes under one name. A warning: the newer one counts. */
  readonly duplicateIdentity: boolean;
}

/** What this node itself claims: it wins against every peer. */
export interface OwnClaims {
  readonly node: NodeName;
  readonly vteps: readonly IpAddress[];
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
}

export const EMPTY_ROSTER: Roster = new Map();

/** Starts from the orders that a former process kept on disk: records below them are superseded. */
export declare function rosterFrom(highest: ReadonlyMap<NodeName, RecordOrder>): Roster;

/** Takes in a batch (the roster is copied once). `outcomes` in the order of the records. */
export declare function fold(
  roster: Roster,
  records: readonly VerifiedAnnouncement[],
): { readonly roster: Roster; readonly outcomes: readonly FoldOutcome[] };

/** Forgets nodes whose last lease ended more than `keepMs` ago. */
export declare function sweep(roster: Roster, nowMs: number, keepMs: number): Roster;

/**
 * Every node but our own, in order of name.
 * @param nowMs wall clock; while the bus is lost, of its last sign of life: losing the bus is not a deletion
 */
export declare function viewRoster(roster: Roster, own: OwnClaims, nowMs: number): RosterNode[];

/** Our own record as the bus shows it, for the detection of a duplicate identity. */
export declare function ownNode(roster: Roster, own: OwnClaims, nowMs: number): RosterNode | undefined;
