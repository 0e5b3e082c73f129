// A model of two nodes, their data planes and the bus between them, for rotation alone: every key is its name
// ("a1>b2"), records arrive late, packets get lost, processes restart, machines reboot. States are values: act()
// returns a new one, so that a test can walk every interleaving.
import type { AnnouncedEpoch } from '../../../agent/core/announcement';
import { type EpochBook, noteEpochs, type OwnEpoch, type RotationTiming } from '../../../agent/core/epochs';
import type { IpAddress, NodeName, PeerNumber, Spi, Vni } from '../../../agent/core/ids';
import type { DerivedSa, Endpoint } from '../../../agent/core/keyschedule';
import type { FoundRxSa, FoundTxSa, RotationInput } from '../../../agent/core/pairs';
import { type Rotation, rotate } from '../../../agent/core/rotation';

export type Side = 'a' | 'b';
export const SIDES: readonly Side[] = ['a', 'b'];
const other = (side: Side): Side => (side === 'a' ? 'b' : 'a');

const VNI = 7 as Vni;
const PEER = 1 as PeerNumber;
const ADDRESS: Record<Side, IpAddress> = { a: '192.0.2.1' as IpAddress, b: '192.0.2.2' as IpAddress };

export const TIMING: RotationTiming = {
  idleMs: 10,
  hardLimitMs: 100_000,
  stalemateMs: 1_000,
  rotateMs: 1e15,
};
const ms = (n: number): bigint => BigInt(n) * 1_000_000n;

interface Record_ {
  readonly epoch: AnnouncedEpoch;
  readonly olderEpochs: readonly AnnouncedEpoch[];
}

interface Process {
  readonly startedNs: bigint;
  readonly own: readonly OwnEpoch[];
  readonly book: EpochBook;
  readonly installed: ReadonlySet<string>;
}

interface Node {
  readonly lastEpoch: number;
  readonly process: Process;
  readonly rx: readonly FoundRxSa[];
  readonly tx: readonly FoundTxSa[];
  /** Records of the other one, published and not delivered yet, oldest first. */
  readonly mail: readonly Record_[];
}

export interface World {
  readonly nowNs: bigint;
  readonly a: Node;
  readonly b: Node;
  readonly bus: { readonly a: Record_ | undefined; readonly b: Record_ | undefined };
  /** Names of all tx keys ever put into a data plane, and of rx keys taken out of one after use. */
  readonly usedTx: ReadonlySet<string>;
  readonly removedRx: ReadonlySet<string>;
  /** What must never happen, and did. */
  readonly faults: readonly string[];
}

export type Action =
  | {
      readonly do:
        | 'reconcile'
        | 'half'
        | 'lame'
        | 'deliver'
        | 'skip'
        | 'send'
        | 'epoch'
        | 'restart'
        | 'reboot'
        | 'wipe'
        | 'lapse';
      readonly side: Side;
    }
  | { readonly do: 'tick'; readonly ms: number };

const spis = new Map<string, Spi>();
function sa(name: string): DerivedSa {
  const spi = spis.get(name) ?? ((256 + spis.size) as Spi);
  spis.set(name, spi);
  return { vni: VNI, spi, key: new Uint8Array(32), salt: new Uint8Array(4), fingerprint: name };
}
const nameOf = ({ node, epoch }: Endpoint): string => `${node}${epoch.number}`;
const secrets: RotationInput['secrets'] = {
  tx: (ours, theirs) => [sa(`${nameOf(ours)}>${nameOf(theirs)}`)],
  rx: (ours, theirs) => [sa(`${nameOf(theirs)}>${nameOf(ours)}`)],
};
const spiName = (spi: Spi): string => [...spis].find(([, each]) => each === spi)?.[0] ?? '?';

function ownEpoch(side: Side, number: number): OwnEpoch {
  const publicKey = Uint8Array.of(side.charCodeAt(0), number);
  return { number, publicKey, secretKey: publicKey, publishedNs: undefined, supersededNs: undefined };
}

function freshProcess(side: Side, number: number, world: World): Process {
  const process = {
    startedNs: world.nowNs,
    own: [ownEpoch(side, number)],
    book: new Map(),
    installed: new Set(''),
  };
  const record = world.bus[other(side)];
  return record === undefined ? process : { ...process, book: read(side, process.book, record, world.nowNs) };
}

const read = (side: Side, book: EpochBook, record: Record_, nowNs: bigint): EpochBook =>
  noteEpochs(book, [{ node: other(side) as string as NodeName, suites: [], ...record }], nowNs, TIMING);

export function emptyWorld(): World {
  const nothing = { lastEpoch: 1, rx: [], tx: [], mail: [] };
  const world = {
    nowNs: ms(1_000_000),
    bus: { a: undefined, b: undefined },
    usedTx: new Set<string>(),
    removedRx: new Set<string>(),
    faults: [],
  };
  const process = { startedNs: world.nowNs, book: new Map(), installed: new Set<string>() };
  return {
    ...world,
    a: { ...nothing, process: { ...process, own: [ownEpoch('a', 1)] } },
    b: { ...nothing, process: { ...process, own: [ownEpoch('b', 1)] } },
  };
}

