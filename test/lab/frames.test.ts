// The forger's frames against values worked out by hand: a forgery with a wrong checksum would be refused for that.
import { esp, ethernet, ipv4, udp, vxlan } from './frames';

const ENDS = { from: '192.0.2.1', to: '198.51.100.2' };

/** RFC 1071 §1: the sum over data and its checksum is all ones. */
function onesSum(bytes: Buffer): number {
  let sum = 0;
  const even = bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(1)]);
  for (let at = 0; at < even.length; at += 2) sum += even.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

test('Ethernet: destination, source, type', () => {
  const frame = ethernet('02:00:00:00:00:01', '02:00:00:00:00:02', Buffer.from('xy'));
  expect(frame.toString('hex')).toBe('02000000000202000000000108007879');
});

test.each([0, 1, 2, 37, 1400])('UDP with %i bytes: lengths and checksums', (bytes) => {
  const packet = udp(ENDS, 1000, 2000, Buffer.alloc(bytes, 0xa5));
  expect(packet.length).toBe(28 + bytes);
  expect(packet.readUInt16BE(2)).toBe(28 + bytes);
  expect(packet.readUInt16BE(24)).toBe(8 + bytes);
  expect(onesSum(packet.subarray(0, 20))).toBe(0xffff);
  const pseudo = Buffer.concat([packet.subarray(12, 20), Buffer.from([0, 17, 0, 0])]);
  pseudo.writeUInt16BE(8 + bytes, 10);
  expect(onesSum(Buffer.concat([pseudo, packet.subarray(20)]))).toBe(0xffff);
});

test('IPv4 header as worked out by hand', () => {
  const header = ipv4(ENDS, Buffer.alloc(0), 6).toString('hex');
  expect(header).toBe('450000140000400040064eadc0000201c6336402');
});

test('VXLAN: flag I, VNI in the upper 24 bits', () => {
  expect(vxlan(0xabcdef, Buffer.from('z')).toString('hex')).toBe('08000000abcdef007a');
});

test('ESP: SPI and sequence as unsigned 32-bit numbers', () => {
  expect(esp(0xfedcba98, 2 ** 32 - 1, Buffer.alloc(0)).toString('hex')).toBe('fedcba98ffffffff');
});
