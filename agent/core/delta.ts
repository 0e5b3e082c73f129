// What separates two sets of keyed entries. Pure; the caller decides what may be written or removed, and when.
import { type Sliced, whole } from './slices';

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

/** Entries between two chances to pause. */
const STEP = 256;

/** Entries with a repeated key count once: the last one, as when written to a map one after the other. */
export function* comparing<D, A = D>(
  desired: readonly D[],
  actual: readonly A[],
  { desiredKey, actualKey, equal }: Comparison<D, A>,
): Sliced<Delta<D, A>> {
  const wanted = yield* keyed(desired, desiredKey);
  const there = yield* keyed(actual, actualKey);
  const put: [string, D][] = [];
  let at = 0;
  for (const [key, entry] of wanted) {
    if (++at % STEP === 0) yield;
    const found = there.get(key);
    if (found === undefined || !equal(entry, found)) put.push([key, entry]);
  }
  const remove: [string, A][] = [];
  for (const [key, entry] of there) {
    if (++at % STEP === 0) yield;
    if (!wanted.has(key)) remove.push([key, entry]);
  }
  return { put: sorted(put), remove: sorted(remove) };
}

export function delta<D, A = D>(
  desired: readonly D[],
  actual: readonly A[],
  comparison: Comparison<D, A>,
): Delta<D, A> {
  return whole(comparing(desired, actual, comparison));
}

function* keyed<T>(entries: readonly T[], keyOf: (entry: T) => string): Sliced<Map<string, T>> {
  const map = new Map<string, T>();
  for (const [index, entry] of entries.entries()) {
    if (index % STEP === STEP - 1) yield;
    map.set(keyOf(entry), entry);
  }
  return map;
}

const sorted = <T>(entries: readonly [string, T][]): T[] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, entry]) => entry);
