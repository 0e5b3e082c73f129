// Fills the status snapshot from the last picture, the probes and the data plane's counters. Reads, decides nothing.
import type { NodeName, PeerNumber, Spi } from '../core/ids';
import { epochFingerprint } from '../core/keyschedule';
import type { OverlayConfig, Peer } from '../core/peers';
import type { RosterNode } from '../core/roster';
import type { PeerKeyState } from '../core/rotation';
import type { Sliced } from '../core/slices';
import type { HookEntry } from '../core/state';
import type {
  Clock,
  Datapath,
  DropCount,
  InstalledRxSa,
  InstalledTxSa,
  PeerTraffic,
  TopologyBus,
} from '../ports';
import type { Adoption } from './adoption';
import type { Epochs } from './epochs';
import type { AttachedPod } from './inspection';
import type { Intakes } from './intakes';
import type { Liveness, Prober } from './liveness';
import type { RoomSettings } from './parts';
import { PeerIndex } from './peerindex';
import type { PeerStates } from './peerstates';
import type { Problems } from './problems';
import type { Picture } from './reconciler';
import type {
  AdoptionStatus,
  BusView,
  DropStatus,
  HookStatus,
  NodeStatus,
  PeerStatus,
  PodStatus,
  SaStatus,
  Traffic,
} from './status';
import type { UnknownKeys } from './unknownkeys';
import { judgePeer, type PeerFacts, type Verdict } from './verdict';

export interface ViewParts {
  readonly clock: Clock;
  readonly datapath: Datapath;
  readonly prober: Prober;
  readonly epochs: Epochs;
  readonly states: PeerStates;
  readonly unknownKeys: UnknownKeys;
  readonly problems: Problems;
  readonly probeTimeoutMs: number;
}

export const spiText = (spi: Spi): string => `0x${spi.toString(16).padStart(8, '0')}`;

const nothing: Traffic = { packets: 0, bytes: 0 };

function epochView(epochs: Epochs, picture: Picture | undefined): NodeStatus['epoch'] {
  const newest = epochs.newest();
  return {
    number: newest?.number ?? 0,
    publicKeyFingerprint: newest === undefined ? '' : epochFingerprint(newest.publicKey),
    createdMs: newest?.createdMs ?? 0,
    published: newest?.publishedNs !== undefined,
    retiring: epochs
      .live()
      .slice(1)
      .map((epoch) => epoch.number),
    laggards: picture?.rotation.laggards ?? [],
  };
}

export function nodeView(
  picture: Picture | undefined,
  { node, version, bootId, overlay }: RoomSettings,
  epochs: Epochs,
): Omit<NodeStatus, 'uptimeMs' | 'certificateNotAfterMs'> {
  const devices = picture?.underlay.devices ?? [];
  return {
    name: node,
    version,
    bootId,
    epoch: epochView(epochs, picture),
    vteps: picture?.underlay.vteps ?? [],
    vni: overlay.hostVni,
    mtuBytes: picture?.mtuBytes ?? 0,
    underlay: devices.map(({ name, ifindex, mtuBytes }) => ({ device: name, ifindex, mtuBytes })),
    overlayDevice: overlay.device,
    engine: overlay.kernelOpens === true ? 'xfrm' : 'bpf',
    prefixes: overlay.prefixes,
  };
}

/** In order of name; nodes that withdrew are not peers any more. */
export function peerViews(picture: Picture, parts: ViewParts): PeerStatus[] {
  const traffic = new Map(parts.datapath.peerTraffic().map((each) => [each.peer, each]));
  const drops = new Map<string, DropStatus[]>();
  for (const drop of dropViews(picture, parts.datapath.dropCounts()))
    drops.set(drop.node, [...(drops.get(drop.node) ?? []), drop]);
  const nodes = picture.roster.filter((node) => node.state !== 'withdrawn');
  parts.states.keep(new Set(nodes.map((node) => node.node)));
  return nodes.map((node) => peerView(picture, parts, node, traffic, drops));
}

