import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GracePeriods } from '../../../agent/kernel/graceperiods';
import { QuietLog } from '../../fakes/log';

let folder: string;
let log: QuietLog;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vxseal-rcu-'));
  log = new QuietLog();
  mkdirSync(join(folder, 'sys'));
  write('sys/rcu_normal', '0\n');
  write('sys/rcu_expedited', '0\n');
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (name: string, text: string): void => writeFileSync(join(folder, name), text);
const read = (name: string): string => readFileSync(join(folder, name), 'utf8').trim();
const remembered = (): boolean => existsSync(join(folder, 'mark'));
const periods = (): GracePeriods =>
  new GracePeriods(log, {
    file: join(folder, 'mark'),
    mounted: join(folder, 'mounted'),
    own: join(folder, 'sys'),
  });

test('the switch is on within the call, remembered, and off behind it', () => {
  const within = periods().expedite(() => [read('sys/rcu_expedited'), remembered()]);
  expect(within).toEqual(['1', true]);
  expect([read('sys/rcu_expedited'), remembered()]).toEqual(['0', false]);
});

test('a call that throws throws, and the switch is off behind it', () => {
  expect(() =>
    periods().expedite(() => {
      throw new Error('no such device');
    }),
  ).toThrow('no such device');
  expect([read('sys/rcu_expedited'), remembered()]).toEqual(['0', false]);
});

describe('what is not ours is left as it is', () => {
  // rcu_normal | rcu_expedited -> within the call
  test.each([
    ['1', '0', '0'],
    ['1', '1', '1'],
    ['0', '1', '1'],
  ])('normal %s, expedited %s', (normal, expedited, expected) => {
    write('sys/rcu_normal', normal);
    write('sys/rcu_expedited', expedited);
    expect(periods().expedite(() => [read('sys/rcu_expedited'), remembered()])).toEqual([expected, false]);
    expect(read('sys/rcu_expedited')).toBe(expected);
  });

  test('calls within calls', () => {
    const both = periods();
    both.expedite(() => both.expedite(() => expect(read('sys/rcu_expedited')).toBe('1')));
    expect(read('sys/rcu_expedited')).toBe('0');
  });
});

describe('a switch that cannot be thrown: the call runs, and it is told once', () => {
  test.each<[string, () => void]>([
    ['not there', () => rmSync(join(folder, 'sys/rcu_expedited'))],
    ['not to be remembered', () => mkdirSync(join(folder, 'mark'))],
    [
      'not to be written',
      () => {
        rmSync(join(folder, 'sys/rcu_expedited'));
        // Reads 0, and takes nothing from anybody.
        symlinkSync('/sys/class/net/lo/dev_port', join(folder, 'sys/rcu_expedited'));
      },
    ],
  ])('%s', (_name, spoil) => {
    spoil();
    const spoilt = periods();
    expect([spoilt.expedite(() => 1), spoilt.expedite(() => 2)]).toEqual([1, 2]);
    expect(log.lines).toHaveLength(1);
  });
});

test('what a killed process left on is taken back, and only that', () => {
  write('sys/rcu_expedited', '1');
  periods().restore();
  expect(read('sys/rcu_expedited')).toBe('1');
  write('mark', '');
  periods().restore();
  expect([read('sys/rcu_expedited'), remembered()]).toEqual(['0', false]);
});

test("in a container the host's switch beside it counts", () => {
  mkdirSync(join(folder, 'mounted'));
  write('mounted/rcu_expedited', '0');
  const within = periods().expedite(() => [read('mounted/rcu_expedited'), read('sys/rcu_expedited')]);
  expect(within).toEqual(['1', '0']);
  expect(read('mounted/rcu_expedited')).toBe('0');
});
