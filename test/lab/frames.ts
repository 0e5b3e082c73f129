// Builds the frames of a forger, byte by byte, with the checksums that make them believable.

export interface Ends {
  readonly from: string;
  readonly to: string;
}

const ETHERTYPE_IPV4 = 0x0800;
const UDP = 17;

export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');
const ipBytes = (address: string): Buffer => Buffer.from(address.split('.').map(Number));

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
  header.writeUInt16BE(ETHERTYPE_IPV4, 12);
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

export function udp(ends: Ends, sourcePort: number, destinationPort: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(destinationPort, 2);
  header.writeUInt16BE(8 + payload.length, 4);
  const pseudo = Buffer.alloc(12);
  ipBytes(ends.from).copy(pseudo, 0);
  ipBytes(ends.to).copy(pseudo, 4);
  pseudo[9] = UDP;
  pseudo.writeUInt16BE(8 + payload.length, 10);
  // RFC 768: a sum of zero is sent as all ones.
  header.writeUInt16BE(checksum(Buffer.concat([pseudo, header, payload])) || 0xffff, 6);
  return ipv4(ends, Buffer.concat([header, payload]));
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
