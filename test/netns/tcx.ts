// Whether this kernel has tcx (Linux 6.6 and later). What asks for it is skipped by name where it is missing.
import { loadNative } from '../../agent/kernel/native';

const LOOPBACK_IFINDEX = 1;

function tryTcx(): boolean {
  try {
    loadNative().queryTcx(LOOPBACK_IFINDEX, 'ingress');
    return true;
  } catch {
    return false;
  }
}

export const hasTcx = tryTcx();
/** Jest's `test`, or `test.skip` on a kernel without tcx. */
export const testWithTcx = hasTcx ? test : test.skip;
export const describeWithTcx = hasTcx ? describe : describe.skip;
