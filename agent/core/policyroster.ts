// The fold of verified policy records into the policy that holds. Order of arrival does not matter; nothing here ends
// by itself: a document stands until one with a later order replaces it or its signed withdrawal comes. Pure.
import { toHex } from './crypto';
import { closed, type NetworkPolicy, type PolicyNamespace, type PolicyPod, type PolicyWorld } from './policy';
import { parseKey } from './policydocument';
import { encodePolicyPayload, type PolicyRecord, type VerifiedPolicy } from './policyrecord';
import { compareOrder, type FoldOutcome, type RecordOrder } from './roster';

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

/** Of each VNI, by its number as text: the highest order of a withdrawal that made room and is forgotten. */
export type PolicyFloors = ReadonlyMap<string, RecordOrder>;

export const vniOfKey = (key: string): string => key.slice(0, key.indexOf('/'));

/**
 * Whether one VNI's documents have room for a record; those of others take none of it. Without `evict` nothing has to
 * go; else it is the withdrawal that is oldest, and its order becomes the floor. `forgotten`: the record is no newer
 * than a withdrawal of which only the order is left, so it may be the very document that was withdrawn.
 */
export function roomFor(
  roster: PolicyRoster,
  floors: PolicyFloors,
  { key, generation, sequence }: PolicyRecord,
  most: number,
): { readonly evict?: PolicyRecord } | 'full' | 'forgotten' {
  if (roster.has(key)) return {};
  const vni = vniOfKey(key);
  const floor = floors.get(vni);
  if (floor !== undefined && compareOrder({ generation, sequence }, floor) <= 0) return 'forgotten';
  if (roster.size < most) return {};
  const records = [...roster.values()].map(({ verified }) => verified.record);
  const ours = records.filter((record) => record.key.startsWith(`${vni}/`));
  if (ours.length < most) return {};
  const [first] = ours.filter(({ document }) => document === undefined).sort(compareOrder);
  return first === undefined ? 'full' : { evict: first };
}

export function raiseFloor(floors: PolicyFloors, { key, generation, sequence }: PolicyRecord): PolicyFloors {
  const vni = vniOfKey(key);
  const before = floors.get(vni);
  const order = { generation, sequence };
  if (before !== undefined && compareOrder(order, before) <= 0) return floors;
  return new Map(floors).set(vni, order);
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
