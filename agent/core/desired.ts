// From roster, configuration, pods and links to the state the kernel shall have. Pure; the output is sorted, so
// equal inputs give equal states whatever order they came in.
import { permissiveEntries } from './adoption';
import type { NodeAnnouncement } from './announcement';
import { addressFamily, hostPrefix } from './bytes';
import {
  type IpAddress,
  PEER_LOCAL,
  PEER_NONE,
  type PeerNumber,
  type Prefix,
  type PrefixesOfVni,
  type Vni,
} from './ids';
import { innerMtuBytes } from './mtu';
import { nodeMac } from './names';
import { type OverlayConfig, type Peer, vnisOf } from './peers';
import { announces, isInNodePrefix, type RemotePod } from './podroster';
import { PrefixIndex } from './prefixindex';
import { holdingOuterAddresses } from './protection';
import { Remembered } from './remembered';
import type { RosterNode } from './roster';
import type { Rotation } from './rotation';
import { sharedEntries } from './shared';
import { type Sliced, whole } from './slices';
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
  /** Of former calls: what rests on the same records is not made again. */
  readonly memory?: DesiredMemory;
}

export class DesiredMemory {
  readonly addresses = new Remembered<readonly PodAddress[]>();
  readonly overlay = new Remembered<readonly OverlayEntry[]>();
  readonly routes = new Remembered<readonly RouteEntry[]>();
  readonly peers = new Remembered<readonly PeerEntry[]>();
}

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
  const hasIpv6 = ({ vteps }: Pick<Peer, 'vteps'>): boolean =>
    vteps.some((vtep) => addressFamily(vtep) === 6);
  const family = hasIpv6(config) || peers.some(hasIpv6) ? 6 : 4;
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
function* podAddresses({
  config,
  roster,
  peers,
  pods,
  remotePods = [],
}: DesiredInput): Sliced<readonly PodAddress[]> {
  const found = pods.flatMap(({ vni, addresses }) =>
    addresses
      .filter((address) => !announces(config.prefixes, { vni, address }))
      .map((address): PodAddress => ({ vni, address, peer: PEER_LOCAL })),
  );
  const taken = new Set(
    pods.flatMap(({ vni, addresses }) => addresses.map((address) => `${vni}/${address}`)),
  );
  const records = new Map(roster.map(({ node, record }) => [node, record]));
  const numbers = new Map(peers.map(({ node, entry }) => [node, entry.number]));
  let announced: Announced | undefined;
  for (const { record, state } of remotePods) {
    yield;
    const { vni, address, node } = record;
    const owner = records.get(node);
    if (owner === undefined) continue;
    const isDisputed = state === 'quarantined';
    // Of tens of thousands these are nearly all.
    if (!isDisputed && isInNodePrefix(record, owner)) continue;
    if (taken.has(`${vni}/${address}`)) continue;
    // Outside of what is protected nothing would be left of the address once the claim ends, but the way in clear.
    if (!announces(config.protectedPrefixes, record)) continue;
    if (!isDisputed && announces(config.prefixes, record)) continue;
    announced ??= yield* indexing(roster);
    const isAnothers = announced
      .containing(hostPrefix(address))
      .some((other) => other.vni === vni && other.record !== owner);
    const peer = isDisputed || isAnothers ? PEER_NONE : (numbers.get(node) ?? PEER_NONE);
    found.push({ vni, address, peer });
  }
  return found;
}

type Announced = PrefixIndex<{ readonly vni: Vni; readonly record: NodeAnnouncement }>;

function* indexing(roster: readonly RosterNode[]): Sliced<Announced> {
  const index: Announced = new PrefixIndex();
  for (const { record } of roster) {
    if (record === undefined) continue;
    for (const { vni, prefixes } of record.prefixes)
      for (const prefix of prefixes) index.add(prefix, { vni, record });
    yield;
  }
  return index;
}

/**
 * Entries of the overlay map. Where several claim one prefix the first of these wins: ourselves, a peer, PEER_NONE.
 * Nodes that are not live keep their addresses as PEER_NONE: traffic to them is dropped, not sent in clear.
 */
