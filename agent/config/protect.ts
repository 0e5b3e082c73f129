// What overlay.protectedPrefixes must hold. Without it a range is only known while its owner's record is: one that is
// withheld or withdrawn would turn its traffic into clear text. Pure.
import { prefixContains, prefixCoversMapped } from '../core/bytes';
import type { Prefix, Vni } from '../core/ids';
import type { PrefixGroup } from './values';

export interface ProtectionIssue {
  readonly reason: string;
  readonly remedy: string;
}

const NAME_RANGES = "Name the cluster's whole pod ranges, such as 10.244.0.0/16.";

/**
 * @param hostVni also in use where this node has no prefix in it: peers' prefixes are routed in it.
 * @param own this node's prefixes, and pools that it takes part in
 */
export function checkProtection(
  hostVni: Vni,
  own: readonly PrefixGroup[],
  guarded: readonly PrefixGroup[],
): ProtectionIssue[] {
  const wide = guarded.flatMap((group) => group.prefixes.filter(isTooWide));
  if (wide.length > 0)
    return [
      {
        reason: `${wide.join(', ')} is more than pods: everything in it that no peer announced is dropped`,
        remedy: NAME_RANGES,
      },
    ];
  const prefixesOf = (vni: Vni): readonly Prefix[] =>
    guarded.filter((group) => group.vni === vni).flatMap((group) => group.prefixes);
  const issues: ProtectionIssue[] = [];
  const inUse = own.filter((group) => group.prefixes.length > 0).map((group) => group.vni);
  for (const vni of [...new Set([hostVni, ...inUse])].sort((a, b) => a - b)) {
    const ranges = prefixesOf(vni);
    const mine = own.filter((group) => group.vni === vni).flatMap((group) => group.prefixes);
    const bare = mine.filter((prefix) => !ranges.some((range) => prefixContains(range, prefix)));
    if (ranges.length === 0) issues.push({ reason: `has none of VNI ${vni}`, remedy: NAME_RANGES });
    else if (bare.length > 0)
      issues.push({
        reason: `of VNI ${vni} do not hold ${bare.join(', ')}, which this node has there`,
        remedy: `Add the cluster's range that ${bare.join(', ')} is a part of.`,
      });
  }
  return issues;
}

/** Every address of a family, or an IPv6 prefix that IPv4 lies in (::ffff:0:0/96). */
function isTooWide(prefix: Prefix): boolean {
  return prefixCoversMapped(prefix) || prefix.endsWith('/0');
}
