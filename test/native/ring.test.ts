import { native, Sample, TEST_FRAME, TYPE_ERROR, until } from './scene';

let sample: Sample;
beforeEach(() => {
  sample = new Sample();
});
afterEach(() => sample.close());

const emit = (count: number): void => {
  native.testRun(sample.program('emit'), { data: TEST_FRAME, repeat: count });
};

test('every record once and in order, also more than one turn of the event loop takes', async () => {
  const seen: bigint[] = [];
  const ring = native.openRingBuffer(sample.map('ring'), (record) => seen.push(record.readBigUInt64LE()));
  emit(1000);
  expect(seen).toEqual([]); // never from within another call
  await until(() => seen.length >= 1000);
  expect(seen).toEqual(Array.from({ length: 1000 }, (_, index) => BigInt(index)));
  emit(1);
  await until(() => seen.length > 1000);
  ring.close();
});

test('timers and immediates run between the turns', async () => {
  let [records, turns] = [0, 0];
  const ring = native.openRingBuffer(sample.map('ring'), () => {
    records += 1;
  });
  emit(1000);
  await until(() => {
    turns += 1;
    return records >= 1000;
  });
  expect(turns).toBeGreaterThanOrEqual(4); // 256 a turn
  ring.close();
});

test('close() from within the listener: not one more; twice is once', async () => {
  let seen = 0;
  const ring = native.openRingBuffer(sample.map('ring'), () => {
    seen += 1;
    ring.close();
    ring.close();
  });
  emit(10);
  await until(() => seen > 0);
  // A second reader proves that the first would have had its turn.
  let after = 0;
  const witness = native.openRingBuffer(sample.map('ring'), () => {
    after += 1;
  });
  await until(() => after === 9);
  expect(seen).toBe(1);
  witness.close();
  ring.close();
});

test('the map may be closed before the reader', async () => {
  let seen = 0;
  const ring = native.openRingBuffer(sample.map('ring'), () => {
    seen += 1;
  });
  sample.map('ring').close();
  emit(1);
  await until(() => seen === 1);
  ring.close();
});

test('wrong arguments', () => {
  const open = native.openRingBuffer as (...args: unknown[]) => unknown;
  expect(() => open(sample.map('hash'), () => {})).toThrow(TYPE_ERROR);
  expect(() => open(sample.map('ring'))).toThrow(TYPE_ERROR);
});
