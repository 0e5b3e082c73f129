// A model of two nodes or three, their data planes and the bus between them, for rotation alone: every key is its
// name ("a1>b2"), records arrive late or twice, packets get lost, processes restart or stall, machines reboot. States are values: act()
// returns a new one, so that a test can walk every interleaving.
import type { AnnouncedEpoch } from '../../../agent/core/announcement';
import { type EpochBook, noteEpochs, type OwnEpoch, type RotationTiming } from '../../../agent/core/epochs';
import type { IpAddress, NodeName, PeerNumber, Spi, Vni } from '../../../agent/core/ids';
import type { DerivedSa, Endpoint } from '../../../agent/core/keyschedule';
import type { FoundRxSa, FoundTxSa, RotationInput } from '../../../agent/core/pairs';
import { type Rotation, rotate } from '../../../agent/core/rotation';

export type Side = 'a' | 'b' | 'c';

const VNI = 7 as Vni;
const NUMBER: Record<Side, PeerNumber> = { a: 1 as PeerNumber, b: 2 as PeerNumber, c: 3 as PeerNumber };
const ADDRESS: Record<Side, IpAddress> = {
  a: '192.0.2.1' as IpAddress,
  b: '192.0.2.2' as IpAddress,
  c: '192.0.2.3' as IpAddress,
};
const nodeName = (side: Side): NodeName => side as string as NodeName;

export const TIMING: RotationTiming = {
  idleMs: 10,
  hardLimitMs: 100_000,
  stalemateMs: 1_000,
  silentMs: 1e15,
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
  /** The record read last of each other node. */
  readonly known: ReadonlyMap<Side, Record_>;
  readonly book: EpochBook;
  readonly installed: ReadonlySet<string>;
}

interface Node {
  readonly lastEpoch: number;
  readonly process: Process;
  readonly rx: readonly FoundRxSa[];
  readonly tx: readonly FoundTxSa[];
  /** Records of the others, published and not delivered yet, oldest first. */
  readonly mail: readonly { readonly from: Side; readonly record: Record_ }[];
}

export interface World {
  readonly nowNs: bigint;
  readonly sides: readonly Side[];
  readonly nodes: ReadonlyMap<Side, Node>;
  /** What stands on the bus. */
  readonly bus: ReadonlyMap<Side, Record_>;
  /** Names of all tx keys ever put into a data plane, and of rx keys taken out of one after use. */
  readonly usedTx: ReadonlySet<string>;
  readonly removedRx: ReadonlySet<string>;
  /** What must never happen, and did. */
  readonly faults: readonly string[];
}

export type Action =
  | {
      /**
       * half: rx SAs, and then the process stalls. lame: no rx SA can be installed. mute: nothing can be published.
       * skip: a record is compacted away, a newer one stands behind it. repeat: a record comes again. wipe: somebody
       * empties the maps of SAs. lapse: the others' leases end here and they announce the same epochs again.
       */
      readonly do:
        | 'reconcile'
        | 'half'
        | 'lame'
        | 'mute'
        | 'deliver'
        | 'skip'
        | 'repeat'
        | 'epoch'
        | 'restart'
        | 'reboot'
        | 'wipe'
        | 'lapse';
      readonly side: Side;
    }
  /** A packet that arrives; one that is lost changes nothing but a counter. */
  | { readonly do: 'send'; readonly side: Side; readonly to: Side }
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

export const othersOf = (world: World, side: Side): readonly Side[] =>
  world.sides.filter((each) => each !== side);

function nodeOf(world: World, side: Side): Node {
  const node = world.nodes.get(side);
  if (node === undefined) throw new Error(`no node ${side}`);
  return node;
}

const withNode = (world: World, side: Side, changes: Partial<Node>): World => ({
  ...world,
  nodes: new Map(world.nodes).set(side, { ...nodeOf(world, side), ...changes }),
});

function freshProcess(side: Side, number: number, world: World): Process {
  const known = new Map([...world.bus].filter(([from]) => from !== side));
  return {
    startedNs: world.nowNs,
    own: [ownEpoch(side, number)],
    known,
    book: read(new Map(), known, world.nowNs),
    installed: new Set(''),
  };
}

