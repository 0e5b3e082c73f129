import type { Fd } from '../../agent/kernel/native';
import { failure, native, RANGE_ERROR, Sample, TYPE_ERROR, u32, u64 } from './scene';

let sample: Sample;
beforeAll(() => {
  sample = new Sample();
});
afterAll(() => sample.close());

const [ANY, NOEXIST, EXIST, LOCK] = [0, 1, 2, 4];

/** Entries as sorted pairs of hex. */
const entries = (map: Fd): string[] =>
  native
    .mapEntries(map)
    .map(({ key, value }) => `${key.toString('hex')}=${value.toString('hex')}`)
    .sort();

describe('one entry', () => {
  test('written, read, replaced, deleted', () => {
    const map = sample.map('hash');
    expect(native.mapLookup(map, u32(1))).toBeUndefined();
    native.mapUpdate(map, u32(1), u64(5n));
    expect(native.mapLookup(map, u32(1))).toEqual(u64(5n));
    native.mapUpdate(map, u32(1), u64(6n), ANY);
    expect(native.mapLookup(map, u32(1))).toEqual(u64(6n));
    expect(native.mapDelete(map, u32(1))).toBe(true);
    expect(native.mapDelete(map, u32(1))).toBe(false);
  });

  test('flags: NOEXIST, EXIST, LOCK', () => {
    const map = sample.map('guarded');
    const value = Buffer.concat([u32(0), u32(7)]);
    expect(failure(() => native.mapUpdate(map, u32(1), value, EXIST)).code).toBe('ENOENT');
    native.mapUpdate(map, u32(1), value, NOEXIST);
    expect(failure(() => native.mapUpdate(map, u32(1), value, NOEXIST))).toMatchObject({
      code: 'EEXIST',
      errno: 17,
      op: 'BPF_MAP_UPDATE_ELEM',
    });
    native.mapUpdate(map, u32(1), Buffer.concat([u32(0), u32(8)]), EXIST | LOCK);
    expect(native.mapLookup(map, u32(1), LOCK)).toEqual(Buffer.concat([u32(0), u32(8)]));
    expect(failure(() => native.mapLookup(sample.map('hash'), u32(1), LOCK)).code).toBe('EINVAL');
  });

  test('a full map is E2BIG', () => {
    const map = sample.map('guarded');
    for (let i = 0; i < 8; i++) native.mapUpdate(map, u32(i), Buffer.alloc(8));
    expect(failure(() => native.mapUpdate(map, u32(99), Buffer.alloc(8))).code).toBe('E2BIG');
  });

  test('longest prefix', () => {
    const map = sample.map('trie');
    const key = (bits: number, ...address: number[]) => Buffer.concat([u32(bits), Buffer.from(address)]);
    native.mapUpdate(map, key(8, 10, 0, 0, 0), u32(1));
    native.mapUpdate(map, key(16, 10, 1, 0, 0), u32(2));
    expect(native.mapLookup(map, key(32, 10, 1, 2, 3))).toEqual(u32(2));
    expect(native.mapLookup(map, key(32, 10, 2, 2, 3))).toEqual(u32(1));
    expect(native.mapLookup(map, key(32, 11, 2, 2, 3))).toBeUndefined();
    expect(entries(map)).toEqual(['080000000a000000=01000000', '100000000a010000=02000000']);
  });

  test('a per-CPU value is one value for each possible CPU, 8 bytes aligned', () => {
    const map = sample.map('percpu');
    const stride = 16;
    const value = Buffer.alloc(stride * native.possibleCpus);
    for (let cpu = 0; cpu < native.possibleCpus; cpu++) value.fill(cpu + 1, cpu * stride, cpu * stride + 12);
    native.mapUpdate(map, u32(1), value);
    expect(native.mapLookup(map, u32(1))).toEqual(value);
    expect(entries(map)).toEqual([`01000000=${value.toString('hex')}`]);
  });

  test('an array has every entry from the start and gives none back', () => {
    expect(entries(sample.map('array')).length).toBe(4);
    expect(failure(() => native.mapDelete(sample.map('array'), u32(0))).code).toBe('EINVAL');
    expect(native.mapLookup(sample.map('array'), u32(4))).toBeUndefined();
    const cpus = native.possibleCpus;
    expect(native.mapEntries(sample.map('percpu_array')).map(({ value }) => value.length)).toEqual([
      8 * cpus,
      8 * cpus,
    ]);
  });
});

