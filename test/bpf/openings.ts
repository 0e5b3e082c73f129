// Frames that begin connections, go on with them and answer them, for the stories of policy.
import { ethernet, packet } from './frames';

export const SYN = 0x02;
export const SYN_ACK = 0x12;
export const ACK = 0x10;
export const FIN_ACK = 0x11;

export function tcp(from: string, to: string, source: number, destination: number, flags = SYN): Buffer {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header.writeUInt8(0x50, 12);
  header.writeUInt8(flags, 13);
  return ethernet(packet(from, to, header, { protocol: 6 }));
}

/** First packet of a connection by the number of its protocol. */
export function opening(from: string, to: string, protocol: number, source: number, port: number): Buffer {
  if (protocol === 6) return tcp(from, to, source, port);
  if (protocol === 58) return icmp(from, to, 128, source);
  if (protocol === 1) return icmp(from, to, 8, source);
  const transport = Buffer.alloc(16);
  transport.writeUInt16BE(source, 0);
  transport.writeUInt16BE(port, 2);
  transport.writeUInt16BE(16, 4);
  return ethernet(packet(from, to, transport, { protocol }));
}

export const icmp = (
  from: string,
  to: string,
  type: number,
  id: number,
  inner: Buffer = Buffer.alloc(0),
): Buffer => {
  const head = Buffer.from([type, 0, 0, 0, id >> 8, id & 255, 0, 1]);
  // Neighbour discovery as it is on its link (RFC 4861 §7.1).
  const given = from.includes(':')
    ? { protocol: 58, ...(type >= 133 && type <= 137 && { hopLimit: 255 }) }
    : { protocol: 1 };
  return ethernet(packet(from, to, Buffer.concat([head, inner]), given));
};
