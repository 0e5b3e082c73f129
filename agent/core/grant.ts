// What a certificate lets a node claim. Pure comparison; certificate.ts and blocks.ts in identity/ read it from X.509.

import { prefixContains } from './bytes';
import type { IpAddress, NodeName, Prefix } from './ids';

export interface Grant {
  readonly node: NodeName;
  readonly trustDomain: string;
  /** iPAddress SANs: the outer addresses the node may use. */
  readonly vteps: readonly IpAddress[];
  /**
   * RFC 3779 address blocks as the fewest prefixes that cover exactly them, so that a granted prefix or a part of
   * it always lies within one of these. They hold for every VNI.
   */
  readonly prefixes: readonly Prefix[];
}

export function grantsVtep(grant: Grant, vtep: IpAddress): boolean {
  return grant.vteps.includes(vtep);
}

/** Every address of `prefix` is granted. */
export function grantsPrefix(grant: Grant, prefix: Prefix): boolean {
  return grant.prefixes.some((granted) => prefixContains(granted, prefix));
}

/** The first claim outside the grant, for the log; undefined when all are granted. */
export function claimOutsideGrant(
  grant: Grant,
  claims: {
    readonly vteps: readonly IpAddress[];
    readonly prefixes: readonly { readonly prefixes: readonly Prefix[] }[];
  },
): IpAddress | Prefix | undefined {
  const vtep = claims.vteps.find((claimed) => !grantsVtep(grant, claimed));
  if (vtep !== undefined) return vtep;
  return claims.prefixes.flatMap((group) => group.prefixes).find((claimed) => !grantsPrefix(grant, claimed));
}