const read = (book: EpochBook, known: ReadonlyMap<Side, Record_>, nowNs: bigint): EpochBook =>
  noteEpochs(
    book,
    [...known].map(([from, record]) => ({ node: nodeName(from), suites: [], ...record })),
    nowNs,
    TIMING,
  );

export function emptyWorld(sides: readonly Side[]): World {
  const nowNs = ms(1_000_000);
  const empty = { known: new Map(), book: new Map(), installed: new Set<string>() };
  const node = (side: Side): Node => ({
    lastEpoch: 1,
    process: { startedNs: nowNs, own: [ownEpoch(side, 1)], ...empty },
    rx: [],
    tx: [],
    mail: [],
  });
  return {
    sides,
    nowNs,
    nodes: new Map(sides.map((side) => [side, node(side)])),
    bus: new Map(),
    usedTx: new Set<string>(),
    removedRx: new Set<string>(),
    faults: [],
  };
}

export const plan = (world: World, side: Side): Rotation => rotate(rotationInput(world, side));

export function rotationInput(world: World, side: Side): RotationInput {
  const { process, rx, tx } = nodeOf(world, side);
  return {
    node: nodeName(side),
    nowNs: world.nowNs,
    startedNs: process.startedNs,
    own: process.own,
    peers: othersOf(world, side).flatMap((peer) => {
      const epochs = process.book.get(nodeName(peer)) ?? [];
      if (epochs.length === 0) return [];
      return [{ node: nodeName(peer), number: NUMBER[peer], source: ADDRESS[peer], vnis: [VNI], epochs }];
    }),
    rx,
    tx,
    installed: process.installed,
    psk: '',
    packetLimit: 1000n,
    timing: TIMING,
    secrets,
  };
}

const txOf = (world: World, side: Side, to: Side): FoundTxSa | undefined =>
  nodeOf(world, side).tx.find((each) => each.peer === NUMBER[to]);

/** The SA that `side` sends under to `to`, if any, opens there. */
export function opens(world: World, side: Side, to: Side): boolean {
  const name = txOf(world, side, to)?.fingerprint;
  return name !== undefined && nodeOf(world, to).rx.some((each) => each.fingerprint === name);
}

/** For messages. */
export function describeDirection(world: World, side: Side, to: Side): string {
  const opened = nodeOf(world, to).rx.map((sa) => sa.fingerprint);
  return `${side} sends under ${txOf(world, side, to)?.fingerprint}, ${to} opens ${opened.join(' ')}`;
}

/** What of a node is left when all has come to rest: rx SAs, and epochs whose secrets still live. */
export function leftOf(world: World, side: Side): { readonly rx: number; readonly secrets: number } {
  const { rx, process } = nodeOf(world, side);
  return { rx: rx.length, secrets: process.own.length };
}

/** How much of a reconciliation is done. */
type Extent = 'all' | 'rx' | 'no-rx' | 'unpublished';

function reconcile(world: World, side: Side, extent: Extent): World {
  const rotation = plan(world, side);
  let next = extent === 'no-rx' ? world : installRx(world, side, rotation);
  if (extent === 'rx') return next;
  next = remove(installTx(next, side, rotation), side, rotation);
  const { process } = nodeOf(next, side);
  const own = process.own.filter((epoch) => !rotation.retirable.includes(epoch.number));
  next = withNode(next, side, { process: { ...process, own } });
  return extent === 'unpublished' ? next : publish(next, side, rotation);
}

function installRx(world: World, side: Side, rotation: Rotation): World {
  const node = nodeOf(world, side);
  const faults = [...world.faults];
  const installed = new Set(node.process.installed);
  const rx = [...node.rx];
  for (const { spi, source, peer } of rotation.rxSas) {
    const fingerprint = spiName(spi);
    if (rx.some((each) => each.fingerprint === fingerprint)) continue;
    if (world.removedRx.has(fingerprint)) faults.push(`rx ${fingerprint} installed again`);
    rx.push({ vni: VNI, peer, spi, source, fingerprint, packets: 0n, lastOpenedNs: 0n });
    installed.add(fingerprint);
  }
  return withNode({ ...world, faults }, side, { rx, process: { ...node.process, installed } });
}

