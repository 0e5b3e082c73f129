// Ranges of port numbers as prefixes of 16 bits, for a map that finds the longest one. Pure.

export interface PortPrefix {
  /** Lowest port; the bits behind the prefix are zero. */
  readonly first: number;
  /** 0 to 16. */
  readonly bits: number;
}

/** The fewest prefixes that cover exactly `first` to `last`, both included; 30 at most. Rising. */
export function splitPorts(first: number, last: number): PortPrefix[] {
  const prefixes: PortPrefix[] = [];
  for (let at = first; at <= last; ) {
    let size = 1;
    while (at % (size * 2) === 0 && at + size * 2 - 1 <= last && size < 65536) size *= 2;
    prefixes.push({ first: at, bits: 16 - Math.log2(size) });
    at += size;
  }
  return prefixes;
}
