// rtnetlink's device and address messages as LinkInfo and AddressInfo, and back for what we change. Bytes only.
import { type AttrStream, ifla, parseAttributes, rt } from 'netlink';
import { addressBytes, formatAddress, formatMac, macBytes } from '../core/bytes';
import type { IpAddress } from '../core/ids';
import type { AddressInfo, LinkInfo } from '../ports';

const AF_INET = 2;
const AF_INET6 = 10;
/** linux/if_link.h, enum in the nested attributes of AF_INET6 in IFLA_AF_SPEC. */
const IFLA_INET6_ADDR_GEN_MODE = 8;

/** What a device is to be changed to; an absent member stays as it is. */
export interface LinkChange {
  readonly ifindex?: number;
  readonly name?: string;
  readonly mac?: string;
  readonly mtuBytes?: number;
  readonly gsoMaxSegs?: number;
  readonly up?: boolean;
  readonly arp?: boolean;
  readonly kind?: string;
  readonly vxlan?: ifla.Vxlan;
  /** The kernel makes no link-local IPv6 address by itself (IN6_ADDR_GEN_MODE_NONE). */
  readonly withoutAddresses?: boolean;
}

export function writeLink(out: AttrStream, change: LinkChange): void {
  const flags: rt.DeviceFlags = {};
  const mask: rt.DeviceFlags = {};
  if (change.up !== undefined) mask.up = true;
  if (change.up === true) flags.up = true;
  if (change.arp !== undefined) mask.noarp = true;
  if (change.arp === false) flags.noarp = true;
  const attrs: ifla.LinkAttrs = {};
  if (change.name !== undefined) attrs.ifname = change.name;
  if (change.mac !== undefined) attrs.address = Buffer.from(macBytes(change.mac));
  if (change.mtuBytes !== undefined) attrs.mtu = change.mtuBytes;
  if (change.gsoMaxSegs !== undefined) attrs.gsoMaxSegs = change.gsoMaxSegs;
  const data: rt.Link = { index: change.ifindex ?? 0, flags, change: mask };
  rt.formatLinkMessage({ kind: 'link', data, attrs }, out);
  // The typed layer takes nested attributes as finished bytes only; the stream nests them itself.
  const { kind, vxlan } = change;
  if (kind !== undefined) {
    const info: ifla.Info = { kind };
    out.push(IFLA_LINKINFO, (nested: AttrStream) => {
      nested.emit(ifla.formatInfo(info));
      if (vxlan !== undefined) nested.push(IFLA_INFO_DATA, ifla.formatVxlan(vxlan));
    });
  }
  if (change.withoutAddresses === true) {
    const mode = Uint8Array.of(ifla.In6AddrGenMode.NONE);
    out.push(IFLA_AF_SPEC, (family: AttrStream) =>
      family.push(AF_INET6, (inet6: AttrStream) => inet6.push(IFLA_INET6_ADDR_GEN_MODE, mode)),
    );
  }
}

const IFLA_LINKINFO = 18;
const IFLA_INFO_DATA = 2;
const IFLA_AF_SPEC = 26;

/** @param message payload of an RTM_NEWLINK. */
export function readLink(message: Buffer): LinkInfo {
  const { data, attrs } = rt.parseLinkMessage(message);
  const info = attrs.linkinfo === undefined ? {} : ifla.parseInfo(attrs.linkinfo);
  const kind = info.kind ?? '';
  const vxlan = kind === 'vxlan' && info.data !== undefined ? readVxlan(info.data) : undefined;
  return {
    ifindex: data.index ?? 0,
    name: attrs.ifname ?? '',
    kind,
    mac: attrs.address?.length === 6 ? formatMac(attrs.address) : '',
    mtuBytes: attrs.mtu ?? 0,
    up: data.flags?.up === true,
    loopback: data.flags?.loopback === true,
    linkIndex: attrs.link?.length === 4 ? attrs.link.readUInt32LE(0) : 0,
    linkNsid: attrs.linkNetnsid ?? -1,
    gsoMaxSegs: attrs.gsoMaxSegs ?? 0,
    ...(vxlan === undefined ? {} : { vxlan }),
  };
}

function readVxlan(data: Buffer): NonNullable<LinkInfo['vxlan']> {
  const vxlan = ifla.parseVxlan(data);
  return {
    port: vxlan.port?.length === 2 ? vxlan.port.readUInt16BE(0) : 0,
    external: (vxlan.collectMetadata ?? 0) !== 0,
    drifted: false,
  };
}

/** What ensureVxlan compares and ports.ts has no room for. */
export interface LinkDetail {
  readonly arp: boolean;
  readonly learning: boolean;
  /** False also where IPv6 is off for the device: nothing makes an address then. */
  readonly makesAddresses: boolean;
}

export function readLinkDetail(message: Buffer): LinkDetail {
  const { data, attrs } = rt.parseLinkMessage(message);
  const info = attrs.linkinfo === undefined ? {} : ifla.parseInfo(attrs.linkinfo);
  const vxlan = info.kind === 'vxlan' && info.data !== undefined ? ifla.parseVxlan(info.data) : {};
  let mode: number = ifla.In6AddrGenMode.NONE;
  const inet6 = attrs.afSpec?.get(AF_INET6);
  if (inet6 !== undefined) {
    parseAttributes(inet6, (attribute) => {
      if (attribute.type === IFLA_INET6_ADDR_GEN_MODE) mode = attribute.data[0] ?? mode;
    });
  }
  return {
    arp: data.flags?.noarp !== true,
    learning: (vxlan.learning ?? 0) !== 0,
    makesAddresses: mode !== ifla.In6AddrGenMode.NONE,
  };
}

/** Writes the message of an IPv4 address of one host (/32) and no use as a source (scope host). */
export function writeHostAddress(out: AttrStream, ifindex: number, address: IpAddress): void {
  const bytes = Buffer.from(addressBytes(address).subarray(12));
  const data: rt.Address = { family: AF_INET, prefixlen: 32, scope: rt.RouteScope.HOST, index: ifindex };
  rt.formatAddressMessage({ kind: 'address', data, attrs: { local: bytes, address: bytes } }, out);
}

/** @returns undefined for families other than IPv4 and IPv6. */
export function readAddress(message: Buffer): AddressInfo | undefined {
  const { data, attrs } = rt.parseAddressMessage(message);
  // On a point-to-point device `address` is the other end's and `local` ours (rtnetlink(7)).
  const own = attrs.local ?? attrs.address;
  const length = data.family === AF_INET ? 4 : data.family === AF_INET6 ? 16 : 0;
  if (length === 0 || own?.length !== length) return undefined;
  const bytes = new Uint8Array(16);
  if (length === 4) bytes.set([0xff, 0xff], 10);
  bytes.set(own, 16 - length);
  return { ifindex: data.index ?? 0, address: formatAddress(bytes), prefixLength: data.prefixlen ?? 0 };
}
