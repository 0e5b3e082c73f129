// Reads what tcpdump wrote (pcap, not pcapng), and says what kind of traffic a frame on the underlay is.

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;

/** Whole frames of a capture that may still be written: an unfinished last record is left out. */
export function readPcap(file: Buffer): Buffer[] {
  if (file.length < FILE_HEADER_BYTES) return [];
  const little = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS].includes(file.readUInt32LE(0));
  if (!little && ![MAGIC_MICROSECONDS, MAGIC_NANOSECONDS].includes(file.readUInt32BE(0))) {
    throw new Error(`not a pcap file: it begins with ${file.subarray(0, 4).toString('hex')}`);
  }
  const u32 = (at: number): number => (little ? file.readUInt32LE(at) : file.readUInt32BE(at));
  const frames: Buffer[] = [];
  let at = FILE_HEADER_BYTES;
  while (at + RECORD_HEADER_BYTES <= file.length) {
    const captured = u32(at + 8);
    const from = at + RECORD_HEADER_BYTES;
    if (from + captured > file.length) break;
    frames.push(file.subarray(from, from + captured));
    at = from + captured;
  }
  return frames;
}

const UDP = 17;
const ICMPV6 = 58;
const HOP_BY_HOP = 0;

/** Router and neighbour discovery, multicast listeners: RFC 4861 §4, RFC 3810 §5. */
const NEIGHBOUR_TYPES = [130, 131, 132, 133, 134, 135, 136, 137, 143];

function ipv6Kind(frame: Buffer): string {
  let next = frame[20] ?? 255;
  let at = 54;
  if (next === HOP_BY_HOP && frame.length > 56) {
    next = frame[at] ?? 255;
    at += 8 + (frame[55] ?? 0) * 8;
  }
  if (next === ICMPV6) return NEIGHBOUR_TYPES.includes(frame[at] ?? 0) ? 'nd' : 'icmpv6';
  if (next === UDP && frame.length >= at + 12) return udpKind(frame, at);
  return `ipv6-${next}`;
}

/** RFC 3948 §2: an SPI is not 0; SPIs below 256 are reserved (RFC 4303 §2.1). */
const udpKind = (frame: Buffer, at: number): string =>
  frame.readUInt16BE(at + 2) === 4500 && frame.readUInt32BE(at + 8) >= 256
    ? 'esp'
    : `udp-${frame.readUInt16BE(at + 2)}`;

/** "esp", "arp", "nd", or what else it is: "tcp", "icmp", "udp-53", "ipv6-6", "ethertype-…". */
export function frameKind(frame: Buffer): string {
  if (frame.length < 34) return 'short';
  const type = frame.readUInt16BE(12);
  if (type === 0x0806) return 'arp';
  if (type === 0x86dd && frame.length >= 58) return ipv6Kind(frame);
  if (type !== 0x0800) return `ethertype-${type.toString(16)}`;
  const at = 14 + ((frame[14] ?? 0) & 15) * 4;
  const protocol = frame[23] ?? 0;
  if (protocol === 1) return 'icmp';
  if (protocol === 6) return 'tcp';
  return protocol === UDP && frame.length >= at + 12 ? udpKind(frame, at) : `ip-${protocol}`;
}

/** Addresses of an IP packet as bytes; undefined for other frames. */
export function ipEnds(frame: Buffer): { readonly from: Buffer; readonly to: Buffer } | undefined {
  const type = frame.length < 34 ? 0 : frame.readUInt16BE(12);
  if (type === 0x0800) return { from: frame.subarray(26, 30), to: frame.subarray(30, 34) };
  if (type !== 0x86dd || frame.length < 54) return undefined;
  return { from: frame.subarray(22, 38), to: frame.subarray(38, 54) };
}
