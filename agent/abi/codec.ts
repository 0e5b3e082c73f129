// Keys and values of the data plane's maps: entries of core/state.ts to bytes and back. All offsets come from
// layout.gen.ts; nothing here talks to a map. A value of the wrong length or a number out of range is a bug and throws
// RangeError; what the kernel hands over has been measured by then.
import {
  addressBytes,
  formatAddress,
  formatMac,
  formatPrefix,
  macBytes,
  prefixBytes,
  prefixCoversMapped,
} from '../core/bytes';
import type { IpAddress, PeerNumber, Spi, Vni } from '../core/ids';
import type {
  DatapathSettings,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  RxSa,
  SharedEntry,
  TxSa,
} from '../core/state';
import { Image } from './image';
import { CONSTANTS, DROP_REASONS, ENUMS, MAPS } from './layout.gen';

export const ABI_VERSION = CONSTANTS.ABI_VERSION;
/** Sizes in bytes of every map of maps.h, by name. */
export const MAP_LAYOUT: Readonly<Record<string, { readonly keySize: number; readonly valueSize: number }>> =
  MAPS;

/** Bits of overlay_key in front of the address: the VNI is always matched whole. */
const VNI_BITS = 32;

// ------------------------------------------------------------------------------------------------ config

export interface InstalledConfig {
  readonly settings: DatapathSettings;
  readonly vxlanIfindex: number;
  readonly cookie: bigint;
  /** 16 bits, never 0. */
  readonly stamp: number;
  readonly abi: number;
  /** Forwarded packets are sampled. */
  readonly flows: boolean;
  /** The kernel's own IPsec does the cipher. */
  readonly xfrm: boolean;
}

export function encodeConfig(config: Omit<InstalledConfig, 'abi'>): Buffer {
  const { settings } = config;
  return new Image('config')
    .setBig('cookie', config.cookie)
    .setNumber('abi', ABI_VERSION)
    .setNumber('vxlan_ifindex', config.vxlanIfindex)
    .setNumber('host_vni', settings.hostVni)
    .setNumber('underlay_mtu', settings.underlayMtuBytes)
    .setNumber('vxlan_mtu', settings.vxlanMtuBytes)
    .setNumber('vxlan_port', settings.vxlanPort)
    .setNumber('esp_port', settings.espPort)
    .setNumber('stamp', config.stamp)
    .setRaw('mac', macBytes(settings.mac))
    .setNumber(
      'flags',
      (settings.sharedPort ? CONSTANTS.CONFIG_F_SHARED_PORT : 0) |
        (config.flows ? CONSTANTS.CONFIG_F_FLOWS : 0) |
        (config.xfrm ? CONSTANTS.CONFIG_F_XFRM : 0),
    ).bytes;
}

/** The other fields mean something only when `abi` is ABI_VERSION. */
export function decodeConfig(value: Buffer): InstalledConfig {
  const image = new Image('config', value);
  return {
    settings: {
      hostVni: image.number('host_vni') as Vni,
      vxlanPort: image.number('vxlan_port'),
      espPort: image.number('esp_port'),
      underlayMtuBytes: image.number('underlay_mtu'),
      vxlanMtuBytes: image.number('vxlan_mtu'),
      mac: formatMac(image.raw('mac')),
      sharedPort: (image.number('flags') & CONSTANTS.CONFIG_F_SHARED_PORT) !== 0,
    },
    vxlanIfindex: image.number('vxlan_ifindex'),
    cookie: image.big('cookie'),
    stamp: image.number('stamp'),
    abi: image.number('abi'),
    flows: (image.number('flags') & CONSTANTS.CONFIG_F_FLOWS) !== 0,
    xfrm: (image.number('flags') & CONSTANTS.CONFIG_F_XFRM) !== 0,
  };
}

// ----------------------------------------------------------------------------------------------- overlay

/** RangeError for an IPv6 prefix that would match IPv4 addresses too, such as ::/0. */
export function encodeOverlayKey(entry: Pick<OverlayEntry, 'vni' | 'prefix'>): Buffer {
  if (prefixCoversMapped(entry.prefix)) {
    throw new RangeError(`overlay prefix ${entry.prefix} covers the IPv4-mapped range`);
  }
  const { bytes, mappedBits } = prefixBytes(entry.prefix);
  return new Image('overlay_key')
    .setNumber('prefixlen', VNI_BITS + mappedBits)
    .setNumber('vni', entry.vni)
    .setRaw('addr', bytes).bytes;
}

export function encodeOverlayValue(entry: Pick<OverlayEntry, 'peer' | 'node' | 'clear'>): Buffer {
  const flags =
    (entry.node ? CONSTANTS.OVERLAY_F_NODE : 0) | (entry.clear === true ? CONSTANTS.OVERLAY_F_CLEAR : 0);
  return new Image('overlay_value').setNumber('peer', entry.peer).setNumber('flags', flags).bytes;
}

