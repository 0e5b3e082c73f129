// The index of prefixes beside a look at every one of them.
import { networkPrefix, prefixContains } from '../../../agent/core/bytes';
import type { IpAddress, Prefix } from '../../../agent/core/ids';
import { PrefixIndex } from '../../../agent/core/prefixindex';
import { seeded } from './random';

const random = seeded(5);
const below = (limit: number): number => Math.floor(random() * limit);

/** Few bits differ, so that prefixes often lie within each other. */
function randomPrefix(): Prefix {
  if (random() < 0.5) {
    const address = `10.${below(2)}.${below(4) * 64}.${below(4)}`;
    return networkPrefix(address as IpAddress, below(33));
  }
  const address = `fd00:${below(2)}::${below(3)}:${below(3)}`;
  return networkPrefix(address as IpAddress, random() < 0.2 ? below(97) : 97 + below(32));
}

test('2,000 look-ups: every prefix that contains it, and no other', () => {
  let found = 0;
  for (let round = 0; round < 20; round++) {
    const prefixes = ['0.0.0.0/0' as Prefix, '::/0' as Prefix, ...Array.from({ length: 40 }, randomPrefix)];
    const index = new PrefixIndex<number>();
    for (const [place, prefix] of prefixes.entries()) index.add(prefix, place);
    for (let query = 0; query < 100; query++) {
      const prefix = randomPrefix();
      const naive = prefixes.flatMap((outer, place) => (prefixContains(outer, prefix) ? [place] : []));
      expect(index.containing(prefix).sort((a, b) => a - b)).toEqual(naive);
      found += naive.length;
    }
  }
  expect(found).toBeGreaterThan(4000);
});

test('families never contain each other', () => {
  const index = new PrefixIndex<string>();
  index.add('::/0' as Prefix, 'six');
  index.add('0.0.0.0/0' as Prefix, 'four');
  expect(index.containing('10.0.0.1/32' as Prefix)).toEqual(['four']);
  expect(index.containing('fd00::/8' as Prefix)).toEqual(['six']);
});
