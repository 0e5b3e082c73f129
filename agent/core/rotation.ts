// Which SAs stand between us and each peer: the choice that lets keys change and loses nothing (docs/keys.md §4,
// rules R1 to R5). A pure function of what we hold, what peers announced and what the data plane has authenticated;
// it derives keys through SharedSecrets, and installs, publishes and forgets nothing itself.
import type { AnnouncedEpoch } from './announcement';
import type { IpAddress, NodeName, PeerNumber, Spi, Vni } from './ids';
import type { SecretEpoch, SharedSecrets } from './secrets';
import type { KeptRxSa, KeptTxSa, RxSa, TxSa } from './state';

/** An epoch of this process. Times are CLOCK_MONOTONIC, nanoseconds. */
export interface OwnEpoch extends SecretEpoch {
  /** When a record that announces it was published; undefined: nobody can know it yet. */
  readonly publishedNs: bigint | undefined;
  /** When a newer one was published; undefined for the newest published. */
  readonly supersededNs: bigint | undefined;
}

/** An epoch of a peer, as we came to know it. */
export interface SeenEpoch extends AnnouncedEpoch {
  readonly firstSeenNs: bigint;
  readonly supersededNs: bigint | undefined;
}

export interface RotationPeer {
  readonly node: NodeName;
  readonly number: PeerNumber;
  /** Outer address it sends from, towards us. */
  readonly source: IpAddress;
  /** VNIs that both have; the same set on both sides. */
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

export interface RotationTiming {
  /** An obsolete rx SA goes when nothing was opened under it for this long. */
  readonly idleMs: number;
  /** After this long in a superseded epoch an SA goes, whatever still uses it. */
  readonly hardLimitMs: number;
  /** After this long with an adopted tx SA and no proof (both ends restarted) the newest epochs are used. */
  readonly stalemateMs: number;
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
  readonly packetLimit: bigint;
  readonly timing: RotationTiming;
  readonly secrets: SharedSecrets;
}

/** `rotating`: keys work, newer ones are on their way. `no-key`: nothing to send under. */
export type KeyState = 'up' | 'rotating' | 'no-key';

export interface PeerKeyState {
  readonly node: NodeName;
  readonly number: PeerNumber;
  readonly state: KeyState;
  /** One sentence for the status; '' when up. */
  readonly why: string;
  /** Our newest epoch that the peer has proven to know. */
  readonly provenEpoch: number | undefined;
  /** Epochs we send under in the first VNI; undefined when adopted or none. */
  readonly txEpochs: { readonly ours: number; readonly theirs: number } | undefined;
  /** Sending under an SA of a former process. */
  readonly adopted: boolean;
}

/** Why a new epoch of ours is needed. */
export type EpochWish = 'none' | 'first' | 'spent' | 'packets' | 'spi-clash';

export interface Rotation {
  readonly rxSas: readonly RxSa[];
  readonly txSas: readonly TxSa[];
  readonly keptRxSas: readonly KeptRxSa[];
  readonly keptTxSas: readonly KeptTxSa[];
  /** In order of node name. */
  readonly peers: readonly PeerKeyState[];
  /** Peers that have not proven our newest published epoch. */
  readonly laggards: readonly NodeName[];
  /** Every rx SA under our newest epoch is installed: its record may be published (R1). */
  readonly readyToPublish: boolean;
  /** Epochs our record lists as `olderEpochs`: peers may still have to know them. Newest first. */
  readonly olderEpochs: readonly AnnouncedEpoch[];
  /** Numbers of superseded epochs of ours that nothing needs any more: wipe their secrets. */
  readonly retirable: readonly number[];
  readonly wish: EpochWish;
}

export declare function rotate(input: RotationInput): Rotation;

/** Epochs seen of each peer, newest first: kept over calls by the control room. */
export type EpochBook = ReadonlyMap<NodeName, readonly SeenEpoch[]>;

/** Adds what live nodes announce now; forgets nodes that are not in `live` and epochs past the hard limit. */
export declare function noteEpochs(
  book: EpochBook,
  live: readonly {
    readonly node: NodeName;
    readonly epoch: AnnouncedEpoch;
    readonly olderEpochs?: readonly AnnouncedEpoch[];
  }[],
  nowNs: bigint,
  hardLimitMs: number,
): EpochBook;
