// What the control room is made of: its settings, and the parts it gets from outside. Shapes only.
import type { WeakerMode } from '../core/adoption';
import type { AnnouncedEpoch, PodContent } from '../core/announcement';
import type { NodeName, PrefixesOfVni } from '../core/ids';
import type { PodInformer } from '../core/podfacts';
import type { ClaimName, OwnClaimsView } from '../core/podroster';
import type { PolicySource } from '../core/policy';
import type { PreSharedKey } from '../core/psk';
import type { RecordOrder } from '../core/roster';
import type {
  BusRecord,
  Clock,
  CniAnswerer,
  Datapath,
  IpAddress,
  Log,
  Measures,
  Netlink,
  NetnsOpener,
  PodGate,
  TopologyBus,
  UnderlayTuner,
} from '../ports';
import type { AdoptedPrefixes } from './adoption';
import type { Checkpoint } from './checkpoint';
import type { EpochFile } from './epochs';
import type { ProbeSettings } from './liveness';
import type { PolicyRecordParts } from './policyrecords';
import type { ReconcilerSettings } from './reconciler';
import type { RecordParts } from './records';

/** What our record says; lease, order and signature are the announcer's. */
export interface OwnRecord {
  readonly vteps: readonly IpAddress[];
  readonly port: number;
  readonly prefixes: readonly PrefixesOfVni[];
  readonly suites: readonly string[];
  readonly epoch: AnnouncedEpoch;
  readonly olderEpochs: readonly AnnouncedEpoch[];
}

export interface Announcer {
  /** Publishes when the content differs from what stands; resolves once it is on the bus. */
  announce(record: OwnRecord): Promise<void>;
}

/** sources/announcepods.ts PodAnnouncer fits in. */
export interface PodAnnouncer {
  /** Brings the records of our pods to what is wanted; rejects when the bus took not all of it. */
  announce(pods: readonly PodContent[], view: OwnClaimsView): Promise<void>;
}

/** identity/local.ts LocalIdentity fits in. */
export interface OwnIdentity {
  readonly grant: { readonly vteps: readonly IpAddress[] };
  /** Wall clock. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface RoomSettings extends ReconcilerSettings {
  readonly version: string;
  readonly bootId: string;
  readonly busType: string;
  readonly probes: ProbeSettings;
  readonly reconcileIntervalMs: number;
  readonly leaseMs: number;
  /** Modes that a pod may be given besides strict. */
  readonly allowedModes?: readonly WeakerMode[];
}

export interface RoomParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly measures: Measures;
  readonly netlink: Netlink;
  readonly opener: NetnsOpener;
  readonly datapath: Datapath;
  readonly tuner: UnderlayTuner;
  readonly bus: TopologyBus;
  readonly announcer: Announcer;
  readonly podAnnouncer: PodAnnouncer;
  /** Sees every record before the rosters do: ours may have been overwritten. */
  readonly watchOwn: (record: BusRecord) => void;
  readonly verify: RecordParts['verify'];
  readonly remember: RecordParts['remember'];
  readonly highest: ReadonlyMap<NodeName, RecordOrder>;
  readonly rememberPods: RecordParts['rememberPods'];
  readonly highestOfPods: ReadonlyMap<ClaimName, RecordOrder>;
  /** Answers the container runtime's calls by the pods it is given. */
  readonly cni: (pods: PodGate) => CniAnswerer;
  readonly informer: PodInformer;
  /** As it is now: certificates are renewed while the agent runs. */
  readonly identity: () => OwnIdentity;
  /** A folder of manifests. Undefined: none. */
  readonly policies?: PolicySource | undefined;
  /** For policy from the bus. */
  readonly policyRecords: PolicyRecordParts;
  /** Of the cluster, if it has one. */
  readonly psk: PreSharedKey | undefined;
  readonly checkpoint: Checkpoint;
  /** Of the pods that are off. */
  readonly offCheckpoint: Checkpoint;
  readonly adopted: AdoptedPrefixes;
  readonly epochFile: EpochFile;
  readonly randomSecret: () => Uint8Array;
}
