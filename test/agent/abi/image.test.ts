import { Image } from '../../../agent/abi/image';
import { LAYOUT } from '../../../agent/abi/layout.gen';

test('a wrong number of bytes is refused, one too many and one too few', () => {
  const { size } = LAYOUT.tx_sa;
  expect(new Image('tx_sa').bytes.length).toBe(size);
  for (const wrong of [0, size - 1, size + 1]) {
    expect(() => new Image('tx_sa', Buffer.alloc(wrong))).toThrow(RangeError);
  }
});

test('numbers at their limits', () => {
  const image = new Image('drop_key');
  image.setNumber('peer', 0xffffffff).setNumber('reason', 0xffff);
  expect([image.number('peer'), image.number('reason'), image.number('direction')]).toEqual([
    0xffffffff, 0xffff, 0,
  ]);
  for (const wrong of [-1, 0x10000, 1.5, Number.NaN]) {
    expect(() => image.setNumber('reason', wrong)).toThrow(RangeError);
  }
  const wide = new Image('counter').setBig('bytes', 2n ** 64n - 1n);
  expect([wide.big('packets'), wide.big('bytes')]).toEqual([0n, 2n ** 64n - 1n]);
  expect(() => wide.setBig('bytes', 2n ** 64n)).toThrow(/out of range/);
  expect(() => wide.setBig('bytes', -1n)).toThrow(/out of range/);
});

test('a field of another width is a bug', () => {
  expect(() => new Image('counter').number('packets')).toThrow(/8 bytes/);
  expect(() => new Image('drop_key').big('peer')).toThrow(/4 bytes/);
  expect(() => new Image('pod_value').setRaw('mac', Buffer.alloc(5))).toThrow(RangeError);
});

test('bytes given are a view, bytes taken are a view: a key has no second copy to wipe', () => {
  const around = Buffer.alloc(LAYOUT.tx_sa.size + 8, 1);
  const image = new Image('tx_sa', around.subarray(4, 4 + LAYOUT.tx_sa.size));
  image.raw('key').fill(0);
  expect(around.subarray(4, 36)).toEqual(Buffer.alloc(32));
  expect(around.subarray(36)).toEqual(Buffer.alloc(around.length - 36, 1));
  expect(around.subarray(0, 4)).toEqual(Buffer.alloc(4, 1));
});
