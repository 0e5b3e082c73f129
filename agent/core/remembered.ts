// The last result of a computation, for as long as its inputs are the very same objects. Inputs must be immutable;
// the result is shared and must be too.
import type { Sliced } from './slices';

/** Inputs between two chances to pause. */
const STEP = 2048;

export class Remembered<T> {
  private last: { readonly inputs: readonly unknown[]; readonly value: T } | undefined;

  *get(inputs: readonly unknown[], make: () => Sliced<T>): Sliced<T> {
    if (this.last !== undefined && (yield* same(this.last.inputs, inputs))) return this.last.value;
    const value = yield* make();
    this.last = { inputs, value };
    return value;
  }
}

function* same(a: readonly unknown[], b: readonly unknown[]): Sliced<boolean> {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) {
    if (index % STEP === STEP - 1) yield;
    if (a[index] !== b[index]) return false;
  }
  return true;
}
