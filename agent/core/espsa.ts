// An SA in the form of Wireshark's table of ESP SAs (file esp_sa). Wireshark 4.6 knows the algorithm, 4.4 does not.
// Pure; the one place where a key becomes text.
import type { IpAddress, Spi } from './ids';

export interface EspSa {
  readonly source: IpAddress;
  /** Undefined where it is not known: any. */
  readonly destination: IpAddress | undefined;
  readonly spi: Spi;
  /** 32 bytes. */
  readonly key: Uint8Array;
  /** 4 bytes. */
  readonly salt: Uint8Array;
  /** Of the sequence number: not on the wire, but authenticated (RFC 4303 §2.2.1). */
  readonly highBits: number;
}

const ALGORITHM = 'ChaCha20 with Poly1305 [RFC7634]';
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Protocol, source, destination, SPI, algorithm, key with salt behind it, authentication, its key, ESN, high bits. */
export function espSaLine({ source, destination, spi, key, salt, highBits }: EspSa): string {
  const fields = [
    source.includes(':') ? 'IPv6' : 'IPv4',
    source,
    destination ?? '*',
    `0x${spi.toString(16).padStart(8, '0')}`,
    ALGORITHM,
    `0x${hex(key)}${hex(salt)}`,
    'NULL',
    '',
    '64-bit',
    highBits.toString(16),
  ];
  return fields.map((field) => `"${field}"`).join(',');
}
