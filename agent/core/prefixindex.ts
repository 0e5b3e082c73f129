// Finds the prefixes that contain one, without looking at the others. Pure.
import { addressFamily, clearHostBits, prefixBytes } from './bytes';
import type { Prefix } from './ids';

export class PrefixIndex<T> {
  private readonly values = new Map<string, T[]>();
  /** Lengths that there are, over mapped addresses, by family. */
  private readonly lengths = { 4: new Set<number>(), 6: new Set<number>() };

  add(prefix: Prefix, value: T): void {
    const { bytes, mappedBits } = prefixBytes(prefix);
    const family = addressFamily(prefix);
    this.lengths[family].add(mappedBits);
    const key = keyOf(family, bytes, mappedBits);
    const known = this.values.get(key);
    if (known === undefined) this.values.set(key, [value]);
    else known.push(value);
  }

  /** Values of every prefix in which `prefix` lies, its own included. Families never contain each other. */
  containing(prefix: Prefix): T[] {
    const { bytes, mappedBits } = prefixBytes(prefix);
    const family = addressFamily(prefix);
    const found: T[] = [];
    for (const bits of this.lengths[family]) {
      if (bits > mappedBits) continue;
      const network = bytes.slice();
      clearHostBits(network, bits);
      found.push(...(this.values.get(keyOf(family, network, bits)) ?? []));
    }
    return found;
  }
}

const keyOf = (family: 4 | 6, network: Uint8Array, bits: number): string =>
  `${family}/${bits}/${network.join('.')}`;
