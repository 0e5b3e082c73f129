// The one snapshot of the agent that HTTP, the CLI and the page share: its shape, as plain JSON. How it is filled
// is view.ts. Nothing in it is a secret: keys appear as fingerprints only. Units are in the names; counters are
// numbers since the agent's maps were made; times are wall clock in milliseconds since 1970, ages in milliseconds.

import type { PodMode } from '../core/adoption';
import type { InformerStatus } from '../core/podfacts';
import type { CniAnswer } from '../ports';

/** What a user can act on: names the object, the reason and the remedy. */
export interface Problem {
  /** e.g. "peer node2", "hook steer on veth12", "bus". */
  readonly object: string;
  readonly reason: string;
  readonly remedy: string;
  /** Since when, wall clock. */
  readonly sinceMs: number;
  /** How often it was met. */
  readonly count: number;
}

export const BLOCKER_NAMES = [
  'config',
  'kernel',
  'identity',
  'bus-sync',
  'datapath',
  'link',
  'keys',
  'hooks',
] as const;
export type BlockerName = (typeof BLOCKER_NAMES)[number];

export interface Blocker {
  readonly name: BlockerName;
  readonly reason: string;
  readonly remedy: string;
}

export interface Readiness {
  readonly ready: boolean;
  readonly blockers: readonly Blocker[];
}

export interface NodeStatus {
  readonly name: string;
  readonly version: string;
  readonly bootId: string;
  readonly uptimeMs: number;
  readonly epoch: {
    /** 0 before the first epoch is made. */
    readonly number: number;
    /** First 8 bytes of SHA-256 of the X25519 public key, hex. */
    readonly publicKeyFingerprint: string;
    readonly createdMs: number;
    /** Inbound SAs stood when the record was published; false while they are being installed. */
    readonly published: boolean;
    /** Older epochs that peers may still use, newest first. */
    readonly retiring: readonly number[];
    /** Peers that have not proven the newest published epoch. */
    readonly laggards: readonly string[];
  };
  readonly vteps: readonly string[];
  /** The host's VNI. */
  readonly vni: number;
  /** Inner IP packet. */
  readonly mtuBytes: number;
  readonly underlay: readonly {
    readonly device: string;
    readonly ifindex: number;
    readonly mtuBytes: number;
  }[];
  readonly overlayDevice: string;
  /** Who does the cipher (docs/engines.md). */
  readonly engine: 'bpf' | 'xfrm';
  readonly prefixes: readonly { readonly vni: number; readonly prefixes: readonly string[] }[];
  readonly certificateNotAfterMs: number;
}

export interface BusView {
  readonly type: string;
  readonly connected: boolean;
  readonly inSync: boolean;
  readonly lastSeenMs: number;
  /** 0 when nothing was ever seen. */
  readonly stalenessMs: number;
  readonly error: string;
  readonly acceptedRecords: number;
  readonly refusedRecords: readonly { readonly reason: string; readonly count: number }[];
  /** The same by kind: "accepted", or the reason. */
  readonly records: readonly RecordTotal[];
}

export interface RecordTotal {
  /** Of nodes and their pods, or of policy. */
  readonly kind: 'topology' | 'policy';
  readonly result: string;
  readonly count: number;
}

export const PEER_STATES = [
  'up',
  'no-key',
  'no-route',
  'stalled',
  'mtu',
  'expired',
  'quarantined',
  'revoked',
] as const;
export type PeerState = (typeof PEER_STATES)[number];

export interface PeerStatus {
  readonly node: string;
  /** Number in the data plane's maps; 0 when it has none yet. */
  readonly number: number;
  readonly state: PeerState;
  /** Both directions have not yet moved to the newest epochs. A note: the state stands beside it. */
  readonly rotating: boolean;
  readonly why: string;
  readonly sinceMs: number;
  readonly remedy: string;
  readonly epochs: {
    readonly ours: readonly number[];
    readonly theirs: readonly number[];
    /** "0x…", empty when there is no SA. */
    readonly txSpi: string;
    readonly rxSpis: readonly string[];
  };
  /** Age of the last authenticated packet; -1 for never. */
  readonly lastOpenedAgeMs: number;
  /** Smoothed; -1 before the first reply. */
  readonly rttMs: number;
  /** 0 to 1 over the last probes; -1 before the first. */
  readonly loss: number;
  readonly sealed: Traffic;
  readonly opened: Traffic;
  readonly dropsByReason: readonly DropStatus[];
  /** Packets left before the sending SA stops; -1 when there is no SA. */
  readonly saPacketsRemaining: number;
  readonly certificateNotAfterMs: number;
  readonly leaseNotAfterMs: number;
  readonly vtep: string;
  readonly prefixes: readonly string[];
  readonly agentVersion: string;
}

export interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

export interface DropStatus extends Traffic {
  /** Peer's node name, or '' where no peer is known for certain. */
  readonly node: string;
  /** Lower-case label of abi.h's drop_reason. */
  readonly reason: string;
  readonly direction: 'egress' | 'ingress';
}

/** A packet that was looked at: dropped ones as far as they are reported, forwarded ones as a sample. */
export interface FlowStatus {
  readonly atMs: number;
  readonly verdict: 'forwarded' | 'dropped';
  /** Lower-case label of abi.h's drop_reason; '' for what was forwarded. */
  readonly reason: string;
  readonly direction: 'egress' | 'ingress';
  /** Peer's node name, or '' where no peer is known for certain. */
  readonly node: string;
  /** "namespace/name" of the local pod that sends or receives it; '' for none. */
  readonly pod: string;
  /** 0 where it was not known yet. */
  readonly vni: number;
  /** Addresses are those of the underlay, not of pods. */
  readonly outer: boolean;
  readonly source: string;
  readonly destination: string;
  /** IP protocol number. */
  readonly protocol: number;
  /** 0 where the protocol has none, or they could not be read. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of the frame. */
  readonly bytes: number;
  /** Of what policy dropped: those that isolate the pod in that direction, "namespace/name"; none of them allows it. */
  readonly policies: readonly string[];
  /** More of the same kind that were counted and not reported, so that reporting stays cheap. */
  readonly unreported: number;
}

export interface PodStatus {
  /** "<device>:<inode>" of its network namespace. */
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly vni: number;
  readonly mode: 'strict' | 'permissive';
  readonly netnsPath: string;
  readonly hostDevice: string;
  readonly addresses: readonly string[];
  readonly mtuBytes: number;
  /** As the container runtime tells them; none before. */
  readonly labels: Readonly<Record<string, string>>;
  /** Its hooks stand and its addresses are in the maps. */
  readonly ready: boolean;
  readonly why: string;
}

/** A pod of another node, by that node's record of one of its addresses. */
export interface RemotePodStatus {
  readonly vni: number;
  readonly address: string;
  readonly node: string;
  readonly namespace: string;
  readonly name: string;
  /** "key=value". */
  readonly labels: readonly string[];
  readonly state: 'live' | 'quarantined';
  readonly why: string;
}

/** A way between tenants, by the configuration. */
export interface SharedStatus {
  readonly name: string;
  /** That serves. */
  readonly vni: number;
  readonly prefixes: readonly string[];
  /** "7=10.7.0.0/24": VNI and prefix. */
  readonly clients: readonly string[];
  /** Why clients on this node cannot use it; '' where they can, or there are none. */
  readonly why: string;
}

export interface SaStatus {
  readonly direction: 'tx' | 'rx';
  readonly node: string;
  readonly vni: number;
  readonly spi: string;
  readonly fingerprint: string;
  /** Last sequence number sent, or highest authenticated. */
  readonly sequence: number;
  /** tx: packets left. rx: packets authenticated under it. */
  readonly packets: number;
  /** rx only, age of the last packet; -1 for never and for tx. */
  readonly lastOpenedAgeMs: number;
}

export interface HookStatus {
  readonly program: string;
  readonly device: string;
  readonly ifindex: number;
  /** "tcx", "clsact", "xdp-native", … or "" when it is wanted and missing. */
  readonly mode: string;
}

export interface MapStatus {
  readonly map: string;
  readonly entries: number;
  readonly capacity: number;
  /** Entries that had to make room for others; 0 where new ones are refused instead. */
  readonly evicted: number;
}

