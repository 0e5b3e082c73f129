// Choices of rotation that stand: for a peer that has one epoch, as we have, and whose SAs are all installed as they
// should be, nothing can change but what is compared here. Thousands of peers are like that at almost every pass, and
// are not chosen for anew. Holds what rotate() chose; chooses nothing itself.
import type { Choice } from './choice';
import type { OwnEpoch, SeenEpoch } from './epochs';
import type { IpAddress, NodeName, Spi, Vni } from './ids';
import { type FoundSas, isEnding, type RotationPeer } from './pairs';
import { Remembered } from './remembered';
import type { RxSa, TxSa } from './state';

interface Standing {
  readonly own: readonly OwnEpoch[];
  readonly peer: RotationPeer;
  readonly epochs: readonly SeenEpoch[];
  /** What must be found, all of it and nothing else: place to fingerprint. */
  readonly rx: ReadonlyMap<string, string>;
  readonly tx: ReadonlyMap<Vni, string>;
  readonly proven: boolean;
  readonly silent: boolean;
  readonly choice: Choice;
}

const isProven = ({ rx }: FoundSas): boolean => rx.some((sa) => sa.packets > 0n);
const placeOf = (sa: { readonly spi: Spi; readonly source: IpAddress; readonly vni: Vni }): string =>
  `${sa.spi}/${sa.source}/${sa.vni}`;

export class SteadyChoices {
  private readonly standing = new Map<NodeName, Standing>();
  readonly rxSas = new Remembered<readonly RxSa[]>();
  readonly txSas = new Remembered<readonly TxSa[]>();

  /** The choice that still holds; undefined: choose. @param silent of the peer, as it is now */
  find(own: readonly OwnEpoch[], peer: RotationPeer, found: FoundSas, silent: boolean): Choice | undefined {
    const known = this.standing.get(peer.node);
    if (known === undefined || known.own !== own || known.epochs !== peer.epochs) return undefined;
    if (known.silent !== silent || known.proven !== isProven(found)) return undefined;
    return isSamePeer(known.peer, peer) && isAllThere(known, found) ? known.choice : undefined;
  }

  /** Keeps the choice if it rests on nothing but what find() compares, and forgets the one before if not. */
  note(own: readonly OwnEpoch[], found: FoundSas, choice: Choice): void {
    const { peer, silent } = choice.work;
    const standing: Standing = {
      own,
      peer,
      epochs: peer.epochs,
      rx: new Map(choice.inbound.sas.map((sa) => [placeOf(sa), sa.fingerprint ?? ''])),
      tx: new Map(choice.outbound.map(({ vni, sa }) => [vni, sa?.fingerprint ?? ''])),
      proven: isProven(found),
      silent,
      choice,
    };
    if (isTimeless(own, choice) && isAllThere(standing, found)) this.standing.set(peer.node, standing);
    else this.standing.delete(peer.node);
  }

  /** Forgets nodes that are not in `nodes`. */
  keep(nodes: ReadonlySet<NodeName>): void {
    for (const node of this.standing.keys()) if (!nodes.has(node)) this.standing.delete(node);
  }
}

/** No epoch grows old, nothing is kept from a former process, and nothing is wished for. */
function isTimeless(own: readonly OwnEpoch[], { work, inbound, outbound }: Choice): boolean {
  const [ours, ...ourOthers] = own;
  const [theirs, ...theirOthers] = work.peer.epochs;
  return (
    ours !== undefined &&
    theirs !== undefined &&
    ourOthers.length + theirOthers.length === 0 &&
    ours.supersededNs === undefined &&
    theirs.supersededNs === undefined &&
    !inbound.missing &&
    !inbound.deaf &&
    inbound.trouble === undefined &&
    inbound.kept.length === 0 &&
    outbound.every(
      ({ sa, kept, spent, ending }) => sa !== undefined && kept === undefined && !spent && !ending,
    )
  );
}

const isSamePeer = (a: RotationPeer, b: RotationPeer): boolean =>
  a.number === b.number && a.source === b.source && (a.vnis === b.vnis || a.vnis.join() === b.vnis.join());

function isAllThere({ rx, tx }: Standing, found: FoundSas): boolean {
  return (
    found.rx.length === rx.size &&
    found.tx.length === tx.size &&
    found.rx.every((sa) => rx.get(placeOf(sa)) === sa.fingerprint) &&
    found.tx.every((sa) => tx.get(sa.vni) === sa.fingerprint && !isEnding(sa))
  );
}
