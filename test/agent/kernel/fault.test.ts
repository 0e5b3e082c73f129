import { KernelError } from '../../../agent/errors';
import { attempt, errnoName, isErrno, kernelError } from '../../../agent/kernel/fault';

const native = (members: object) => Object.assign(new Error('BPF_LINK_CREATE'), members);

test.each([
  [1, 'EPERM'],
  [2, 'ENOENT'],
  [17, 'EEXIST'],
  [105, 'ENOBUFS'],
  [9999, 'E9999'],
  [0, 'E0'],
])('errno %i is %s', (errno, name) => {
  expect(errnoName(errno)).toBe(name);
});

test('keeps errno, code and log, and names the object', () => {
  const error = kernelError(
    'attach seal at device 7',
    native({ errno: 13, code: 'EACCES', log: 'R1 !read_ok' }),
  );
  expect(error).toMatchObject({
    op: 'attach seal at device 7',
    errno: 13,
    errnoName: 'EACCES',
    code: 'kernel',
  });
  expect(error.message).toBe('attach seal at device 7: EACCES: BPF_LINK_CREATE\nR1 !read_ok');
});

test('a code is derived from the number when there is none, also from the negative', () => {
  expect(kernelError('x', { errno: -19 })).toMatchObject({ errno: 19, errnoName: 'ENODEV', retriable: true });
});

test('an error that is named already stays as it is', () => {
  const first = new KernelError('inner', 2, 'ENOENT');
  expect(kernelError('outer', first)).toBe(first);
});

test.each([new TypeError('not a Buffer'), new RangeError('3 bytes')])(
  '%s is a bug and passes unchanged',
  (bug) => {
    const call = () => {
      throw bug;
    };
    expect(() => attempt('x', call)).toThrow(bug);
  },
);

test('isErrno knows both kinds', () => {
  expect(isErrno(native({ code: 'ENOENT' }), 'EPERM', 'ENOENT')).toBe(true);
  expect(isErrno(new KernelError('x', 2, 'ENOENT'), 'ENOENT')).toBe(true);
  expect(isErrno(native({}), 'ENOENT')).toBe(false);
  expect(isErrno(undefined, 'ENOENT')).toBe(false);
});
