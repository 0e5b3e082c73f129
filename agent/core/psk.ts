// The optional pre-shared key of a cluster (docs/keys.md §3): its public name, and how a record says which one its
// node has. Whoever breaks X25519 later still lacks it. Mixing it in is keyschedule.ts'.
import { SUITE } from './announcement';
import { sha256, toHex } from './crypto';

export interface PreSharedKey {
  /** 32 secret bytes. */
  readonly key: Uint8Array;
  /** Public name: 8 hex digits. */
  readonly id: string;
}

const ID_BYTES = 4;

/** A name that tells equal keys from different ones and nothing else, as long as the key is random. */
export function preSharedKey(key: Uint8Array): PreSharedKey {
  return { key, id: toHex(sha256('vxseal/1 psk id', key).subarray(0, ID_BYTES)) };
}

/** What a record offers. A node offers one suite only, so nobody can be talked into leaving the key out. */
export function suiteOf(pskId: string): string {
  return pskId === '' ? SUITE : `${SUITE}+psk.${pskId}`;
}

const OFFER = new RegExp(`^${SUITE}(?:\\+psk\\.([0-9a-f]{8}))?$`);

/** Id of the pre-shared key that goes with our suite, '' for none; undefined when our suite is not offered. */
export function offeredPsk(suites: readonly string[]): string | undefined {
  for (const suite of suites) {
    const match = OFFER.exec(suite);
    if (match !== null) return match[1] ?? '';
  }
  return undefined;
}

/** Why two nodes have no keys in common; '' when theirs is ours. */
export function pskMismatch(ours: string, theirs: string): string {
  if (ours === theirs) return '';
  const name = (id: string): string => (id === '' ? 'none' : id);
  return `its pre-shared key is not ours: it has ${name(theirs)}, we have ${name(ours)}`;
}
