// What the data plane and the kernel are to look like, as plain values. desired() makes it, plan() compares it
// with what is there, the drivers apply the difference.
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from './ids';

/** One entry of the `overlay` map. */
export interface OverlayEntry {
  readonly vni: Vni;
  readonly prefix: Prefix;
  readonly peer: PeerNumber;
  /** A node's own address (abi.h OVERLAY_F_NODE), not a pod prefix. */
  readonly node: boolean;
  /** Not adopted yet (abi.h OVERLAY_F_CLEAR): permissive pods speak with it in clear. With PEER_NONE only. */
  readonly clear?: true;
}

/** One entry of the `shared` map (core/shared.ts): a prefix of another tenant, as seen from a VNI. */
export interface SharedEntry {
  /** That sees it. */
  readonly vni: Vni;
  readonly prefix: Prefix;
  /** That it is of. */
  readonly other: Vni;
  /** What `vni` is to it. */
  readonly way: 'client' | 'server';
  /** A bit for each service that it takes part in. */
  readonly services: bigint;
}

/** One entry of `peers`, and through `vteps` of the outer addresses that are the peer's. */
export interface PeerEntry {
  readonly number: PeerNumber;
  /** First 16 bytes of SHA-256(node name), hex: keeps the numbering over restarts. */
  readonly identity: string;
  readonly vtep: IpAddress;
  readonly local: IpAddress;
  /** "02:xx:xx:xx:xx:xx", docs/wire-format.md. */
  readonly mac: string;
}

/** Key material of one direction. `key` and `salt` are secrets: never logged, shown only as `fingerprint`. */
export interface SaKeys {
  readonly key: Uint8Array; // 32 bytes
  readonly salt: Uint8Array; // 4 bytes
  readonly spi: Spi;
  /** Of key and salt, where it is known already. */
  readonly fingerprint?: string;
}

export interface TxSa extends SaKeys {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  /** Last sequence number this SA may use. */
  readonly limit: bigint;
}

export interface RxSa extends SaKeys {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  /** Outer source address under which the peer sends. */
  readonly source: IpAddress;
}

/** An SA as found in the maps: the key itself is not given out, only its fingerprint. */
export interface InstalledTxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  /** First 8 bytes of SHA-256("vxseal/1 fingerprint" | key | salt), hex. */
  readonly fingerprint: string;
  readonly sequence: bigint;
  readonly limit: bigint;
}

export interface InstalledRxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly source: IpAddress;
  readonly fingerprint: string;
  readonly top: bigint;
  /** Packets authenticated under it: the proof that the peer sends under this epoch. */
  readonly packets: bigint;
  /** CLOCK_MONOTONIC; 0n for never. */
  readonly lastOpenedNs: bigint;
}

/**
 * SAs of a former process whose secret died with it: their keys cannot be derived any more, and they stay in the
 * data plane until rotation retires them (docs/keys.md §4).
 */
export interface KeptTxSa {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly fingerprint: string;
}

export interface KeptRxSa {
  readonly spi: Spi;
  readonly source: IpAddress;
  readonly fingerprint: string;
}

/** A local pod: the host-side device and the addresses behind it. */
export interface PodEntry {
  readonly ifindex: number;
  readonly vni: Vni;
  readonly mac: string;
  readonly hostMac: string;
  readonly addresses: readonly IpAddress[];
  /** May speak in clear with what is not adopted (abi.h POD_F_PERMISSIVE). */
  readonly permissive?: true;
  /** No part of the overlay: not hooked, and held to its own addresses by guard (abi.h POD_F_OFF). */
  readonly off?: true;
}

/** A route marked with our route protocol. */
export interface RouteEntry {
  readonly prefix: Prefix;
  /**
   * The VXLAN device. Undefined: unreachable, with a metric behind all others. It outlives the device, and what no
   * better route takes is refused instead of following the default route in clear.
   */
  readonly device: string | undefined;
  /**
   * Source of what the host itself sends there: its own VTEP. Left to the kernel it is the first address of some other
   * device where there are several, which no peer takes from us. Undefined: no VTEP of that family.
   */
  readonly source?: IpAddress;
}

/** The entry points, one program each. */
export type ProgramName =
  | 'steer'
  | 'gate'
  | 'encap'
  | 'admit'
  | 'seal'
  | 'open'
  | 'deliver'
  | 'guard'
  | 'fence';

/** A program at a device. The attach point follows from the program (kernel/programs.ts). */
export interface HookEntry {
  readonly program: ProgramName;
  readonly ifindex: number;
  /** The device is about to go: what holds the program there shall not hold up whoever removes it. */
  readonly leaving?: true;
}

/** What the agent wants of the VXLAN device. */
export interface VxlanSpec {
  readonly name: string;
  readonly mac: string;
  readonly port: number;
  readonly mtuBytes: number;
  /** What its socket receives counts: UDP over IPv6 without a checksum is taken, as VXLAN in ESP has none. */
  readonly receives?: true;
}

export interface DatapathSettings {
  readonly hostVni: Vni;
  readonly vxlanPort: number;
  readonly espPort: number;
  readonly underlayMtuBytes: number;
  readonly vxlanMtuBytes: number;
  readonly mac: string;
  readonly sharedPort: boolean;
}

export interface DesiredState {
  readonly settings: DatapathSettings;
  readonly vxlan: VxlanSpec;
  readonly peers: readonly PeerEntry[];
  readonly overlay: readonly OverlayEntry[];
  readonly shared: readonly SharedEntry[];
  readonly rxSas: readonly RxSa[];
  readonly txSas: readonly TxSa[];
  /** To be left as they are; never in the two lists above. */
  readonly keptRxSas: readonly KeptRxSa[];
  readonly keptTxSas: readonly KeptTxSa[];
  readonly pods: readonly PodEntry[];
  readonly hooks: readonly HookEntry[];
  readonly routes: readonly RouteEntry[];
}
