import { join } from 'node:path';
import { loadNative } from '../../../agent/kernel/native';

const before = process.env.VXSEAL_NATIVE;
afterEach(() => {
  if (before === undefined) delete process.env.VXSEAL_NATIVE;
  else process.env.VXSEAL_NATIVE = before;
});

test('a module that was not built: the message names the file and the remedy', () => {
  process.env.VXSEAL_NATIVE = '/nonexistent/vxseal.node';
  expect(() => loadNative()).toThrow(
    'native module /nonexistent/vxseal.node cannot be loaded: run ./scripts/build',
  );
});

test('by default the one of this package', () => {
  process.env.VXSEAL_NATIVE = '';
  const module = join(__dirname, '../../../build/native/vxseal.node');
  expect(loadNative()).toBe(loadNative(module));
});
