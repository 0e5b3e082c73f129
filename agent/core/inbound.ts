// Which SAs we keep for receiving from one peer (docs/keys.md §4, rules R1, R4, R5): everything the peer may send
// under now or may have sent a moment ago, and nothing else.
import { mayCarryRx, nsOf } from './epochs';
import type { IpAddress, Spi } from './ids';
import type { DerivedSa } from './keyschedule';
import { type FoundRxSa, newestPublished, type PairSas, type PeerPairs, type RotationInput } from './pairs';
import type { KeptRxSa, RxSa } from './state';

export interface Inbound {
  /** With the index of our epoch. */
  readonly sas: readonly (RxSa & { readonly own: number })[];
  readonly kept: readonly KeptRxSa[];
  /** Some SA under our newest epoch is not installed yet: its record must wait (R1). */
  readonly missing: boolean;
  /** Some SA under the peer's newest epoch and a published one of ours is not installed yet (R2). */
  readonly deaf: boolean;
  /** Why an SA under our newest epoch can never be installed. */
  readonly trouble: 'spent' | 'spi-clash' | undefined;
}

/** Where an SA is looked up when a packet comes in. */
const place = (spi: Spi, source: IpAddress): string => `${spi}/${source}`;

export function chooseInbound(input: RotationInput, work: PeerPairs): Inbound {
  const { peer } = work;
  const found = new Map(work.rx.map((sa) => [place(sa.spi, sa.source), sa]));
  const sas: (RxSa & { own: number })[] = [];
  let missing = false;
  let deaf = false;
  let trouble: Inbound['trouble'];
  for (const pair of work.pairs) {
    for (const sa of pair.rx) {
      const at = found.get(place(sa.spi, peer.source));
      const installed = at?.fingerprint === sa.fingerprint && at.vni === sa.vni;
      if (!isWanted(input, work, pair, installed ? at : undefined)) continue;
      const obstacle = installed ? undefined : obstacleTo(input, pair, sa, at);
      const absent = !installed && obstacle === undefined;
      if (pair.own === 0) trouble ??= obstacle;
      if (pair.own === 0) missing ||= absent;
      if (pair.their === 0 && input.own[pair.own]?.publishedNs !== undefined) deaf ||= absent;
      if (obstacle !== undefined) continue;
      sas.push({
        own: pair.own,
        key: sa.key,
        salt: sa.salt,
        spi: sa.spi,
        fingerprint: sa.fingerprint,
        vni: sa.vni,
        peer: peer.number,
        source: peer.source,
      });
    }
  }
  return { sas, kept: chooseKept(input, work), missing, deaf, trouble };
}

/**
 * A peer goes only forward, in our epochs and in its own: what it has proven to use makes all older ones obsolete,
 * but for packets under way. An obsolete SA that is not installed is never wanted.
 */
function isWanted(
  { own, nowNs, timing }: RotationInput,
  { peer, provenOwn, provenTheir, silent }: PeerPairs,
  pair: PairSas,
  installed: FoundRxSa | undefined,
): boolean {
  const ours = own[pair.own]?.supersededNs;
  const theirs = peer.epochs[pair.their]?.supersededNs;
  if (!mayCarryRx(ours, nowNs, timing) || !mayCarryRx(theirs, nowNs, timing)) return false;
  if (silent && pair.own > newestPublished(own)) return false;
  const byOwn = provenOwn !== undefined && provenOwn < pair.own;
  const byTheir = provenTheir !== undefined && provenTheir < pair.their;
  if (!byOwn && !byTheir) return true;
  return (
    installed !== undefined && nowNs - latest(installed.lastOpenedNs, ours, theirs) < nsOf(timing.idleMs)
  );
}

const latest = (first: bigint, ...others: readonly (bigint | undefined)[]): bigint =>
  others.reduce<bigint>((max, each) => (each !== undefined && each > max ? each : max), first);

/**
 * A spent SA would accept replays of all it once opened. Under an epoch that is not published nobody can have sent
 * anything, so there it may be installed again.
 */
function obstacleTo(
  { own, installed }: RotationInput,
  pair: PairSas,
  sa: DerivedSa,
  at: FoundRxSa | undefined,
): Inbound['trouble'] {
  if (own[pair.own]?.publishedNs !== undefined && installed.has(sa.fingerprint)) return 'spent';
  return at === undefined ? undefined : 'spi-clash'; // the one that is there may be in use
}

/** SAs of a former process, whose secret is gone: until the peer sends under an epoch of this one (R4, R5). */
function chooseKept(input: RotationInput, work: PeerPairs): KeptRxSa[] {
  const { nowNs, startedNs, timing, installed } = input;
  if (!mayCarryRx(startedNs, nowNs, timing)) return [];
  const derived = new Set(work.pairs.flatMap((pair) => pair.rx.map((sa) => sa.fingerprint)));
  return work.rx
    .filter((sa) => !derived.has(sa.fingerprint) && !installed.has(sa.fingerprint))
    .filter(
      (sa) =>
        work.provenOwn === undefined || nowNs - latest(sa.lastOpenedNs, startedNs) < nsOf(timing.idleMs),
    )
    .map(({ spi, source, fingerprint }) => ({ spi, source, fingerprint }));
}
