// IPv6 router advertisements on our device (RFC 4861 §6.2.7): none is ever meant for it, and one that was believed
// would give the host another default route. admit lets none in; this is the second line.
import { readFileSync, writeFileSync } from 'node:fs';
import { sysctlPath } from './sysctl';

const path = (device: string): string => sysctlPath(`ipv6/conf/${device}/accept_ra`);

/** In the namespace of the calling thread. False also where IPv6 is off. */
export function acceptsAdvertisements(device: string): boolean {
  try {
    return readFileSync(path(device), 'utf8').trim() !== '0';
  } catch {
    return false;
  }
}

/** Throws a system error, e.g. EROFS where /proc/sys is read-only. */
export function refuseAdvertisements(device: string): void {
  writeFileSync(path(device), '0\n');
}
