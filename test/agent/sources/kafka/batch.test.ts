import { decodeBatches } from '../../../../agent/sources/kafka/batch';
import { seeded } from '../../core/random';
import { batchBytes, type PlannedBatch, varint } from './batches';

const show = (bytes: Buffer, from = 0n): { found: string[]; next: number; unusable: number } => {
  const { records, next, unusable } = decodeBatches(bytes, from);
  const found = records.map(({ offset, key, value }) => {
    const text = value === undefined ? 'null' : Buffer.from(value).toString();
    return `${offset} ${Buffer.from(key).toString()}=${text}`;
  });
  return { found, next: Number(next), unusable };
};

const AB: PlannedBatch = {
  base: 10n,
  records: [
    { delta: 0, key: 'a', value: 'one' },
    { delta: 1, key: 'b', value: null },
  ],
};

describe('record batches', () => {
  test.each<[string, PlannedBatch[], bigint, string[], number, number]>([
    ['1 none', [], 5n, [], 5, 0],
    ['2 one', [AB], 10n, ['10 a=one', '11 b=null'], 12, 0],
    ['3 what lies before is left out', [AB], 11n, ['11 b=null'], 12, 0],
    [
      '4 two',
      [AB, { base: 12n, records: [{ delta: 0, key: 'c', value: '' }] }],
      0n,
      ['10 a=one', '11 b=null', '12 c='],
      13,
      0,
    ],
    [
      '5 a gap within',
      [{ base: 10n, records: [{ delta: 3, key: 'a', value: 'x' }], lastDelta: 9 }],
      0n,
      ['13 a=x'],
      20,
      0,
    ],
    ['6 emptied by compaction', [{ base: 10n, records: [], lastDelta: 4 }], 0n, [], 15, 0],
    ['7 a marker of a transaction', [{ ...AB, attributes: 0x30 }], 0n, [], 12, 0],
    ['8 within a transaction', [{ ...AB, attributes: 0x10 }], 0n, ['10 a=one', '11 b=null'], 12, 0],
    ['9 gzip', [{ ...AB, attributes: 1 }], 0n, [], 12, 1],
    [
      '10 zstd',
      [
        { ...AB, attributes: 4 },
        { ...AB, base: 12n },
      ],
      0n,
      ['12 a=one', '13 b=null'],
      14,
      1,
    ],
    ['11 an older format', [{ ...AB, magic: 1 }], 0n, [], 11, 1],
    ['12 fewer records than told', [{ ...AB, count: 3 }], 0n, ['10 a=one', '11 b=null'], 12, 1],
    [
      '13 an offset before the batch',
      [{ base: 10n, records: [{ delta: -1, key: 'a', value: 'x' }], lastDelta: 1 }],
      0n,
      [],
      12,
      1,
    ],
    [
      '14 an offset behind the batch',
      [{ base: 10n, records: [{ delta: 2, key: 'a', value: 'x' }], lastDelta: 1 }],
      0n,
      [],
      12,
      1,
    ],
    ['15 a negative last offset', [{ ...AB, lastDelta: -5 }], 0n, ['10 a=one'], 11, 1],
    ['16 a length beyond the end', [{ base: 1n, records: [], count: 1, body: varint(100) }], 0n, [], 2, 1],
    ['17 a negative length', [{ base: 1n, records: [], count: 1, body: varint(-100) }], 0n, [], 2, 1],
    [
      '18 a number without end',
      [{ base: 1n, records: [], count: 1, body: Buffer.alloc(20, 0xff) }],
      0n,
      [],
      2,
      1,
    ],
  ])('%s', (_, plans, from, found, next, unusable) => {
    expect(show(Buffer.concat(plans.map(batchBytes)), from)).toEqual({ found, next, unusable });
  });

  test('a part of a batch at the end is left for the next fetch, wherever it is cut', () => {
    const whole = batchBytes(AB);
    const cut = batchBytes({ ...AB, base: 12n });
    for (let length = 0; length < cut.length; length++) {
      expect(show(Buffer.concat([whole, cut.subarray(0, length)]))).toEqual(show(whole));
    }
    expect(show(Buffer.concat([whole, cut])).next).toBe(14);
  });

  test('whatever is in a batch, it ends, and goes on behind it', () => {
    const random = seeded(41);
    const honest = batchBytes({ base: 100n, records: [{ delta: 0, key: 'h', value: 'honest' }] });
    for (let round = 0; round < 5000; round++) {
      const batch = batchBytes(AB);
      // Anything behind the frame and the format may be wrong.
      for (let changes = 1 + Math.floor(random() * 4); changes > 0; changes--)
        batch[17 + Math.floor(random() * (batch.length - 17))] = Math.floor(random() * 256);
      batch.writeInt32BE(1, 23);
      const { found, next } = show(Buffer.concat([batch, honest]));
      expect(found.at(-1)).toBe('100 h=honest');
      expect(next).toBe(101);
    }
  });

  test('values are copies: the response they came in can go', () => {
    const bytes = batchBytes(AB);
    const [record] = decodeBatches(bytes, 0n).records;
    bytes.fill(0);
    expect(Buffer.from(record?.value ?? []).toString()).toBe('one');
    expect(record?.value?.buffer.byteLength).toBe(3);
  });
});