export function decodeOverlay(key: Buffer, value: Buffer): OverlayEntry {
  const where = new Image('overlay_key', key);
  const whose = new Image('overlay_value', value);
  return {
    vni: where.number('vni') as Vni,
    prefix: formatPrefix(where.raw('addr'), where.number('prefixlen') - VNI_BITS),
    peer: whose.number('peer') as PeerNumber,
    node: (whose.number('flags') & CONSTANTS.OVERLAY_F_NODE) !== 0,
    ...((whose.number('flags') & CONSTANTS.OVERLAY_F_CLEAR) === 0 ? {} : { clear: true as const }),
  };
}

// ------------------------------------------------------------------------------------------------ shared

/** The key is encodeOverlayKey(). */
export function encodeSharedValue(entry: Pick<SharedEntry, 'other' | 'way' | 'services'>): Buffer {
  const way = entry.way === 'client' ? CONSTANTS.WAY_CLIENT : CONSTANTS.WAY_SERVER;
  return new Image('shared_value')
    .setNumber('vni', entry.other)
    .setNumber('way', way)
    .setBig('services', entry.services).bytes;
}

export function decodeShared(key: Buffer, value: Buffer): SharedEntry {
  const where = new Image('overlay_key', key);
  const what = new Image('shared_value', value);
  return {
    vni: where.number('vni') as Vni,
    prefix: formatPrefix(where.raw('addr'), where.number('prefixlen') - VNI_BITS),
    other: what.number('vni') as Vni,
    way: what.number('way') === CONSTANTS.WAY_CLIENT ? 'client' : 'server',
    services: what.big('services'),
  };
}

// ------------------------------------------------------------------------------------------------- peers

/** Key of `peers` and `peer_stats`, value of `vteps`. */
export function encodePeerKey(peer: PeerNumber): Buffer {
  return encodeIndex(peer);
}

export function decodePeerKey(key: Buffer): PeerNumber {
  return key.readUInt32LE() as PeerNumber;
}

export function encodePeerValue(entry: PeerEntry): Buffer {
  return new Image('peer_value')
    .setRaw('vtep', addressBytes(entry.vtep))
    .setRaw('local', addressBytes(entry.local))
    .setRaw('mac', macBytes(entry.mac))
    .setRaw('identity', Buffer.from(entry.identity, 'hex')).bytes;
}

export function decodePeer(key: Buffer, value: Buffer): PeerEntry {
  const image = new Image('peer_value', value);
  return {
    number: decodePeerKey(key),
    identity: image.raw('identity').toString('hex'),
    vtep: formatAddress(image.raw('vtep')),
    local: formatAddress(image.raw('local')),
    mac: formatMac(image.raw('mac')),
  };
}

export function encodeVtepKey(address: IpAddress): Buffer {
  return new Image('vtep_key').setRaw('addr', addressBytes(address)).bytes;
}

// -------------------------------------------------------------------------------------------------- pods

export function encodePodKey(ifindex: number): Buffer {
  return encodeIndex(ifindex);
}

export function encodePodValue(
  entry: Pick<PodEntry, 'vni' | 'mac' | 'hostMac' | 'permissive' | 'off'>,
): Buffer {
  return new Image('pod_value')
    .setNumber('vni', entry.vni)
    .setNumber(
      'flags',
      (entry.permissive === true ? CONSTANTS.POD_F_PERMISSIVE : 0) |
        (entry.off === true ? CONSTANTS.POD_F_OFF : 0),
    )
    .setRaw('mac', macBytes(entry.mac))
    .setRaw('host_mac', macBytes(entry.hostMac)).bytes;
}

/** The addresses are in `endpoints`. */
export function decodePod(key: Buffer, value: Buffer): Omit<PodEntry, 'addresses'> {
  const image = new Image('pod_value', value);
  return {
    ifindex: key.readUInt32LE(),
    vni: image.number('vni') as Vni,
    mac: formatMac(image.raw('mac')),
    hostMac: formatMac(image.raw('host_mac')),
    ...((image.number('flags') & CONSTANTS.POD_F_PERMISSIVE) === 0 ? {} : { permissive: true as const }),
    ...((image.number('flags') & CONSTANTS.POD_F_OFF) === 0 ? {} : { off: true as const }),
  };
}

export function encodeEndpointKey(vni: Vni, address: IpAddress): Buffer {
  return new Image('endpoint_key').setNumber('vni', vni).setRaw('addr', addressBytes(address)).bytes;
}

export function encodeEndpointValue(ifindex: number): Buffer {
  return new Image('endpoint_value').setNumber('ifindex', ifindex).bytes;
}

