import { failure, native, RANGE_ERROR, Sample, TEST_FRAME, TYPE_ERROR } from './scene';

let sample: Sample;
beforeAll(() => {
  sample = new Sample();
});
afterAll(() => sample.close());

const MARK_OFFSET = 8; // struct __sk_buff.mark

test('tc: verdict, packet and context come back', () => {
  const ctx = Buffer.alloc(MARK_OFFSET + 4);
  ctx.writeUInt32LE(41, MARK_OFFSET);
  const run = native.testRun(sample.program('mark'), { data: TEST_FRAME, ctx });
  expect(run.retval).toBe(41);
  expect(run.ctxOut.readUInt32LE(MARK_OFFSET)).toBe(42);
  expect(run.dataOut).toEqual(TEST_FRAME);
  expect(run.metaOut.length).toBe(0);
});

test('without a context, and repeated', () => {
  const before = sample.counter(0);
  const run = native.testRun(sample.program('count_first'), { data: TEST_FRAME, repeat: 100 });
  expect(run.retval).toBe(0xffffffff);
  expect(sample.counter(0) - before).toBe(100n);
  expect(Number.isInteger(run.durationNs)).toBe(true);
});

test('XDP: metadata and packet apart', () => {
  const data = Buffer.from(Array.from({ length: 100 }, (_, index) => index));
  const run = native.testRun(sample.program('strip'), { data });
  expect(run.retval).toBe(2);
  expect(run.dataOut).toEqual(data.subarray(14));
  expect(run.metaOut.toString('hex')).toBe('8877665544332211');
  const plain = native.testRun(sample.program('pass'), { data });
  expect(plain.dataOut).toEqual(data);
  expect(plain.metaOut.length).toBe(0);
});

test('what the kernel refuses is an error with errno', () => {
  expect(failure(() => native.testRun(sample.program('pass'), { data: Buffer.alloc(13) }))).toMatchObject({
    code: 'EINVAL',
    op: 'BPF_PROG_TEST_RUN',
  });
});

test('wrong arguments', () => {
  const run = native.testRun as (...args: unknown[]) => unknown;
  const program = sample.program('pass');
  expect(() => run(sample.map('hash'), { data: TEST_FRAME })).toThrow(TYPE_ERROR);
  expect(() => run(program)).toThrow(TYPE_ERROR);
  expect(() => run(program, {})).toThrow(TYPE_ERROR);
  expect(() => run(program, { data: TEST_FRAME, ctx: 'x' })).toThrow(TYPE_ERROR);
  expect(() => run(program, { data: TEST_FRAME, ctx: Buffer.alloc(513) })).toThrow(RANGE_ERROR);
  expect(() => run(program, { data: Buffer.alloc(2 ** 20 + 1) })).toThrow(RANGE_ERROR);
  expect(() => run(program, { data: TEST_FRAME, repeat: 0 })).toThrow(RANGE_ERROR);
});

test('wipe clears the bytes it is given and no others', () => {
  const around = new Uint8Array(12).fill(7);
  native.wipe(around.subarray(4, 8));
  expect([...around]).toEqual([7, 7, 7, 7, 0, 0, 0, 0, 7, 7, 7, 7]);
  native.wipe(new Uint8Array(0));
  const wipe = native.wipe as (bytes: unknown) => void;
  for (const wrong of [undefined, 'abc', new ArrayBuffer(4), new Uint16Array(2)]) {
    expect(() => wipe(wrong)).toThrow(TYPE_ERROR);
  }
});
