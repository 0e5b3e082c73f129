import { describeWithTcx } from '../netns/tcx';
import {
  failure,
  native,
  RANGE_ERROR,
  Sample,
  TEST_FRAME,
  TYPE_ERROR,
  until,
  Wire,
  withBpffs,
} from './scene';

const [TCX_INGRESS, TCX_EGRESS, XDP] = [46, 47, 37];
const [LINK_XDP, LINK_TCX] = [6, 11];

let sample: Sample;
let wire: Wire;
beforeEach(() => {
  sample = new Sample();
  wire = new Wire();
});
afterEach(() => {
  wire.close();
  sample.close();
});

const programId = (name: string): number => native.programInfo(sample.program(name)).id;
/** `count` frames from a to b. */
const send = (count: number): void =>
  wire.inside(() => {
    for (let i = 0; i < count; i++) native.sendFrame(wire.a, TEST_FRAME);
  });

describeWithTcx('tcx', () => {
  test.each([
    ['ingress', TCX_INGRESS],
    ['egress', TCX_EGRESS],
  ] as const)('%s: attached, seen by frames, moved, detached', async (direction, attachType) => {
    const ifindex = direction === 'ingress' ? wire.b : wire.a;
    const link = wire.inside(() => native.attachTcx(sample.program('count_first'), ifindex, direction));
    expect(native.linkInfo(link)).toEqual({
      id: expect.any(Number),
      type: LINK_TCX,
      programId: programId('count_first'),
      ifindex,
      attachType,
    });
    send(3);
    await until(() => sample.counter(0) >= 3n);

    native.updateLink(link, sample.program('count_second'));
    expect(native.linkInfo(link).programId).toBe(programId('count_second'));
    send(2);
    await until(() => sample.counter(1) >= 2n);

    native.detachLink(link);
    expect(native.linkInfo(link).ifindex).toBe(0);
    expect(failure(() => native.updateLink(link, sample.program('count_first'))).code).toBe('ENOLINK');
    link.close();
    // A second link counts the frames that the first must not see.
    const witness = wire.inside(() => native.attachTcx(sample.program('count_second'), wire.b, 'ingress'));
    send(4);
    await until(() => sample.counter(1) >= 6n);
    expect(sample.counter(0)).toBe(3n);
    witness.close();
  });

  test('a link ends with its descriptor unless it is pinned', () => {
    withBpffs((folder) => {
      const link = wire.inside(() => native.attachTcx(sample.program('count_first'), wire.b, 'ingress'));
      native.pin(link, `${folder}/link`);
      const { id } = native.linkInfo(link);
      link.close();
      const again = native.openPinned(`${folder}/link`);
      expect(native.linkInfo(again)).toMatchObject({ id, ifindex: wire.b });
      again.close();
    });
  });

  test('the device goes: ifindex 0', () => {
    const link = wire.inside(() => native.attachTcx(sample.program('count_first'), wire.b, 'ingress'));
    wire.ip('link', 'del', 'va');
    expect(native.linkInfo(link).ifindex).toBe(0);
    link.close();
  });

  test('no such device', () => {
    const error = failure(() => wire.inside(() => native.attachTcx(sample.program('pass'), 9999, 'ingress')));
    expect(error).toMatchObject({ errno: expect.any(Number), op: 'BPF_LINK_CREATE tcx on device 9999' });
  });
});

describe('XDP', () => {
  test.each(['native', 'generic'] as const)('%s: attached, moved, detached', (mode) => {
    const link = wire.inside(() => native.attachXdp(sample.program('pass'), wire.b, mode));
    const shown = JSON.parse(wire.ip('-j', 'link', 'show', 'vb'));
    expect(shown[0].xdp.mode).toBe(mode === 'native' ? 1 : 2);
    expect(native.linkInfo(link)).toEqual({
      id: expect.any(Number),
      type: LINK_XDP,
      programId: programId('pass'),
      ifindex: wire.b,
      attachType: XDP,
    });
    native.updateLink(link, sample.program('pass_too'));
    expect(native.linkInfo(link).programId).toBe(programId('pass_too'));
    native.detachLink(link);
    expect(native.linkInfo(link).ifindex).toBe(0);
    link.close();
  });

  test('a second one is EBUSY', () => {
    const link = wire.inside(() => native.attachXdp(sample.program('pass'), wire.b, 'native'));
    const error = failure(() =>
      wire.inside(() => native.attachXdp(sample.program('pass'), wire.b, 'native')),
    );
    expect(error.code).toBe('EBUSY');
    link.close();
  });
});

describe('clsact', () => {
  const [HANDLE, PRIORITY] = [0x5678, 49152];
  const query = (direction: 'ingress' | 'egress') =>
    wire.inside(() => native.queryClsact(wire.b, direction, HANDLE, PRIORITY));

  test('attached, seen by frames, replaced, removed', async () => {
    expect(query('ingress')).toBeUndefined(); // no qdisc at all
    wire.inside(() =>
      native.attachClsact(sample.program('count_first'), wire.b, 'ingress', HANDLE, PRIORITY),
    );
    expect(query('ingress')).toBe(programId('count_first'));
    expect(query('egress')).toBeUndefined();
    send(3);
    await until(() => sample.counter(0) >= 3n);
    wire.inside(() =>
      native.attachClsact(sample.program('count_second'), wire.b, 'ingress', HANDLE, PRIORITY),
    );
    expect(query('ingress')).toBe(programId('count_second'));
    send(2);
    await until(() => sample.counter(1) >= 2n);
    expect(sample.counter(0)).toBe(3n);
    wire.inside(() => native.detachClsact(wire.b, 'ingress', HANDLE, PRIORITY));
    expect(query('ingress')).toBeUndefined();
    const again = failure(() => wire.inside(() => native.detachClsact(wire.b, 'ingress', HANDLE, PRIORITY)));
    expect(again.code).toBe('ENOENT');
  });

  test('no such device is ENODEV', () => {
    for (const call of [
      () => native.attachClsact(sample.program('count_first'), 9999, 'ingress', HANDLE, PRIORITY),
      () => native.queryClsact(9999, 'ingress', HANDLE, PRIORITY),
    ]) {
      expect(failure(() => wire.inside(call)).code).toBe('ENODEV');
    }
  });
});

test('wrong arguments', () => {
  type Call = (...args: unknown[]) => unknown;
  const { attachTcx, attachXdp, attachClsact, updateLink, linkInfo } = native as unknown as Record<
    string,
    Call
  >;
  const program = sample.program('pass');
  expect(() => attachTcx?.(sample.map('hash'), 1, 'ingress')).toThrow(TYPE_ERROR);
  for (const ifindex of [0, -1, 1.5, 2 ** 31, Number.NaN]) {
    expect(() => attachTcx?.(program, ifindex, 'ingress')).toThrow(RANGE_ERROR);
  }
  expect(() => attachTcx?.(program, 1, 'sideways')).toThrow(RANGE_ERROR);
  expect(() => attachXdp?.(program, 1, 'fast')).toThrow(RANGE_ERROR);
  expect(() => attachClsact?.(program, 1, 'ingress', 0, 1)).toThrow(RANGE_ERROR);
  expect(() => attachClsact?.(program, 1, 'ingress', 1, 65536)).toThrow(RANGE_ERROR);
  expect(() => updateLink?.(program, program)).toThrow(TYPE_ERROR);
  expect(() => linkInfo?.(program)).toThrow(TYPE_ERROR);
});
