// Which SAs stand between us and every peer: the choice that lets keys change and loses nothing (docs/keys.md §4,
// rules R1 to R5). A pure function of what we hold, what peers announced and what the data plane has authenticated;
// it installs, publishes and forgets nothing itself.
import { type AnnouncedEpoch, MAX_OLDER_EPOCHS } from './announcement';
import type { Choice, PeerKeyState } from './choice';
import { lifeMs, nsOf, type OwnEpoch } from './epochs';
import type { NodeName } from './ids';
import { chooseInbound, type Inbound } from './inbound';
import { chooseOutbound, type Outbound } from './outbound';
import { findSas, isSilent, type PeerPairs, pairUp, type RotationInput } from './pairs';
import { pskMismatch } from './psk';
import { type Sliced, whole } from './slices';
import type { KeptRxSa, KeptTxSa, RxSa, TxSa } from './state';
import { SteadyChoices } from './steady';

/** Why a new epoch of ours is needed. */
export type EpochWish = 'none' | 'first' | 'spent' | 'packets' | 'spi-clash' | 'time';

export interface Rotation {
  readonly rxSas: readonly RxSa[];
  readonly txSas: readonly TxSa[];
  readonly keptRxSas: readonly KeptRxSa[];
  readonly keptTxSas: readonly KeptTxSa[];
  /** In order of node name. */
  readonly peers: readonly PeerKeyState[];
  /** Peers that have not proven our newest published epoch, of those that are heard at all. */
  readonly laggards: readonly NodeName[];
  /** Every rx SA under our newest epoch is installed: its record may be published (R1). */
  readonly readyToPublish: boolean;
  /** What our record shall say now; undefined while there is nothing that may be published. */
  readonly announce:
    | { readonly epoch: AnnouncedEpoch; readonly olderEpochs: readonly AnnouncedEpoch[] }
    | undefined;
  /** Numbers of superseded epochs of ours that nothing needs any more: wipe their secrets. */
  readonly retirable: readonly number[];
  readonly wish: EpochWish;
}

export function rotate(input: RotationInput): Rotation {
  return whole(rotating(input));
}

/** The same in slices. @param steady of former calls; without it every peer is chosen for anew */
export function* rotating(input: RotationInput, steady?: SteadyChoices): Sliced<Rotation> {
  const { own } = input;
  const choices: Choice[] = [];
  for (const { peer, found } of findSas(input)) {
    const known = steady?.find(own, peer, found, isSilent(input, peer, found.rx));
    const choice = known ?? choose(input, pairUp(input, peer, found));
    if (known === undefined) steady?.note(own, found, choice);
    choices.push(choice);
    yield;
  }
  steady?.keep(new Set(choices.map(({ keys }) => keys.node)));
  const outbound = choices.flatMap((choice) => choice.outbound);
  yield;
  const lists = steady ?? new SteadyChoices();
  const rxSas = yield* lists.rxSas.get(choices, () => listed(choices, (choice) => choice.rxSas));
  const txSas = yield* lists.txSas.get(choices, () =>
    listed(choices, (choice) => choice.outbound.flatMap(({ sa }) => (sa === undefined ? [] : [sa]))),
  );
  const readyToPublish = own.length > 0 && !choices.some((choice) => choice.inbound.missing);
  const published = own.findIndex((epoch) => epoch.publishedNs !== undefined);
  return {
    rxSas,
    txSas,
    keptRxSas: choices.flatMap((choice) => choice.inbound.kept),
    keptTxSas: outbound.flatMap(({ kept }) => (kept === undefined ? [] : [kept])),
    peers: choices.map((choice) => choice.keys),
    laggards:
      published < 0
        ? []
        : choices
            .filter(
              ({ work }) => !work.silent && (work.provenOwn === undefined || work.provenOwn > published),
            )
            .map(({ work }) => work.peer.node),
    readyToPublish,
    announce: announceOf(own, readyToPublish),
    retirable: retirableOf(own, choices),
    wish: wishOf(input, choices),
  };
}

function* listed<T>(choices: readonly Choice[], of: (choice: Choice) => readonly T[]): Sliced<readonly T[]> {
  const all: T[] = [];
  for (const choice of choices) {
    all.push(...of(choice));
    yield;
  }
  return all;
}

