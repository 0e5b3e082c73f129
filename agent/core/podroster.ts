// Which pod has which address, by the claims of the nodes: the fold of verified pod records, as roster.ts is for nodes. Order
// of arrival does not matter. A claim counts while its lease, its certificate and its node do; two live claims of one
// address are both left out, since nobody can tell who is right.
import { type NodeAnnouncement, type PodAnnouncement, podKey, type VerifiedPodRecord } from './announcement';
import { hostPrefix, prefixContains } from './bytes';
import type { NodeName } from './ids';
import { compareOrder, contentOf, type FoldOutcome, type RecordOrder, type RosterNode } from './roster';
import { type Sliced, whole } from './slices';
import { MAX_LEASE_MS, MAX_SKEW_MS } from './verify';

/** Bounds what one node can make all others remember. */
export const MAX_CLAIMS_OF_NODE = 2048;

interface ClaimEntry {
  readonly node: NodeName;
  /** Often that of `current` itself: there are tens of thousands. */
  highest: RecordOrder;
  /** Undefined when only its order is known (after a restart). */
  current: VerifiedPodRecord | undefined;
  lastNotAfterMs: number;
}

/** `crowded`: its node claims more addresses than anybody remembers. */
export type ClaimOutcome = FoldOutcome | 'crowded';

/** A pod of another node as it counts now. */
export interface RemotePod {
  readonly record: PodAnnouncement;
  readonly state: 'live' | 'quarantined';
  /** One sentence; '' when live. */
  readonly why: string;
}

interface SeenPods {
  readonly version: number;
  readonly own: NodeName;
  readonly live: ReadonlySet<NodeName>;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly pods: readonly RemotePod[];
}

/** What the rosters show of our own claims. */
export interface OwnClaimsView {
  /** Live ones, by key. */
  readonly standing: ReadonlyMap<string, PodAnnouncement>;
  /** Highest order seen, also by a former process. */
  orderOf(key: string): RecordOrder | undefined;
}

/** "VNI/address node": whose claim of what. */
export type ClaimName = string & { readonly __brand: 'ClaimName' };

const nameOf = (key: string, node: NodeName): ClaimName => `${key} ${node}` as ClaimName;

export class PodRoster {
  /** By key; of each node one. */
  readonly #claims = new Map<string, ClaimEntry[]>();
  readonly #countOfNode = new Map<NodeName, number>();
  #version = 0;
  /** What viewing() gave last, and for how long it holds. */
  #seen: SeenPods | undefined;