/** Notes the state of every peer, so that a change is told once, and since when. */
export function* notingStates(picture: Picture, parts: ViewParts): Sliced<void> {
  const nodes = picture.roster.filter((node) => node.state !== 'withdrawn');
  parts.states.keep(new Set(nodes.map((node) => node.node)));
  for (const node of nodes) {
    parts.states.note(node.node, judged(picture, parts, node).verdict);
    yield;
  }
}

interface JudgedPeer {
  readonly verdict: Verdict;
  readonly peer: Peer | undefined;
  readonly keys: PeerKeyState | undefined;
  readonly liveness: Liveness | undefined;
  readonly tx: readonly InstalledTxSa[];
  readonly rx: readonly InstalledRxSa[];
  readonly packetsLeft: bigint | undefined;
  readonly lastOpenedAgeMs: number;
}

/** @param seen what is known better than the picture and the regular probes know it */
export function judged(
  picture: Picture,
  parts: ViewParts,
  node: RosterNode,
  seen: Partial<PeerFacts> = {},
): JudgedPeer {
  const index = PeerIndex.of(picture);
  const peer = index.peer(node.node);
  const keys = index.keys(node.node);
  const number = peer?.entry.number;
  const tx = number === undefined ? [] : index.tx(number);
  const rx = number === undefined ? [] : index.rx(number);
  const lastOpenedAgeMs = youngest(rx.map((sa) => ageMs(parts.clock, sa.lastOpenedNs)));
  const packetsLeft = leastLeft(tx);
  const liveness = number === undefined ? undefined : parts.prober.of(number);
  const verdict = judgePeer({
    node,
    peer,
    keys,
    liveness,
    packetsLeft,
    lastOpenedAgeMs: lastOpenedAgeMs < 0 ? undefined : lastOpenedAgeMs,
    timeoutMs: parts.probeTimeoutMs,
    unknownKeys: peer !== undefined && parts.unknownKeys.usedLately(peer.entry.vtep),
    ownVteps: picture.underlay.vteps,
    espPort: picture.wanted.settings.espPort,
    mtuBytes: picture.mtuBytes,
    ...seen,
  });
  return { verdict, peer, keys, liveness, tx, rx, packetsLeft, lastOpenedAgeMs };
}

function peerView(
  picture: Picture,
  parts: ViewParts,
  node: RosterNode,
  traffic: ReadonlyMap<PeerNumber, PeerTraffic>,
  drops: ReadonlyMap<string, readonly DropStatus[]>,
): PeerStatus {
  const { verdict, peer, keys, liveness, tx, rx, packetsLeft, lastOpenedAgeMs } = judged(
    picture,
    parts,
    node,
  );
  const number = peer?.entry.number;
  const record = node.record;
  const counted = number === undefined ? undefined : traffic.get(number);
  return {
    node: node.node,
    number: number ?? 0,
    ...verdict,
    sinceMs: parts.states.note(node.node, verdict),
    rotating: keys?.state === 'rotating',
    epochs: {
      ours: keys?.txEpochs === undefined ? [] : [keys.txEpochs.ours],
      theirs:
        record === undefined
          ? []
          : [record.epoch, ...(record.olderEpochs ?? [])].map((epoch) => epoch.number),
      txSpi: tx[0] === undefined ? '' : spiText(tx[0].spi),
      rxSpis: rx.map((sa) => spiText(sa.spi)).sort(),
    },
    lastOpenedAgeMs,
    rttMs: liveness?.rttMs ?? -1,
    loss: liveness?.loss ?? -1,
    sealed: counted
      ? { packets: Number(counted.sealedPackets), bytes: Number(counted.sealedBytes) }
      : nothing,
    opened: counted
      ? { packets: Number(counted.openedPackets), bytes: Number(counted.openedBytes) }
      : nothing,
    dropsByReason: drops.get(node.node) ?? [],
    saPacketsRemaining: packetsLeft === undefined ? -1 : Number(packetsLeft),
    certificateNotAfterMs: node.certificateNotAfterMs,
    leaseNotAfterMs: record?.notAfterMs ?? 0,
    vtep: peer?.entry.vtep ?? record?.vteps[0] ?? '',
    prefixes: record?.prefixes.flatMap((group) => group.prefixes) ?? [],
    agentVersion: record?.agentVersion ?? '',
  };
}

