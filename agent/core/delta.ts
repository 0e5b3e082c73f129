// What separates two sets of keyed entries. Pure; the caller decides what may be written or removed, and when.

export interface Delta<D, A = D> {
  /** Wanted, and missing or different. In rising order of key. */
  readonly put: D[];
  /** There, and not wanted. In rising order of key. */
  readonly remove: A[];
}

/** Identity and content of the entries compared; wanted and actual may be of different types. */
export interface Comparison<D, A = D> {
  readonly desiredKey: (entry: D) => string;
  readonly actualKey: (entry: A) => string;
  readonly equal: (desired: D, actual: A) => boolean;
}

/** Entries with a repeated key count once: the last one, as when written to a map one after the other. */
export function delta<D, A = D>(
  desired: readonly D[],
  actual: readonly A[],
  { desiredKey, actualKey, equal }: Comparison<D, A>,
): Delta<D, A> {
  const wanted = new Map(desired.map((entry) => [desiredKey(entry), entry]));
  const there = new Map(actual.map((entry) => [actualKey(entry), entry]));
  const put = sorted(wanted).filter(([key, entry]) => {
    const found = there.get(key);
    return found === undefined || !equal(entry, found);
  });
  const remove = sorted(there).filter(([key]) => !wanted.has(key));
  return { put: put.map(([, entry]) => entry), remove: remove.map(([, entry]) => entry) };
}

const sorted = <T>(entries: ReadonlyMap<string, T>): [string, T][] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
