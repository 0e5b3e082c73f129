// What follows for the peers from a picture: who is probed, who is nudged because its keys changed, and in which state
// each one is. Holds the keys that each was sent to under the last time.
import type { PeerNumber } from '../core/ids';
import type { Sliced } from '../core/slices';
import type { InstalledTxSa } from '../ports';
import { PeerIndex } from './peerindex';
import type { Picture } from './reconciler';
import { notingStates, peerName, type ViewParts } from './view';

export class PeerWatch {
  /** Peer -> fingerprints of its sending SAs at the last pass. */
  private sendingUnder = new Map<PeerNumber, string>();

  constructor(private readonly parts: ViewParts) {}

  *watching(picture: Picture): Sliced<void> {
    const { prober, problems } = this.parts;
    const index = PeerIndex.of(picture);
    yield;
    const sending = new Map<PeerNumber, string>();
    for (const { entry } of picture.peers) {
      const sas = index.tx(entry.number);
      if (sas.length > 0) sending.set(entry.number, fingerprintsOf(sas));
      yield;
    }
    prober.watch(sending.keys(), picture.mtuBytes);
    for (const [peer, fingerprints] of sending) {
      // New keys are proven to the peer by a packet: an idle tunnel would wait for the next probe.
      const before = this.sendingUnder.get(peer);
      if (before !== undefined && before !== fingerprints) prober.nudge(peer);
      if (prober.of(peer)?.verdict === 'answers') problems.clear(probeProblem(picture, peer));
      yield;
    }
    this.sendingUnder = sending;
    yield* notingStates(picture, this.parts);
  }
}

/** The object under which a probe's failure is told. */
export const probeProblem = (picture: Picture | undefined, peer: PeerNumber): string =>
  `probe to ${peerName(picture, peer) || `peer ${peer}`}`;

const fingerprintsOf = (sas: readonly InstalledTxSa[]): string =>
  sas
    .map((sa) => sa.fingerprint)
    .sort()
    .join();
