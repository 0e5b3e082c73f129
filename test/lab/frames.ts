// Builds the frames of a forger, byte by byte, with the checksums that make them believable.

export interface Ends {
  readonly from: string;
  readonly to: string;
}

const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_IPV6 = 0x86dd;
const UDP = 17;

export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

/** 4 or 16 bytes; of IPv6 without an embedded IPv4 address. */
export function ipBytes(address: string): Buffer {
  if (!address.includes(':')) return Buffer.from(address.split('.').map(Number));
  const [head = '', tail] = address.split('::');
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  const [left, right] = [words(head), words(tail ?? '')];
  const bytes = Buffer.alloc(16);
  left.forEach((word, index) => {
    bytes.writeUInt16BE(word, 2 * index);
  });
  right.forEach((word, index) => {
    bytes.writeUInt16BE(word, 16 - 2 * (right.length - index));
  });
  return bytes;
}

/** RFC 1071. */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** @param source, destination MAC addresses. */
export function ethernet(source: string, destination: string, payload: Buffer): Buffer {
  const header = Buffer.concat([macBytes(destination), macBytes(source), Buffer.alloc(2)]);
  header.writeUInt16BE((payload[0] ?? 0) >> 4 === 6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4, 12);
  return Buffer.concat([header, payload]);
}

export function ipv4({ from, to }: Ends, payload: Buffer, protocol = UDP): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(20 + payload.length, 2);
  header.writeUInt16BE(0x4000, 6);
  header[8] = 64;
  header[9] = protocol;
  ipBytes(from).copy(header, 12);
  ipBytes(to).copy(header, 16);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

/** RFC 8200 §3. */
export function ipv6({ from, to }: Ends, payload: Buffer, protocol = UDP): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header.writeUInt16BE(payload.length, 4);
  header[6] = protocol;
  header[7] = 64;
  ipBytes(from).copy(header, 8);
  ipBytes(to).copy(header, 24);
  return Buffer.concat([header, payload]);
}

/** A packet of the family of its ends. */
export const ipPacket = (ends: Ends, payload: Buffer, protocol = UDP): Buffer =>
  (ends.from.includes(':') ? ipv6 : ipv4)(ends, payload, protocol);

export function udp(ends: Ends, sourcePort: number, destinationPort: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  // The sum does not care where in its words length and protocol stand (RFC 768, RFC 8200 §8.1).
  const tail = Buffer.from([0, UDP, 0, 0]);
  tail.writeUInt16BE(8 + payload.length, 2);
  const pseudo = Buffer.concat([ipBytes(ends.from), ipBytes(ends.to), tail]);
  // RFC 768: a sum of zero is sent as all ones.
  header.writeUInt16BE(checksum(Buffer.concat([pseudo, header, payload])) || 0xffff, 6);
  return ipPacket(ends, Buffer.concat([header, payload]));
}

/** RFC 7348 §5: flag I and the VNI. */
export function vxlan(vni: number, innerFrame: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header[0] = 0x08;
  header.writeUInt32BE(vni * 256, 4);
  return Buffer.concat([header, innerFrame]);
}

/** RFC 4303 §2: header and whatever follows. */
export function esp(spi: number, sequence: number, rest: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(spi >>> 0, 0);
  header.writeUInt32BE(sequence >>> 0, 4);
  return Buffer.concat([header, rest]);
}