/** What is, or was, in clear. */
export interface AdoptionStatus {
  readonly permissivePods: number;
  readonly permissivePrefixes: readonly string[];
  /** Prefixes that nodes have announced and that lie in, or around, those: never in clear again. */
  readonly adoptedPrefixes: readonly string[];
  /** By permissive pods, since the data plane was made. */
  readonly sent: Traffic;
  readonly received: Traffic;
}

export interface Status {
  readonly node: NodeStatus;
  readonly readiness: Readiness;
  readonly bus: BusView;
  /** A note: no pod needs it. */
  readonly informer: InformerStatus;
  readonly peers: readonly PeerStatus[];
  readonly pods: readonly PodStatus[];
  readonly adoption: AdoptionStatus;
  readonly shared: readonly SharedStatus[];
  readonly sas: readonly SaStatus[];
  readonly drops: readonly DropStatus[];
  /** The newest first; a few. */
  readonly recentDrops: readonly FlowStatus[];
  readonly hooks: readonly HookStatus[];
  readonly maps: readonly MapStatus[];
  readonly problems: readonly Problem[];
}

export interface AttachRequest {
  readonly netnsPath: string;
  /** Inside the pod; default "eth0". */
  readonly device?: string;
  readonly name: string;
  readonly namespace: string;
  /** Default: the host's VNI. */
  readonly vni?: number;
  /** Default: strict. */
  readonly mode?: PodMode;
}

export interface ProbeRequest {
  /** Default: all. */
  readonly peers?: readonly string[];
  /** Pairs of a small and a full-size probe to each; default 5. */
  readonly count?: number;
  /** How long an answer is waited for; default 3.5 s. */
  readonly timeoutMs?: number;
}

/** What probes to one peer came to, just now. */
export interface ProbeStatus {
  readonly node: string;
  /** By these probes, in the words of PeerStatus. */
  readonly state: PeerState;
  /** Outer addresses, ours and its; '' where there is no way. */
  readonly local: string;
  readonly vtep: string;
  /** 0 where there are no keys to send under. */
  readonly sent: number;
  readonly answered: number;
  /** Of small probes; -1 without an answer. */
  readonly rtt: { readonly leastMs: number; readonly meanMs: number; readonly mostMs: number };
  /** What the tunnel is to carry: inner IP packet. */
  readonly mtuBytes: number;
  /** The largest that came back, to the four bytes that ESP aligns to; -1 for none. */
  readonly largestBytes: number;
  readonly why: string;
  readonly remedy: string;
}

/** Packets that a pod's policies refused. */
export interface PolicyDropStatus extends Traffic {
  /** One of the pods under these policies: "namespace/name". */
  readonly pod: string;
  readonly direction: 'egress' | 'ingress';
  /** Those that isolate it: "namespace/name". */
  readonly policies: readonly string[];
}

export interface PolicySourceStatus {
  readonly policy: string;
  /** Of the pods that it may select; 0: any. */
  readonly vni: number;
  /** "policies.path", or "bus, signed by …". */
  readonly source: string;
}

export interface PolicyStatus {
  /** Of the tables in force; 0: none. */
  readonly generation: number;
  /** "namespace/name". */
  readonly policies: readonly string[];
  /** The same, with what they are for and who says so. */
  readonly sources: readonly PolicySourceStatus[];
  readonly drops: readonly PolicyDropStatus[];
}

/** What the API may ask of the agent. Errors are VxsealError with a code and a remedy. */
export interface AgentView {
  status(): Status;
  /** Of all other nodes, sorted. */
  remotePods(): readonly RemotePodStatus[];
  policies(): PolicyStatus;
  readiness(): Readiness;
  /** Drops and a sample of what is forwarded, as long as somebody watches. @returns how to stop. */
  watchFlows(listener: (flow: FlowStatus) => void): () => void;
  /** Answers once the pod is hooked. Repeating it is no error. */
  attachPod(request: AttachRequest): Promise<PodStatus>;
  /** Idempotent: false when there was no such pod. */
  detachPod(id: string): Promise<boolean>;
  /** A call of the container runtime, as the CNI plugin sends it. Never rejects. */
  answerCni(request: Uint8Array): Promise<CniAnswer>;
  /** Sends probes to peers and answers with what came back, in order of name. */
  probe(request: ProbeRequest): Promise<readonly ProbeStatus[]>;
  /** Starts a new epoch; answers once its record is published. */
  rotate(): Promise<{ readonly epoch: number }>;
}