/** Least of the VNIs' SAs: the one that ends first. */
function leastLeft(tx: readonly InstalledTxSa[]): bigint | undefined {
  return tx.reduce<bigint | undefined>((least, sa) => {
    const left = sa.limit > sa.sequence ? sa.limit - sa.sequence : 0n;
    return least === undefined || left < least ? left : least;
  }, undefined);
}

/** -1 for never. */
function ageMs(clock: Clock, atNs: bigint): number {
  if (atNs === 0n) return -1;
  return Math.max(0, Math.round(Number(clock.monotonicNs() - atNs) / 1e6));
}

/** -1 when all are. */
function youngest(agesMs: readonly number[]): number {
  const known = agesMs.filter((age) => age >= 0);
  return known.length === 0 ? -1 : Math.min(...known);
}

/** '' for none. */
export const peerName = (picture: Picture | undefined, number: PeerNumber): NodeName | '' =>
  picture === undefined ? '' : PeerIndex.of(picture).nameOf(number);

export function dropViews(picture: Picture | undefined, counts: readonly DropCount[]): DropStatus[] {
  return counts
    .filter((drop) => drop.packets > 0n)
    .map(({ peer, reason, direction, packets, bytes }) => ({
      node: peerName(picture, peer),
      reason,
      direction,
      packets: Number(packets),
      bytes: Number(bytes),
    }))
    .sort((a, b) => b.packets - a.packets || (a.reason < b.reason ? -1 : 1));
}