function installTx(world: World, side: Side, rotation: Rotation): World {
  const node = nodeOf(world, side);
  const faults = [...world.faults];
  const usedTx = new Set(world.usedTx);
  const installed = new Set(node.process.installed);
  let tx = node.tx;
  for (const { spi, peer } of rotation.txSas) {
    const fingerprint = spiName(spi);
    if (tx.some((each) => each.peer === peer && each.fingerprint === fingerprint)) continue;
    // Its counter would start again: the same nonces under the same key.
    if (usedTx.has(fingerprint)) faults.push(`tx ${fingerprint} installed again`);
    usedTx.add(fingerprint);
    installed.add(fingerprint);
    tx = [
      ...tx.filter((each) => each.peer !== peer),
      { vni: VNI, peer, fingerprint, sequence: 0n, limit: 1000n },
    ];
  }
  return withNode({ ...world, faults, usedTx }, side, { tx, process: { ...node.process, installed } });
}

/** Nothing is taken away before the others' records were read. */
function remove(world: World, side: Side, rotation: Rotation): World {
  const node = nodeOf(world, side);
  if (node.process.book.size === 0) return world;
  const keepTx = [
    ...rotation.txSas.map((each) => spiName(each.spi)),
    ...rotation.keptTxSas.map((each) => each.fingerprint),
  ];
  const keepRx = [
    ...rotation.rxSas.map((each) => spiName(each.spi)),
    ...rotation.keptRxSas.map((each) => each.fingerprint),
  ];
  const gone = node.rx.filter((each) => !keepRx.includes(each.fingerprint));
  return withNode({ ...world, removedRx: new Set([...world.removedRx, ...used(gone)]) }, side, {
    tx: node.tx.filter((each) => keepTx.includes(each.fingerprint)),
    rx: node.rx.filter((each) => keepRx.includes(each.fingerprint)),
  });
}

function publish(world: World, side: Side, rotation: Rotation): World {
  const record = rotation.announce;
  if (record === undefined) return world;
  const retired = new Set(rotation.retirable);
  const current = {
    ...record,
    olderEpochs: record.olderEpochs.filter((epoch) => !retired.has(epoch.number)),
  };
  const before = world.bus.get(side);
  if (before !== undefined && text(before) === text(current)) return world;
  const { process } = nodeOf(world, side);
  const own = process.own.map((epoch) => {
    if (epoch.number === current.epoch.number)
      return { ...epoch, publishedNs: epoch.publishedNs ?? world.nowNs };
    return epoch.number < current.epoch.number
      ? { ...epoch, supersededNs: epoch.supersededNs ?? world.nowNs }
      : epoch;
  });
  const published = { ...world, bus: new Map(world.bus).set(side, current) };
  return othersOf(world, side).reduce(
    (next, other) =>
      withNode(next, other, { mail: [...nodeOf(next, other).mail, { from: side, record: current }] }),
    withNode(published, side, { process: { ...process, own } }),
  );
}

const text = (record: Record_): string =>
  [record.epoch, ...record.olderEpochs].map((each) => each.number).join();

function send(world: World, side: Side, to: Side): World {
  const name = txOf(world, side, to)?.fingerprint;
  const rx = nodeOf(world, to).rx.map((each) =>
    each.fingerprint === name ? { ...each, packets: 1n, lastOpenedNs: world.nowNs } : each,
  );
  return withNode(world, to, { rx });
}

/** The action, or undefined where it would change nothing or is not possible. */
export function act(world: World, action: Action): World | undefined {
  switch (action.do) {
    case 'tick':
      return { ...world, nowNs: world.nowNs + ms(action.ms) };
    case 'send':
      return opens(world, action.side, action.to) ? send(world, action.side, action.to) : undefined;
    case 'reconcile':
      return reconcile(world, action.side, 'all');
    case 'half':
      return reconcile(world, action.side, 'rx');
    case 'lame':
      return reconcile(world, action.side, 'no-rx');
    case 'mute':
      return reconcile(world, action.side, 'unpublished');
    case 'deliver':
      return deliver(world, action.side);
    case 'skip':
      return skip(world, action.side);
    case 'repeat':
      return repeat(world, action.side);
    case 'epoch':
      return beginEpoch(world, action.side);
    case 'wipe':
    case 'lapse':
      return bare(world, action.side, action.do === 'lapse');
    case 'restart':
    case 'reboot':
      return renew(world, action.side, action.do === 'reboot');
  }
}

