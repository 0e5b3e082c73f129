// Finds nodes that claim one address: both are put in quarantine, since nobody can tell who is right. Certificates
// should have kept them apart (a grant for each node), so this is the second line. Pure; roster.ts asks.
import type { NodeAnnouncement } from './announcement';
import { hostPrefix, prefixBytes } from './bytes';
import type { IpAddress, NodeName, Prefix, Vni } from './ids';

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

/**
 * @returns for each live node that shares an address with another or with us: why, in one sentence. Our own node is
 * never in it.
 */
export function findConflicts(own: OwnClaims, nodes: readonly Claimant[]): ReadonlyMap<NodeName, string> {
  const claims = claimsOf(own.node, own, own.hostVni);
  for (const { node, state, record } of nodes) {
    if (state === 'live' && record !== undefined) claims.push(...rememberedClaims(node, record, own.hostVni));
  }
  // In text order a prefix comes right before all that lies within it.
  claims.sort((a, b) => (a.bits < b.bits ? -1 : a.bits > b.bits ? 1 : a.node < b.node ? -1 : 1));
  const reasons = new Map<NodeName, string>();
  const quarantine = (claim: Claim, other: Claim): void => {
    if (claim.node === own.node || reasons.has(claim.node)) return;
    reasons.set(claim.node, `${claim.what} overlaps ${other.what} of ${other.node}`);
  };
  const around: Claim[] = [];
  for (const claim of claims) {
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