describe('mapEntries and mapCount', () => {
  test.each([[0], [1], [63], [64]])('an LRU map of %i entries', (count) => {
    const fresh = new Sample({ maxEntries: { lru: 1024 } });
    for (let i = 0; i < count; i++) native.mapUpdate(fresh.map('lru'), u32(i), u64(BigInt(i)));
    expect(native.mapEntries(fresh.map('lru')).length).toBe(count);
    expect(native.mapCount(fresh.map('lru'))).toBe(count);
    fresh.close();
  });

  test.each([[0], [1], [255], [256], [257], [4095], [4096]])('a hash of %i entries, each once', (count) => {
    const fresh = new Sample();
    const map = fresh.map('hash');
    for (let i = 0; i < count; i++) native.mapUpdate(map, u32(i), u64(BigInt(i) * 3n));
    const found = new Map(native.mapEntries(map).map(({ key, value }) => [key.readUInt32LE(), value]));
    expect(native.mapEntries(map).length).toBe(count);
    expect(native.mapCount(map)).toBe(count);
    for (let i = 0; i < count; i++) expect(found.get(i)).toEqual(u64(BigInt(i) * 3n));
    fresh.close();
  });

  test('a map of one entry, whose bucket is the whole map', () => {
    const fresh = new Sample({ maxEntries: { hash: 1 } });
    native.mapUpdate(fresh.map('hash'), u32(9), u64(1n));
    expect(entries(fresh.map('hash'))).toEqual(['09000000=0100000000000000']);
    fresh.close();
  });

  test('a ring buffer has no entries to list', () => {
    expect(failure(() => native.mapEntries(sample.map('ring'))).code).toBe('EOPNOTSUPP');
    expect(failure(() => native.mapCount(sample.map('ring'))).code).toBe('EOPNOTSUPP');
  });
});

describe('arguments are checked before the kernel sees them', () => {
  type Call = (...args: unknown[]) => unknown;
  const { mapLookup, mapUpdate, mapDelete } = native as unknown as Record<string, Call>;

  test('lengths', () => {
    const map = sample.map('hash');
    for (const bytes of [0, 3, 5]) {
      expect(() => native.mapLookup(map, Buffer.alloc(bytes))).toThrow(RANGE_ERROR);
      expect(() => native.mapUpdate(map, Buffer.alloc(bytes), u64(0n))).toThrow(RANGE_ERROR);
      expect(() => native.mapDelete(map, Buffer.alloc(bytes))).toThrow(RANGE_ERROR);
    }
    for (const bytes of [0, 7, 9])
      expect(() => native.mapUpdate(map, u32(1), Buffer.alloc(bytes))).toThrow(RANGE_ERROR);
    const perCpu = sample.map('percpu');
    for (const bytes of [12, 16 * native.possibleCpus - 1, 16 * native.possibleCpus + 1]) {
      expect(() => native.mapUpdate(perCpu, u32(1), Buffer.alloc(bytes))).toThrow(RANGE_ERROR);
    }
  });

  test('types', () => {
    const map = sample.map('hash');
    expect(() => mapLookup?.(map, 'abcd')).toThrow(TYPE_ERROR);
    expect(() => mapLookup?.(map, [1, 2, 3, 4])).toThrow(TYPE_ERROR);
    expect(() => mapLookup?.(map, u32(1), 'x')).toThrow(TYPE_ERROR);
    expect(() => mapLookup?.(map, u32(1), -1)).toThrow(RANGE_ERROR);
    expect(() => mapLookup?.(map, u32(1), 2 ** 32)).toThrow(RANGE_ERROR);
    expect(() => mapUpdate?.(map, u32(1))).toThrow(TYPE_ERROR);
    for (const wrong of [undefined, null, 3, {}, { fd: 3 }, Buffer.alloc(4), Object.create(map)]) {
      expect(() => mapDelete?.(wrong, u32(1))).toThrow(TYPE_ERROR);
    }
    expect(() => native.mapLookup(sample.program('pass'), u32(1))).toThrow(/map is not a map/);
  });

  test('a view into a larger buffer is read at its place', () => {
    const map = sample.map('hash');
    const around = Buffer.concat([u32(7), u32(8), u32(9)]);
    native.mapUpdate(map, around.subarray(4, 8), u64(1n));
    expect(native.mapDelete(map, u32(8))).toBe(true);
  });
});
