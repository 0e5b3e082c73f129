// rtnetlink's route messages for the one form of route we make: a prefix, straight out of a device. Bytes only.
import { type AttrStream, rt } from 'netlink';
import { addressFamily, formatPrefix, prefixBytes } from '../core/bytes';
import type { Prefix } from '../core/ids';

/**
 * Marks our routes in `ip route` (rtm_protocol), so that we remove no others. Free in rt_protos of iproute2 up to
 * 7.0 and above the numbers of the routing daemons; docs/operations.md names it.
 */
export const ROUTE_PROTOCOL: number = 157;

const AF_INET = 2;
const AF_INET6 = 10;

/** Writes the message of a route in the main table. */
export function writeRoute(out: AttrStream, prefix: Prefix, ifindex: number): void {
  const { bytes, mappedBits } = prefixBytes(prefix);
  const ipv4 = addressFamily(prefix) === 4;
  const data: rt.Route = {
    family: ipv4 ? AF_INET : AF_INET6,
    dstLen: ipv4 ? mappedBits - 96 : mappedBits,
    table: rt.RoutingTableClass.MAIN,
    protocol: ROUTE_PROTOCOL as rt.RouteProtocol, // the library's enumeration ends at the numbers it knows
    scope: rt.RouteScope.LINK,
    type: rt.RouteType.UNICAST,
  };
  const attrs: rt.RouteAttrs = { dst: Buffer.from(ipv4 ? bytes.subarray(12) : bytes), oif: ifindex };
  rt.formatRouteMessage({ kind: 'route', data, attrs }, out);
}

export interface MainRoute {
  readonly prefix: Prefix;
  /** 0 for a route without one device (blackhole, multipath). */
  readonly ifindex: number;
  readonly protocol: number;
}

/** @returns undefined for routes of other tables and families, and for cached copies. */
export function readRoute(message: Buffer): MainRoute | undefined {
  const { data, attrs } = rt.parseRouteMessage(message);
  if ((attrs.table ?? data.table) !== rt.RoutingTableClass.MAIN || data.flags?.cloned === true)
    return undefined;
  const length = data.family === AF_INET ? 4 : data.family === AF_INET6 ? 16 : 0;
  if (length === 0) return undefined;
  const bytes = new Uint8Array(16);
  if (length === 4) bytes.set([0xff, 0xff], 10);
  if (attrs.dst !== undefined) bytes.set(attrs.dst.subarray(0, length), 16 - length);
  const bits = (data.dstLen ?? 0) + (length === 4 ? 96 : 0);
  const protocol = data.protocol ?? 0;
  return {
    prefix: formatPrefix(bytes, bits),
    ifindex: attrs.oif ?? 0,
    protocol: typeof protocol === 'number' ? protocol : rt.RouteProtocol[protocol],
  };
}
