// rtnetlink's route messages for the two forms of route we make: a prefix straight out of a device, and one that is
// refused. Bytes only.
import { type AttrStream, rt } from 'netlink';
import { addressBytes, addressFamily, formatAddress, formatPrefix, prefixBytes } from '../core/bytes';
import type { IpAddress, Prefix } from '../core/ids';

/**
 * Marks our routes in `ip route` (rtm_protocol), so that we remove no others. Free in rt_protos of iproute2 up to
 * 7.0 and above the numbers of the routing daemons; docs/operations.md names it.
 */
export const ROUTE_PROTOCOL: number = 157;

/**
 * Of the routes that refuse: behind every route that anybody may make for a prefix, down to the kernel's own for
 * routes without one (IPv4: 0; IPv6: 256 for connected ones, 1024).
 */
export const UNREACHABLE_METRIC: number = 0xff00_2000;

const AF_INET = 2;
const AF_INET6 = 10;

/**
 * Writes the message of a route in the main table.
 * @param ifindex undefined: unreachable
 * @param source an address of the host, of the prefix's family; undefined: the kernel's choice
 */
export function writeRoute(
  out: AttrStream,
  prefix: Prefix,
  ifindex: number | undefined,
  source?: IpAddress,
): void {
  const { bytes, mappedBits } = prefixBytes(prefix);
  const ipv4 = addressFamily(prefix) === 4;
  const data: rt.Route = {
    family: ipv4 ? AF_INET : AF_INET6,
    dstLen: ipv4 ? mappedBits - 96 : mappedBits,
    table: rt.RoutingTableClass.MAIN,
    protocol: ROUTE_PROTOCOL as rt.RouteProtocol, // the library's enumeration ends at the numbers it knows
    scope: ifindex === undefined ? rt.RouteScope.UNIVERSE : rt.RouteScope.LINK,
    type: ifindex === undefined ? rt.RouteType.UNREACHABLE : rt.RouteType.UNICAST,
  };
  const dst = Buffer.from(ipv4 ? bytes.subarray(12) : bytes);
  const prefsrc =
    source === undefined ? {} : { prefsrc: Buffer.from(addressBytes(source).subarray(ipv4 ? 12 : 0)) };
  const attrs =
    ifindex === undefined ? { dst, priority: UNREACHABLE_METRIC } : { dst, oif: ifindex, ...prefsrc };
  rt.formatRouteMessage({ kind: 'route', data, attrs }, out);
}

export interface MainRoute {
  readonly prefix: Prefix;
  /** 0 for a route without one device (blackhole, multipath). */
  readonly ifindex: number;
  readonly protocol: number;
  /** RTN_UNREACHABLE. IPv6 has a device for those too, the loopback. */
  readonly unreachable: boolean;
  readonly metric: number;
  readonly source?: IpAddress;
}

/** One of our two forms. */
export function isOwn(route: MainRoute): boolean {
  if (route.protocol !== ROUTE_PROTOCOL) return false;
  return route.unreachable ? route.metric === UNREACHABLE_METRIC : route.ifindex !== 0;
}

/** @returns undefined for routes of other tables and families, and for cached copies. */
export function readRoute(message: Buffer): MainRoute | undefined {
  const { data, attrs } = rt.parseRouteMessage(message);
  if ((attrs.table ?? data.table) !== rt.RoutingTableClass.MAIN || data.flags?.cloned === true)
    return undefined;
  const length = data.family === AF_INET ? 4 : data.family === AF_INET6 ? 16 : 0;
  if (length === 0) return undefined;
  const mapped = (address: Buffer | undefined): Uint8Array => {
    const bytes = new Uint8Array(16);
    if (length === 4) bytes.set([0xff, 0xff], 10);
    if (address !== undefined) bytes.set(address.subarray(0, length), 16 - length);
    return bytes;
  };
  const bits = (data.dstLen ?? 0) + (length === 4 ? 96 : 0);
  const protocol = data.protocol ?? 0;
  return {
    prefix: formatPrefix(mapped(attrs.dst), bits),
    ifindex: attrs.oif ?? 0,
    protocol: typeof protocol === 'number' ? protocol : rt.RouteProtocol[protocol],
    unreachable: data.type === rt.RouteType.UNREACHABLE || data.type === 'UNREACHABLE',
    metric: attrs.priority ?? 0,
    ...(attrs.prefsrc === undefined ? {} : { source: formatAddress(mapped(attrs.prefsrc)) }),
  };
}
