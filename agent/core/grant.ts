// What a certificate lets a node claim. Pure comparison; certificate.ts and blocks.ts in identity/ read it from X.509.

import { prefixContains } from './bytes';
import type { IpAddress, NodeName, Prefix, Vni } from './ids';

export interface Grant {
  readonly node: NodeName;
  readonly trustDomain: string;
  /** iPAddress SANs: the outer addresses the node may use. */
  readonly vteps: readonly IpAddress[];
  /**
   * RFC 3779 address blocks as the fewest prefixes that cover exactly them, so that a granted prefix or a part of
   * it always lies within one of these. They hold for every VNI that is granted.
   */
  readonly prefixes: readonly Prefix[];
  /** VNIs whose pods the node may carry; undefined: the VNI of the hosts only. */
  readonly vnis?: readonly Vni[] | undefined;
}

export function grantsVtep(grant: Grant, vtep: IpAddress): boolean {
  return grant.vteps.includes(vtep);
}

/** Every address of `prefix` is granted. */
export function grantsPrefix(grant: Grant, prefix: Prefix): boolean {
  return grant.prefixes.some((granted) => prefixContains(granted, prefix));
}

export function grantsVni(grant: Pick<Grant, 'vnis'>, vni: Vni, hostVni: Vni): boolean {
  return grant.vnis === undefined ? vni === hostVni : grant.vnis.includes(vni);
}

/**
 * The first claim outside the grant, for the log; undefined when all are granted.
 * @param hostVni what a grant that names no VNI is for; one in a cluster
 */
export function claimOutsideGrant(
  grant: Grant,
  claims: {
    readonly vteps: readonly IpAddress[];
    readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
  },
  hostVni: Vni,
): string | undefined {
  const vtep = claims.vteps.find((claimed) => !grantsVtep(grant, claimed));
  if (vtep !== undefined) return vtep;
  const group = claims.prefixes.find(({ vni }) => !grantsVni(grant, vni, hostVni));
  if (group !== undefined) return `VNI ${group.vni}`;
  return claims.prefixes.flatMap((group) => group.prefixes).find((claimed) => !grantsPrefix(grant, claimed));
}
