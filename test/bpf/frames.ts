// Frames for the packet stories: Ethernet, IPv4, IPv6, UDP, TCP, VXLAN, with correct lengths and checksums.
import { checksum } from './esp-decoder';

export const MAC_A = '020000000001';
export const MAC_B = '020000000002';

/** "10.1.2.3" or an IPv6 address without "::" shorthand beyond what `new URL` understands, as bytes. */
export function ip(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (part: string) => (part === '' ? [] : part.split(':').map((w) => Number.parseInt(w, 16)));
  const left = words(head);
  const right = tail === undefined ? [] : words(tail);
  const all = [...left, ...Array(8 - left.length - right.length).fill(0), ...right];
  const bytes = Buffer.alloc(16);
  all.forEach((word, i) => {
    bytes.writeUInt16BE(word, 2 * i);
  });
  return bytes;
}

export interface IpOptions {
  readonly protocol?: number;
  /** IPv4 flags and fragment offset, e.g. 0x4000 for DF. */
  readonly fragment?: number;
  readonly options?: Buffer;
  /** IPv6; 64 where not given. */
  readonly hopLimit?: number;
}

/** An IP packet of the family of its addresses. */
export function packet(source: string, destination: string, payload: Buffer, given: IpOptions = {}): Buffer {
  const protocol = given.protocol ?? 17;
  if (source.includes(':')) {
    const header = Buffer.alloc(40);
    header.writeUInt8(0x60, 0);
    header.writeUInt16BE(payload.length, 4);
    header.writeUInt8(protocol, 6);
    header.writeUInt8(given.hopLimit ?? 64, 7);
    ip(source).copy(header, 8);
    ip(destination).copy(header, 24);
    return Buffer.concat([header, payload]);
  }
  const options = given.options ?? Buffer.alloc(0);
  const header = Buffer.concat([Buffer.alloc(20), options]);
  header.writeUInt8(0x40 | (header.length / 4), 0);
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(given.fragment ?? 0x4000, 6);
  header.writeUInt8(64, 8);
  header.writeUInt8(protocol, 9);
  ip(source).copy(header, 12);
  ip(destination).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

export function ethernet(payload: Buffer, type?: number, destination = MAC_B, source = MAC_A): Buffer {
  const header = Buffer.alloc(14);
  Buffer.from(destination, 'hex').copy(header, 0);
  Buffer.from(source, 'hex').copy(header, 6);
  header.writeUInt16BE(type ?? (payload.readUInt8(0) >> 4 === 6 ? 0x86dd : 0x0800), 12);
  return Buffer.concat([header, payload]);
}

/** UDP with checksum 0. */
export function udp(source: number, destination: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  return Buffer.concat([header, payload]);
}

export function vxlan(vni: number, frame: Buffer, flags = 0x08): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt8(flags, 0);
  header.writeUIntBE(vni, 4, 3);
  return Buffer.concat([header, frame]);
}

/** TCP segment with a right checksum for the given addresses. `options` is padded to words with zeros. */
export function tcp(
  source: string,
  destination: string,
  flags: number,
  options: Buffer,
  data = Buffer.alloc(0),
): Buffer {
  const header = Buffer.concat([Buffer.alloc(20), options, Buffer.alloc((4 - (options.length % 4)) % 4)]);
  header.writeUInt16BE(40000, 0);
  header.writeUInt16BE(80, 2);
  header.writeUInt8((header.length / 4) << 4, 12);
  header.writeUInt8(flags, 13);
  header.writeUInt16BE(0xffff, 14);
  const segment = Buffer.concat([header, data]);
  segment.writeUInt16BE(tcpChecksum(source, destination, segment), 16);
  return segment;
}

/** 0 over a segment that holds a right checksum. */
export function tcpChecksum(source: string, destination: string, segment: Buffer): number {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(segment.length, 0);
  tail.writeUInt32BE(6, 4);
  return checksum(Buffer.concat([ip(source), ip(destination), tail, segment]));
}