export function plan(world: World, side: Side): Rotation {
  const { process, rx, tx } = world[side];
  const node = other(side) as string as NodeName;
  const epochs = process.book.get(node) ?? [];
  return rotate({
    node: side as string as NodeName,
    nowNs: world.nowNs,
    startedNs: process.startedNs,
    own: process.own,
    peers:
      epochs.length === 0 ? [] : [{ node, number: PEER, source: ADDRESS[other(side)], vnis: [VNI], epochs }],
    rx,
    tx,
    installed: process.installed,
    psk: '',
    packetLimit: 1000n,
    timing: TIMING,
    secrets,
  });
}

/** The SA that `side` sends under, if any, opens at the other end. */
export function opens(world: World, side: Side): boolean {
  const name = world[side].tx[0]?.fingerprint;
  return name !== undefined && world[other(side)].rx.some((each) => each.fingerprint === name);
}

/** How much of a reconciliation is done: all, the rx SAs before the process stalls, or all that needs no new rx SA. */
type Extent = 'all' | 'rx' | 'no-rx';

function reconcile(world: World, side: Side, extent: Extent): World {
  const node = world[side];
  const rotation = plan(world, side);
  const faults = [...world.faults];
  const usedTx = new Set(world.usedTx);
  const removedRx = new Set(world.removedRx);
  const installed = new Set(node.process.installed);
  let rx = [...node.rx];
  let tx = [...node.tx];
  for (const wanted of extent === 'no-rx' ? [] : rotation.rxSas) {
    const fingerprint = spiName(wanted.spi);
    if (rx.some((each) => each.fingerprint === fingerprint)) continue;
    if (removedRx.has(fingerprint)) faults.push(`rx ${fingerprint} installed again`);
    rx.push({
      vni: VNI,
      peer: PEER,
      spi: wanted.spi,
      source: wanted.source,
      fingerprint,
      packets: 0n,
      lastOpenedNs: 0n,
    });
    installed.add(fingerprint);
  }
  if (extent !== 'rx') {
    for (const wanted of rotation.txSas) {
      const fingerprint = spiName(wanted.spi);
      if (tx[0]?.fingerprint === fingerprint) continue;
      if (usedTx.has(fingerprint)) faults.push(`tx ${fingerprint} installed again`);
      usedTx.add(fingerprint);
      tx = [{ vni: VNI, peer: PEER, fingerprint, sequence: 0n, limit: 1000n }];
      installed.add(fingerprint);
    }
    const keepTx = [
      ...rotation.txSas.map((each) => spiName(each.spi)),
      ...rotation.keptTxSas.map((k) => k.fingerprint),
    ];
    const keepRx = [
      ...rotation.rxSas.map((each) => spiName(each.spi)),
      ...rotation.keptRxSas.map((k) => k.fingerprint),
    ];
    if (node.process.book.size > 0) {
      tx = tx.filter((each) => keepTx.includes(each.fingerprint));
      for (const gone of rx.filter((each) => !keepRx.includes(each.fingerprint)))
        if (gone.packets > 0n) removedRx.add(gone.fingerprint);
      rx = rx.filter((each) => keepRx.includes(each.fingerprint));
    }
  }
  const own = node.process.own.filter(
    (epoch) => extent === 'rx' || !rotation.retirable.includes(epoch.number),
  );
  const next = {
    ...world,
    faults,
    usedTx,
    removedRx,
    [side]: { ...node, rx, tx, process: { ...node.process, own, installed } },
  };
  return extent === 'rx' ? next : publish(next, side, rotation);
}

function publish(world: World, side: Side, rotation: Rotation): World {
  const node = world[side];
  const record = rotation.announce;
  if (record === undefined) return world;
  const retired = new Set(rotation.retirable);
  const current = {
    ...record,
    olderEpochs: record.olderEpochs.filter((epoch) => !retired.has(epoch.number)),
  };
  const before = world.bus[side];
  if (before !== undefined && text(before) === text(current)) return world;
  const own = node.process.own.map((epoch) => {
    if (epoch.number === current.epoch.number)
      return { ...epoch, publishedNs: epoch.publishedNs ?? world.nowNs };
    return epoch.number < current.epoch.number
      ? { ...epoch, supersededNs: epoch.supersededNs ?? world.nowNs }
      : epoch;
  });
  const receiver = world[other(side)];
  return {
    ...world,
    bus: { ...world.bus, [side]: current },
    [side]: { ...node, process: { ...node.process, own } },
    [other(side)]: { ...receiver, mail: [...receiver.mail, current] },
  };
}

const text = (record: Record_): string =>
  [record.epoch, ...record.olderEpochs].map((each) => each.number).join();

