// Probes that somebody asks for: a few pairs to each peer now, and where full-size ones do not come back, the largest
// size that does. Sent by the prober as any other; judged by verdict.ts, so that the words are those of the status.
import type { PeerNumber } from '../core/ids';
import type { RosterNode } from '../core/roster';
import { VxsealError } from '../errors';
import type { Clock, Datapath } from '../ports';
import { ETHERNET_HEADER_BYTES, type Liveness, SMALL_FRAME_BYTES } from './liveness';
import type { Picture } from './reconciler';
import type { ProbeRequest, ProbeStatus } from './status';
import { judged, type ViewParts } from './view';
import { Volley } from './volley';

const COUNT = 5;
/** Longer than `probes.intervalMs` by default: within it a peer whose packets do arrive is heard. */
const TIMEOUT_MS = 3500;
const BETWEEN_PAIRS_MS = 100;
/** Peers begin one after the other: all of a large cluster at once would fill queues. */
const BETWEEN_PEERS_MS = 1;
/** Of ESP's ciphertext (RFC 4303 §2.4): within it an outer packet does not grow. */
const ALIGNMENT_BYTES = 4;
/** Sizes tried together: three rounds find one of 1,400. */
const STEPS = 18;
const TRIES = 2;
const SMALL_BYTES = SMALL_FRAME_BYTES - ETHERNET_HEADER_BYTES;

interface Pairs {
  readonly count: number;
  /** That came back, of each size. */
  readonly small: number;
  readonly full: number;
  readonly rtt: ProbeStatus['rtt'];
  readonly largestBytes: number;
  readonly startedNs: bigint;
}

const NOTHING_CAME: ProbeStatus['rtt'] = { leastMs: -1, meanMs: -1, mostMs: -1 };

/**
 * Errors: VxsealError 'not-found' for a peer that is not known, 'not-ready' before the first look at the kernel.
 * @param goOn throws when nothing more must be sent, and what was not answered by now not be judged
 */
export async function inquire(
  { peers, count = COUNT, timeoutMs = TIMEOUT_MS }: ProbeRequest,
  picture: Picture | undefined,
  parts: ViewParts,
  goOn: () => void,
): Promise<ProbeStatus[]> {
  if (picture === undefined) {
    const remedy = 'Wait a few seconds; else see what blocks in vxseal status.';
    throw new VxsealError('not-ready', 'the agent has not read the state of the kernel yet', remedy);
  }
  const nodes = chosen(picture, peers);
  const asking = nodes.map(async (node, index) => {
    const number = judged(picture, parts, node).peer?.entry.number;
    // Without keys nothing can be sent, and the prober knows nothing of the peer.
    if (number === undefined || parts.prober.of(number) === undefined) return undefined;
    await pause(parts.clock, index * BETWEEN_PEERS_MS);
    return await sendPairs(picture, parts, number, count, timeoutMs, goOn);
  });
  const came = await Promise.all(asking);
  goOn();
  const openedNs = lastOpened(parts.datapath);
  return nodes.map((node, index) => describe(picture, parts, node, came[index], openedNs));
}

function chosen({ roster }: Picture, names: readonly string[] | undefined): RosterNode[] {
  const nodes = roster.filter((node) => node.state !== 'withdrawn');
  if (names === undefined) return nodes;
  const wanted = new Set(names);
  const found = nodes.filter((node) => wanted.delete(node.node));
  for (const missing of wanted) {
    const remedy = 'List the known ones: vxseal peers.';
    throw new VxsealError('not-found', `peer ${missing}: no record of such a node`, remedy);
  }
  return found;
}

function describe(
  picture: Picture,
  parts: ViewParts,
  node: RosterNode,
  pairs: Pairs | undefined,
  openedNs: ReadonlyMap<PeerNumber, bigint>,
): ProbeStatus {
  const { verdict, peer, liveness } = judged(picture, parts, node);
  const common = {
    node: node.node,
    local: peer?.entry.local ?? '',
    vtep: peer?.entry.vtep ?? node.record?.vteps[0] ?? '',
    mtuBytes: picture.mtuBytes,
  };
  if (pairs === undefined || peer === undefined || liveness === undefined)
    return { ...common, ...verdict, sent: 0, answered: 0, rtt: NOTHING_CAME, largestBytes: -1 };
  const nowNs = parts.clock.monotonicNs();
  const lastNs = openedNs.get(peer.entry.number);
  const seen = judged(picture, parts, node, {
    liveness: seenLiveness(liveness, pairs),
    // The picture's is as old as the last pass; and only what came meanwhile tells of the way back.
    lastOpenedAgeMs: lastNs === undefined ? undefined : Number(nowNs - lastNs) / 1e6,
    timeoutMs: Number(nowNs - pairs.startedNs) / 1e6,
  });
  const { count, small, full, rtt, largestBytes } = pairs;
  return {
    ...common,
    ...told(seen.verdict, pairs),
    sent: 2 * count,
    answered: small + full,
    rtt,
    largestBytes,
  };
}

