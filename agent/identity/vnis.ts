// VNIs of a certificate: DNS names of a form of our own, which any CA can put in. An extension would need a CA that
// knows it, and a critical one is refused by every other reader. Which VNIs a node then has is chain.ts.
import type { Vni } from '../core/ids';
import { DerError } from './der';

/** .internal is reserved for private use: no public CA vouches for it (ICANN, 2024). docs/keys.md §2. */
const SUFFIX = '.vxseal.internal';
const NAME = /^vni-([1-9]\d{0,7})\.vxseal\.internal$/;
const MAX_VNI = 0xffffff;

export const vniName = (vni: Vni): string => `vni-${vni}${SUFFIX}`;

/**
 * @param names DNS names of a certificate, in any order; those of others are passed over
 * @returns rising; undefined when none is ours. Throws DerError for a name of ours that is no VNI, or stands twice.
 */
export function readVnis(names: readonly string[]): Vni[] | undefined {
  const vnis = names.filter((name) => name.toLowerCase().endsWith(SUFFIX)).map(readVni);
  if (new Set(vnis).size !== vnis.length) throw new DerError('VNI named twice');
  return vnis.length === 0 ? undefined : vnis.sort((a, b) => a - b);
}

function readVni(name: string): Vni {
  const vni = Number(NAME.exec(name)?.[1] ?? 0);
  if (vni < 1 || vni > MAX_VNI) throw new DerError('name that is no VNI');
  return vni as Vni;
}
