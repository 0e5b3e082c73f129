import { networkPrefix, prefixContains } from '../../../agent/core/bytes';
import type { IpAddress, Prefix } from '../../../agent/core/ids';
import {
  blocksOf,
  containsBlocks,
  decodeBlocks,
  encodeBlocks,
  prefixesOf,
  type ResolvedBlocks,
} from '../../../agent/identity/blocks';

const of = (...prefixes: readonly string[]): ResolvedBlocks => blocksOf(prefixes as readonly Prefix[]);
const hexOf = (blocks: ResolvedBlocks): string => Buffer.from(encodeBlocks(blocks)).toString('hex');

describe('encoding', () => {
  test.each([
    [
      // Appendix B of RFC 3779, its first family, but without the SAFI.
      '1 the example of the RFC',
      ['10.0.32.0/20', '10.0.64.0/24', '10.1.0.0/16', '10.2.48.0/20', '10.2.64.0/24', '10.3.0.0/16'],
      '302c302a0402000130240304040a00200304000a00400303000a01300c0304040a02300304000a02400303000a03',
    ],
    ['2 everything', ['0.0.0.0/0', '::/0'], '301630090402000130030301003009040200023003030100'],
    ['3 one address', ['10.0.0.1/32'], '300f300d0402000130070305000a000001'],
    ['4 joined neighbours', ['10.0.0.0/25', '10.0.0.128/25'], '300e300c0402000130060304000a0000'],
  ])('%s', (_, prefixes, expected) => {
    expect(hexOf(of(...prefixes))).toBe(expected);
  });
});

test.each([
  ['1', ['10.0.0.0/24', '10.0.1.0/24'], ['10.0.0.0/23']],
  ['2', ['10.0.1.0/24', '10.0.2.0/24'], ['10.0.1.0/24', '10.0.2.0/24']],
  ['3', ['10.0.0.0/8', '10.1.0.0/16'], ['10.0.0.0/8']],
  ['4', ['0.0.0.0/1', '128.0.0.0/1'], ['0.0.0.0/0']],
  ['5', ['255.255.255.255/32', '0.0.0.0/32'], ['0.0.0.0/32', '255.255.255.255/32']],
  ['6', ['fd00::/64', '10.0.0.0/24'], ['10.0.0.0/24', 'fd00::/64']],
  ['7', ['ffff:ffff::/32', '::/128'], ['::/128', 'ffff:ffff::/32']],
])('%s: %j are the addresses of %j', (_, given, expected) => {
  expect(prefixesOf(of(...given))).toEqual(expected);
});

describe('against a naive twin, on random prefixes', () => {
  /** Mulberry32. */
  function random(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  /** Within 10.0.0.0/24 and fd00::/120, so that sets of addresses can be written out. */
  function prefixes(next: () => number): Prefix[] {
    return Array.from({ length: Math.floor(next() * 8) }, () => {
      const host = Math.floor(next() * 256);
      const bits = Math.floor(next() * 9);
      return next() < 0.5
        ? networkPrefix(`10.0.0.${host}` as IpAddress, 24 + bits)
        : networkPrefix(`fd00::${host.toString(16)}` as IpAddress, 120 + bits);
    });
  }

  function addresses(set: readonly Prefix[]): string[] {
    const all: string[] = [];
    for (let host = 0; host < 256; host++) {
      for (const single of [
        `10.0.0.${host}/32`,
        `${networkPrefix(`fd00::${host.toString(16)}` as IpAddress, 128)}`,
      ]) {
        if (set.some((prefix) => prefixContains(prefix, single as Prefix))) all.push(single);
      }
    }
    return all;
  }

  test('same addresses, fewest prefixes, one encoding, same containment', () => {
    const next = random(7);
    let contained = 0;
    for (let round = 0; round < 150; round++) {
      const [a, b] = [prefixes(next), prefixes(next)];
      const [blocksA, blocksB] = [blocksOf(a), blocksOf(b)];
      const split = prefixesOf(blocksA);
      const [setA, setB] = [addresses(a), new Set(addresses(b))];
      expect(addresses(split)).toEqual(setA);
      // No two of them could be one.
      expect(blocksOf(split)).toEqual(blocksA);
      expect(prefixesOf(blocksOf([...a].reverse()))).toEqual(split);
      expect(decodeBlocks(encodeBlocks(blocksA))).toEqual(blocksA);
      const naive = setA.every((address) => setB.has(address));
      expect(containsBlocks(blocksB, blocksA)).toBe(naive);
      if (naive && setA.length > 0) contained += 1;
    }
    expect(contained).toBeGreaterThan(5);
  });
});
