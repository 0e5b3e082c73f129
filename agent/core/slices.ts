// Pure work in slices: a generator that may be left between any two of its steps, so that what takes long for
// thousands of nodes need not hold up everything else. It yields nothing but the chance; who runs it decides when to
// pause. Its inputs must not change until it has ended.

export type Sliced<T> = Generator<void, T, void>;

/** All of it at once. */
export function whole<T>(work: Sliced<T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