  /**
   * @param highest orders that a former process kept on disk: records below them are superseded
   * @param nowMs wall clock: the leases it saw are not known any more, so they may still run for the longest time
   */
  constructor(highest: ReadonlyMap<ClaimName, RecordOrder>, nowMs: number) {
    for (const [name, order] of highest) {
      const [key = '', node = ''] = name.split(' ');
      this.#put(key, {
        node: node as NodeName,
        highest: order,
        current: undefined,
        lastNotAfterMs: nowMs + MAX_LEASE_MS + MAX_SKEW_MS,
      });
    }
  }

  /** Grows with every change of what is claimed. */
  get version(): number {
    return this.#version;
  }

  fold(verified: VerifiedPodRecord): ClaimOutcome {
    const { announcement } = verified;
    const key = podKey(announcement);
    const { node, notAfterMs } = announcement;
    const entry = this.#find(key, node);
    if (entry === undefined) {
      if ((this.#countOfNode.get(node) ?? 0) >= MAX_CLAIMS_OF_NODE) return 'crowded';
      this.#put(key, { node, highest: announcement, current: verified, lastNotAfterMs: notAfterMs });
      this.#version += 1;
      return 'accepted';
    }
    const outcome = compare(verified, entry);
    entry.lastNotAfterMs = Math.max(entry.lastNotAfterMs, notAfterMs);
    if (outcome === 'accepted') {
      entry.highest = announcement;
      entry.current = verified;
      this.#version += 1;
    }
    return outcome;
  }

  has(key: string): boolean {
    return this.#claims.has(key);
  }

  /** The highest order seen of a node's claim of an address. */
  orderOf(key: string, node: NodeName): RecordOrder | undefined {
    const entry = this.#find(key, node);
    if (entry === undefined) return undefined;
    const { generation, sequence } = entry.highest;
    return { generation, sequence };
  }

  orders(): Map<ClaimName, RecordOrder> {
    const orders = new Map<ClaimName, RecordOrder>();
    for (const [key, claims] of this.#claims)
      for (const { node, highest } of claims) orders.set(nameOf(key, node), highest);
    return orders;
  }

  /** Forgets claims whose last lease has ended: a replay of them is dead by itself. */
  sweep(nowMs: number): void {
    for (const [key, claims] of this.#claims)
      for (const { node, lastNotAfterMs } of [...claims]) {
        if (lastNotAfterMs > nowMs) continue;
        this.#claims.set(
          key,
          (this.#claims.get(key) ?? []).filter((entry) => entry.node !== node),
        );
        this.#countOfNode.set(node, (this.#countOfNode.get(node) ?? 1) - 1);
        if (this.#claims.get(key)?.length === 0) this.#claims.delete(key);
        this.#version += 1;
      }
  }

  /** Live claims of one node, by key. */
  claimsOf(node: NodeName, nowMs: number): Map<string, PodAnnouncement> {
    const found = new Map<string, PodAnnouncement>();
    for (const [key, claims] of this.#claims) {
      const record = liveRecord(
        claims.find((entry) => entry.node === node),
        nowMs,
      );
      if (record !== undefined) found.set(key, record);
    }
    return found;
  }

  /**
   * Pods of all other nodes, in the order of their keys' arrival.
   * @param nodes the view of the node roster: a claim counts while its node is live
   * @param own our name: a claim of ours puts the other's in quarantine
   */
  view(nodes: readonly RosterNode[], own: NodeName, nowMs: number): readonly RemotePod[] {
    return whole(this.viewing(nodes, own, nowMs));
  }

  /** The same in slices, each address looked at at one moment; the same list while it says the same. */
  *viewing(nodes: readonly RosterNode[], own: NodeName, nowMs: number): Sliced<readonly RemotePod[]> {
    const live = new Set(nodes.filter(({ state }) => state === 'live').map(({ node }) => node));
    const version = this.#version;
    const seen = this.#seen;
    if (seen?.version === version && seen.own === own && seen.fromMs <= nowMs && nowMs < seen.untilMs)
      if (isSameSet(seen.live, live)) return seen.pods;
    const pods: RemotePod[] = [];
    let untilMs = Number.POSITIVE_INFINITY;
    for (const claims of this.#claims.values()) {
      yield;
      const standing = claims.flatMap((entry) => liveRecord(entry, nowMs) ?? []);
      for (const entry of claims) untilMs = Math.min(untilMs, nextEndMs(entry, nowMs));
      const counting = standing.filter(({ node }) => node === own || live.has(node));
      const claimants = counting.map(({ node }) => node);
      const others = counting.filter(({ node }) => node !== own);
      const why =
        claimants.length > 1 ? `${claimants.sort().join(' and ')} claim ${counting[0]?.address}` : '';
      for (const record of others) pods.push({ record, state: why === '' ? 'live' : 'quarantined', why });
    }
    // What came meanwhile may be in it or not.
    this.#seen = version === this.#version ? { version, own, live, fromMs: nowMs, untilMs, pods } : undefined;
    return pods;
  }

  #find(key: string, node: NodeName): ClaimEntry | undefined {
    return this.#claims.get(key)?.find((entry) => entry.node === node);
  }

  #put(key: string, entry: ClaimEntry): void {
    const claims = this.#claims.get(key);
    if (claims === undefined) this.#claims.set(key, [entry]);
    else claims.push(entry);
    this.#countOfNode.set(entry.node, (this.#countOfNode.get(entry.node) ?? 0) + 1);
  }
}

const isSameSet = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): boolean =>
  a.size === b.size && [...a].every((each) => b.has(each));

/** When the claim will have ended; never for what does not count now. */
function nextEndMs({ current }: ClaimEntry, nowMs: number): number {
  if (current?.announcement.kind !== 'pod') return Number.POSITIVE_INFINITY;
  const endMs = Math.min(current.announcement.notAfterMs, current.certificateNotAfterMs);
  return endMs > nowMs ? endMs : Number.POSITIVE_INFINITY;
}

function liveRecord(entry: ClaimEntry | undefined, nowMs: number): PodAnnouncement | undefined {
  const current = entry?.current;
  if (current?.announcement.kind !== 'pod') return undefined;
  const endMs = Math.min(current.announcement.notAfterMs, current.certificateNotAfterMs);
  return endMs > nowMs ? current.announcement : undefined;
}

/** As for nodes (roster.ts). */
function compare(verified: VerifiedPodRecord, entry: ClaimEntry): FoldOutcome {
  const order = compareOrder(verified.announcement, entry.highest);
  if (order !== 0) return order > 0 ? 'accepted' : 'superseded';
  if (entry.current === undefined) return 'accepted';
  const [ours, theirs] = [contentOf(verified), contentOf(entry.current)];
  if (ours === theirs) return 'repeated';
  return ours > theirs ? 'accepted' : 'superseded';
}

/** Records do not change, and every pass asks again for those of all pods. */
const inside = new WeakMap<PodAnnouncement, { readonly of: NodeAnnouncement; readonly isIn: boolean }>();

/** Whether a pod's address lies within what its own node announces as a whole: it needs no entry of its own then. */
export function isInNodePrefix(pod: PodAnnouncement, node: NodeAnnouncement): boolean {
  const known = inside.get(pod);
  if (known?.of === node) return known.isIn;
  const isIn = announces(node.prefixes, pod);
  inside.set(pod, { of: node, isIn });
  return isIn;
}

/** @param groups prefixes of one node, by VNI */
export function announces(
  groups: NodeAnnouncement['prefixes'],
  { vni, address }: Pick<PodAnnouncement, 'vni' | 'address'>,
): boolean {
  const host = hostPrefix(address);
  return groups.some(
    (group) => group.vni === vni && group.prefixes.some((prefix) => prefixContains(prefix, host)),
  );
}
