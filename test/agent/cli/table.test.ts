// How ages, counts and tables are written, at their limits.
import { age, cell, count, left, milliseconds, percent, right, table } from '../../../agent/cli/table';

test.each([
  [-1, '-'],
  [0, '0s'],
  [999, '0s'],
  [1000, '1s'],
  [59_999, '59s'],
  [60_000, '1m'],
  [61_000, '1m1s'],
  [3_599_999, '59m59s'],
  [3_600_000, '1h'],
  [3_660_000, '1h1m'],
  [48 * 3_600_000 - 1, '47h59m'],
  [48 * 3_600_000, '2d'],
  [400 * 86_400_000, '400d'],
])('age of %i ms is %s', (ms, text) => {
  expect(age(ms)).toBe(text);
});

test.each([
  [-1, '-'],
  [0, '0'],
  [99_999, '99999'],
  [100_000, '100k'],
  [999_499, '999k'],
  [999_500, '1.0M'],
  [9_949_999, '9.9M'],
  [9_950_000, '10M'],
  [1_099_511_627_776, '1.1T'],
  [2 ** 64, '18E'],
])('count of %i is %s', (value, text) => {
  expect(count(value)).toBe(text);
});

test.each([
  [-1, '-'],
  [0, '0.00 ms'],
  [0.211, '0.21 ms'],
  [12.34, '12.3 ms'],
  [340.4, '340 ms'],
])('%d ms is %s', (value, text) => {
  expect(milliseconds(value)).toBe(text);
});

test.each([
  [-1, '-'],
  [0, '0%'],
  [0.0001, '<1%'],
  [0.01, '1%'],
  [0.999, '99%'],
  [1, '100%'],
])('share %d is %s', (value, text) => {
  expect(percent(value)).toBe(text);
});

test('columns align, colours do not count, the last column is cut', () => {
  const rows = [
    [cell('a', 'good'), cell('1'), cell('short')],
    [cell(''), cell('222'), cell('x'.repeat(50))],
  ];
  const columns = [left('NAME'), right('N'), left('WHY')];
  expect(table(columns, rows, false, 35)).toEqual([
    'NAME    N  WHY',
    'a       1  short',
    `-     222  ${'x'.repeat(23)}…`,
  ]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are made of them
  const colours = /\u001b\[\d+m/g;
  const strip = (line: string): string => line.replaceAll(colours, '');
  expect(table(columns, rows, true, 35).map(strip)).toEqual(table(columns, rows, false, 35));
  expect(table(columns, rows, true, 35)).not.toEqual(table(columns, rows, false, 35));
});

test('a table without rows has its titles', () => {
  expect(table([left('A'), left('B')], [], false)).toEqual(['A  B']);
});