function send(world: World, side: Side): World {
  const receiver = world[other(side)];
  const name = world[side].tx[0]?.fingerprint;
  const rx = receiver.rx.map((each) =>
    each.fingerprint === name ? { ...each, packets: 1n, lastOpenedNs: world.nowNs } : each,
  );
  return { ...world, [other(side)]: { ...receiver, rx } };
}

/** The action, or undefined where it would change nothing or is not possible. */
export function act(world: World, action: Action): World | undefined {
  if (action.do === 'tick') return { ...world, nowNs: world.nowNs + ms(action.ms) };
  const { side } = action;
  const node = world[side];
  switch (action.do) {
    case 'reconcile':
      return reconcile(world, side, 'all');
    case 'half':
      return reconcile(world, side, 'rx');
    case 'lame':
      return reconcile(world, side, 'no-rx');
    case 'deliver': {
      const [record, ...mail] = node.mail;
      if (record === undefined) return undefined;
      const book = read(side, node.process.book, record, world.nowNs);
      return { ...world, [side]: { ...node, mail, process: { ...node.process, book } } };
    }
    case 'skip': // compacted away: a newer record stands behind it
      return node.mail.length < 2 ? undefined : { ...world, [side]: { ...node, mail: node.mail.slice(1) } };
    case 'send':
      return opens(world, side) ? send(world, side) : undefined;
    case 'epoch':
      return beginEpoch(world, side);
    case 'wipe': // somebody empties the maps of SAs
    case 'lapse': {
      // The other's lease ends here, so its SAs go, and it announces the same epoch again.
      const record = world.bus[other(side)];
      if (record === undefined || node.rx.length + node.tx.length === 0) return undefined;
      const removedRx = new Set([...world.removedRx, ...used(node.rx)]);
      const bare = { ...node, rx: [], tx: [] };
      if (action.do === 'wipe') return { ...world, removedRx, [side]: bare };
      const process = { ...node.process, book: new Map() };
      return { ...world, removedRx, [side]: { ...bare, process, mail: [record] } };
    }
    case 'restart':
    case 'reboot': {
      const lastEpoch = node.lastEpoch + 1;
      const process = freshProcess(side, lastEpoch, world);
      const kernel = action.do === 'reboot' ? { rx: [], tx: [] } : { rx: node.rx, tx: node.tx };
      const removedRx = new Set([...world.removedRx, ...(action.do === 'reboot' ? used(node.rx) : [])]);
      return { ...world, removedRx, [side]: { ...node, ...kernel, lastEpoch, process, mail: [] } };
    }
  }
}

/** Those whose packets could be replayed if they came back with an empty window. */
const used = (rx: readonly FoundRxSa[]): string[] =>
  rx.filter((each) => each.packets > 0n).map((each) => each.fingerprint);

function beginEpoch(world: World, side: Side): World | undefined {
  const node = world[side];
  const { own } = node.process;
  if (own.length > 3 || own[0]?.publishedNs === undefined) return undefined;
  const lastEpoch = node.lastEpoch + 1;
  const process = { ...node.process, own: [ownEpoch(side, lastEpoch), ...own] };
  return { ...world, [side]: { ...node, lastEpoch, process } };
}

/** Everything that can be on its way arrives; long enough for every timer but the hard limit. */
export function settle(world: World): World {
  let next = world;
  for (let round = 0; round < 12; round++) {
    for (const side of SIDES) {
      while (next[side].mail.length > 0) next = act(next, { do: 'deliver', side }) ?? next;
      if (plan(next, side).wish !== 'none') next = beginEpoch(next, side) ?? next;
      next = reconcile(next, side, 'all');
      next = opens(next, side) ? send(next, side) : next;
    }
    next = { ...next, nowNs: next.nowNs + ms(round === 4 ? TIMING.stalemateMs : TIMING.idleMs) };
  }
  return next;
}

/** Equal texts: no difference that rotation could ever see, but for ages beyond the idle time. */
export function canonical(world: World): string {
  const age = (ns: bigint | undefined): string => {
    if (ns === undefined) return '-';
    const passed = world.nowNs - ns;
    return passed > ms(TIMING.idleMs) ? '+' : String(passed);
  };
  const epochs = (list: readonly { number: number; supersededNs: bigint | undefined }[]): string =>
    list.map((each) => `${each.number}@${age(each.supersededNs)}`).join();
  const node = (side: Side): string => {
    const { process, rx, tx, mail, lastEpoch } = world[side];
    return [
      lastEpoch,
      epochs(process.own),
      process.own.map((each) => each.publishedNs !== undefined).join(),
      [...process.book.values()].map(epochs).join(),
      [...process.installed].sort().join(),
      age(process.startedNs),
      rx
        .map((each) => `${each.fingerprint}:${each.packets}:${age(each.lastOpenedNs)}`)
        .sort()
        .join(),
      tx.map((each) => each.fingerprint).join(),
      mail.map(text).join(';'),
    ].join('|');
  };
  return SIDES.map(node).join('#');
}
