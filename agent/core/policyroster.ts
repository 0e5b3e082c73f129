// The fold of verified policy records into the policy that holds. Order of arrival does not matter; nothing here ends
// by itself: a document stands until one with a later order replaces it or its signed withdrawal comes. Pure.
import { toHex } from './crypto';
import { closed, type NetworkPolicy, type PolicyNamespace, type PolicyPod, type PolicyWorld } from './policy';
import { parseKey } from './policydocument';
import { encodePolicyPayload, type VerifiedPolicy } from './policyrecord';
import { compareOrder, type FoldOutcome } from './roster';

export interface PolicyEntry {
  readonly verified: VerifiedPolicy;
  /**
   * Why its author is not trusted any more: what his policies isolate, and what others isolate by his labels, stays
   * isolated; what they allow does not count.
   */
  readonly distrust: string | undefined;
}

/** By record key. */
export type PolicyRoster = ReadonlyMap<string, PolicyEntry>;

export const EMPTY_POLICY_ROSTER: PolicyRoster = new Map();

export function foldPolicy(
  entry: PolicyEntry | undefined,
  verified: VerifiedPolicy,
): { readonly entry: PolicyEntry; readonly outcome: FoldOutcome } {
  const fresh = { verified, distrust: undefined };
  if (entry === undefined) return { entry: fresh, outcome: 'accepted' };
  const order = compareOrder(verified.record, entry.verified.record);
  if (order !== 0)
    return order > 0 ? { entry: fresh, outcome: 'accepted' } : { entry, outcome: 'superseded' };
  // Two of one order: any choice will do that does not depend on arrival.
  const [theirs, ours] = [contentOf(verified), contentOf(entry.verified)];
  if (theirs === ours) return { entry: fresh, outcome: 'repeated' };
  return theirs > ours ? { entry: fresh, outcome: 'accepted' } : { entry, outcome: 'superseded' };
}

const contentOf = ({ record }: VerifiedPolicy): string => toHex(encodePolicyPayload(record));

/** Undefined: every document may stay. Else the withdrawn one that was withdrawn first makes room. */
export function roomFor(
  roster: PolicyRoster,
  key: string,
  most: number,
): { readonly evict?: string } | 'full' {
  if (roster.has(key) || roster.size < most) return {};
  const withdrawn = [...roster].filter(([, { verified }]) => verified.record.document === undefined);
  withdrawn.sort(([, a], [, b]) => compareOrder(a.verified.record, b.verified.record));
  const [first] = withdrawn;
  return first === undefined ? 'full' : { evict: first[0] };
}

/** What holds now, in order of key. */
export function viewPolicies(roster: PolicyRoster): PolicyWorld {
  const policies: NetworkPolicy[] = [];
  const namespaces: PolicyNamespace[] = [];
  const pods: PolicyPod[] = [];
  for (const [key, { verified, distrust }] of [...roster].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { author, document } = verified.record;
    const vni = parseKey(key)?.vni;
    if (document === undefined || vni === undefined) continue;
    const doubt = distrust === undefined ? {} : { distrusted: true as const };
    if (document.kind === 'Namespace') namespaces.push({ ...document.namespace, vni, ...doubt });
    else if (document.kind === 'Pod')
      pods.push({ ...document.pod, vni, ...(distrust !== undefined && { ports: [] }), ...doubt });
    else {
      const origin = `bus, signed by ${author}${distrust === undefined ? '' : ', who is not trusted: it allows nothing'}`;
      policies.push({ ...(distrust === undefined ? document.policy : closed(document.policy)), vni, origin });
    }
  }
  return { policies, namespaces, pods };
}
