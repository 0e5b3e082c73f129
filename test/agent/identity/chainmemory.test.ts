import { verifyChain } from '../../../agent/identity/chain';
import { ChainMemory } from '../../../agent/identity/chainmemory';
import { DAY_MS, type Member, makeCa, makeLeaf, NOW_MS, parsed, TRUST_DOMAIN } from './forge';

const root = makeCa('root', undefined, { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS });
const roots = [parsed(root.der)];
const early = makeCa('early', root, { notBeforeMs: NOW_MS - DAY_MS / 4, notAfterMs: NOW_MS + DAY_MS / 4 });
const leaf = makeLeaf(root);
const chainOf = (...members: readonly Member[]) => members.map(({ der }) => der);
const outcome = (result: ReturnType<ChainMemory['verify']>): string =>
  result.ok ? 'accepted' : result.reason;

describe('memory of chains', () => {
  test.each([
    ['1 the leaf ends', [leaf], [0, DAY_MS - 1, DAY_MS, 0]],
    ['2 an intermediate ends first', [makeLeaf(early), early], [0, DAY_MS / 4 - 1, DAY_MS / 4, 0]],
    ['3 an intermediate begins later', [makeLeaf(early), early], [-DAY_MS / 4 - 1, 0, -DAY_MS / 4 - 1]],
    ['4 the root ends', [leaf], [0, 9 * DAY_MS, 0]],
  ])('%s: it says at every moment what a fresh look says', (_, members, momentsMs) => {
    const memory = new ChainMemory(roots, TRUST_DOMAIN);
    const said = momentsMs.map((ms) => memory.verify(chainOf(...members), NOW_MS + ms));
    const fresh = momentsMs.map((ms) => verifyChain(chainOf(...members), roots, NOW_MS + ms, TRUST_DOMAIN));
    expect(said.map(outcome)).toEqual(fresh.map(outcome));
    expect(new Set(said.map(outcome)).size).toBe(2);
  });

  test('a chain is judged once, and the same identity is given again', () => {
    const memory = new ChainMemory(roots, TRUST_DOMAIN);
    const [first, second] = [memory.verify(chainOf(leaf), NOW_MS), memory.verify(chainOf(leaf), NOW_MS)];
    expect(first.ok && second.ok && first.value === second.value).toBe(true);
  });

  test('a good chain makes no other one good: each byte of it, its order, its length', () => {
    const chain = chainOf(makeLeaf(early), early);
    const memory = new ChainMemory(roots, TRUST_DOMAIN);
    expect(outcome(memory.verify(chain, NOW_MS))).toBe('accepted');
    const [first = new Uint8Array(), second = new Uint8Array()] = chain;
    for (let at = 0; at < first.length; at++) {
      const bent = Uint8Array.from(first);
      bent[at] = (bent[at] ?? 0) ^ 1;
      expect(memory.verify([bent, second], NOW_MS).ok).toBe(false);
    }
    const moved = [Buffer.concat([first, second.subarray(0, 1)]), second.subarray(1)];
    for (const other of [[second, first], [first], moved, [Buffer.concat([first, second])]])
      expect(memory.verify(other, NOW_MS).ok).toBe(false);
  });

  test.each([
    ['1 asked for again at once', [0, 0], 1],
    ['2 within the minute', [0, 59_999], 1],
    ['3 again and again, for longer', [0, 50_000, 100_000, 150_000, 200_000], 1],
    ['4 once a minute', [0, 60_000, 120_000, 180_000], 1],
    ['5 not for two minutes', [0, 120_000], 2],
    ['6 the clock is set back', [0, -120_000], 2],
  ])('a chain is remembered while it is asked for: %s', (_, momentsMs, times) => {
    const memory = new ChainMemory(roots, TRUST_DOMAIN);
    const [mine, other] = [[leaf.der], [makeLeaf(root).der]];
    const given = momentsMs.map((ms) => {
      memory.verify(other, NOW_MS + ms); // others turn the page as well
      const verified = memory.verify(mine, NOW_MS + ms);
      return verified.ok ? verified.value : undefined;
    });
    expect(given).not.toContain(undefined);
    expect(new Set(given).size).toBe(times);
  });

  test('it keeps no more than twice the most, those used last among them', () => {
    const memory = new ChainMemory(roots, TRUST_DOMAIN, 4);
    const leaves = Array.from({ length: 9 }, () => [makeLeaf(root).der]);
    const judge = (index: number) => {
      const verified = memory.verify(leaves[index] ?? [], NOW_MS);
      return verified.ok && verified.value;
    };
    const first = leaves.map((_, index) => judge(index)); // 8 begins the third page
    expect(first).not.toContain(false);
    expect([8, 7, 6, 5].map((index) => judge(index) === first[index])).toEqual([true, true, true, true]);
    expect(judge(0)).not.toBe(first[0]);
  });
});
