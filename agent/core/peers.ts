// Who our peers are: the live nodes that we can reach, under the numbers they have in the data plane; and what of the
// configuration matters for it. Pure.
import type { NodeAnnouncement } from './announcement';
import { addressFamily } from './bytes';
import type { IpAddress, NodeName, PeerNumber, Prefix, PrefixesOfVni, Vni } from './ids';
import { nodeIdentity, nodeMac } from './names';
import type { RosterNode } from './roster';
import type { SharedService } from './shared';
import { type Sliced, whole } from './slices';
import type { PeerEntry } from './state';

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
  /** Of the host's VNI: addresses that belong to whichever node has the pod. */
  readonly pools: readonly Prefix[];
  /** Of the host's VNI: what permissive pods speak with in clear until a node announces it. */
  readonly permissivePrefixes?: readonly Prefix[];
  /** Ways between tenants; none by default. */
  readonly shared?: readonly SharedService[];
  /** The kernel's own IPsec opens packets, and the VXLAN device's socket receives them. */
  readonly kernelOpens?: true;
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

/** Peers' numbers are 32-bit; 0 and 0xffffffff have meanings of their own (abi.h). */
const FIRST_PEER = 1;

/** Keeps the numbers found in the map, gives the lowest free ones from 1 to the others, in order of name. */
export function numberPeers(
  existing: readonly { readonly identity: string; readonly number: PeerNumber }[],
  nodes: readonly NodeName[],
): ReadonlyMap<NodeName, PeerNumber> {
  // Numbers of nodes that left stay taken until their entries are gone, or the newcomer would inherit their SAs.
  const taken = new Set(existing.map((entry) => entry.number));
  const known = new Map<string, PeerNumber>();
  for (const { identity, number } of [...existing].sort((a, b) => b.number - a.number)) {
    known.set(identity, number);
  }
  let next = FIRST_PEER;
  const numbers = new Map<NodeName, PeerNumber>();
  for (const node of [...new Set(nodes)].sort()) {
    const kept = known.get(nodeIdentity(node));
    if (kept === undefined) while (taken.has(next as PeerNumber)) next++;
    const number = kept ?? (next as PeerNumber);
    taken.add(number);
    numbers.set(node, number);
  }
  return numbers;
}

/** The pair of outer addresses of a tunnel: IPv4 when both have it, so both ends choose alike. */
export function tunnelAddresses(
  own: readonly IpAddress[],
  theirs: readonly IpAddress[],
): { readonly local: IpAddress; readonly vtep: IpAddress } | undefined {
  for (const family of [4, 6]) {
    const local = own.find((address) => addressFamily(address) === family);
    const vtep = theirs.find((address) => addressFamily(address) === family);
    if (local !== undefined && vtep !== undefined) return { local, vtep };
  }
  return undefined;
}

/**
 * The live nodes we can reach, in order of name. A live node missing here shares no address family with us.
 * @param numbers of numberPeers(); a node without a number is left out
 */
export function selectPeers(
  config: OverlayConfig,
  roster: readonly RosterNode[],
  numbers: ReadonlyMap<NodeName, PeerNumber>,
): Peer[] {
  return whole(selectingPeers(config, roster, numbers));
}

/** The same in slices. */
export function* selectingPeers(
  config: OverlayConfig,
  roster: readonly RosterNode[],
  numbers: ReadonlyMap<NodeName, PeerNumber>,
): Sliced<Peer[]> {
  const own = new Set(vnisOf(config.hostVni, config.prefixes));
  const peers: Peer[] = [];
  for (const { node, state, record } of roster) {
    const number = numbers.get(node);
    if (state !== 'live' || record === undefined || number === undefined) continue;
    const known = selected.get(record);
    const peer =
      known?.config === config && known.number === number
        ? known.peer
        : selectPeer(config, own, record, number);
    selected.set(record, { config, number, peer });
    if (peer !== undefined) peers.push(peer);
    yield;
  }
  return peers.sort((a, b) => compare(a.node, b.node));
}

/** Neither records nor configurations change: the same ones give the very same peer. */
const selected = new WeakMap<
  NodeAnnouncement,
  { readonly config: OverlayConfig; readonly number: PeerNumber; readonly peer: Peer | undefined }
>();

function selectPeer(
  config: OverlayConfig,
  own: ReadonlySet<Vni>,
  { node, vteps, prefixes }: NodeAnnouncement,
  number: PeerNumber,
): Peer | undefined {
  const tunnel = tunnelAddresses(config.vteps, vteps);
  if (tunnel === undefined) return undefined;
  return {
    node,
    entry: { number, identity: nodeIdentity(node), ...tunnel, mac: nodeMac(node) },
    vnis: vnisOf(config.hostVni, prefixes).filter((vni) => own.has(vni)),
    prefixes,
    vteps,
  };
}

/** The host's VNI and those with prefixes, rising. */
export function vnisOf(hostVni: Vni, groups: readonly PrefixesOfVni[]): Vni[] {
  const vnis = groups.filter((group) => group.prefixes.length > 0).map((group) => group.vni);
  return [...new Set([hostVni, ...vnis])].sort((a, b) => a - b);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
