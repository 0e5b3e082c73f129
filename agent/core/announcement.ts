// Grammar of the topology records: the JSON payloads of docs/keys.md §5. Decoding bytes and verifying trust are
// verify.ts; this file owns the shapes and nothing else.
import type { IpAddress, NodeName, Prefix, Vni } from './ids';
import type { Labels, NamedPort } from './policy';

export const NODES_TOPIC = 'vxseal.nodes.v1';
export const PODS_TOPIC = 'vxseal.pods.v1';

/** Names a record: of two with the same name only the later one stands on the bus. Joined, for a text in one piece. */
export const recordName = ({ topic, key }: { readonly topic: string; readonly key: string }): string =>
  [topic, key].join('\n');

/** The only suite so far (RFC 7634, ESN, ESP in UDP). */
export const SUITE = 'chacha20-poly1305';

/** Bounds what a record makes its readers derive and install. */
export const MAX_OLDER_EPOCHS = 3;

/** An epoch as its owner announces it. */
export interface AnnouncedEpoch {
  /** Grows by at least one with each new key pair of the node. */
  readonly number: number;
  /** X25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
}

export interface NodeAnnouncement {
  readonly kind: 'node';
  readonly node: NodeName;
  /** Random per agent process, hex: two live ones for one name is a duplicate identity. */
  readonly bootId: string;
  /** Orders records of a node: greater generation wins, then greater sequence. */
  readonly generation: number;
  readonly sequence: number;
  /** Lease, wall clock in milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Outer addresses, at most one of each family. */
  readonly vteps: readonly IpAddress[];
  /** UDP port for ESP. */
  readonly port: number;
  /** Pod prefixes by VNI, sorted by VNI, then prefix. */
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
  readonly suites: readonly string[];
  readonly epoch: AnnouncedEpoch;
  /**
   * Earlier epochs under which the owner may still send, newest first, at most MAX_OLDER_EPOCHS. A peer that
   * starts now learns them too, so the owner may go on under the newest epoch its peer has proven to know
   * (docs/keys.md §4). Absent and empty mean the same.
   */
  readonly olderEpochs?: readonly AnnouncedEpoch[];
  readonly agentVersion: string;
}

/** Signed removal of a node from the overlay (drain). */
export interface NodeWithdrawal {
  readonly kind: 'withdrawal';
  readonly node: NodeName;
  readonly generation: number;
  readonly sequence: number;
  readonly notAfterMs: number;
}

/** What a node says of one address of a pod that runs on it. */
export interface PodContent {
  readonly vni: Vni;
  readonly address: IpAddress;
  /** The runtime's; '' where there is none. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
  /** Of the pod's device. */
  readonly mtuBytes: number;
}

/** A claim of one address for one pod; it counts while its node does. */
export interface PodAnnouncement extends PodContent {
  readonly kind: 'pod';
  readonly node: NodeName;
  readonly generation: number;
  readonly sequence: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** Signed end of such a claim. */
export interface PodWithdrawal {
  readonly kind: 'pod-withdrawal';
  readonly node: NodeName;
  readonly vni: Vni;
  readonly address: IpAddress;
  readonly generation: number;
  readonly sequence: number;
  readonly notAfterMs: number;
}

export type NodeRecord = NodeAnnouncement | NodeWithdrawal;
export type PodRecord = PodAnnouncement | PodWithdrawal;

/** Bytes that parsed as a record of ours. Nothing in it may be believed. */
export type UnverifiedAnnouncement = NodeRecord | PodRecord;

/** Signature, chain, grant, key and lease form are good; order and lease expiry are the rosters'. */
interface Verified<A> {
  readonly announcement: A;
  /** End of the signing certificate, wall clock in milliseconds. */
  readonly certificateNotAfterMs: number;
  /** Lower-case hex serial number of the signing certificate. */
  readonly certificateSerial: string;
}

export type VerifiedAnnouncement = Verified<NodeRecord>;
export type VerifiedPodRecord = Verified<PodRecord>;
export type VerifiedRecord = VerifiedAnnouncement | VerifiedPodRecord;

export function isPodRecord(verified: VerifiedRecord): verified is VerifiedPodRecord {
  const { kind } = verified.announcement;
  return kind === 'pod' || kind === 'pod-withdrawal';
}

/** Key of a pod's records on their topic. Joined, for a text in one piece: tens of thousands are kept. */
export const podKey = ({ vni, address }: Pick<PodContent, 'vni' | 'address'>): string =>
  [vni, address].join('/');

/** Key of a record on its topic. */
export const keyOfRecord = (record: UnverifiedAnnouncement): string =>
  record.kind === 'pod' || record.kind === 'pod-withdrawal' ? podKey(record) : record.node;
