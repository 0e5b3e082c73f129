// Under which SA we send to one peer in one VNI (docs/keys.md §4, rules R2 to R5): one that the peer can open for
// certain whenever there is such a one, and never one whose counter would start again.
import { mayCarryTx, nsOf, type OwnEpoch } from './epochs';
import type { Vni } from './ids';
import {
  type EpochPair,
  type FoundTxSa,
  isEnding,
  newestPublished,
  type PeerPairs,
  type RotationInput,
} from './pairs';
import type { KeptTxSa, TxSa } from './state';

export interface Outbound {
  readonly vni: Vni;
  /** Undefined with an adopted SA, or none. */
  readonly sa: TxSa | undefined;
  readonly pair: EpochPair | undefined;
  /** The SA of a former process goes on. */
  readonly kept: KeptTxSa | undefined;
  /** No SA can be used without a new epoch of ours. */
  readonly spent: boolean;
  /** So near its packet limit that a new epoch of ours is due. */
  readonly ending: boolean;
}

/**
 * @param deaf we cannot open all that the peer may send under its newest epoch yet: not to be used, because a packet
 * under it tells the peer that we can
 */
export function chooseOutbound(input: RotationInput, work: PeerPairs, vni: Vni, deaf: boolean): Outbound {
  const found = work.tx.find((sa) => sa.vni === vni);
  const current = found === undefined ? undefined : pairOf(work, found);
  const adopted = found !== undefined && current === undefined && !input.installed.has(found.fingerprint);
  const possible = candidatesOf(input, work);
  const unspent = possible.filter((pair) => !isSpent(input, work, pair, found, vni));
  const candidates = deaf ? [] : unspent;
  const best = candidates[0];

  let pair: EpochPair | undefined;
  let kept: KeptTxSa | undefined;
  if (work.provenOwn !== undefined && best?.own === work.provenOwn) {
    pair = best;
  } else if (adopted && mayStay(input, work, best)) {
    kept = { vni, peer: work.peer.number, fingerprint: found.fingerprint };
  } else if (current !== undefined && isUsable(input, work, current)) {
    pair = candidates.find((candidate) => candidate.own === current.own) ?? current;
  } else {
    pair = best;
  }
  return {
    vni,
    sa: pair === undefined ? undefined : saOf(input, work, pair, vni),
    pair,
    kept,
    spent:
      unspent.length === 0 &&
      pair === undefined &&
      kept === undefined &&
      input.own.some(isPublished) &&
      // Where nothing derives, no epoch of ours would help.
      (possible.length === 0 || possible.some((each) => derivedOf(work, each, vni) !== undefined)),
    ending: pair !== undefined && pair === current && found !== undefined && isEnding(found),
  };
}

/** The pair of epochs that an installed SA came from; undefined when it cannot be derived (any more). */
function pairOf(work: PeerPairs, found: FoundTxSa): EpochPair | undefined {
  return work.pairs.find((pair) =>
    pair.tx.some((sa) => sa.fingerprint === found.fingerprint && sa.vni === found.vni),
  );
}

/**
 * Pairs to send under, best first. Always the peer's newest epoch: before it announced that one it installed it for
 * every epoch of ours that it knew (R1), so a peer that opens an older one opens this one too. Of ours the newest
 * that the peer has proven (R2); with no proof the oldest that is published, since whoever knows a newer one was
 * told of it too (R3). Newer ones follow, for when that one is spent.
 */
function candidatesOf(input: RotationInput, { pairs, provenOwn, silent }: PeerPairs): readonly EpochPair[] {
  return pairs
    .filter(({ own, their }) => {
      const epoch = input.own[own];
      if (their !== 0 || epoch === undefined) return false;
      if (silent) return own === newestPublished(input.own);
      if (!mayCarryTx(epoch.supersededNs, input.nowNs, input.timing)) return false;
      return provenOwn === undefined ? isPublished(epoch) : own <= provenOwn;
    })
    .sort((a, b) => b.own - a.own);
}

function isUsable(
  { own, nowNs, timing }: RotationInput,
  { peer, silent }: PeerPairs,
  pair: EpochPair,
): boolean {
  if (silent && pair.own > newestPublished(own)) return false;
  const ends = [own[pair.own]?.supersededNs, peer.epochs[pair.their]?.supersededNs];
  return ends.every((supersededNs) => mayCarryTx(supersededNs, nowNs, timing));
}

/** Installed once by this process and not any more: its counter is lost, and with it the key. */
function isSpent(
  { installed }: RotationInput,
  work: PeerPairs,
  pair: EpochPair,
  found: FoundTxSa | undefined,
  vni: Vni,
): boolean {
  const fingerprint = derivedOf(work, pair, vni)?.fingerprint;
  if (fingerprint === undefined) return true; // nothing derives from a key of low order
  return installed.has(fingerprint) && fingerprint !== found?.fingerprint;
}

const derivedOf = (work: PeerPairs, pair: EpochPair, vni: Vni) =>
  work.pairs
    .find(({ own, their }) => own === pair.own && their === pair.their)
    ?.tx.find((sa) => sa.vni === vni);

function saOf({ packetLimit }: RotationInput, work: PeerPairs, pair: EpochPair, vni: Vni): TxSa | undefined {
  const derived = derivedOf(work, pair, vni);
  if (derived === undefined) return undefined;
  const { key, salt, spi, fingerprint } = derived;
  return { key, salt, spi, fingerprint, vni, peer: work.peer.number, limit: packetLimit };
}

/**
 * Whether an adopted SA goes on unproven. Not beyond the hard limit; and not when both ends restarted and each waits
 * for the other's proof: the one timer of rotation, for the one case without another way out. It is long against the
 * delay of any record.
 */
function mayStay(
  { own, nowNs, startedNs, timing }: RotationInput,
  { peer }: PeerPairs,
  best: EpochPair | undefined,
): boolean {
  if (!mayCarryTx(startedNs, nowNs, timing)) return false;
  const publishedNs = best === undefined ? undefined : own[best.own]?.publishedNs;
  const seenNs = peer.epochs[0]?.firstSeenNs;
  if (publishedNs === undefined || seenNs === undefined) return true;
  return [publishedNs, seenNs].some((sinceNs) => nowNs - sinceNs < nsOf(timing.stalemateMs));
}

const isPublished = (epoch: OwnEpoch): boolean => epoch.publishedNs !== undefined;
