// What ChaCha20 does to two blocks whose counters follow each other, as a list of steps on named words (RFC 8439
// §2.1-2.3), and which of the first steps are the same for all blocks of a packet. Knows neither registers nor BPF.

export type Step =
  | { readonly kind: 'add' | 'xor'; readonly to: string; readonly from: string }
  | { readonly kind: 'rotate'; readonly to: string; readonly by: number };

/** Word of the state that holds the block counter. */
export const COUNTER = 12;
export const WORDS = 16;

const COLUMNS = [
  [0, 4, 8, 12],
  [1, 5, 9, 13],
  [2, 6, 10, 14],
  [3, 7, 11, 15],
] as const;
const DIAGONALS = [
  [0, 5, 10, 15],
  [1, 6, 11, 12],
  [2, 7, 8, 13],
  [3, 4, 9, 14],
] as const;
const DOUBLE_ROUNDS = 10;

/** Word `at` of block `block` ("x" or "y"). */
export const word = (block: string, at: number): string => `${block}${at}`;
export const wordsOf = (block: string): string[] => Array.from({ length: WORDS }, (_, at) => word(block, at));
/** The number of a word in its state. */
export const numberOf = (name: string): number => Number(name.slice(1));

/** RFC 8439 §2.1 */
function quarterRound(a: string, b: string, c: string, d: string): Step[] {
  const add = (to: string, from: string): Step => ({ kind: 'add', to, from });
  const mix = (to: string, from: string, by: number): Step[] => [
    { kind: 'xor', to, from },
    { kind: 'rotate', to, by },
  ];
  return [
    ...[add(a, b), ...mix(d, a, 16), add(c, d), ...mix(b, c, 12)],
    ...[add(a, b), ...mix(d, a, 8), add(c, d), ...mix(b, c, 7)],
  ];
}

const halfRound = (block: string, quarters: readonly (readonly [number, number, number, number])[]): Step[] =>
  quarters.flatMap(([a, b, c, d]) =>
    quarterRound(word(block, a), word(block, b), word(block, c), word(block, d)),
  );

/** The twenty rounds of the blocks. They take turns every round: one's independent steps fill the gaps of the other's. */
export function rounds(blocks: readonly string[]): Step[] {
  return Array.from({ length: DOUBLE_ROUNDS }, () =>
    [COLUMNS, DIAGONALS].flatMap((quarters) => blocks.flatMap((block) => halfRound(block, quarters))),
  ).flat();
}

export interface Split {
  /** Steps of one block that depend on no counter: done once a packet. */
  readonly shared: readonly Step[];
  /** What is left for each block, beginning where `shared` ends. */
  readonly own: readonly Step[];
}

/**
 * Takes the steps apart by whether the counter has reached what they read. Throws if a shared step changes a word that
 * a step before it, which is not shared, has read: then they could not change places.
 */
export function splitByCounter(block: string, steps: readonly Step[]): Split {
  const reached = new Set([word(block, COUNTER)]);
  const readBefore = new Set<string>();
  const shared: Step[] = [];
  const own: Step[] = [];
  for (const step of steps) {
    const read = step.kind === 'rotate' ? [step.to] : [step.to, step.from];
    if (read.some((name) => reached.has(name))) {
      reached.add(step.to);
      for (const name of read) readBefore.add(name);
      own.push(step);
    } else {
      if (readBefore.has(step.to))
        throw new Error(`${step.to} changes after a step of the block's own read it`);
      shared.push(step);
    }
  }
  return { shared, own };
}
