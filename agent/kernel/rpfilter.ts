// Reverse path filtering on our device (RFC 3704). A peer's node address arrives through the tunnel while its route
// leads over the underlay: strict filtering would drop it, and deliver has already proved the source. Loose, not
// off: the kernel takes the larger of the device's value and "all".
import { readFileSync, writeFileSync } from 'node:fs';
import { sysctlPath } from './sysctl';

const STRICT = 1;
const LOOSE = 2;

const path = (device: string): string => sysctlPath(`ipv4/conf/${device}/rp_filter`);

function value(device: string): number {
  return Number(readFileSync(path(device), 'utf8'));
}

/** In the namespace of the calling thread. False also where the kernel has no such setting. */
export function isStrict(device: string): boolean {
  try {
    return Math.max(value('all'), value(device)) === STRICT;
  } catch {
    return false;
  }
}

/** Throws a system error, e.g. EROFS where /proc/sys is read-only. */
export function loosen(device: string): void {
  writeFileSync(path(device), `${LOOSE}\n`);
}
