// The interfaces between rooms. control/, sources/, http/ and cli/ see the kernel, the bus and the clock only
// through these; kernel/ and test/fakes/ implement them.
import type { AskedMode, PodMode } from './core/adoption';
import type { CniAttachment, ContainerDevice } from './core/cni';
import type { IpAddress, NodeName, PeerNumber, Prefix, Spi, Vni } from './core/ids';
import type { ActualHook } from './core/plan';
import type { Labels } from './core/policy';
import type { InstalledPolicies } from './core/policytables';
import type { Sliced } from './core/slices';
import type {
  DatapathSettings,
  HookEntry,
  InstalledRxSa,
  InstalledTxSa,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  ProgramName,
  RouteEntry,
  RxSa,
  SharedEntry,
  TxSa,
  VxlanSpec,
} from './core/state';

export interface Clock {
  /** Wall clock, milliseconds since 1970. For leases and certificates only. */
  nowMs(): number;
  /** How far the system's wall clock was set away from nowMs(), as long as that is not believed; 0 else. */
  heldJumpMs?(): number;
  /** CLOCK_MONOTONIC in nanoseconds, the clock of the data plane. */
  monotonicNs(): bigint;
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

/** Structured log; `fields` never hold a secret. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** What is measured as it happens; the rest of the metrics is read from the status. */
export interface Measures {
  /** A pass over the kernel's state took this long. */
  reconciled(durationMs: number): void;
  /** Steps that the pass found to be done. */
  drifted(steps: number): void;
  /** From the making of an epoch to its publication, or to the failure. */
  rotated(result: 'published' | 'failed', durationMs: number): void;
  /** @param command ADD, DEL, CHECK, GC or STATUS. */
  answeredCni(command: string, durationMs: number): void;
}

// ---------------------------------------------------------------------------------------------- netlink

export interface LinkInfo {
  readonly ifindex: number;
  readonly name: string;
  /** rtnetlink kind ("veth", "vxlan", "bridge") or '' for hardware. */
  readonly kind: string;
  readonly mac: string;
  readonly mtuBytes: number;
  readonly up: boolean;
  readonly loopback: boolean;
  /** ifindex of the peer (veth) or lower device; 0 if none. */
  readonly linkIndex: number;
  /** nsid of the namespace that `linkIndex` is in, or -1 when it is ours. */
  readonly linkNsid: number;
  /** Only for kind "vxlan". */
  readonly vxlan?: {
    readonly port: number;
    readonly external: boolean;
    /** Something else that ensureVxlan sees to (offloads, learning, ARP, reverse path filter) is no longer so. */
    readonly drifted: boolean;
  };
  readonly gsoMaxSegs: number;
}

export interface AddressInfo {
  readonly ifindex: number;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/** rtnetlink in one network namespace. Errors are KernelError. ENOENT on delete and EEXIST on an equal create succeed. */
export interface Netlink {
  links(): Promise<LinkInfo[]>;
  addresses(): Promise<AddressInfo[]>;
  /**
   * Creates the device, down, or changes what differs; a device of another kind under the name is an error. Whether it
   * is up stays as it is: before its hooks stand it would take in and let out what nobody has looked at.
   */
  ensureVxlan(spec: VxlanSpec): Promise<LinkInfo>;
  /** Sets the device up. */
  raiseVxlan(name: string): Promise<void>;
  setMtu(ifindex: number, mtuBytes: number): Promise<void>;
  removeLink(ifindex: number): Promise<void>;
  /**
   * Lowers the MTU that routes through the device carry, in every table and family, where it is larger; the rest of
   * such a route stays as it is. A route without an MTU of its own follows its device.
   * @returns the routes changed
   */
  lowerRouteMtus(ifindex: number, mtuBytes: number): Promise<number>;
  /** Routes that carry our protocol number (ROUTE_PROTOCOL), main table, both families and both kinds. */
  ownRoutes(): Promise<RouteEntry[]>;
  putRoute(route: RouteEntry): Promise<void>;
  removeRoute(route: RouteEntry): Promise<void>;
  close(): void;
}

/** A network namespace other than the agent's own. */
export interface Netns {
  readonly inode: bigint;
  readonly device: bigint;
  /** Netlink bound to that namespace; close it after use. */
  netlink(): Netlink;
  close(): void;
}

export interface NetnsOpener {
  /** @param path e.g. /run/netns/pod1 or /proc/123/ns/net. Throws KernelError ENOENT, EINVAL (not a netns). */
  open(path: string): Netns;
}

// --------------------------------------------------------------------------------------------- data plane

/** A map of the data plane, seen as a set of entries. Implementations are synchronous: one system call each. */
export interface Table<E> {
  readonly name: string;
  readonly capacity: number;
  /** Identity of an entry, e.g. "42/10.1.0.0/24": equal keys replace each other. */
  key(entry: E): string;
  /** Equal content: nothing to write. */
  equal(a: E, b: E): boolean;
  list(): E[];
  put(entry: E): void;
  /** ENOENT is success. */
  remove(entry: E): void;
}

/** SAs are written once and never overwritten with the same key: a counter must not start again. */
export interface SaTables {
  listTx(): InstalledTxSa[];
  listRx(): InstalledRxSa[];
  /** The same in slices: each SA costs a hash. */
  listingTx(): Sliced<InstalledTxSa[]>;
  listingRx(): Sliced<InstalledRxSa[]>;
  /** Replaces the SA of (VNI, peer); refuses (throws a bug) when the installed key is the same. */
  putTx(sa: TxSa): void;
  /** Installs beside what is there; an SA with the same (SPI, source) and the same key is left as it is. */
  putRx(sa: RxSa): void;
  removeTx(vni: Vni, peer: PeerNumber): void;
  removeRx(spi: Spi, source: IpAddress): void;
}

export type HookMode = 'tcx' | 'clsact' | 'xdp-native' | 'tc-open';

export type AttachedHook = ActualHook & { readonly mode: HookMode };

export interface DropCount {
  readonly peer: PeerNumber;
  /** Lower-case metric label, e.g. "bad_icv". */
  readonly reason: string;
  readonly direction: 'egress' | 'ingress';
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface PeerTraffic {
  readonly peer: PeerNumber;
  readonly sealedPackets: bigint;
  readonly sealedBytes: bigint;
  readonly openedPackets: bigint;
  readonly openedBytes: bigint;
}

/** What permissive pods sent, and what arrived for them, in clear. */
export interface ClearTraffic {
  readonly sent: { readonly packets: bigint; readonly bytes: bigint };
  readonly received: { readonly packets: bigint; readonly bytes: bigint };
}

export interface ProbeReply {
  readonly peer: PeerNumber;
  readonly id: bigint;
  readonly sentNs: bigint;
  readonly receivedNs: bigint;
  /** Length of the inner frame. */
  readonly bytes: number;
}

/** A packet that the data plane reported: a drop, or a sample of what it forwards. */
export interface FlowReport {
  readonly peer: PeerNumber;
  readonly atNs: bigint;
  /** Undefined: forwarded. */
  readonly reason: string | undefined;
  readonly direction: 'egress' | 'ingress';
  /** 0 where it was not known yet. */
  readonly vni: number;
  /** Of the device at which it was seen. */
  readonly ifindex: number;
  /** The addresses are the underlay's. */
  readonly outer: boolean;
  /** Undefined where the packet is not IP. */
  readonly source: IpAddress | undefined;
  readonly destination: IpAddress | undefined;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly bytes: number;
  /** Of the same kind on the same CPU, since the report before. */
  readonly unreported: number;
}

export interface Datapath {
  /**
   * Loads every program, reusing maps that are pinned already. Throws KernelError; for a rejected program the
   * message ends with the verifier's last lines.
   */
  open(): void;
  /** Installed settings, or undefined before the first configure(). */
  settings(): DatapathSettings | undefined;
  /** Writes the `config` map; cookie and stamp are kept while they exist. */
  configure(settings: DatapathSettings, vxlanIfindex: number): void;
  readonly overlay: Table<OverlayEntry>;
  readonly shared: Table<SharedEntry>;
  readonly peers: Table<PeerEntry>;
  readonly pods: Table<PodEntry>;
  readonly sas: SaTables;
  readonly policies: InstalledPolicies;
  /** Hooks that are pinned and whose link (or filter) is really in place. */
  attached(): AttachedHook[];
  /**
   * Attaches, or moves an existing link to the current program (BPF_LINK_UPDATE), and in front of others' programs:
   * never a moment without one. On a leaving device a filter takes the link's place, unless others' tcx programs are there.
   */
  attach(hook: HookEntry): AttachedHook;
  detach(hook: HookEntry): void;
  dropCounts(): DropCount[];
  clearTraffic(): ClearTraffic;
  peerTraffic(): PeerTraffic[];
  /** Sends a probe of `frameBytes` (inner frame, 60 or more) to the peer through the VXLAN device. */
  sendProbe(peer: PeerNumber, id: bigint, frameBytes: number): void;
  onProbeReply(listener: (reply: ProbeReply) => void): void;
  /** Drops are always reported (few a second of each reason), forwarded packets while sampling is on. */
  onFlow(listener: (flow: FlowReport) => void): void;
  /** Stays until it is switched off, or the data plane is configured by another process. */
  sampleFlows(on: boolean): void;
  /** Of each map; `evicted`: entries that had to make room for others, 0 where new ones are refused instead. */
  mapUsage(): {
    readonly map: string;
    readonly entries: number;
    readonly capacity: number;
    readonly evicted: number;
  }[];
  /** Closes descriptors; everything pinned stays and goes on working. */
  close(): void;
  /** Removes our links, pins and maps. The device and routes are the reconciler's. */
  destroy(): void;
}

/** Settings of the underlay devices that make them fast. Never throws: what cannot be set stays as it is. */
export interface UnderlayTuner {
  /** Switches on what is not on yet; called at every pass. */
  tune(devices: readonly Pick<LinkInfo, 'name' | 'ifindex' | 'mac'>[]): void;
  /** Takes back what it changed, also in a former process. */
  undo(): void;
}

/** What this kernel can do, found by trying, not by version. */
export interface KernelProbe {
  readonly release: string;
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean;
    /** What it is needed for, or which lower path is taken. */
    readonly detail: string;
    readonly remedy: string;
  }[];
}

// ------------------------------------------------------------------------------------------------ bus

/** What a bus delivers. Nothing in it is trusted. */
export interface BusRecord {
  readonly topic: string;
  readonly key: string;
  /** Undefined: a tombstone. Only a hint; removal needs a signed withdrawal or an expired lease. */
  readonly value: Uint8Array | undefined;
}

export interface BusStatus {
  readonly connected: boolean;
  /** Everything that stood on the bus when we began has been read. Nothing is deleted before. */
  readonly inSync: boolean;
  /** Wall clock of the last sign of life, milliseconds; 0 for never. */
  readonly lastSeenMs: number;
  readonly error: string;
}

export interface TopologyBus {
  /**
   * Delivers what stands there, then what comes. `receive` must not throw.
   * @param ready waited for before much more is read
   */
  start(receive: (record: BusRecord) => void, ready?: () => Promise<void>): Promise<void>;
  publish(topic: string, key: string, value: Uint8Array): Promise<void>;
  status(): BusStatus;
  onStatus(listener: () => void): void;
  stop(): Promise<void>;
}

export interface LocalPod {
  /** "<device>:<inode>" of the network namespace: a pod is its namespace, not its name. */
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly vni: Vni;
  readonly netnsPath: string;
  readonly hostDevice: string;
  readonly addresses: readonly IpAddress[];
  /** Absent: strict. */
  readonly mode?: 'permissive';
  /** Absent for pods that were attached by hand. */
  readonly runtime?: PodRuntime;
  /** Absent as long as the runtime has not told them. */
  readonly labels?: Labels;
}

/** What the container runtime says of a pod. */
export interface PodRuntime {
  readonly attachment: CniAttachment;
  /** '' if it has none. */
  readonly uid: string;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface PodRequest {
  readonly netnsPath: string;
  /** Inside the pod; default "eth0". */
  readonly device?: string;
  readonly name: string;
  readonly namespace: string;
  /** Default: the host's VNI. */
  readonly vni?: number;
  /** Default: strict. */
  readonly mode?: PodMode;
  readonly runtime?: PodRuntime;
}

/** What the CNI plugin prints: a result, a CNI error object, or '' for success without words. */
export interface CniAnswer {
  readonly ok: boolean;
  readonly body: string;
}

/** Answers a call of the container runtime, core/cni.ts decodeCniCall(). Never rejects. */
export interface CniAnswerer {
  answer(request: Uint8Array): Promise<CniAnswer>;
}

/** What the container runtime's calls ask of the pods. Errors are VxsealError; 'not-ready' may be tried again. */
export interface PodGate {
  /** Answers once the pod is hooked and keyed. Repeating it is no error. */
  attach(request: PodRequest): Promise<{ readonly mtuBytes: number }>;
  /** For a pod that is off: not hooked. Answers once its device can speak for no other pod. */
  leave(request: PodRequest): Promise<void>;
  /** The mode that a pod gets. 'request' for one that is none, or that this node does not allow. */
  choose(asked: AskedMode): PodMode;
  /** Idempotent: false when there was no such pod. */
  detach(attachment: CniAttachment): Promise<boolean>;
  /** What is not as attach left it; empty: all is well; undefined: there is no such pod. */
  check(attachment: CniAttachment, netnsPath: string): Promise<readonly string[] | undefined>;
  /** Detaches the pods of the network that are not among `valid`. @returns how many */
  collect(network: string, valid: readonly ContainerDevice[]): Promise<number>;
  /** Why no pod can be attached now; empty: one can. */
  blockers(): readonly string[];
}

export type { InstalledRxSa, InstalledTxSa, IpAddress, NodeName, Prefix, ProgramName };
