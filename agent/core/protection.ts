// Where the configured pod ranges and what the nodes announced do not fit together: what would not be held back while
// a record is away. Pure; it changes nothing, it tells.
import { addressFamily, networkPrefix, prefixContains } from './bytes';
import type { IpAddress, Prefix, Vni } from './ids';
import type { RosterNode } from './roster';

interface PrefixesOfVni {
  readonly vni: Vni;
  readonly prefixes: readonly Prefix[];
}

/** desired.ts' OverlayConfig fits in. */
interface Ranges {
  readonly vteps: readonly IpAddress[];
  readonly hostVni: Vni;
  readonly prefixes: readonly PrefixesOfVni[];
  readonly protectedPrefixes: readonly PrefixesOfVni[];
}

/** Prefixes named in one message. */
const NAMED = 5;

/**
 * Those of the prefixes that hold outer addresses too: they may be what leads to the peers themselves, and cannot be
 * made unreachable. In time of their lengths, not of their number: a cluster has thousands of both.
 */
export function holdingOuterAddresses(
  prefixes: readonly Prefix[],
  config: Pick<Ranges, 'vteps'>,
  roster: readonly RosterNode[],
): ReadonlySet<Prefix> {
  const lengths = new Set(prefixes.map((prefix) => `${addressFamily(prefix)}/${lengthOf(prefix)}`));
  const networks = new Set<Prefix>();
  for (const vtep of [config.vteps, ...roster.map(({ record }) => record?.vteps ?? [])].flat())
    for (const each of lengths)
      if (each.startsWith(`${addressFamily(vtep)}/`))
        networks.add(networkPrefix(vtep, Number(each.slice(2))));
  return new Set(prefixes.filter((prefix) => networks.has(prefix)));
}

const lengthOf = (prefix: Prefix): string => prefix.slice(prefix.lastIndexOf('/') + 1);

/** Why the protected prefixes do not do all they should; undefined when they do. */
export function protectionGap(config: Ranges, roster: readonly RosterNode[]): string | undefined {
  const rangesOf = (vni: Vni): readonly Prefix[] => inVni(config.protectedPrefixes, vni);
  const inUse = new Set([config.hostVni, ...config.prefixes.map((group) => group.vni)]);
  const stray = roster.flatMap(({ node, record }) =>
    [...inUse].flatMap((vni) =>
      inVni(record?.prefixes ?? [], vni)
        .filter((prefix) => !rangesOf(vni).some((range) => prefixContains(range, prefix)))
        .map((prefix) => `${prefix} of ${node}`),
    ),
  );
  if (stray.length > 0)
    return `do not hold ${list(stray)}: without its record that traffic would leave in clear`;
  const shared = [...holdingOuterAddresses(rangesOf(config.hostVni), config, roster)];
  return shared.length === 0
    ? undefined
    : `hold node addresses (${list(shared)}): without the overlay device its traffic follows other routes`;
}

const inVni = (groups: readonly PrefixesOfVni[], vni: Vni): readonly Prefix[] =>
  groups.flatMap((group) => (group.vni === vni ? group.prefixes : []));

function list(items: readonly string[]): string {
  const more = items.length > NAMED ? ` and ${items.length - NAMED} more` : '';
  return `${items.slice(0, NAMED).join(', ')}${more}`;
}
