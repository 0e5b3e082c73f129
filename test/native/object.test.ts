import { failure, native, objectPath, RANGE_ERROR, Sample, TYPE_ERROR, u32, u64, withBpffs } from './scene';

test('programs and maps by name, with the instructions walked', () => {
  const sample = new Sample();
  expect(Object.keys(sample.loaded.programs).sort()).toEqual(
    ['count_first', 'count_second', 'emit', 'mark', 'pass', 'pass_too', 'strip'].sort(),
  );
  expect(sample.loaded.programs.emit?.verifiedInsns).toBeGreaterThan(10);
  expect(native.programInfo(sample.program('emit'))).toEqual({
    id: expect.any(Number),
    name: 'emit',
    tag: expect.stringMatching(/^[0-9a-f]{16}$/),
  });
  expect(native.mapInfo(sample.map('percpu'))).toEqual({
    id: expect.any(Number),
    type: 5,
    name: 'percpu',
    keySize: 4,
    valueSize: 12,
    maxEntries: 64,
  });
  sample.close();
  expect(sample.map('hash').fd).toBe(-1);
  expect(() => native.mapInfo(sample.map('hash'))).toThrow(TYPE_ERROR);
  sample.close(); // idempotent
});

test('maxEntries overrides by name and skips what is not there', () => {
  const sample = new Sample({ maxEntries: { hash: 7, nothing: 5 } });
  expect(native.mapInfo(sample.map('hash')).maxEntries).toBe(7);
  expect(native.mapInfo(sample.map('lru')).maxEntries).toBe(64);
  sample.close();
  expect(() => new Sample({ maxEntries: { hash: 0 } })).toThrow(RANGE_ERROR);
  expect(() => new Sample({ maxEntries: { hash: 1.5 } })).toThrow(RANGE_ERROR);
});

test('a missing file is ENOENT and named', () => {
  const error = failure(() => native.loadObject('/nonexistent.o', {}));
  expect(error).toMatchObject({ code: 'ENOENT', errno: 2, op: 'open /nonexistent.o' });
  expect(error.name).toBe('Error');
});

test('a refusal carries the end of the verifier log', () => {
  const error = failure(() => native.loadObject(objectPath('refused'), {}));
  expect(error).toMatchObject({ code: 'EACCES', errno: 13 });
  expect(error.log).toMatch(/invalid access to packet/);
  expect(error.log?.split('\n').length).toBeLessThanOrEqual(25);
});

test('wrong arguments', () => {
  const load = native.loadObject as (path: unknown, options: unknown) => unknown;
  expect(() => load(5, {})).toThrow(TYPE_ERROR);
  expect(() => load('', {})).toThrow(RANGE_ERROR);
  expect(() => load('a\0b', {})).toThrow(RANGE_ERROR);
  expect(() => load('x', undefined)).toThrow(TYPE_ERROR);
  expect(() => load('x', { pinRoot: 5 })).toThrow(TYPE_ERROR);
  expect(() => load('x', { pinRoot: '' })).toThrow(RANGE_ERROR);
});

describe('pins', () => {
  test('a map pinned by name is shared by whoever loads with the same root, and only by them', () => {
    withBpffs((pinRoot) => {
      const first = new Sample({ pinRoot });
      native.mapUpdate(first.map('kept'), u32(1), u64(11n));
      first.close();
      const second = new Sample({ pinRoot });
      const stranger = new Sample();
      expect(native.mapLookup(second.map('kept'), u32(1))).toEqual(u64(11n));
      expect(native.mapLookup(stranger.map('kept'), u32(1))).toBeUndefined();
      const pinned = native.openPinned(`${pinRoot}/kept`);
      expect(native.mapInfo(pinned).id).toBe(native.mapInfo(second.map('kept')).id);
      for (const one of [second, stranger, pinned]) one.close();
    });
  });

  test('a pinned map of another layout says what differs and stays', () => {
    withBpffs((pinRoot) => {
      const first = new Sample({ pinRoot });
      native.mapUpdate(first.map('kept'), u32(1), u64(11n));
      const error = failure(() => native.loadObject(objectPath('other'), { pinRoot }));
      expect(error).toMatchObject({ code: 'EINVAL', op: `reuse pinned map ${pinRoot}/kept` });
      expect(error.message).toContain('value size 8, the program needs 24');
      expect(failure(() => new Sample({ pinRoot, maxEntries: { kept: 99 } })).message).toContain(
        'max_entries 16',
      );
      expect(native.mapLookup(first.map('kept'), u32(1))).toEqual(u64(11n));
      first.close();
    });
  });

  test('something else in the place of a map', () => {
    withBpffs((pinRoot) => {
      const sample = new Sample();
      native.pin(sample.program('pass'), `${pinRoot}/kept`);
      expect(failure(() => new Sample({ pinRoot })).message).toContain('something else than a map');
      const program = native.openPinned(`${pinRoot}/kept`);
      expect(native.programInfo(program).id).toBe(native.programInfo(sample.program('pass')).id);
      expect(() => native.mapInfo(program)).toThrow(TYPE_ERROR);
      expect(failure(() => native.pin(sample.map('hash'), `${pinRoot}/kept`)).code).toBe('EEXIST');
      expect(failure(() => native.openPinned(`${pinRoot}/none`)).code).toBe('ENOENT');
      program.close();
      sample.close();
    });
  });

  test('bpffs is told from other file systems; a second mount is none', () => {
    withBpffs((folder) => {
      expect(native.isBpffs(folder)).toBe(true);
      native.mountBpffs(folder); // else withBpffs could not remove the folder
    });
    expect(native.isBpffs('/')).toBe(false);
    expect(failure(() => native.isBpffs('/nonexistent')).code).toBe('ENOENT');
    expect(failure(() => native.mountBpffs('/nonexistent')).code).toBe('ENOENT');
  });
});
