// From roster, configuration, pods and links to the state the kernel shall have. Pure; the output is sorted, so
// equal inputs give equal states whatever order they came in.
import { permissiveEntries } from './adoption';
import { addressFamily, hostPrefix } from './bytes';
import {
  type IpAddress,
  type NodeName,
  PEER_LOCAL,
  PEER_NONE,
  type PeerNumber,
  type Prefix,
  type Vni,
} from './ids';
import { innerMtuBytes } from './mtu';
import { nodeIdentity, nodeMac } from './names';
import { announces, isInNodePrefix, type RemotePod } from './podroster';
import { holdingOuterAddresses } from './protection';
import type { RosterNode } from './roster';
import type { Rotation } from './rotation';
import { type SharedService, sharedEntries } from './shared';
import type {
  DesiredState,
  HookEntry,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  ProgramName,
  RouteEntry,
} from './state';

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
  /** Of the host's VNI: addresses that belong to whichever node has the pod. */
  readonly pools: readonly Prefix[];
  /** Of the host's VNI: what permissive pods speak with in clear until a node announces it. */
  readonly permissivePrefixes?: readonly Prefix[];
  /** Ways between tenants; none by default. */
  readonly shared?: readonly SharedService[];
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
  /** Pods of mode off. */
  readonly off?: readonly PodEntry[];
  /** Pods of other nodes by their records; those within what their node announces as a whole change nothing. */
  readonly remotePods?: readonly RemotePod[];
  /** Devices whose pod has ended but which still stand: without an entry of their own their hooks drop everything. */
  readonly closing?: readonly number[];
  /** What nodes have ever announced of the permissive prefixes: never in clear again. */
  readonly adopted?: readonly Prefix[];
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
  const own = new Set(vnisOf(config.hostVni, config.prefixes));
  const peers: Peer[] = [];
  for (const { node, state, record } of roster) {
    const number = numbers.get(node);
    if (state !== 'live' || record === undefined || number === undefined) continue;
    const tunnel = tunnelAddresses(config.vteps, record.vteps);
    if (tunnel === undefined) continue;
    peers.push({
      node,
      entry: { number, identity: nodeIdentity(node), ...tunnel, mac: nodeMac(node) },
      vnis: vnisOf(config.hostVni, record.prefixes).filter((vni) => own.has(vni)),
      prefixes: record.prefixes,
      vteps: record.vteps,
    });
  }
  return peers.sort((a, b) => compare(a.node, b.node));
}

