// ESP with ChaCha20-Poly1305 over node:crypto, written from RFC 4303 and RFC 7634 and apart from the agent's code:
// the judge of what our programs write. Not for use outside tests.
import { createCipheriv, createDecipheriv } from 'node:crypto';

export interface EspKeys {
  readonly key: Buffer; // 32 bytes
  readonly salt: Buffer; // 4 bytes
  readonly esn: boolean;
}

export interface OuterPacket {
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  /** Undefined for raw ESP. */
  readonly udp:
    | { readonly source: number; readonly destination: number; readonly checksum: number }
    | undefined;
  /** SPI … ICV. */
  readonly esp: Buffer;
}

/** Takes a whole Ethernet frame apart; throws on anything that is not exactly one ESP packet. */
export function parseOuter(frame: Buffer): OuterPacket {
  const type = frame.readUInt16BE(12);
  const family = type === 0x0800 ? 4 : 6;
  if (family === 6 && type !== 0x86dd) throw new Error(`ethertype ${type.toString(16)}`);
  const header = family === 4 ? (frame.readUInt8(14) & 15) * 4 : 40;
  const total = family === 4 ? frame.readUInt16BE(16) : frame.readUInt16BE(18) + 40;
  if (frame.length !== 14 + total) throw new Error(`frame ${frame.length} bytes, IP says ${total}`);
  if (family === 4 && checksum(frame.subarray(14, 14 + header)) !== 0)
    throw new Error('IPv4 header checksum');
  const protocol = frame.readUInt8(family === 4 ? 23 : 20);
  const [from, size] = family === 4 ? [26, 4] : [22, 16];
  const source = frame.subarray(from, from + size).toString('hex');
  const destination = frame.subarray(from + size, from + 2 * size).toString('hex');
  const l4 = frame.subarray(14 + header);
  if (protocol === 50) return { family, source, destination, udp: undefined, esp: l4 };
  if (protocol !== 17) throw new Error(`protocol ${protocol}`);
  if (l4.readUInt16BE(4) !== l4.length) throw new Error(`UDP length ${l4.readUInt16BE(4)} of ${l4.length}`);
  const udp = { source: l4.readUInt16BE(0), destination: l4.readUInt16BE(2), checksum: l4.readUInt16BE(6) };
  if (family === 6) {
    const pseudo = Buffer.concat([frame.subarray(22, 54), Buffer.alloc(8), l4]);
    pseudo.writeUInt32BE(l4.length, 32);
    pseudo.writeUInt32BE(17, 36);
    if (udp.checksum === 0 || checksum(pseudo) !== 0) throw new Error('UDP checksum over IPv6');
  }
  return { family, source, destination, udp, esp: l4.subarray(8) };
}

/** RFC 1071. 0 over data that holds its own checksum. */
export function checksum(data: Buffer): number {
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += (data[i] ?? 0) * 256 + (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 65536);
  return ~sum & 0xffff;
}

function associatedData(spi: number, sequence: bigint, esn: boolean): Buffer {
  const aad = Buffer.alloc(esn ? 12 : 8);
  aad.writeUInt32BE(spi, 0);
  if (esn) aad.writeBigUInt64BE(sequence, 4);
  else aad.writeUInt32BE(Number(sequence), 4);
  return aad;
}

/**
 * Opens SPI … ICV. `high` is the high half of the sequence number that the receiver expects.
 * Returns the payload without padding and trailer; throws on a wrong ICV, padding or next header.
 */
export function openEsp(
  esp: Buffer,
  keys: EspKeys,
  high = 0,
): { spi: number; sequence: bigint; payload: Buffer } {
  const spi = esp.readUInt32BE(0);
  const sequence = (BigInt(high) << 32n) | BigInt(esp.readUInt32BE(4));
  const nonce = Buffer.concat([keys.salt, esp.subarray(8, 16)]);
  const ciphertext = esp.subarray(16, esp.length - 16);
  if (ciphertext.length % 4 !== 0) throw new Error(`ciphertext of ${ciphertext.length} bytes`);
  const decipher = createDecipheriv('chacha20-poly1305', keys.key, nonce, { authTagLength: 16 });
  decipher.setAAD(associatedData(spi, sequence, keys.esn), { plaintextLength: ciphertext.length });
  decipher.setAuthTag(esp.subarray(esp.length - 16));
  const plain = Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  const pad = plain.readUInt8(plain.length - 2);
  const next = plain.readUInt8(plain.length - 1);
  if (next !== 17) throw new Error(`next header ${next}`);
  const payload = plain.subarray(0, plain.length - 2 - pad);
  for (let i = 0; i < pad; i++) {
    if (plain.readUInt8(payload.length + i) !== i + 1) throw new Error('padding is not 1, 2, 3 …');
  }
  return { spi, sequence, payload };
}

/** Seals `text` (payload with padding and trailer already in place) as a sender of another make would. */
export function sealEsp(text: Buffer, keys: EspKeys, spi: number, sequence: bigint, iv: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32BE(spi, 0);
  header.writeUInt32BE(Number(sequence & 0xffffffffn), 4);
  iv.copy(header, 8);
  const nonce = Buffer.concat([keys.salt, iv]);
  const cipher = createCipheriv('chacha20-poly1305', keys.key, nonce, { authTagLength: 16 });
  cipher.setAAD(associatedData(spi, sequence, keys.esn), { plaintextLength: text.length });
  const ciphertext = Buffer.concat([cipher.update(text), cipher.final()]);
  return Buffer.concat([header, ciphertext, cipher.getAuthTag()]);
}

/** Padding 1, 2, 3 …, pad length and next header behind a payload. */
export function withTrailer(payload: Buffer, next = 17): Buffer {
  const pad = (4 - ((payload.length + 2) % 4)) % 4;
  return Buffer.concat([
    payload,
    Buffer.from([...Array(pad).keys()].map((i) => i + 1)),
    Buffer.from([pad, next]),
  ]);
}
