// What of the permissive prefixes is in clear, against what nodes announce and ever announced; and which lists of them
// are refused.
import { permissiveEntries, permissiveGap } from '../../../agent/core/adoption';
import { PEER_NONE, type Prefix, type Vni } from '../../../agent/core/ids';
import type { RosterNode } from '../../../agent/core/roster';

const HOST = 42 as Vni;
const groups = (...prefixes: string[]) => [{ vni: HOST, prefixes: prefixes as Prefix[] }];
const announcing = (...prefixes: string[]): Pick<RosterNode, 'record'> => ({
  record: { prefixes: groups(...prefixes) } as unknown as NonNullable<RosterNode['record']>,
});

describe('entries', () => {
  // permissive, announced now, ever adopted -> in clear, closed
  const table: [number, string[], string[], string[], string[], string[]][] = [
    [1, [], [], [], [], []],
    [2, ['10.4.0.0/24'], [], [], ['10.4.0.0/24'], []],
    [3, ['10.4.0.0/24'], ['10.4.0.0/24'], [], [], []],
    [4, ['10.4.0.128/25'], ['10.4.0.0/24'], [], [], []],
    [5, ['10.4.0.0/16'], ['10.4.0.0/24'], [], ['10.4.0.0/16'], []],
    [6, ['10.4.0.0/24'], [], ['10.4.0.0/24'], [], ['10.4.0.0/24']],
    [7, ['10.4.0.128/25'], [], ['10.4.0.0/24'], [], ['10.4.0.0/24']],
    [8, ['10.4.0.0/16'], [], ['10.4.0.0/24'], ['10.4.0.0/16'], ['10.4.0.0/24']],
    [9, ['10.4.0.0/16'], ['10.4.0.0/23'], ['10.4.0.0/24'], ['10.4.0.0/16'], []],
    [10, ['10.4.0.0/24', 'fd04::/64'], ['10.4.0.0/24'], [], ['fd04::/64'], []],
  ];
  test.each(table)('%i', (_number, permissive, announced, adopted, inClear, closed) => {
    const config = {
      hostVni: HOST,
      prefixes: groups('10.1.0.0/24'),
      permissivePrefixes: permissive as Prefix[],
    };
    const entries = permissiveEntries(config, [announcing(...announced)], adopted as Prefix[]);
    const of = (clear: boolean) => entries.filter((entry) => (entry.clear === true) === clear);
    expect([of(true), of(false)].map((list) => list.map(({ prefix }) => prefix))).toEqual([inClear, closed]);
    expect(entries.every(({ vni, peer, node }) => vni === HOST && peer === PEER_NONE && !node)).toBe(true);
  });
});

test.each<[string, number, boolean]>([
  ['10.4.0.0/24', 42, true],
  ['10.0.0.0/8', 42, false], // holds this node's own
  ['10.1.0.128/25', 42, false],
  ['10.9.1.0/24', 42, false], // a pool's
  ['172.16.0.0/16', 42, false], // not protected
  ['10.4.0.0/24', 7, false],
])('a permissive prefix %s of VNI %i: %s', (prefix, vni, fits) => {
  const overlay = {
    vni: HOST,
    prefixes: groups('10.1.0.0/24'),
    protectedPrefixes: groups('10.0.0.0/8'),
    pools: groups('10.9.0.0/16'),
  };
  const gap = permissiveGap([{ vni: vni as Vni, prefixes: [prefix as Prefix] }], overlay);
  expect(gap === undefined).toBe(fits);
});
