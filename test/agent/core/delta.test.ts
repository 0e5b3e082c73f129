import { delta } from '../../../agent/core/delta';
import { seeded, shuffled } from './random';

interface Entry {
  readonly key: string;
  readonly value: number;
}

const COMPARISON = {
  desiredKey: (entry: Entry): string => entry.key,
  actualKey: (entry: Entry): string => entry.key,
  equal: (a: Entry, b: Entry): boolean => a.value === b.value,
};

test('puts and removals turn what is there into what is wanted, and touch nothing that is right', () => {
  const random = seeded(11);
  for (let round = 0; round < 500; round++) {
    const some = (): Entry[] => {
      const entries: Entry[] = [];
      for (let key = 0; key < 12; key++) {
        if (random() < 0.5) entries.push({ key: `k${key}`, value: Math.floor(random() * 2) });
      }
      return shuffled(entries, random);
    };
    const [desired, actual] = [some(), some()];
    const { put, remove } = delta(desired, actual, COMPARISON);
    // The naive twin: apply, and look.
    const map = new Map(actual.map((entry) => [entry.key, entry.value]));
    for (const { key, value } of put) {
      expect(map.get(key)).not.toBe(value);
      map.set(key, value);
    }
    for (const { key } of remove) expect(map.delete(key)).toBe(true);
    expect([...map].sort()).toEqual(desired.map(({ key, value }) => [key, value]).sort());
    const keys = put.map((entry) => entry.key);
    expect(keys).toEqual([...keys].sort());
    expect(delta(shuffled(desired, random), shuffled(actual, random), COMPARISON)).toEqual({ put, remove });
  }
});

test('a repeated key counts once, the last one', () => {
  const twice = [
    { key: 'a', value: 1 },
    { key: 'a', value: 2 },
  ];
  expect(delta(twice, [], COMPARISON)).toEqual({ put: [{ key: 'a', value: 2 }], remove: [] });
  expect(delta(twice, [{ key: 'a', value: 2 }], COMPARISON)).toEqual({ put: [], remove: [] });
});