function* overlayEntries(
  { config, roster, peers, pods, adopted = [] }: DesiredInput,
  addresses: readonly PodAddress[],
): Sliced<OverlayEntry[]> {
  const entries = new Map<string, OverlayEntry>();
  const claim = (vni: Vni, prefix: Prefix, peer: PeerNumber, node: boolean): void => {
    const key = keyOf(vni, prefix);
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
  for (const peer of peers) {
    claimAll(peer.prefixes, peer.vteps, peer.entry.number);
    yield;
  }
  const reachable = new Set(peers.map((peer) => peer.node));
  for (const { node, state, record } of roster) {
    if (reachable.has(node) || state === 'withdrawn' || record === undefined) continue;
    claimAll(record.prefixes, record.vteps, PEER_NONE);
    yield;
  }
  for (const { vni, address, peer } of addresses)
    if (vnis.has(vni)) claim(vni, hostPrefix(address), peer, false);
  for (const entry of permissiveEntries(config, roster, adopted)) {
    const key = keyOf(entry.vni, entry.prefix);
    if (!entries.has(key)) entries.set(key, entry);
  }
  claimAll(config.protectedPrefixes, [], PEER_NONE);
  const keys = [...entries.keys()].sort();
  yield;
  return keys.flatMap((key) => entries.get(key) ?? []);
}

/** Of the largest VNI. */
const VNI_DIGITS = 8;
/** Sorts like the VNI's number, then the prefix's text. */
const keyOf = (vni: Vni, prefix: Prefix): string => `${String(vni).padStart(VNI_DIGITS, '0')}/${prefix}`;

/** Programs at each device. A device is one of: a pod's host side, the VXLAN device, underlay, anything else. */
function hookEntries({ config, links, underlay, pods, closing = [] }: DesiredInput): HookEntry[] {
  const podDevices = new Set(pods.map((pod) => pod.ifindex));
  const leaving = new Set(closing.filter((ifindex) => !podDevices.has(ifindex)));
  const programs = ({ ifindex, name, loopback }: LinkFacts): readonly ProgramName[] => {
    // Where marks tell what is opened, no packet may bring one: a socket can set it.
    if (loopback) return config.kernelOpens === true ? ['guard'] : [];
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
function* routeEntries(
  { config, peers, roster }: DesiredInput,
  addresses: readonly PodAddress[],
): Sliced<RouteEntry[]> {
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
  yield;
  const ranges = [...ofHost(config.protectedPrefixes), ...own, ...known];
  const shared = holdingOuterAddresses(ranges, config, roster);
  yield;
  return [
    ...sortedSet(ranges.filter((prefix) => !shared.has(prefix))).map((prefix) => ({
      prefix,
      device: undefined,
    })),
    ...sortedSet(theirs.filter((prefix) => !own.includes(prefix))).map((prefix) => ({
      prefix,
      device: config.device,
      ...sourceToward(prefix, config.vteps),
    })),
  ];
}

function sourceToward(prefix: Prefix, vteps: readonly IpAddress[]): Pick<RouteEntry, 'source'> {
  const source = vteps.find((vtep) => addressFamily(vtep) === addressFamily(prefix));
  return source === undefined ? {} : { source };
}

const sortedSet = (prefixes: readonly Prefix[]): Prefix[] => [...new Set(prefixes)].sort();

function* peerEntries(peers: readonly Peer[]): Sliced<PeerEntry[]> {
  yield;
  return peers.map((peer) => peer.entry).sort((a, b) => a.number - b.number);
}

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
  return whole(desiring(input));
}

/** The same in slices. */
export function* desiring(input: DesiredInput): Sliced<DesiredState> {
  const { config, links, underlay, roster, peers, rotation, pods, remotePods, adopted = [] } = input;
  const { off = [], memory = new DesiredMemory() } = input;
  const devices = links.filter((link) => underlay.includes(link.name));
  if (devices.length === 0) throw new RangeError(`no underlay device of ${underlay.join(', ')} is there`);
  const { underlayMtuBytes, vxlanMtuBytes } = overlayMtus(config, devices, peers);
  const mac = nodeMac(config.node);
  const rests = [config, ...roster, ...peers];
  const own = JSON.stringify(pods.map(({ vni, addresses }) => [vni, addresses]));
  const addresses = yield* memory.addresses.get([...rests, remotePods, own], () => podAddresses(input));
  const overlay = yield* memory.overlay.get([...rests, addresses, own, ...adopted], () =>
    overlayEntries(input, addresses),
  );
  const routes = yield* memory.routes.get([...rests, addresses], () => routeEntries(input, addresses));
  const entries = yield* memory.peers.get(peers, () => peerEntries(peers));
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
    vxlan: {
      name: config.device,
      mac,
      port: config.vxlanPort,
      mtuBytes: vxlanMtuBytes,
      ...(config.kernelOpens === true ? { receives: true as const } : {}),
    },
    peers: entries,
    overlay,
    shared: sharedEntries(config.shared ?? []),
    rxSas: rotation.rxSas,
    txSas: rotation.txSas,
    keptRxSas: rotation.keptRxSas,
    keptTxSas: rotation.keptTxSas,
    pods: [...pods, ...withOwnAddresses(off, pods)].sort((a, b) => a.ifindex - b.ifindex),
    hooks: hookEntries(input),
    routes,
  };
}