export function decodeEndpoint(
  key: Buffer,
  value: Buffer,
): { readonly vni: Vni; readonly address: IpAddress; readonly ifindex: number } {
  const where = new Image('endpoint_key', key);
  return {
    vni: where.number('vni') as Vni,
    address: formatAddress(where.raw('addr')),
    ifindex: new Image('endpoint_value', value).number('ifindex'),
  };
}

// --------------------------------------------------------------------------------------------------- SAs

export function encodeTxKey(vni: Vni, peer: PeerNumber): Buffer {
  return new Image('tx_key').setNumber('vni', vni).setNumber('peer', peer).bytes;
}

/** With the counter at 0. The result holds the key: wipe it after use. */
export function encodeTxSa(sa: TxSa): Buffer {
  return new Image('tx_sa')
    .setRaw('key', sa.key)
    .setRaw('salt', sa.salt)
    .setRaw('spi', spiBytes(sa.spi))
    .setNumber('flags', CONSTANTS.SA_F_ESN)
    .setBig('limit', sa.limit).bytes;
}

export function decodeTxSa(
  key: Buffer,
  value: Buffer,
): {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly sequence: bigint;
  readonly limit: bigint;
} {
  const where = new Image('tx_key', key);
  const image = new Image('tx_sa', value);
  return {
    vni: where.number('vni') as Vni,
    peer: where.number('peer') as PeerNumber,
    spi: image.raw('spi').readUInt32BE() as Spi,
    sequence: image.big('seq'),
    limit: image.big('limit'),
  };
}

export function encodeRxKey(spi: Spi, source: IpAddress): Buffer {
  return new Image('rx_key').setRaw('spi', spiBytes(spi)).setRaw('src', addressBytes(source)).bytes;
}

/** With an empty replay window. The result holds the key: wipe it after use. */
export function encodeRxSa(sa: RxSa): Buffer {
  return new Image('rx_sa')
    .setRaw('key', sa.key)
    .setRaw('salt', sa.salt)
    .setNumber('flags', CONSTANTS.SA_F_ESN)
    .setNumber('peer', sa.peer)
    .setNumber('vni', sa.vni).bytes;
}

export function decodeRxSa(
  key: Buffer,
  value: Buffer,
): {
  readonly vni: Vni;
  readonly peer: PeerNumber;
  readonly spi: Spi;
  readonly source: IpAddress;
  readonly top: bigint;
  readonly packets: bigint;
  readonly lastOpenedNs: bigint;
} {
  const where = new Image('rx_key', key);
  const image = new Image('rx_sa', value);
  return {
    vni: image.number('vni') as Vni,
    peer: image.number('peer') as PeerNumber,
    spi: where.raw('spi').readUInt32BE() as Spi,
    source: formatAddress(where.raw('src')),
    top: image.big('top'),
    packets: image.big('packets'),
    lastOpenedNs: image.big('last_opened_ns'),
  };
}

/** Views into `value`, no copies: who wipes the value wipes them. */
export function saKeyMaterial(
  struct: 'tx_sa' | 'rx_sa',
  value: Buffer,
): { readonly key: Buffer; readonly salt: Buffer } {
  const image = new Image(struct, value);
  return { key: image.raw('key'), salt: image.raw('salt') };
}

// ---------------------------------------------------------------------------------------------- counters

/** `reason` is the metric's label; "unknown" for a number of a newer data plane. */
export function decodeDropKey(key: Buffer): {
  readonly peer: PeerNumber;
  readonly reason: string;
  readonly direction: 'egress' | 'ingress';
} {
  const image = new Image('drop_key', key);
  return {
    peer: image.number('peer') as PeerNumber,
    reason: DROP_REASONS[image.number('reason')] ?? 'unknown',
    direction: image.number('direction') === ENUMS.direction.DIR_EGRESS ? 'egress' : 'ingress',
  };
}

export interface Counter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** @param value of one CPU. */
export function decodeCounter(value: Buffer): Counter {
  const image = new Image('counter', value);
  return { packets: image.big('packets'), bytes: image.big('bytes') };
}

/** @param value of one CPU. */
export function decodePeerStats(value: Buffer): { readonly sealed: Counter; readonly opened: Counter } {
  const image = new Image('peer_stats', value);
  return { sealed: decodeCounter(image.raw('sealed')), opened: decodeCounter(image.raw('opened')) };
}

/** @param value of one CPU. */
export function decodeConnectionStats(value: Buffer): { readonly begun: bigint; readonly ended: bigint } {
  const image = new Image('connection_stats', value);
  return { begun: image.big('begun'), ended: image.big('ended') };
}

function encodeIndex(index: number): Buffer {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(index);
  return key;
}

function spiBytes(spi: Spi): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(spi);
  return bytes;
}
