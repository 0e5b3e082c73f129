// What the kernel's IPsec refused without an SA to count it at (/proc/net/xfrm_stat, of the network namespace), as drops
// in our words. It counts for everybody's policies alike.
import { readFileSync } from 'node:fs';
import { PEER_LOCAL } from '../../core/ids';
import type { DropCount } from '../../ports';
import { isErrno } from '../fault';

export const STATISTICS_FILE = '/proc/self/net/xfrm_stat';

const MEANINGS: ReadonlyMap<string, Pick<DropCount, 'reason' | 'direction'>> = new Map([
  ['XfrmInTmplMismatch', { reason: 'forged_vxlan', direction: 'ingress' }], // VXLAN that no state of ours opened
  ['XfrmInStateMismatch', { reason: 'not_vxlan', direction: 'ingress' }], // authentic, yet not what the SA is for
  ['XfrmInNoStates', { reason: 'unknown_spi', direction: 'ingress' }],
  ['XfrmOutPolBlock', { reason: 'forged_vxlan', direction: 'egress' }], // VXLAN without the mark of a VNI
  ['XfrmOutNoStates', { reason: 'no_sa', direction: 'egress' }],
  ['XfrmOutStateExpired', { reason: 'sa_exhausted', direction: 'egress' }],
]);

/** A kernel built without CONFIG_XFRM_STATISTICS has none. Bytes are not counted. */
export function readStatistics(file: string): DropCount[] {
  try {
    return toDrops(readFileSync(file, 'utf8'));
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return [];
    throw cause;
  }
}

const toDrops = (text: string): DropCount[] =>
  text.split('\n').flatMap((line) => {
    const [name = '', count = '0'] = line.trim().split(/\s+/);
    const meaning = MEANINGS.get(name);
    const packets = /^\d+$/.test(count) ? BigInt(count) : 0n;
    return meaning === undefined || packets === 0n
      ? []
      : [{ peer: PEER_LOCAL, ...meaning, packets, bytes: 0n }];
  });
