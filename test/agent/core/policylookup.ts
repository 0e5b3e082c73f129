// The data plane's way through the compiler's tables for one first packet: identity, ruleset, two look-ups.
import { hostPrefix } from '../../../agent/core/bytes';
import type { IpAddress } from '../../../agent/core/ids';
import type { PolicyDirection } from '../../../agent/core/policy';
import { IDENTITY_HOST } from '../../../agent/core/policyclasses';
import { findRule, identityOf, type PolicyTables } from '../../../agent/core/policytables';
import { HOST_VNI } from './policyworlds';

/** Identities of addresses that were looked up in a set of tables, so that it happens once. */
export type KnownIdentities = Map<IpAddress, number>;

/** @param protocol IP protocol number; @param port destination of the first packet */
export function allowedByTables(
  tables: PolicyTables,
  ifindex: number,
  direction: PolicyDirection,
  remote: IpAddress,
  protocol: number,
  port: number,
  known: KnownIdentities = new Map(),
): boolean {
  const ruleset = tables.pods.find((entry) => entry.ifindex === ifindex)?.[direction] ?? 0;
  const identity = known.get(remote) ?? identityOf(tables, HOST_VNI, hostPrefix(remote));
  known.set(remote, identity);
  if (ruleset === 0 || identity === IDENTITY_HOST) return true;
  return findRule(tables, ruleset, identity, protocol, port) !== undefined;
}
