import { ciphertextBytes, innerMtuBytes, outerBytes } from '../../../agent/core/mtu';

test.each([
  [1, 1500, 4, 'udp', 1408],
  [2, 1500, 4, 'raw', 1416],
  [3, 1500, 6, 'udp', 1388],
  [4, 1500, 6, 'raw', 1396],
  [5, 1501, 4, 'udp', 1408],
  [6, 1503, 4, 'udp', 1408],
  [7, 1504, 4, 'udp', 1412],
  [8, 9000, 4, 'udp', 8908],
  [9, 1280, 6, 'udp', 1168],
] as const)('%i: underlay %i over IPv%i %s carries %i', (_, underlay, family, encapsulation, inner) => {
  expect(innerMtuBytes(underlay, family, encapsulation)).toBe(inner);
});

test('UDP is the default', () => {
  expect(innerMtuBytes(1500, 4)).toBe(1408);
  expect(outerBytes(1408, 4)).toBe(1500);
});

/** The packet of docs/wire-format.md, piece by piece. */
function build(innerBytes: number, family: 4 | 6, encapsulation: 'udp' | 'raw'): Buffer {
  const plain = [Buffer.alloc(8), Buffer.alloc(8), Buffer.alloc(14), Buffer.alloc(innerBytes)];
  const pad: number[] = [];
  while ((Buffer.concat(plain).length + pad.length + 2) % 4 !== 0) pad.push(pad.length + 1);
  const ciphertext = Buffer.concat([...plain, Buffer.from(pad), Buffer.from([pad.length, 17])]);
  const outer = [Buffer.alloc(family === 4 ? 20 : 40)];
  if (encapsulation === 'udp') outer.push(Buffer.alloc(8));
  outer.push(Buffer.alloc(4), Buffer.alloc(4), Buffer.alloc(8), ciphertext, Buffer.alloc(16));
  return Buffer.concat(outer);
}

test('every size from 1 to 9000 is that of the packet built', () => {
  for (const family of [4, 6] as const) {
    for (const encapsulation of ['udp', 'raw'] as const) {
      let before = 0;
      for (let inner = 1; inner <= 9000; inner++) {
        const { length } = build(inner, family, encapsulation);
        if (outerBytes(inner, family, encapsulation) !== length) throw new Error(`${inner}: not ${length}`);
        // The largest packet that fits fits, and one byte more does not.
        const carried = innerMtuBytes(length, family, encapsulation);
        if (carried < inner || outerBytes(carried, family, encapsulation) !== length) {
          throw new Error(`${inner}: MTU ${length} carries ${carried}`);
        }
        if (outerBytes(carried + 1, family, encapsulation) <= length) throw new Error(`${inner}: too small`);
        if (length < before) throw new Error(`${inner}: shrinks`);
        before = length;
      }
    }
  }
  expect(ciphertextBytes(0)).toBe(32);
});
