// Packets that no honest sender wrote, made from one that was captured: the same bytes sealed anew under another
// sequence number, with an SPI nobody has, or with a flipped bit.
import { checksum, type EspKeys, openEsp, parseOuter, sealEsp, withTrailer } from '../../bpf/esp-decoder';

const ETHERNET_BYTES = 14;
const IV_BYTES = 8;
const IPV6_BYTES = 40;
const UDP_CHECKSUM_AT = 6;
/** Of the low half of the sequence number in ESP. */
const SEQUENCE_AT = 4;
/** Beyond what traffic has used, near enough to leave what follows inside the kernel's window of 128. */
const AHEAD = 60;

/** A sequence number that neither end has seen when the frame is the last that was sent. */
export const aheadOf = (frame: Buffer): bigint =>
  BigInt(parseOuter(frame).esp.readUInt32BE(SEQUENCE_AT) + AHEAD);

/**
 * The frame with its ESP packet opened and sealed again: valid, of the same length.
 * @param change of what is inside (UDP, VXLAN, frame), of the same length
 */
export function resealed(
  frame: Buffer,
  keys: EspKeys,
  spi: number,
  sequence: bigint,
  change: (payload: Buffer) => Buffer = (payload) => payload,
): Buffer {
  const { esp } = parseOuter(frame);
  const payload = change(openEsp(esp, keys).payload);
  const iv = Buffer.alloc(IV_BYTES);
  iv.writeBigUInt64BE(sequence);
  return withEsp(frame, sealEsp(withTrailer(payload), keys, spi, sequence, iv));
}

/** One bit of the ciphertext is another. */
export function flipped(frame: Buffer): Buffer {
  const esp = Buffer.from(parseOuter(frame).esp);
  const at = esp.length - 20;
  esp.writeUInt8(esp.readUInt8(at) ^ 0x10, at);
  return withEsp(frame, esp);
}

/** The same outer headers; the UDP checksum, which IPv6 needs (RFC 8200 §8.1), made right. */
function withEsp(frame: Buffer, esp: Buffer): Buffer {
  const made = Buffer.concat([frame.subarray(0, frame.length - esp.length), esp]);
  const { family, udp } = parseOuter(frame);
  if (family === 6 && udp !== undefined) {
    const datagram = made.subarray(ETHERNET_BYTES + IPV6_BYTES);
    datagram.writeUInt16BE(0, UDP_CHECKSUM_AT);
    const pseudo = Buffer.concat([made.subarray(22, 54), Buffer.alloc(8), datagram]);
    pseudo.writeUInt32BE(datagram.length, 32);
    pseudo.writeUInt32BE(17, 36);
    datagram.writeUInt16BE(checksum(pseudo) || 0xffff, UDP_CHECKSUM_AT);
  }
  return made;
}
