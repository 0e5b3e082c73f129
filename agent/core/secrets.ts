// Remembers what keyschedule.ts derived: a cluster has thousands of pairs of epochs, and every reconciliation asks
// again. Holds secrets: retain() overwrites those whose epochs are gone, the copies V8 may have
// made are out of reach. Decides nothing.
import type { AnnouncedEpoch } from './announcement';
import { toHex } from './crypto';
import type { Vni } from './ids';
import { type DerivedSa, derivePrk, deriveSas, type Endpoint } from './keyschedule';

/** An epoch of ours: what we announce, and its secret. */
export interface SecretEpoch extends AnnouncedEpoch {
  /** 32 bytes. */
  readonly secretKey: Uint8Array;
}

/** The side that holds the secret. */
export interface SecretEndpoint extends Endpoint {
  readonly epoch: SecretEpoch;
}

/** An epoch's name in maps: numbers may repeat when a node lost its disk, key pairs do not. */
export function epochKey({ publicKey }: AnnouncedEpoch): string {
  const known = keyNames.get(publicKey);
  if (known !== undefined) return known;
  const name = toHex(publicKey);
  keyNames.set(publicKey, name);
  return name;
}

/** Public keys are never written to; each is named at every pass. */
const keyNames = new WeakMap<Uint8Array, string>();

interface PairMemory {
  readonly ours: string;
  readonly theirs: string;
  /** Undefined for a peer's key of low order. */
  readonly prk: Uint8Array | undefined;
  /** By direction, names, numbers and VNIs. */
  readonly sas: Map<string, DerivedSa[]>;
}

export class SharedSecrets {
  readonly #pairs = new Map<string, PairMemory>();

  /** @param psk 32 bytes that all nodes share, if any */
  constructor(private readonly psk?: Uint8Array) {}

  /** SAs for what we send to them, in rising order of VNI; none for a public key of low order. */
  tx(ours: SecretEndpoint, theirs: Endpoint, vnis: readonly Vni[]): DerivedSa[] {
    return this.#sas('tx', ours, theirs, vnis);
  }

  /** SAs for what they send to us. */
  rx(ours: SecretEndpoint, theirs: Endpoint, vnis: readonly Vni[]): DerivedSa[] {
    return this.#sas('rx', ours, theirs, vnis);
  }

  /** Overwrites and forgets what belongs to an epoch of ours not in `own`, or of peers not in `seen`. */
  retain(own: readonly AnnouncedEpoch[], seen: readonly AnnouncedEpoch[]): void {
    const live = new Set([...own, ...seen].map(epochKey));
    for (const [name, pair] of this.#pairs) {
      if (live.has(pair.ours) && live.has(pair.theirs)) continue;
      pair.prk?.fill(0);
      for (const sa of [...pair.sas.values()].flat()) {
        sa.key.fill(0);
        sa.salt.fill(0);
      }
      this.#pairs.delete(name);
    }
  }

  #pair(ours: SecretEndpoint, theirs: Endpoint): PairMemory {
    const [own, their] = [epochKey(ours.epoch), epochKey(theirs.epoch)];
    const name = `${own} ${their}`;
    const known = this.#pairs.get(name);
    if (known !== undefined) return known;
    const prk = derivePrk(ours.epoch.secretKey, theirs.epoch.publicKey, this.psk);
    const pair = { ours: own, theirs: their, prk: prk.ok ? prk.value : undefined, sas: new Map() };
    this.#pairs.set(name, pair);
    return pair;
  }

  #sas(direction: 'tx' | 'rx', ours: SecretEndpoint, theirs: Endpoint, vnis: readonly Vni[]): DerivedSa[] {
    const pair = this.#pair(ours, theirs);
    if (pair.prk === undefined) return [];
    const name = [direction, ours.node, theirs.node, ours.epoch.number, theirs.epoch.number, ...vnis].join(
      ' ',
    );
    let sas = pair.sas.get(name);
    if (sas === undefined) {
      const [sender, receiver] = direction === 'tx' ? [ours, theirs] : [theirs, ours];
      sas = deriveSas(pair.prk, sender, receiver, vnis);
      pair.sas.set(name, sas);
    }
    // Copies: retain() must never turn a key that is on its way into the kernel to zeros.
    return sas.map((sa) => ({ ...sa, key: Uint8Array.from(sa.key), salt: Uint8Array.from(sa.salt) }));
  }
}
