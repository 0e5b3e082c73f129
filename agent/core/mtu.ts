// The one computation of sizes between an inner IP packet and the outer packet that carries it
// (docs/wire-format.md §2). Everything that sets or checks an MTU asks here.
import type { AddressFamily } from './bytes';

/** How ESP travels: in UDP (RFC 3948) or as IP protocol 50. */
export type Encapsulation = 'udp' | 'raw';

const IP_BYTES: Readonly<Record<AddressFamily, number>> = { 4: 20, 6: 40 };
const UDP_BYTES = 8;
const ESP_HEADER_BYTES = 8; // SPI, low half of the sequence number (RFC 4303 §2)
const IV_BYTES = 8;
const ICV_BYTES = 16; // RFC 7634 §2
const VXLAN_BYTES = 8; // RFC 7348 §5
const ETHERNET_BYTES = 14;
const TRAILER_BYTES = 2; // pad length, next header
const ALIGNMENT_BYTES = 4; // of the ciphertext, RFC 4303 §2.4

/** Plaintext in front of the inner IP packet. */
const INNER_HEADER_BYTES = UDP_BYTES + VXLAN_BYTES + ETHERNET_BYTES;

function fixedBytes(family: AddressFamily, encapsulation: Encapsulation): number {
  const udp = encapsulation === 'udp' ? UDP_BYTES : 0;
  return IP_BYTES[family] + udp + ESP_HEADER_BYTES + IV_BYTES + ICV_BYTES;
}

/**
 * Largest inner IP packet whose outer packet fits.
 * @param underlayMtuBytes largest outer IP packet
 * @returns 0 or less where not even an empty packet fits
 */
export function innerMtuBytes(
  underlayMtuBytes: number,
  family: AddressFamily,
  encapsulation: Encapsulation = 'udp',
): number {
  const room = underlayMtuBytes - fixedBytes(family, encapsulation);
  return room - (room % ALIGNMENT_BYTES) - INNER_HEADER_BYTES - TRAILER_BYTES;
}

/** Ciphertext without ICV of an inner IP packet, padding included. */
export function ciphertextBytes(innerBytes: number): number {
  const text = INNER_HEADER_BYTES + innerBytes + TRAILER_BYTES;
  return Math.ceil(text / ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
}

/** The outer IP packet of an inner IP packet. */
export function outerBytes(
  innerBytes: number,
  family: AddressFamily,
  encapsulation: Encapsulation = 'udp',
): number {
  return fixedBytes(family, encapsulation) + ciphertextBytes(innerBytes);
}
