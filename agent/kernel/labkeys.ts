// The keys of the SAs that are installed, for a lab's captures: read from the pinned maps, which root alone can open.
// Nothing else in the agent reads a key back; whether it may be done at all is cli/labkeys.ts'.
import { decodePeer, decodeRxSa, decodeTxSa, saKeyMaterial } from '../abi/codec';
import type { EspSa } from '../core/espsa';
import type { PeerNumber } from '../core/ids';
import type { PeerEntry } from '../core/state';
import { VxsealError } from '../errors';
import { attempt } from './fault';
import type { Native } from './native';
import { Pins } from './pins';

/** High half of a 64-bit sequence number. */
const highBits = (sequence: bigint): number => Number(sequence >> 32n);

/**
 * Both directions; `use` must not keep the keys: they are wiped when it returns. V8 may keep copies of them.
 * Errors: VxsealError 'not-ready' where no agent has pinned anything, KernelError.
 */
export function withLabKeys<T>(native: Native, pinDir: string, use: (sas: readonly EspSa[]) => T): T {
  const pins = new Pins(native, pinDir);
  const secrets: Buffer[] = [];
  const entries = (name: string): { readonly key: Buffer; readonly value: Buffer }[] => {
    const map = pins.openMap(name);
    if (map === undefined)
      throw new VxsealError('not-ready', `${pinDir}: no map ${name} is pinned`, 'start the agent first');
    try {
      return attempt(`read map ${name}`, () => native.mapEntries(map));
    } finally {
      map.close();
    }
  };
  const keysOf = (struct: 'tx_sa' | 'rx_sa', value: Buffer) => {
    secrets.push(value);
    return saKeyMaterial(struct, value);
  };
  try {
    const peers = new Map<PeerNumber, PeerEntry>();
    for (const { key, value } of entries('peers')) {
      const peer = decodePeer(key, value);
      peers.set(peer.number, peer);
    }
    const sending = entries('tx_sa').flatMap(({ key, value }): EspSa[] => {
      const { peer, spi, sequence } = decodeTxSa(key, value);
      const ends = peers.get(peer);
      const material = keysOf('tx_sa', value);
      return ends === undefined
        ? []
        : [{ source: ends.local, destination: ends.vtep, spi, ...material, highBits: highBits(sequence) }];
    });
    const receiving = entries('rx_sa').map(({ key, value }): EspSa => {
      const { peer, spi, source, top } = decodeRxSa(key, value);
      const ends = peers.get(peer);
      const destination = ends?.vtep === source ? ends.local : undefined;
      return { source, destination, spi, ...keysOf('rx_sa', value), highBits: highBits(top) };
    });
    return use([...sending, ...receiving]);
  } finally {
    for (const secret of secrets) native.wipe(secret);
  }
}
