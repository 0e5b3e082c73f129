// Whether a decoded record may be believed, given what its verified certificate grants: names, grant, lease, key,
// suite. Pure; signature and chain are identity/record.ts, order and expiry over time are the roster.
import type { NodeAnnouncement, PodAnnouncement, UnverifiedAnnouncement } from './announcement';
import { hostPrefix } from './bytes';
import { claimOutsideGrant, type Grant } from './grant';
import type { Vni } from './ids';
import { offeredPsk } from './psk';
import { accept, type Result, refuse } from './result';

/** Why a record was refused; each is a counter. */
export const REJECT_REASONS = [
  'tombstone', // null value: a hint, never a removal
  'oversize',
  'wrong-topic',
  'malformed', // not a compact JWS of ours, or a payload outside the schema
  'wrong-type', // `typ` is not one of this topic's
  'wrong-algorithm',
  'unknown-version', // payload schema newer than ours
  'bad-chain',
  'expired-certificate', // or not valid yet
  'revoked', // the node, its certificate or a CA above it
  'bad-signature',
  'key-mismatch', // record key is not the certificate's node
  'node-mismatch', // payload names another node than the certificate
  'outside-grant', // a VTEP, VNI or prefix the certificate does not grant
  'bad-lease',
  'bad-generation', // further ahead than any honest clock: nothing of the node could ever come after it
  'no-key', // no usable X25519 key
  'unknown-suite', // no suite in common
] as const;
export type RejectReason = (typeof REJECT_REASONS)[number];

/** A lease bounds what a replayed record can do to a node that has seen nothing yet. */
export const MAX_LEASE_MS = 24 * 3600_000;
/** How far a peer's clock may run ahead of ours. */
export const MAX_SKEW_MS = 300_000;
/** How far a generation may be ahead: a node whose clock was wrong for a while must find back. */
export const MAX_GENERATION_AHEAD_MS = 365 * 24 * 3600_000;
/** Of generations and sequences alike: one more is still exact, whatever the clock says. */
const MAX_ORDER_NUMBER = 2 ** 52;

/** @param nowMs wall clock @returns the last generation that is believed */
export function latestGeneration(nowMs: number): number {
  return Math.min(MAX_ORDER_NUMBER, Math.floor(nowMs) + MAX_GENERATION_AHEAD_MS);
}

/**
 * Checks the claims of a record signed by `grant.node`.
 * @param hostVni VNI of the hosts: what a certificate that names none is for
 * @param nowMs wall clock; a lease that has ended is not refused here: it still counts for the order of records.
 */
export function checkClaims(
  record: UnverifiedAnnouncement,
  grant: Grant,
  nowMs: number,
  hostVni: Vni,
): Result<UnverifiedAnnouncement, RejectReason> {
  if (record.node !== grant.node) {
    return refuse('node-mismatch', `certificate of ${grant.node}, record of ${record.node}`);
  }
  if (record.generation > latestGeneration(nowMs) || record.sequence > MAX_ORDER_NUMBER) {
    return refuse('bad-generation', `generation ${record.generation}, sequence ${record.sequence}`);
  }
  // An end far ahead would keep a replay alive and, for a withdrawal, the roster's memory of it.
  if (record.notAfterMs > nowMs + MAX_LEASE_MS + MAX_SKEW_MS) {
    return refuse('bad-lease', `ends ${record.notAfterMs - nowMs} ms from now`);
  }
  if (record.kind === 'withdrawal') return accept(record);
  if (record.kind === 'node') return checkNode(record, grant, nowMs, hostVni);
  const prefixes = [{ vni: record.vni, prefixes: [hostPrefix(record.address)] }];
  const outside = claimOutsideGrant(grant, { vteps: [], prefixes }, hostVni);
  if (outside !== undefined) return refuse('outside-grant', `${grant.node} claims ${outside} for a pod`);
  return record.kind === 'pod' ? checkLease(record, nowMs) : accept(record);
}

function checkLease<T extends NodeAnnouncement | PodAnnouncement>(
  record: T,
  nowMs: number,
): Result<T, RejectReason> {
  const leaseMs = record.notAfterMs - record.notBeforeMs;
  if (leaseMs <= 0 || leaseMs > MAX_LEASE_MS) return refuse('bad-lease', `lease of ${leaseMs} ms`);
  if (record.notBeforeMs > nowMs + MAX_SKEW_MS) {
    return refuse('bad-lease', `begins ${record.notBeforeMs - nowMs} ms from now`);
  }
  return accept(record);
}

function checkNode(
  record: NodeAnnouncement,
  grant: Grant,
  nowMs: number,
  hostVni: Vni,
): Result<NodeAnnouncement, RejectReason> {
  const outside = claimOutsideGrant(grant, record, hostVni);
  if (outside !== undefined) return refuse('outside-grant', `${grant.node} claims ${outside}`);
  const lease = checkLease(record, nowMs);
  if (!lease.ok) return lease;
  if ([record.epoch, ...(record.olderEpochs ?? [])].some((epoch) => isLowOrder(epoch.publicKey)))
    return refuse('no-key', `${grant.node}: X25519 key of low order`);
  if (offeredPsk(record.suites) === undefined)
    return refuse('unknown-suite', `${grant.node} offers none of ours`);
  return accept(record);
}

/**
 * u-coordinates of small order on Curve25519 and its twist, little-endian hex (RFC 7748 §5, §6.1): with one of
 * them every shared secret is zero. The top bit is ignored by X25519 and cleared here before the comparison.
 */
const LOW_ORDER_POINTS = new Set([
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  `ec${'ff'.repeat(30)}7f`, // p - 1
  `ed${'ff'.repeat(30)}7f`, // p, another form of 0
  `ee${'ff'.repeat(30)}7f`, // p + 1, another form of 1
]);

/** @param publicKey 32 bytes */
function isLowOrder(publicKey: Uint8Array): boolean {
  const hex = Array.from(publicKey, (byte, index) =>
    (index === 31 ? byte & 0x7f : byte).toString(16).padStart(2, '0'),
  );
  return LOW_ORDER_POINTS.has(hex.join(''));
}
