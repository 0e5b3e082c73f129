// The form of Wireshark's table, as its sources have it (epan/dissectors/packet-ipsec.c: names of algorithms, order and
// kinds of the fields; epan/uat.c: quoting).
import { type EspSa, espSaLine } from '../../../agent/core/espsa';
import type { IpAddress, Spi } from '../../../agent/core/ids';

const SA: EspSa = {
  source: '192.0.2.1' as IpAddress,
  destination: '192.0.2.2' as IpAddress,
  spi: 0x1a2b as Spi,
  key: Uint8Array.from({ length: 32 }, (_, at) => at),
  salt: Uint8Array.of(0xa0, 0xa1, 0xa2, 0xa3),
  highBits: 0,
};
const KEY = '0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1fa0a1a2a3';

test.each<[string, Partial<EspSa>, string]>([
  [
    'IPv4, key with salt behind it',
    {},
    `"IPv4","192.0.2.1","192.0.2.2","0x00001a2b","ChaCha20 with Poly1305 [RFC7634]","${KEY}","NULL","","64-bit","0"`,
  ],
  [
    'IPv6, a counter beyond 32 bits',
    { source: 'fd00::1' as IpAddress, destination: 'fd00::2' as IpAddress, highBits: 0x1f },
    `"IPv6","fd00::1","fd00::2","0x00001a2b","ChaCha20 with Poly1305 [RFC7634]","${KEY}","NULL","","64-bit","1f"`,
  ],
  [
    'destination unknown',
    { destination: undefined },
    `"IPv4","192.0.2.1","*","0x00001a2b","ChaCha20 with Poly1305 [RFC7634]","${KEY}","NULL","","64-bit","0"`,
  ],
])('%s', (_name, changes, line) => {
  expect(espSaLine({ ...SA, ...changes })).toBe(line);
});
