// Where network settings of the kernel are read and written. A container's own /proc/sys is read-only, and its runtime
// mounts nothing inside /proc: there the host's stands beside it. Both show the network namespace of whoever looks.
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const MOUNTED = '/host/proc/sys/net';
const OWN = '/proc/sys/net';

/** @param name "ipv4/conf/eth0/rp_filter" */
export function sysctlPath(name: string, mounted = MOUNTED): string {
  return join(existsSync(mounted) ? mounted : OWN, name);
}