/** Read from the data plane now; the keys themselves never come here. */
export function saViews(picture: Picture | undefined, { clock, datapath }: ViewParts): SaStatus[] {
  const tx = datapath.sas.listTx().map(
    (sa): SaStatus => ({
      direction: 'tx',
      node: peerName(picture, sa.peer),
      vni: sa.vni,
      spi: spiText(sa.spi),
      fingerprint: sa.fingerprint,
      sequence: Number(sa.sequence),
      packets: Number(sa.limit > sa.sequence ? sa.limit - sa.sequence : 0n),
      lastOpenedAgeMs: -1,
    }),
  );
  const rx = datapath.sas.listRx().map(
    (sa): SaStatus => ({
      direction: 'rx',
      node: peerName(picture, sa.peer),
      vni: sa.vni,
      spi: spiText(sa.spi),
      fingerprint: sa.fingerprint,
      sequence: Number(sa.top),
      packets: Number(sa.packets),
      lastOpenedAgeMs: ageMs(clock, sa.lastOpenedNs),
    }),
  );
  return [...tx, ...rx].sort(
    (a, b) => compare(a.node, b.node) || a.vni - b.vni || compare(b.direction, a.direction),
  );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const sameHook = (a: HookEntry, b: HookEntry): boolean => a.program === b.program && a.ifindex === b.ifindex;

/** Wanted hooks, missing ones with mode '', and what is attached beside them. */
export function hookViews(picture: Picture): HookStatus[] {
  const { wanted, observed } = picture;
  const names = new Map(observed.links.map((link) => [link.ifindex, link.name]));
  const missing = missingHooks(picture).map((hook) => ({ ...hook, mode: '' }));
  const inForce = observed.hooks.filter((hook) => hook.behind === undefined);
  return [...inForce, ...missing]
    .filter((hook) => hook.mode !== '' || wanted.hooks.some((other) => sameHook(other, hook)))
    .map(({ program, ifindex, mode }) => ({ program, device: names.get(ifindex) ?? '', ifindex, mode }))
    .sort((a, b) => a.ifindex - b.ifindex || compare(a.program, b.program));
}

/** Wanted and not in force: not attached, or behind somebody else's program. */
export function missingHooks({ wanted, observed }: Picture): HookEntry[] {
  return wanted.hooks.filter(
    (hook) => !observed.hooks.some((other) => sameHook(other, hook) && other.behind === undefined),
  );
}

/** What keeps a pod that is off from being held to its own addresses. */
function missingOfOff(picture: Picture, { entry }: AttachedPod): string | undefined {
  const guard = picture.observed.hooks.find(
    ({ program, ifindex }) => program === 'guard' && ifindex === entry.ifindex,
  );
  const known = picture.observed.pods.some(({ ifindex, off }) => ifindex === entry.ifindex && off === true);
  if (guard !== undefined && guard.behind === undefined && known) return undefined;
  return 'its device is not guarded yet';
}

/** What keeps the pod from being reachable; undefined when nothing does. */
export function missingOfPod(
  picture: Picture | undefined,
  pod: AttachedPod,
  problems: Problems,
): string | undefined {
  const { entry } = pod;
  if (picture === undefined) return problems.list()[0]?.reason ?? 'the data plane is being set up';
  if (entry.off === true) return missingOfOff(picture, pod);
  const hook = missingHooks(picture).find((each) => each.ifindex === entry.ifindex);
  if (hook !== undefined) {
    const problem = problems.get(`apply hook ${hook.program} on device ${hook.ifindex}`);
    return `hook ${hook.program}${problem === undefined ? ' is not attached' : `: ${problem.reason}`}`;
  }
  const hooked = picture.wanted.hooks.some(
    (each) => each.ifindex === entry.ifindex && each.program === 'steer',
  );
  if (!hooked) return 'its host device was not seen yet';
  const found = picture.observed.pods.find(
    ({ ifindex, vni }) => ifindex === entry.ifindex && vni === entry.vni,
  );
  const known = entry.addresses.every((address) => found?.addresses.includes(address));
  if (found !== undefined && known) return undefined;
  return (
    problems.get(`apply pod device ${entry.ifindex}`)?.reason ?? 'its addresses are not in the data plane'
  );
}

export function podView(picture: Picture | undefined, pod: AttachedPod, problems: Problems): PodStatus {
  const missing = missingOfPod(picture, pod, problems);
  const { id, name, namespace, vni, netnsPath, hostDevice, addresses } = pod.pod;
  return {
    id,
    name,
    namespace,
    vni,
    mode: pod.entry.permissive === true ? 'permissive' : 'strict',
    netnsPath,
    hostDevice,
    addresses,
    mtuBytes: pod.mtuBytes,
    labels: pod.pod.labels ?? {},
    ready: missing === undefined,
    why: missing ?? '',
  };
}

export function adoptionView(
  pods: readonly AttachedPod[],
  { permissivePrefixes = [] }: Pick<OverlayConfig, 'permissivePrefixes'>,
  adoption: Pick<Adoption, 'list'>,
  datapath: Pick<Datapath, 'clearTraffic'>,
): AdoptionStatus {
  const { sent, received } = datapath.clearTraffic();
  return {
    permissivePods: pods.filter((pod) => pod.entry.permissive === true).length,
    permissivePrefixes,
    adoptedPrefixes: adoption.list(),
    sent: { packets: Number(sent.packets), bytes: Number(sent.bytes) },
    received: { packets: Number(received.packets), bytes: Number(received.bytes) },
  };
}

export function busView(
  type: string,
  bus: Pick<TopologyBus, 'status'>,
  intakes: Pick<Intakes, 'counts' | 'inSync' | 'totals'>,
  nowMs: number,
): BusView {
  const { connected, lastSeenMs, error } = bus.status();
  const { accepted, refused } = intakes.counts();
  return {
    type,
    connected,
    inSync: intakes.inSync(),
    lastSeenMs,
    stalenessMs: lastSeenMs === 0 ? 0 : Math.max(0, nowMs - lastSeenMs),
    error,
    acceptedRecords: accepted,
    refusedRecords: refused,
    records: intakes.totals(),
  };
}
