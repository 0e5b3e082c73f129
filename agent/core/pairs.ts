// Every pair of an epoch of ours and an epoch of one peer, with the SAs that follow from it, matched to what the
// data plane holds. Owns matching and proof; what shall be installed is inbound.ts' and outbound.ts' to choose.
import { nsOf, type OwnEpoch, type RotationTiming, type SeenEpoch } from './epochs';
import type { IpAddress, NodeName, PeerNumber, Spi, Vni } from './ids';
import type { DerivedSa } from './keyschedule';
import type { SharedSecrets } from './secrets';

export interface RotationPeer {
  readonly node: NodeName;
  readonly number: PeerNumber;
  /** Outer address it sends from, towards us. */
  readonly source: IpAddress;
  /** VNIs that both have, at least one; the same set on both sides. */
  readonly vnis: readonly Vni[];
  /** Newest first, at least one. */
  readonly epochs: readonly SeenEpoch[];
}

/** ports.ts InstalledTxSa fits in. */
export interface FoundTxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly fingerprint: string;
  readonly sequence: bigint;
  readonly limit: bigint;
}

/** ports.ts InstalledRxSa fits in. */
export interface FoundRxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly source: IpAddress;
  readonly fingerprint: string;
  readonly packets: bigint;
  readonly lastOpenedNs: bigint;
}

export interface RotationInput {
  readonly node: NodeName;
  readonly nowNs: bigint;
  /** When this process began: the age of what it adopted. */
  readonly startedNs: bigint;
  /** Newest first. */
  readonly own: readonly OwnEpoch[];
  readonly peers: readonly RotationPeer[];
  readonly rx: readonly FoundRxSa[];
  readonly tx: readonly FoundTxSa[];
  /**
   * Fingerprints of all SAs this process ever installed. One that is not installed any more is spent: installed
   * again, its counter (tx) or replay window (rx) would start again.
   */
  readonly installed: ReadonlySet<string>;
  /** Id of our pre-shared key; '' for none. */
  readonly psk: string;
  readonly packetLimit: bigint;
  readonly timing: RotationTiming;
  /** Derivation, with a memory; a name for each key is enough for a model. */
  readonly secrets: Pick<SharedSecrets, 'rx' | 'tx'>;
}

/** Indexes into `own` and `peer.epochs`: 0 is the newest. */
export interface EpochPair {
  readonly own: number;
  readonly their: number;
}

export interface PairSas extends EpochPair {
  readonly rx: readonly DerivedSa[];
  readonly tx: readonly DerivedSa[];
}

/** One peer with all that bears on its keys. */
export interface PeerPairs {
  readonly peer: RotationPeer;
  readonly pairs: readonly PairSas[];
  readonly rx: readonly FoundRxSa[];
  readonly tx: readonly FoundTxSa[];
  /** The newest epoch of ours that the peer has proven to know: it sent a packet under it. */
  readonly provenOwn: number | undefined;
  /** The newest epoch of the peer under which it has sent. */
  readonly provenTheir: number | undefined;
  /** Nothing comes from it any more (docs/keys.md §4, R6). */
  readonly silent: boolean;
}

/** What the data plane holds of one peer. */
export interface FoundSas {
  readonly rx: readonly FoundRxSa[];
  readonly tx: readonly FoundTxSa[];
}

/** Every peer with what was found of it, in order of node name. */
export function findSas(
  input: Pick<RotationInput, 'peers' | 'rx' | 'tx'>,
): { readonly peer: RotationPeer; readonly found: FoundSas }[] {
  const rx = byPeer(input.rx);
  const tx = byPeer(input.tx);
  return [...input.peers]
    .sort((a, b) => (a.node < b.node ? -1 : 1))
    .map((peer) => ({ peer, found: { rx: rx.get(peer.number) ?? [], tx: tx.get(peer.number) ?? [] } }));
}

function byPeer<T extends { readonly peer: PeerNumber }>(sas: readonly T[]): Map<PeerNumber, T[]> {
  const groups = new Map<PeerNumber, T[]>();
  for (const sa of sas) {
    const group = groups.get(sa.peer);
    if (group === undefined) groups.set(sa.peer, [sa]);
    else group.push(sa);
  }
  return groups;
}

export function pairUp(input: RotationInput, peer: RotationPeer, { rx, tx }: FoundSas): PeerPairs {
  const { node, own, secrets, psk } = input;
  const pairs = own.flatMap((ownEpoch, ownIndex) =>
    peer.epochs.map((theirEpoch, theirIndex): PairSas => {
      const ours = { node, epoch: ownEpoch };
      const theirs = { node: peer.node, epoch: theirEpoch };
      // With another pre-shared key they would derive other keys.
      if (theirEpoch.psk !== psk) return { own: ownIndex, their: theirIndex, rx: [], tx: [] };
      return {
        own: ownIndex,
        their: theirIndex,
        rx: secrets.rx(ours, theirs, peer.vnis),
        tx: secrets.tx(ours, theirs, peer.vnis),
      };
    }),
  );
  const opened = new Set(rx.filter((sa) => sa.packets > 0n).map((sa) => sa.fingerprint));
  const proven = pairs.filter((pair) => pair.rx.some((sa) => opened.has(sa.fingerprint)));
  return {
    peer,
    pairs,
    rx,
    tx,
    provenOwn: newest(proven.map((pair) => pair.own)),
    provenTheir: newest(proven.map((pair) => pair.their)),
    silent: isSilent(input, peer, rx),
  };
}

/** Since it was first seen, since we began, since its last packet: the youngest of these is too long ago. */
export function isSilent(
  { nowNs, startedNs, timing }: RotationInput,
  { epochs }: RotationPeer,
  rx: readonly FoundRxSa[],
): boolean {
  const signs = [startedNs, epochs[0]?.firstSeenNs ?? startedNs, ...rx.map((sa) => sa.lastOpenedNs)];
  return signs.every((atNs) => nowNs - atNs >= nsOf(timing.silentMs));
}

/** Share of the packet limit left for rotation to take place in. */
const RESERVE = 4n;

/** So near its packet limit that a new epoch of ours is due. */
export const isEnding = (found: Pick<FoundTxSa, 'sequence' | 'limit'>): boolean =>
  found.sequence >= found.limit - found.limit / RESERVE;

/** The newest epoch of ours whose record is out. */
export const newestPublished = (own: readonly OwnEpoch[]): number =>
  own.findIndex((epoch) => epoch.publishedNs !== undefined);

const newest = (indexes: readonly number[]): number | undefined =>
  indexes.length === 0 ? undefined : Math.min(...indexes);
