// Finds nodes that claim one address: both are put in quarantine, since nobody can tell who is right. Certificates
// should have kept them apart (a grant for each node), so this is the second line. Pure; roster.ts asks.
import type { NodeAnnouncement } from './announcement';
import { hostPrefix, prefixBytes } from './bytes';
import type { IpAddress, NodeName, Prefix, Vni } from './ids';
import { type Sliced, whole } from './slices';

/** What this node itself claims: it wins against every peer. */
export interface OwnClaims {
  readonly node: NodeName;
  readonly vteps: readonly IpAddress[];
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
  /** The VNI whose addresses share the host's routing with VTEPs. */
  readonly hostVni: Vni;
}

/** A node whose claims count; nodes of other states are passed over. */
export interface Claimant {
  readonly node: NodeName;
  readonly state: string;
  readonly record: NodeAnnouncement | undefined;
}

interface Claim {
  readonly node: NodeName;
  readonly what: string;
  /** Prefix as bits in text: one contains the other when its text begins with the other's. */
  readonly bits: string;
}

/** VTEPs stand beside the pod prefixes of the host's VNI; tenants may use the underlay's addresses for themselves. */
function claimsOf(
  node: NodeName,
  { vteps, prefixes }: Pick<OwnClaims, 'vteps' | 'prefixes'>,
  hostVni: Vni,
): Claim[] {
  const claim = (vni: Vni, prefix: Prefix, what: string): Claim => ({
    node,
    what,
    bits: `${vni}/${bitsOf(prefix)}`,
  });
  return [
    ...vteps.map((vtep) => claim(hostVni, hostPrefix(vtep), `VTEP ${vtep}`)),
    ...prefixes.flatMap(({ vni, prefixes: list }) =>
      list.map((prefix) => claim(vni, prefix, `prefix ${prefix} of VNI ${vni}`)),
    ),
  ];
}

/** Records do not change, and every pass asks again for those of all nodes. */
const remembered = new WeakMap<
  NodeAnnouncement,
  { readonly hostVni: Vni; readonly claims: readonly Claim[] }
>();

function rememberedClaims(node: NodeName, record: NodeAnnouncement, hostVni: Vni): readonly Claim[] {
  const known = remembered.get(record);
  if (known?.hostVni === hostVni) return known.claims;
  const claims = claimsOf(node, record, hostVni);
  remembered.set(record, { hostVni, claims });
  return claims;
}

function bitsOf(prefix: Prefix): string {
  const { bytes, mappedBits } = prefixBytes(prefix);
  return Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0'))
    .join('')
    .slice(0, mappedBits);
}

/** In text order a prefix comes right before all that lies within it. */
const inOrder = (a: Claim, b: Claim): number =>
  a.bits !== b.bits
    ? a.bits < b.bits
      ? -1
      : 1
    : a.node !== b.node
      ? a.node < b.node
        ? -1
        : 1
      : a.what < b.what
        ? -1
        : 1;

/**
 * @returns for each live node that shares an address with another or with us: why, in one sentence. Our own node is
 * never in it.
 */
export function findConflicts(own: OwnClaims, nodes: readonly Claimant[]): ReadonlyMap<NodeName, string> {
  return whole(findingConflicts(own, nodes));
}

export function* findingConflicts(
  own: OwnClaims,
  nodes: readonly Claimant[],
): Sliced<ReadonlyMap<NodeName, string>> {
  const claims = [...claimsOf(own.node, own, own.hostVni)];
  for (const { node, state, record } of nodes) {
    if (state === 'live' && record !== undefined) claims.push(...rememberedClaims(node, record, own.hostVni));
    yield;
  }
  return yield* judging(own.node, claims.sort(inOrder));
}

/** Claims between two chances to pause. */
const STEP = 256;

/** @param claims in order */
function* judging(own: NodeName, claims: readonly Claim[]): Sliced<ReadonlyMap<NodeName, string>> {
  const reasons = new Map<NodeName, string>();
  const quarantine = (claim: Claim, other: Claim): void => {
    if (claim.node === own || reasons.has(claim.node)) return;
    reasons.set(claim.node, `${claim.what} overlaps ${other.what} of ${other.node}`);
  };
  const around: Claim[] = [];
  for (const [index, claim] of claims.entries()) {
    if (index % STEP === STEP - 1) yield;
    while (around.length > 0 && !claim.bits.startsWith(around.at(-1)?.bits ?? '')) around.pop();
    for (const outer of around) {
      if (outer.node === claim.node) continue;
      quarantine(claim, outer);
      quarantine(outer, claim);
    }
    around.push(claim);
  }
  return reasons;
}

/** Finds what findConflicts() finds, and sorts only the claims that were not there the last time. */
export class ConflictFinder {
  private own = '';
  private records: ReadonlySet<NodeAnnouncement> = new Set();
  /** In order. */
  private claims: readonly Claim[] = [];
  private reasons: ReadonlyMap<NodeName, string> = new Map();

  *finding(own: OwnClaims, nodes: readonly Claimant[]): Sliced<ReadonlyMap<NodeName, string>> {
    const { reasons: former } = this;
    const { node: name, vteps, prefixes, hostVni } = own;
    const self = JSON.stringify([name, vteps, prefixes, hostVni]);
    const isOther = self !== this.own;
    const before = isOther ? new Set<NodeAnnouncement>() : this.records;
    const standing = isOther ? [...claimsOf(name, own, hostVni)].sort(inOrder) : this.claims;
    const records = new Set<NodeAnnouncement>();
    const come: Claim[] = [];
    for (const { node, state, record } of nodes) {
      if (state !== 'live' || record === undefined) continue;
      records.add(record);
      if (!before.has(record)) come.push(...rememberedClaims(node, record, hostVni));
      yield;
    }
    const gone = new Set<Claim>();
    for (const record of before)
      if (!records.has(record))
        for (const claim of rememberedClaims(record.node, record, hostVni)) gone.add(claim);
    if (!isOther && come.length === 0 && gone.size === 0) return former;
    const claims = merged(
      standing.filter((claim) => !gone.has(claim)),
      come.sort(inOrder),
    );
    const reasons = yield* judging(name, claims);
    // All at once: another call may have ended meanwhile.
    Object.assign(this, { own: self, records, claims, reasons });
    return reasons;
  }
}

/** Of two lists in order. */
function merged(a: readonly Claim[], b: readonly Claim[]): Claim[] {
  const all: Claim[] = [];
  let at = 0;
  for (const claim of b) {
    for (let next = a[at]; next !== undefined && inOrder(next, claim) < 0; next = a[at]) {
      all.push(next);
      at += 1;
    }
    all.push(claim);
  }
  return [...all, ...a.slice(at)];
}
