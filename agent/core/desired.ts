// From roster, configuration, pods and links to the state the kernel shall have. Pure; the output is sorted, so
// equal inputs give equal states whatever order they came in.
import type { IpAddress, NodeName, PeerNumber, Prefix, Vni } from './ids';
import type { RosterNode } from './roster';
import type { Rotation } from './rotation';
import type { DesiredState, PeerEntry, PodEntry } from './state';

/** A network device of the node. ports.ts LinkInfo fits in. */
export interface LinkFacts {
  readonly ifindex: number;
  readonly name: string;
  readonly mtuBytes: number;
  readonly loopback: boolean;
}

export interface PrefixesOfVni {
  readonly vni: Vni;
  readonly prefixes: readonly Prefix[];
}

/** What the configuration says of this node; the parts of Config that matter here. */
export interface OverlayConfig {
  readonly node: NodeName;
  readonly hostVni: Vni;
  readonly device: string;
  readonly vxlanPort: number;
  readonly espPort: number;
  readonly sharedPort: boolean;
  /** 0: computed. A larger value than the underlay carries is cut. */
  readonly mtuBytes: number;
  /** Own outer addresses, at most one of each family. */
  readonly vteps: readonly IpAddress[];
  readonly prefixes: readonly PrefixesOfVni[];
  readonly protectedPrefixes: readonly PrefixesOfVni[];
}

/** A peer that takes part: live, reachable over a family we share, with a number. */
export interface Peer {
  readonly node: NodeName;
  readonly entry: PeerEntry;
  /** VNIs shared with it: the host's, and those for which both have prefixes. Rising. */
  readonly vnis: readonly Vni[];
  readonly prefixes: readonly PrefixesOfVni[];
  readonly vteps: readonly IpAddress[];
}

export interface DesiredInput {
  readonly config: OverlayConfig;
  /** All links of the host's namespace; names of the underlay devices among them. */
  readonly links: readonly LinkFacts[];
  readonly underlay: readonly string[];
  /** The whole roster view, also nodes that are not live. */
  readonly roster: readonly RosterNode[];
  readonly peers: readonly Peer[];
  readonly rotation: Rotation;
  readonly pods: readonly PodEntry[];
}

export type { DesiredState, PeerNumber };

/** Keeps the numbers found in the map, gives the lowest free ones from 1 to the others, in order of name. */
export declare function numberPeers(
  existing: readonly { readonly identity: string; readonly number: PeerNumber }[],
  nodes: readonly NodeName[],
): ReadonlyMap<NodeName, PeerNumber>;

/** The live nodes we can reach. @param numbers of numberPeers() */
export declare function selectPeers(
  config: OverlayConfig,
  roster: readonly RosterNode[],
  numbers: ReadonlyMap<NodeName, PeerNumber>,
): Peer[];

export declare function desired(input: DesiredInput): DesiredState;
