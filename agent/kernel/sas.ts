// The SA maps. A counter that starts again under a key breaks the cipher, so nothing here overwrites an SA with its
// own key, and none is installed whose key was wiped. Key bytes that were read are wiped at once; V8 may keep copies that nobody can reach.
import {
  decodeRxSa,
  decodeTxSa,
  encodeRxKey,
  encodeRxSa,
  encodeTxKey,
  encodeTxSa,
  saKeyMaterial,
} from '../abi/codec';
import type { IpAddress, PeerNumber, Spi, Vni } from '../core/ids';
import { saFingerprint } from '../core/keyschedule';
import { type Sliced, whole } from '../core/slices';
import type { RxSa, SaKeys, TxSa } from '../core/state';
import type { InstalledRxSa, InstalledTxSa, SaTables } from '../ports';
import { attempt } from './fault';
import type { Fd, Native } from './native';

export function createSaTables(native: Native, txMap: Fd, rxMap: Fd): SaTables {
  return new MapSaTables(native, txMap, rxMap);
}

class MapSaTables implements SaTables {
  constructor(
    private readonly native: Native,
    private readonly txMap: Fd,
    private readonly rxMap: Fd,
  ) {}

  listTx(): InstalledTxSa[] {
    return whole(this.listingTx());
  }

  listRx(): InstalledRxSa[] {
    return whole(this.listingRx());
  }

  listingTx(): Sliced<InstalledTxSa[]> {
    const entries = attempt('list sending SAs', () => this.native.mapEntries(this.txMap));
    return this.decoding(entries, (key, value) => ({
      ...decodeTxSa(key, value),
      fingerprint: fingerprintOf('tx_sa', value),
    }));
  }

  /** Without BPF_F_LOCK: each counter is one word, and nothing compares two of them. */
  listingRx(): Sliced<InstalledRxSa[]> {
    const entries = attempt('list receiving SAs', () => this.native.mapEntries(this.rxMap));
    return this.decoding(entries, (key, value) => ({
      ...decodeRxSa(key, value),
      fingerprint: fingerprintOf('rx_sa', value),
    }));
  }

  /** Leaves no key behind, however it ends. */
  private *decoding<T>(
    entries: readonly { readonly key: Buffer; readonly value: Buffer }[],
    decode: (key: Buffer, value: Buffer) => T,
  ): Sliced<T[]> {
    const decoded: T[] = [];
    try {
      for (const { key, value } of entries) {
        decoded.push(this.wiping([value], () => decode(key, value)));
        yield;
      }
    } finally {
      for (const { value } of entries.slice(decoded.length)) this.native.wipe(value);
    }
    return decoded;
  }

  putTx(sa: TxSa): void {
    const key = encodeTxKey(sa.vni, sa.peer);
    const op = `install sending SA of VNI ${sa.vni}, peer ${sa.peer}`;
    requireKey(op, sa);
    if (this.holdsKey('tx_sa', op, this.txMap, key, sa)) {
      throw new Error(`${op}: the installed SA has the same key, its counter would start again`);
    }
    const value = encodeTxSa(sa);
    this.wiping([value], () => attempt(op, () => this.native.mapUpdate(this.txMap, key, value)));
  }

  putRx(sa: RxSa): void {
    const key = encodeRxKey(sa.spi, sa.source);
    const op = `install receiving SA ${spiText(sa.spi)} from ${sa.source}`;
    requireKey(op, sa);
    // The replay window would forget what it has seen.
    if (this.holdsKey('rx_sa', op, this.rxMap, key, sa)) return;
    const value = encodeRxSa(sa);
    this.wiping([value], () => attempt(op, () => this.native.mapUpdate(this.rxMap, key, value)));
  }

  removeTx(vni: Vni, peer: PeerNumber): void {
    attempt(`remove sending SA of VNI ${vni}, peer ${peer}`, () =>
      this.native.mapDelete(this.txMap, encodeTxKey(vni, peer)),
    );
  }

  removeRx(spi: Spi, source: IpAddress): void {
    attempt(`remove receiving SA ${spiText(spi)} from ${source}`, () =>
      this.native.mapDelete(this.rxMap, encodeRxKey(spi, source)),
    );
  }

  private holdsKey(struct: 'tx_sa' | 'rx_sa', op: string, map: Fd, key: Buffer, sa: SaKeys): boolean {
    const value = attempt(op, () => this.native.mapLookup(map, key));
    if (value === undefined) return false;
    return this.wiping([value], () => fingerprintOf(struct, value) === saFingerprint(sa.key, sa.salt));
  }

  private wiping<T>(secrets: readonly Uint8Array[], use: () => T): T {
    try {
      return use();
    } finally {
      for (const secret of secrets) this.native.wipe(secret);
    }
  }
}

/** Reads key and salt in place: no second copy to wipe. */
function fingerprintOf(struct: 'tx_sa' | 'rx_sa', value: Buffer): string {
  const { key, salt } = saKeyMaterial(struct, value);
  return saFingerprint(key, salt);
}

/** Keys are wiped once they have done their work: what is left of one is a key that everybody has. */
export function requireKey(op: string, { key }: SaKeys): void {
  if (key.every((byte) => byte === 0)) throw new Error(`${op}: its key was wiped`);
}

const spiText = (spi: Spi): string => `0x${spi.toString(16).padStart(8, '0')}`;
