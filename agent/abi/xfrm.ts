// Entries of `xfrm_rx` (abi.h) to bytes and back: the SAs that the kernel's own IPsec opens. No key is in them.
import { addressBytes, formatAddress } from '../core/bytes';
import type { IpAddress, PeerNumber, Spi, Vni } from '../core/ids';
import { Image } from './image';

export interface XfrmRx {
  readonly spi: Spi;
  /** Outer source, the peer's. */
  readonly source: IpAddress;
  readonly peer: PeerNumber;
  readonly vni: Vni;
  /** Outer destination, ours. */
  readonly local: IpAddress;
}

export function encodeXfrmRx(entry: Pick<XfrmRx, 'peer' | 'vni' | 'local'>): Buffer {
  return new Image('xfrm_rx')
    .setNumber('peer', entry.peer)
    .setNumber('vni', entry.vni)
    .setRaw('local', addressBytes(entry.local)).bytes;
}

/** @param key as encodeRxKey() makes it. */
export function decodeXfrmRx(key: Buffer, value: Buffer): XfrmRx {
  const where = new Image('rx_key', key);
  const image = new Image('xfrm_rx', value);
  return {
    spi: where.raw('spi').readUInt32BE() as Spi,
    source: formatAddress(where.raw('src')),
    peer: image.number('peer') as PeerNumber,
    vni: image.number('vni') as Vni,
    local: formatAddress(image.raw('local')),
  };
}
