// Services that a tenant shares with others: what the configuration may say of them, and the entries of the data plane
// that follow (bpf/shared.h). Nothing is translated, so an address must mean one thing only to each of the two: that is
// checked here, and all else is policy's. Pure.
import { prefixContains, prefixOverlaps } from './bytes';
import type { Prefix, PrefixesOfVni, Vni } from './ids';
import type { SharedEntry } from './state';

/** Addresses of one VNI that named addresses of others may begin connections to. */
export interface SharedService extends PrefixesOfVni {
  readonly name: string;
  readonly clients: readonly PrefixesOfVni[];
}

/** Each has a bit in the data plane's entries. */
export const MAX_SHARED_SERVICES = 64;

/** What is another tenant's, as seen from `vni`. */
interface Sight {
  readonly vni: Vni;
  readonly other: Vni;
  readonly prefix: Prefix;
  readonly way: SharedEntry['way'];
  readonly bit: bigint;
  readonly name: string;
}

function sightsOf(services: readonly SharedService[]): Sight[] {
  return services.flatMap(({ name, vni, prefixes, clients }, index) => {
    const bit = 1n << BigInt(index);
    return clients.flatMap((client): Sight[] => [
      ...prefixes.map((prefix): Sight => ({ vni: client.vni, other: vni, prefix, way: 'client', bit, name })),
      ...client.prefixes.map(
        (prefix): Sight => ({ vni, other: client.vni, prefix, way: 'server', bit, name }),
      ),
    ]);
  });
}

/** In order of VNI and prefix. Each has the services of all that hold it: the longest match is the only one looked at. */
export function sharedEntries(services: readonly SharedService[]): SharedEntry[] {
  const sights = sightsOf(services);
  const entries = new Map<string, SharedEntry>();
  for (const { vni, other, prefix, way } of sights) {
    const bits = sights
      .filter((each) => each.vni === vni && each.other === other && prefixContains(each.prefix, prefix))
      .reduce((sum, { bit }) => sum | bit, 0n);
    entries.set(`${vni}/${prefix}`, { vni, prefix, other, way, services: bits });
  }
  return [...entries.values()].sort((a, b) => a.vni - b.vni || (a.prefix < b.prefix ? -1 : 1));
}

/**
 * What is wrong with them, each a sentence without its subject; none: they may be used.
 * @param guarded the whole ranges of each VNI
 */
export function sharedIssues(
  services: readonly SharedService[],
  hostVni: Vni,
  guarded: readonly PrefixesOfVni[],
): string[] {
  const rangesOf = (vni: Vni): readonly Prefix[] =>
    guarded.filter((group) => group.vni === vni).flatMap(({ prefixes }) => prefixes);
  const issues: string[] = [];
  if (services.length > MAX_SHARED_SERVICES)
    issues.push(`has ${services.length} services, and there is room for ${MAX_SHARED_SERVICES}`);
  const names = services.map(({ name }) => name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) issues.push(`names ${twice} twice`);
  for (const { name, vni, prefixes, clients } of services) {
    const groups = [{ vni, prefixes }, ...clients];
    if (groups.some((group) => group.vni === hostVni))
      issues.push(`${name}: VNI ${hostVni} is the hosts', and only tenants share`);
    if (clients.some((client) => client.vni === vni)) issues.push(`${name}: VNI ${vni} is its own client`);
    for (const group of groups)
      for (const prefix of group.prefixes)
        if (!rangesOf(group.vni).some((range) => prefixContains(range, prefix)))
          issues.push(`${name}: ${prefix} is in no range of VNI ${group.vni} in overlay.protectedPrefixes`);
  }
  return issues.length > 0 ? issues : ambiguities(sightsOf(services), rangesOf);
}

/** Addresses that would mean two things to a VNI. */
function ambiguities(sights: readonly Sight[], rangesOf: (vni: Vni) => readonly Prefix[]): string[] {
  const issues = new Set<string>();
  for (const { vni, other, prefix, way, name } of sights) {
    const own = rangesOf(vni).find((range) => prefixOverlaps(range, prefix));
    if (own !== undefined)
      issues.add(
        `${name}: ${prefix} of VNI ${other} overlaps VNI ${vni}'s own ${own}, so ${vni} cannot tell them apart`,
      );
    for (const each of sights) {
      if (each.vni !== vni) continue;
      if (each.other === other && each.way !== way) {
        const [a, b] = [vni, other].sort((x, y) => x - y);
        issues.add(`VNIs ${a} and ${b} are each the other's client: only one of them may serve the other`);
      } else if (each.other > other && prefixOverlaps(each.prefix, prefix))
        issues.add(
          `${prefix} of VNI ${other} (${name}) and ${each.prefix} of VNI ${each.other} (${each.name}) overlap, so VNI ${vni} cannot tell them apart`,
        );
    }
  }
  return [...issues];
}

/** The service that an address of one VNI may begin connections to, at an address of another. */
export function serviceBetween(
  services: readonly SharedService[],
  from: { readonly vni: Vni; readonly prefix: Prefix },
  to: { readonly vni: Vni; readonly prefix: Prefix },
): SharedService | undefined {
  return services.find(
    ({ vni, prefixes, clients }) =>
      vni === to.vni &&
      prefixes.some((prefix) => prefixContains(prefix, to.prefix)) &&
      clients.some(
        (client) =>
          client.vni === from.vni && client.prefixes.some((prefix) => prefixContains(prefix, from.prefix)),
      ),
  );
}

/**
 * Why pods of this node cannot use the service, though they are its clients; undefined where they can, or are none. The
 * keys of a VNI are a node's that has prefixes in it, by its grant.
 * @param own prefixes of this node
 */
export function outOfReach(
  { vni, clients }: SharedService,
  own: readonly PrefixesOfVni[],
): string | undefined {
  const has = (wanted: Vni): boolean =>
    own.some((group) => group.vni === wanted && group.prefixes.length > 0);
  const here = clients.filter((client) => has(client.vni)).map((client) => client.vni);
  if (here.length === 0 || has(vni)) return undefined;
  return `pods of VNI ${here.join(', ')} on this node cannot use it: overlay.prefixes has none of VNI ${vni}, so the node has no keys of it`;
}
