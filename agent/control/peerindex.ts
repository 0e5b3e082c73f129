// What a picture says of one peer, found without walking the lists: a cluster has thousands of peers, and each is
// looked up for every other question. Made once a picture; holds nothing that the picture does not.

import type { NodeName, PeerNumber } from '../core/ids';
import type { Peer } from '../core/peers';
import type { PeerKeyState } from '../core/rotation';
import type { InstalledRxSa, InstalledTxSa } from '../ports';
import type { Picture } from './reconciler';

export class PeerIndex {
  private static readonly made = new WeakMap<Picture, PeerIndex>();
  private readonly peers: ReadonlyMap<NodeName, Peer>;
  private readonly names: ReadonlyMap<PeerNumber, NodeName>;
  private readonly keyStates: ReadonlyMap<NodeName, PeerKeyState>;
  private readonly txSas: ReadonlyMap<PeerNumber, readonly InstalledTxSa[]>;
  private readonly rxSas: ReadonlyMap<PeerNumber, readonly InstalledRxSa[]>;

  private constructor({ peers, rotation, observed }: Picture) {
    this.peers = new Map(peers.map((peer) => [peer.node, peer]));
    this.names = new Map(peers.map((peer) => [peer.entry.number, peer.node]));
    this.keyStates = new Map(rotation.peers.map((keys) => [keys.node, keys]));
    this.txSas = byPeer(observed.txSas);
    this.rxSas = byPeer(observed.rxSas);
  }

  static of(picture: Picture): PeerIndex {
    const known = PeerIndex.made.get(picture);
    if (known !== undefined) return known;
    const index = new PeerIndex(picture);
    PeerIndex.made.set(picture, index);
    return index;
  }

  peer(node: NodeName): Peer | undefined {
    return this.peers.get(node);
  }

  keys(node: NodeName): PeerKeyState | undefined {
    return this.keyStates.get(node);
  }

  /** '' for none. */
  nameOf(number: PeerNumber): NodeName | '' {
    return this.names.get(number) ?? '';
  }

  /** Sending SAs, one a VNI. */
  tx(number: PeerNumber): readonly InstalledTxSa[] {
    return this.txSas.get(number) ?? [];
  }

  rx(number: PeerNumber): readonly InstalledRxSa[] {
    return this.rxSas.get(number) ?? [];
  }
}

function byPeer<T extends { readonly peer: PeerNumber }>(sas: readonly T[]): Map<PeerNumber, T[]> {
  const groups = new Map<PeerNumber, T[]>();
  for (const sa of sas) {
    const group = groups.get(sa.peer);
    if (group === undefined) groups.set(sa.peer, [sa]);
    else group.push(sa);
  }
  return groups;
}