async function sendPairs(
  { mtuBytes }: Picture,
  { clock, prober }: ViewParts,
  peer: PeerNumber,
  count: number,
  timeoutMs: number,
  goOn: () => void,
): Promise<Pairs> {
  const startedNs = clock.monotonicNs();
  const volley = new Volley(clock, prober, peer);
  for (let pair = 0; pair < count; pair++) {
    if (pair > 0) await pause(clock, BETWEEN_PAIRS_MS);
    goOn();
    volley.send(SMALL_BYTES);
    volley.send(mtuBytes);
  }
  await volley.settle(timeoutMs);
  goOn();
  const [small, full] = [volley.rttsMs(SMALL_BYTES), volley.rttsMs(mtuBytes)];
  const largest = async (): Promise<number> => {
    if (full.length > 0) return mtuBytes;
    return small.length === 0
      ? -1
      : await largestThrough(
          () => new Volley(clock, prober, peer),
          mtuBytes,
          volley.patienceMs(timeoutMs),
          goOn,
        );
  };
  return {
    count,
    small: small.length,
    full: full.length,
    rtt: roundTrip(small),
    largestBytes: await largest(),
    startedNs,
  };
}

/** Narrows down between what came back and what did not, many sizes at a time. Each that is lost by chance costs a step. */
async function largestThrough(
  volley: () => Volley,
  fullBytes: number,
  waitMs: number,
  goOn: () => void,
): Promise<number> {
  let [through, lost] = [SMALL_BYTES, fullBytes];
  for (;;) {
    const step = Math.max(1, Math.ceil((lost - through) / (STEPS + 1) / ALIGNMENT_BYTES)) * ALIGNMENT_BYTES;
    const sizes: number[] = [];
    for (let size = aligned(through) + step; size < lost; size += step) sizes.push(size);
    if (sizes.length === 0) return through;
    const asked = volley();
    for (let tried = 0; tried < TRIES; tried++) for (const size of sizes) asked.send(size);
    await asked.settle(waitMs);
    goOn();
    through = Math.max(through, ...sizes.filter((size) => asked.rttsMs(size).length > 0));
    lost = sizes.find((size) => size > through) ?? lost;
    if (step === ALIGNMENT_BYTES) return through;
  }
}

const aligned = (bytes: number): number => bytes - (bytes % ALIGNMENT_BYTES);

function seenLiveness(regular: Liveness, { count, small, full, rtt }: Pairs): Liveness {
  const loss = 1 - small / count;
  if (small + full === 0) return { ...regular, loss, verdict: regular.verdict === 'new' ? 'new' : 'silent' };
  return { ...regular, rttMs: rtt.meanMs, loss, verdict: full === 0 ? 'small-only' : 'answers' };
}

/** What the verdict does not know: how many were lost, and which size would do. */
function told(
  { state, why, remedy }: Pick<ProbeStatus, 'state' | 'why' | 'remedy'>,
  { count, small, full, largestBytes }: Pairs,
): Pick<ProbeStatus, 'state' | 'why' | 'remedy'> {
  if (state === 'mtu') return { state, why: `${why}; the largest that is has ${largestBytes}`, remedy };
  if (state !== 'up' || small + full === 2 * count) return { state, why, remedy };
  return {
    state,
    why: `lost: ${count - small} of ${count} small probes, ${count - full} of ${count} full-size ones`,
    remedy:
      'probe again with a larger --count; if it lasts, see `vxseal drops` on both nodes, and the path between them',
  };
}

/** When each peer's last packet was authenticated; not before the data plane was made. */
function lastOpened({ sas }: Datapath): Map<PeerNumber, bigint> {
  const openedNs = new Map<PeerNumber, bigint>();
  for (const { peer, lastOpenedNs } of sas.listRx())
    if (lastOpenedNs > (openedNs.get(peer) ?? 0n)) openedNs.set(peer, lastOpenedNs);
  return openedNs;
}

function roundTrip(rttsMs: readonly number[]): ProbeStatus['rtt'] {
  if (rttsMs.length === 0) return NOTHING_CAME;
  const meanMs = rttsMs.reduce((sum, rttMs) => sum + rttMs, 0) / rttsMs.length;
  return { leastMs: Math.min(...rttsMs), meanMs, mostMs: Math.max(...rttsMs) };
}

const pause = (clock: Clock, forMs: number): Promise<void> =>
  new Promise((resolve) => clock.after(forMs, resolve));
