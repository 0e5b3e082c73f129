// Which SAs stand between us and every peer: the choice that lets keys change and loses nothing (docs/keys.md §4,
// rules R1 to R5). A pure function of what we hold, what peers announced and what the data plane has authenticated;
// it installs, publishes and forgets nothing itself.
import { type AnnouncedEpoch, MAX_OLDER_EPOCHS } from './announcement';
import { lifeMs, nsOf, type OwnEpoch } from './epochs';
import type { NodeName, PeerNumber } from './ids';
import { chooseInbound, type Inbound } from './inbound';
import { chooseOutbound, type Outbound } from './outbound';
import { type PeerPairs, pairUp, type RotationInput } from './pairs';
import { pskMismatch } from './psk';
import type { KeptRxSa, KeptTxSa, RxSa, TxSa } from './state';

/** `rotating`: keys work, newer ones are on their way. `no-key`: nothing to send under. */
export type KeyState = 'up' | 'rotating' | 'no-key';

export interface PeerKeyState {
  readonly node: NodeName;
  readonly number: PeerNumber;
  readonly state: KeyState;
  /** One sentence for the status; '' when up. */
  readonly why: string;
  /** Number of our newest epoch that the peer has proven to know. */
  readonly provenEpoch: number | undefined;
  /** Numbers of the epochs we send under in the lowest VNI; undefined when adopted or none. */
  readonly txEpochs: { readonly ours: number; readonly theirs: number } | undefined;
  /** Sending under an SA of a former process. */
  readonly adopted: boolean;
}

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

interface Choice {
  readonly work: PeerPairs;
  readonly inbound: Inbound;
  /** Rising VNI. */
  readonly outbound: readonly Outbound[];
}

export function rotate(input: RotationInput): Rotation {
  const { own } = input;
  const choices = pairUp(input).map((work): Choice => {
    const vnis = [...work.peer.vnis].sort((a, b) => a - b);
    const inbound = chooseInbound(input, work);
    return { work, inbound, outbound: vnis.map((vni) => chooseOutbound(input, work, vni, inbound.deaf)) };
  });
  const outbound = choices.flatMap((choice) => choice.outbound);
  const readyToPublish = own.length > 0 && !choices.some((choice) => choice.inbound.missing);
  const published = own.findIndex((epoch) => epoch.publishedNs !== undefined);
  return {
    rxSas: choices.flatMap((choice) => choice.inbound.sas.map(({ own: _, ...sa }) => sa)),
    txSas: outbound.flatMap(({ sa }) => (sa === undefined ? [] : [sa])),
    keptRxSas: choices.flatMap((choice) => choice.inbound.kept),
    keptTxSas: outbound.flatMap(({ kept }) => (kept === undefined ? [] : [kept])),
    peers: choices.map((choice) => keyState(input, choice)),
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
  const needed = new Set(
    choices.flatMap(({ inbound, outbound }) => [
      ...inbound.sas.map((sa) => sa.own),
      ...outbound.flatMap(({ pair }) => (pair === undefined ? [] : [pair.own])),
    ]),
  );
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

function keyState({ own, psk }: RotationInput, { work, inbound, outbound }: Choice): PeerKeyState {
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

export type { OwnEpoch, RotationInput };