function deliver(world: World, side: Side): World | undefined {
  const { mail, process } = nodeOf(world, side);
  const [first, ...rest] = mail;
  if (first === undefined) return undefined;
  const known = new Map(process.known).set(first.from, first.record);
  const book = read(process.book, known, world.nowNs);
  return withNode(world, side, { mail: rest, process: { ...process, known, book } });
}

function skip(world: World, side: Side): World | undefined {
  const { mail } = nodeOf(world, side);
  const [first, ...rest] = mail;
  if (first === undefined || !rest.some(({ from }) => from === first.from)) return undefined;
  return withNode(world, side, { mail: rest });
}

function repeat(world: World, side: Side): World | undefined {
  const { process } = nodeOf(world, side);
  if (process.known.size === 0) return undefined;
  return withNode(world, side, {
    process: { ...process, book: read(process.book, process.known, world.nowNs) },
  });
}

function bare(world: World, side: Side, lapsed: boolean): World | undefined {
  const { rx, tx, process } = nodeOf(world, side);
  const records = [...world.bus].filter(([from]) => from !== side);
  if (records.length === 0 || rx.length + tx.length === 0) return undefined;
  const emptied = { ...world, removedRx: new Set([...world.removedRx, ...used(rx)]) };
  if (!lapsed) return withNode(emptied, side, { rx: [], tx: [] });
  return withNode(emptied, side, {
    rx: [],
    tx: [],
    mail: records.map(([from, record]) => ({ from, record })),
    process: { ...process, known: new Map(), book: new Map() },
  });
}

function renew(world: World, side: Side, reboot: boolean): World {
  const node = nodeOf(world, side);
  const lastEpoch = node.lastEpoch + 1;
  const removedRx = new Set([...world.removedRx, ...(reboot ? used(node.rx) : [])]);
  return withNode({ ...world, removedRx }, side, {
    ...(reboot ? { rx: [], tx: [] } : {}),
    lastEpoch,
    process: freshProcess(side, lastEpoch, world),
    mail: [],
  });
}

/** Those whose packets could be replayed if they came back with an empty window. */
const used = (rx: readonly FoundRxSa[]): string[] =>
  rx.filter((each) => each.packets > 0n).map((each) => each.fingerprint);

function beginEpoch(world: World, side: Side): World | undefined {
  const { lastEpoch, process } = nodeOf(world, side);
  const { own } = process;
  if (own.length > 3 || own[0]?.publishedNs === undefined) return undefined;
  const next = lastEpoch + 1;
  return withNode(world, side, {
    lastEpoch: next,
    process: { ...process, own: [ownEpoch(side, next), ...own] },
  });
}

/** Everything that can be on its way arrives; long enough for every timer but the hard limit. */
export function settle(world: World): World {
  let next = world;
  for (let round = 0; round < 12; round++) {
    for (const side of world.sides) {
      for (let after = deliver(next, side); after !== undefined; after = deliver(next, side)) next = after;
      if (plan(next, side).wish !== 'none') next = beginEpoch(next, side) ?? next;
      next = reconcile(next, side, 'all');
      for (const to of othersOf(world, side)) if (opens(next, side, to)) next = send(next, side, to);
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
    const { process, rx, tx, mail, lastEpoch } = nodeOf(world, side);
    return [
      lastEpoch,
      epochs(process.own),
      process.own.map((each) => each.publishedNs !== undefined).join(),
      [...process.book].map(([of, seen]) => `${of} ${epochs(seen)}`).join(),
      [...process.installed].sort().join(),
      age(process.startedNs),
      rx
        .map((each) => `${each.fingerprint}:${each.packets}:${age(each.lastOpenedNs)}`)
        .sort()
        .join(),
      tx
        .map((each) => each.fingerprint)
        .sort()
        .join(),
      mail.map(({ from, record }) => `${from} ${text(record)}`).join(';'),
    ].join('|');
  };
  return world.sides.map(node).join('#');
}
