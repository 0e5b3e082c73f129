// The MTU that a route carries (RTAX_MTU), in rtnetlink's own bytes: a route is written back as it was read, but for
// that number, so that nothing of it is lost that we have no name for. Bytes only.
import { parseAttributes } from 'netlink';

/** linux/rtnetlink.h: struct rtmsg, and the attributes looked at. */
const RTMSG_BYTES = 12;
const RTM_FLAGS_AT = 8;
const RTM_TYPE_AT = 7;
const RTN_UNICAST = 1;
const RTM_F_CLONED = 0x200;
/** The one flag that is asked for; the others of a reply tell a state (offloaded, dead, link down). */
const RTNH_F_ONLINK = 4;
const RTA_OIF = 4;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_CACHEINFO = 12;
const RTAX_MTU = 2;
/** struct rtnexthop */
const RTNH_BYTES = 8;
const RTNH_IFINDEX_AT = 4;

interface Attribute {
  readonly type: number;
  readonly data: Buffer;
}

/**
 * @param message payload of an RTM_NEWROUTE.
 * @returns the same route with the lower MTU, for NLM_F_REPLACE; undefined if there is nothing to lower.
 */
export function withLowerMtu(message: Buffer, ifindex: number, mtuBytes: number): Buffer | undefined {
  const header = Buffer.from(message.subarray(0, RTMSG_BYTES));
  if (header[RTM_TYPE_AT] !== RTN_UNICAST || (header.readUInt32LE(RTM_FLAGS_AT) & RTM_F_CLONED) !== 0)
    return undefined;
  const attributes = attributesOf(message.subarray(RTMSG_BYTES));
  const metrics = attributes.find((attribute) => attribute.type === RTA_METRICS);
  if (metrics === undefined || !leavesBy(attributes, ifindex)) return undefined;
  const lowered = attributesOf(metrics.data).map((metric) =>
    metric.type === RTAX_MTU && metric.data.length === 4 && metric.data.readUInt32LE(0) > mtuBytes
      ? { type: RTAX_MTU, data: uint32(mtuBytes) }
      : metric,
  );
  const data = Buffer.concat(lowered.map(encode));
  if (data.equals(metrics.data)) return undefined;
  header.writeUInt32LE(header.readUInt32LE(RTM_FLAGS_AT) & RTNH_F_ONLINK, RTM_FLAGS_AT);
  const rest = attributes
    .filter((attribute) => attribute.type !== RTA_CACHEINFO)
    .map((attribute) => (attribute.type === RTA_METRICS ? { type: RTA_METRICS, data } : attribute));
  return Buffer.concat([header, ...rest.map(encode)]);
}

/** One device, or one of several next hops. */
function leavesBy(attributes: readonly Attribute[], ifindex: number): boolean {
  return attributes.some(({ type, data }) => {
    if (type === RTA_OIF) return data.length === 4 && data.readUInt32LE(0) === ifindex;
    return type === RTA_MULTIPATH && nextHopDevices(data).includes(ifindex);
  });
}

function nextHopDevices(hops: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at + RTNH_BYTES <= hops.length; ) {
    const length = hops.readUInt16LE(at);
    if (length < RTNH_BYTES) break;
    found.push(hops.readUInt32LE(at + RTNH_IFINDEX_AT));
    at += aligned(length);
  }
  return found;
}

function attributesOf(bytes: Buffer): Attribute[] {
  const found: Attribute[] = [];
  parseAttributes(bytes, ({ type, data }) => found.push({ type, data: Buffer.from(data) }));
  return found;
}

const aligned = (length: number): number => (length + 3) & ~3;

function encode({ type, data }: Attribute): Buffer {
  const out = Buffer.alloc(aligned(4 + data.length));
  out.writeUInt16LE(4 + data.length, 0);
  out.writeUInt16LE(type, 2);
  data.copy(out, 4);
  return out;
}

function uint32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}