function choose(input: RotationInput, work: PeerPairs): Choice {
  const vnis = [...work.peer.vnis].sort((a, b) => a - b);
  const inbound = chooseInbound(input, work);
  const outbound = vnis.map((vni) => chooseOutbound(input, work, vni, inbound.deaf));
  return {
    work,
    inbound,
    outbound,
    rxSas: inbound.sas.map(({ own: _, ...sa }) => sa),
    keys: keyState(input, work, inbound, outbound),
  };
}

/** The newest epoch only when it may be known; then every older one, under which we may still send to somebody. */
function announceOf(own: readonly OwnEpoch[], readyToPublish: boolean): Rotation['announce'] {
  const first = own.findIndex(
    (epoch, index) => epoch.publishedNs !== undefined || (index === 0 && readyToPublish),
  );
  const [epoch, ...older] =
    first < 0 ? [] : own.slice(first).map(({ number, publicKey }) => ({ number, publicKey }));
  return epoch === undefined ? undefined : { epoch, olderEpochs: older.slice(0, MAX_OLDER_EPOCHS) };
}

function retirableOf(own: readonly OwnEpoch[], choices: readonly Choice[]): number[] {
  if (own.every((epoch) => epoch.supersededNs === undefined)) return [];
  const needed = new Set<number>();
  for (const { inbound, outbound } of choices) {
    for (const sa of inbound.sas) needed.add(sa.own);
    for (const { pair } of outbound) if (pair !== undefined) needed.add(pair.own);
  }
  return own.flatMap((epoch, index) =>
    epoch.supersededNs !== undefined && !needed.has(index) ? [epoch.number] : [],
  );
}

/** Only what the newest epoch cannot do calls for another one: else the cure is already on its way. */
function wishOf({ node, own, nowNs, timing }: RotationInput, choices: readonly Choice[]): EpochWish {
  const [newest] = own;
  if (newest === undefined) return 'first';
  if (newest.publishedNs === undefined) return 'none';
  for (const { inbound, outbound } of choices) {
    if (inbound.trouble !== undefined) return inbound.trouble;
    if (outbound.some((each) => each.spent)) return 'spent';
    if (outbound.some((each) => each.ending && each.pair?.own === 0)) return 'packets';
  }
  return nowNs - newest.publishedNs >= nsOf(lifeMs(node, newest.number, timing)) ? 'time' : 'none';
}

function keyState(
  { own, psk }: RotationInput,
  work: PeerPairs,
  inbound: Inbound,
  outbound: readonly Outbound[],
): PeerKeyState {
  const { peer, provenOwn } = work;
  const first = outbound[0];
  const pair = first?.pair;
  const adopted = first?.kept !== undefined;
  const ours = pair === undefined ? undefined : own[pair.own]?.number;
  const theirs = pair === undefined ? undefined : peer.epochs[pair.their]?.number;
  const common = {
    node: peer.node,
    number: peer.number,
    provenEpoch: provenOwn === undefined ? undefined : own[provenOwn]?.number,
    txEpochs: ours === undefined || theirs === undefined ? undefined : { ours, theirs },
    adopted,
  };
  const mismatch = pskMismatch(psk, peer.epochs[0]?.psk ?? psk);
  if (pair === undefined && !adopted)
    return { ...common, state: 'no-key', why: mismatch || whyNoKey(own, inbound, first) };
  if (mismatch !== '')
    return { ...common, state: 'rotating', why: `${mismatch}; former keys end at keys.hardLimitMs` };
  if (adopted) return { ...common, state: 'rotating', why: 'still under the keys of a former agent process' };
  if (provenOwn !== 0) {
    return { ...common, state: 'rotating', why: `no packet from it yet under our epoch ${own[0]?.number}` };
  }
  if (pair?.own === 0 && pair.their === 0) return { ...common, state: 'up', why: '' };
  return { ...common, state: 'rotating', why: `moving to its epoch ${peer.epochs[0]?.number}` };
}

function whyNoKey(own: readonly OwnEpoch[], inbound: Inbound, first: Outbound | undefined): string {
  if (own.every((epoch) => epoch.publishedNs === undefined)) return 'our own epoch is not published yet';
  if (inbound.deaf) return 'keys to receive under are being installed';
  if (first?.spent === true) return 'keys of our epoch are spent: a new epoch is needed';
  return 'no usable pair of epochs';
}

export type { OwnEpoch, PeerKeyState, RotationInput };
