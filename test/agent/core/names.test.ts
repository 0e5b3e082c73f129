import { createHash } from 'node:crypto';
import type { NodeName } from '../../../agent/core/ids';
import { macClashes, nodeIdentity, nodeMac, parseNodeName } from '../../../agent/core/names';

test.each([
  [1, 'a', true],
  [2, '9', true],
  [3, 'node-1.rack2', true],
  [4, 'a'.repeat(63), true],
  [5, 'a'.repeat(64), false],
  [6, '', false],
  [7, '-a', false],
  [8, 'a-', false],
  [9, '.a', false],
  [10, 'a.', false],
  [11, 'A', false],
  [12, 'a_b', false],
  [13, 'a/b', false],
  [14, 'a\n', false],
  [15, '..', false],
])('%i: %j', (_, text, good) => {
  expect(parseNodeName(text).ok).toBe(good);
});

test('a hostile name is cut in the refusal', () => {
  const refused = parseNodeName('x!'.repeat(10_000));
  expect(refused.ok ? '' : refused.detail).toHaveLength(
    66 + ": 1 to 63 of a-z, 0-9, '-', '.', first and last a letter or digit".length,
  );
});

test('MAC and identity are those of the document', () => {
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex');
  const node = 'node1' as NodeName;
  expect(nodeMac(node).replaceAll(':', '')).toBe(`02${hash('vxseal/1 macnode1').slice(0, 10)}`);
  expect(nodeIdentity(node)).toBe(hash('node1').slice(0, 32));
});

test('5,000 usual names do not clash; a clash is found', () => {
  const names = Array.from({ length: 5_000 }, (_, i) => `node${i}` as NodeName);
  expect(macClashes(names)).toEqual([]);
  expect(macClashes([...names, ...names])).toEqual([]);
  // Found by search: the first 40 bits of the two hashes are equal.
  const pair = ['n581958', 'n589762'] as NodeName[];
  expect(nodeMac(pair[0] ?? ('' as NodeName))).toBe(nodeMac(pair[1] ?? ('' as NodeName)));
  expect(macClashes([...names, ...pair].reverse())).toEqual([[...pair].sort()]);
});