/** The host's VNI and those with prefixes, rising. */
function vnisOf(hostVni: Vni, groups: readonly PrefixesOfVni[]): Vni[] {
  const vnis = groups.filter((group) => group.prefixes.length > 0).map((group) => group.vni);
  return [...new Set([hostVni, ...vnis])].sort((a, b) => a - b);
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Smallest of the underlay's MTUs, and what it leaves inside. IPv6 costs 20 bytes, and one node with an IPv6 VTEP
 * costs them all its peers: its pods cannot take in more, and nothing would tell a sender that is reached over IPv4.
 */
export function overlayMtus(
  config: OverlayConfig,
  underlay: readonly LinkFacts[],
  peers: readonly Pick<Peer, 'vteps'>[],
): { readonly underlayMtuBytes: number; readonly vxlanMtuBytes: number } {
  const underlayMtuBytes = Math.min(...underlay.map((link) => link.mtuBytes), MAX_UNDERLAY_MTU_BYTES);
  const vteps = [config, ...peers].flatMap((node) => node.vteps);
  const family = vteps.some((vtep) => addressFamily(vtep) === 6) ? 6 : 4;
  const carried = innerMtuBytes(underlayMtuBytes, family);
  const vxlanMtuBytes = config.mtuBytes === 0 ? carried : Math.min(config.mtuBytes, carried);
  return { underlayMtuBytes, vxlanMtuBytes };
}

/** Largest outer packet the data plane can seal (bpf/aead.h AEAD_MAX_TEXT, less headers and padding). */
const MAX_UNDERLAY_MTU_BYTES = 9200;

/** An address that needs an entry of its own, and whose it is: a longer prefix than any node's. */
interface PodAddress {
  readonly vni: Vni;
  readonly address: IpAddress;
  readonly peer: PeerNumber;
}

/**
 * Addresses that are assigned across nodes, one by one. Where two claim one, or one claims what another announces as a
 * whole, nobody gets it; our own pods always have theirs.
 */
function podAddresses({ config, roster, peers, pods, remotePods = [] }: DesiredInput): PodAddress[] {
  const own = pods.flatMap(({ vni, addresses }) =>
    addresses
      .filter((address) => !announces(config.prefixes, { vni, address }))
      .map((address) => ({ vni, address, peer: PEER_LOCAL })),
  );
  const taken = new Set(
    pods.flatMap(({ vni, addresses }) => addresses.map((address) => `${vni}/${address}`)),
  );
  const records = new Map(roster.map(({ node, record }) => [node, record]));
  const numbers = new Map(peers.map(({ node, entry }) => [node, entry.number]));
  const theirs = remotePods.flatMap(({ record, state }): PodAddress[] => {
    const { vni, address, node } = record;
    const owner = records.get(node);
    if (owner === undefined || taken.has(`${vni}/${address}`)) return [];
    // Outside of what is protected nothing would be left of the address once the claim ends, but the way in clear.
    if (!announces(config.protectedPrefixes, record)) return [];
    if (state === 'quarantined') return [{ vni, address, peer: PEER_NONE }];
    if (isInNodePrefix(record, owner) || announces(config.prefixes, record)) return [];
    const isAnothers = [...records.values()].some(
      (other) => other !== owner && other !== undefined && announces(other.prefixes, record),
    );
    return [{ vni, address, peer: isAnothers ? PEER_NONE : (numbers.get(node) ?? PEER_NONE) }];
  });
  return [...own, ...theirs];
}

/**
 * Entries of the overlay map. Where several claim one prefix the first of these wins: ourselves, a peer, PEER_NONE.
 * Nodes that are not live keep their addresses as PEER_NONE: traffic to them is dropped, not sent in clear.
 */
function overlayEntries(
  { config, roster, peers, pods, adopted = [] }: DesiredInput,
  addresses: readonly PodAddress[],
): OverlayEntry[] {
  const entries = new Map<string, OverlayEntry>();
  const claim = (vni: Vni, prefix: Prefix, peer: PeerNumber, node: boolean): void => {
    const key = `${vni}/${prefix}`;
    if (!entries.has(key)) entries.set(key, { vni, prefix, peer, node });
  };
  const vnis = new Set([
    ...vnisOf(config.hostVni, config.prefixes),
    ...config.protectedPrefixes.map((group) => group.vni),
    ...pods.map((pod) => pod.vni),
  ]);
  const claimAll = (
    groups: readonly PrefixesOfVni[],
    vteps: readonly IpAddress[],
    peer: PeerNumber,
  ): void => {
    // A VNI without anything here has no pods that could use the entry.
    for (const { vni, prefixes } of groups) {
      if (vnis.has(vni)) for (const prefix of prefixes) claim(vni, prefix, peer, false);
    }
    // Nodes are in the hosts' VNI only: to a tenant their addresses are free.
    for (const vtep of vteps) claim(config.hostVni, hostPrefix(vtep), peer, true);
  };
  claimAll(config.prefixes, config.vteps, PEER_LOCAL);
  for (const peer of peers) claimAll(peer.prefixes, peer.vteps, peer.entry.number);
  const reachable = new Set(peers.map((peer) => peer.node));
  for (const { node, state, record } of roster) {
    if (reachable.has(node) || state === 'withdrawn' || record === undefined) continue;
    claimAll(record.prefixes, record.vteps, PEER_NONE);
  }
  for (const { vni, address, peer } of addresses)
    if (vnis.has(vni)) claim(vni, hostPrefix(address), peer, false);
  for (const entry of permissiveEntries(config, roster, adopted)) {
    const key = `${entry.vni}/${entry.prefix}`;
    if (!entries.has(key)) entries.set(key, entry);
  }
  claimAll(config.protectedPrefixes, [], PEER_NONE);
  return [...entries.values()].sort((a, b) => a.vni - b.vni || compare(a.prefix, b.prefix));
}

/** Programs at each device. A device is one of: a pod's host side, the VXLAN device, underlay, anything else. */
function hookEntries({ config, links, underlay, pods, closing = [] }: DesiredInput): HookEntry[] {
  const podDevices = new Set(pods.map((pod) => pod.ifindex));
  const leaving = new Set(closing.filter((ifindex) => !podDevices.has(ifindex)));
  const programs = ({ ifindex, name, loopback }: LinkFacts): readonly ProgramName[] => {
    if (loopback) return [];
    if (name === config.device) return ['encap', 'admit'];
    if (underlay.includes(name)) return ['seal', 'open', 'deliver'];
    return podDevices.has(ifindex) || leaving.has(ifindex) ? ['steer', 'gate'] : ['guard', 'fence'];
  };
  return [...links]
    .sort((a, b) => a.ifindex - b.ifindex)
    .flatMap((link) =>
      programs(link).map((program) => ({
        program,
        ifindex: link.ifindex,
        ...(leaving.has(link.ifindex) ? { leaving: true as const } : {}),
      })),
    );
}

/**
 * Peers' prefixes of the host's VNI. Not their own addresses: host to host stays outside the overlay. Behind them, and
 * behind the routes to our own pods, everything that is the overlay's is unreachable: without the device, or for a
 * pod that is gone, the default route would take it.
 */
function routeEntries(
  { config, peers, roster }: DesiredInput,
  addresses: readonly PodAddress[],
): RouteEntry[] {
  const ofHost = (groups: readonly PrefixesOfVni[]): readonly Prefix[] =>
    groups.flatMap((group) => (group.vni === config.hostVni ? group.prefixes : []));
  const own = ofHost(config.prefixes);
  const singles = addresses
    .filter(({ vni, peer }) => vni === config.hostVni && peer !== PEER_LOCAL && peer !== PEER_NONE)
    .map(({ address }) => hostPrefix(address));
  const theirs = [...peers.flatMap((peer) => ofHost(peer.prefixes)), ...singles];
  const known = roster.flatMap(({ state, record }) =>
    state === 'withdrawn' || record === undefined ? [] : ofHost(record.prefixes),
  );
  const ranges = [...ofHost(config.protectedPrefixes), ...own, ...known];
  const shared = holdingOuterAddresses(ranges, config, roster);
  return [
    ...sortedSet(ranges.filter((prefix) => !shared.has(prefix))).map((prefix) => ({
      prefix,
      device: undefined,
    })),
    ...sortedSet(theirs.filter((prefix) => !own.includes(prefix))).map((prefix) => ({
      prefix,
      device: config.device,
    })),
  ];
}

const sortedSet = (prefixes: readonly Prefix[]): Prefix[] => [...new Set(prefixes)].sort(compare);

/** An address that a pod of the overlay has is that pod's alone, and one of two that are off, the first one's. */
function withOwnAddresses(off: readonly PodEntry[], pods: readonly PodEntry[]): PodEntry[] {
  const taken = new Set(
    pods.flatMap(({ vni, addresses }) => addresses.map((address) => `${vni}/${address}`)),
  );
  return off.map((pod) => {
    const addresses = pod.addresses.filter((address) => !taken.has(`${pod.vni}/${address}`));
    for (const address of addresses) taken.add(`${pod.vni}/${address}`);
    return { ...pod, addresses };
  });
}

/** Throws on an underlay that has no device at all: the caller must not ask before there is one. */
export function desired(input: DesiredInput): DesiredState {
  const { config, links, underlay, peers, rotation, pods, off = [] } = input;
  const devices = links.filter((link) => underlay.includes(link.name));
  if (devices.length === 0) throw new RangeError(`no underlay device of ${underlay.join(', ')} is there`);
  const { underlayMtuBytes, vxlanMtuBytes } = overlayMtus(config, devices, peers);
  const mac = nodeMac(config.node);
  const addresses = podAddresses(input);
  return {
    settings: {
      hostVni: config.hostVni,
      vxlanPort: config.vxlanPort,
      espPort: config.espPort,
      underlayMtuBytes,
      vxlanMtuBytes,
      mac,
      sharedPort: config.sharedPort,
    },
    vxlan: { name: config.device, mac, port: config.vxlanPort, mtuBytes: vxlanMtuBytes },
    peers: peers.map((peer) => peer.entry).sort((a, b) => a.number - b.number),
    overlay: overlayEntries(input, addresses),
    shared: sharedEntries(config.shared ?? []),
    rxSas: rotation.rxSas,
    txSas: rotation.txSas,
    keptRxSas: rotation.keptRxSas,
    keptTxSas: rotation.keptTxSas,
    pods: [...pods, ...withOwnAddresses(off, pods)].sort((a, b) => a.ifindex - b.ifindex),
    hooks: hookEntries(input),
    routes: routeEntries(input, addresses),
  };
}
