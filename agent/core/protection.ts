// Where the configured pod ranges and what the nodes announced do not fit together: what would not be held back while
// a record is away. Pure; it changes nothing, it tells.
import { addressFamily, networkPrefix, prefixContains } from './bytes';
import type { IpAddress, NodeName, Prefix, PrefixesOfVni, Vni } from './ids';
import type { RosterNode } from './roster';
import { type Sliced, whole } from './slices';

/** peers.ts' OverlayConfig fits in. */
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
  const lengths = [
    ...new Set(prefixes.map((prefix) => `${addressFamily(prefix)}/${lengthOf(prefix)}`)),
  ].sort();
  const networks = new Set<Prefix>();
  for (const vteps of [config.vteps, ...roster.map(({ record }) => record?.vteps ?? [])])
    for (const network of networksOf(vteps, lengths)) networks.add(network);
  return new Set(prefixes.filter((prefix) => networks.has(prefix)));
}

/** Records do not change, and are asked for the same lengths again and again. */
const known = new WeakMap<
  readonly IpAddress[],
  { readonly lengths: string; readonly networks: readonly Prefix[] }
>();

/** @param lengths "4/24", in order */
function networksOf(vteps: readonly IpAddress[], lengths: readonly string[]): readonly Prefix[] {
  const name = lengths.join();
  const before = known.get(vteps);
  if (before?.lengths === name) return before.networks;
  const networks = vteps.flatMap((vtep) =>
    lengths
      .filter((each) => each.startsWith(`${addressFamily(vtep)}/`))
      .map((each) => networkPrefix(vtep, Number(each.slice(2)))),
  );
  known.set(vteps, { lengths: name, networks });
  return networks;
}

const lengthOf = (prefix: Prefix): string => prefix.slice(prefix.lastIndexOf('/') + 1);

/** Why the protected prefixes do not do all they should; undefined when they do. */
export function protectionGap(config: Ranges, roster: readonly RosterNode[]): string | undefined {
  return whole(findingGap(config, roster));
}

/** The same in slices. */
export function* findingGap(config: Ranges, roster: readonly RosterNode[]): Sliced<string | undefined> {
  const stray: string[] = [];
  for (const { node, record } of roster) {
    if (record !== undefined) stray.push(...strayOf(config, node, record.prefixes));
    yield;
  }
  if (stray.length > 0)
    return `do not hold ${list(stray)}: without its record that traffic would leave in clear`;
  const shared = [...holdingOuterAddresses(inVni(config.protectedPrefixes, config.hostVni), config, roster)];
  return shared.length === 0
    ? undefined
    : `hold node addresses (${list(shared)}): without the overlay device its traffic follows other routes`;
}

/** Neither records nor configurations change. */
const strays = new WeakMap<
  readonly PrefixesOfVni[],
  { readonly config: Ranges; readonly stray: readonly string[] }
>();

function strayOf(config: Ranges, node: NodeName, groups: readonly PrefixesOfVni[]): readonly string[] {
  const before = strays.get(groups);
  if (before?.config === config) return before.stray;
  const stray = findStrays(config, node, groups);
  strays.set(groups, { config, stray });
  return stray;
}

function findStrays(config: Ranges, node: NodeName, groups: readonly PrefixesOfVni[]): string[] {
  const inUse = new Set([config.hostVni, ...config.prefixes.map((group) => group.vni)]);
  return [...inUse].flatMap((vni) =>
    inVni(groups, vni)
      .filter(
        (prefix) => !inVni(config.protectedPrefixes, vni).some((range) => prefixContains(range, prefix)),
      )
      .map((prefix) => `${prefix} of ${node}`),
  );
}

const inVni = (groups: readonly PrefixesOfVni[], vni: Vni): readonly Prefix[] =>
  groups.flatMap((group) => (group.vni === vni ? group.prefixes : []));

function list(items: readonly string[]): string {
  const more = items.length > NAMED ? ` and ${items.length - NAMED} more` : '';
  return `${items.slice(0, NAMED).join(', ')}${more}`;
}
