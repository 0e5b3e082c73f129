// Incremental adoption: which mode a pod gets, and what of the permissive prefixes nobody has adopted yet. Pure. A mode
// weakens a pod only where the node's configuration allows it; a range is in clear only as long as no node was ever
// seen to announce it, since a node whose keys went away must not be spoken to in clear.
import { prefixContains } from './bytes';
import { PEER_NONE, type Prefix, type Vni } from './ids';
import { accept, type Result, refuse } from './result';
import type { RosterNode } from './roster';
import type { OverlayEntry } from './state';

export const POD_MODES = ['strict', 'permissive', 'off'] as const;
/** `off`: no part of the overlay, without hooks. */
export type PodMode = (typeof POD_MODES)[number];
export type WeakerMode = Exclude<PodMode, 'strict'>;

export const MODE_ANNOTATION = 'vxseal.io/mode';

/** What is said of one pod; undefined where nothing is. */
export interface AskedMode {
  readonly network: string | undefined;
  /** Goes before the network's. */
  readonly annotation: string | undefined;
}

/** @param allowed by the node's configuration: whoever writes networks and annotations need not be its operator. */
export function chooseMode(
  { network, annotation }: AskedMode,
  allowed: readonly WeakerMode[],
): Result<PodMode, 'unknown' | 'not-allowed'> {
  const text = annotation ?? network ?? 'strict';
  const from = annotation === undefined ? 'the network' : `the annotation ${MODE_ANNOTATION}`;
  const mode = POD_MODES.find((known) => known === text);
  if (mode === undefined)
    return refuse(
      'unknown',
      `mode ${JSON.stringify(text).slice(0, 80)} of ${from} is none of ${POD_MODES.join(', ')}`,
    );
  if (mode === 'strict' || allowed.includes(mode)) return accept(mode);
  return refuse('not-allowed', `${from} asks for mode ${mode}, which this node does not allow`);
}

export const overlaps = (a: Prefix, b: Prefix): boolean => prefixContains(a, b) || prefixContains(b, a);

interface Group {
  readonly vni: Vni;
  readonly prefixes: readonly Prefix[];
}

/**
 * Entries of the overlay for what is in clear for permissive pods, and for what never is again: adopted prefixes whose
 * node is gone, unless another announces the range around them. Of the permissive prefixes only those that lie in
 * nothing known: longer ones inside of them win by themselves.
 * @param roster also nodes that are not live: their keys are gone, which is no reason for clear text
 * @param adopted what nodes have ever announced of the permissive prefixes
 */
export function permissiveEntries(
  config: {
    readonly hostVni: Vni;
    readonly prefixes: readonly Group[];
    readonly permissivePrefixes?: readonly Prefix[];
  },
  roster: readonly Pick<RosterNode, 'record'>[],
  adopted: readonly Prefix[],
): OverlayEntry[] {
  const { hostVni: vni, permissivePrefixes = [] } = config;
  const announced = [config, ...roster.flatMap(({ record }) => record ?? [])].flatMap(({ prefixes }) =>
    prefixes.flatMap((group) => (group.vni === vni ? group.prefixes : [])),
  );
  const within = (owners: readonly Prefix[], prefix: Prefix): boolean =>
    owners.some((owner) => prefixContains(owner, prefix));
  const none = { vni, peer: PEER_NONE, node: false };
  return [
    ...adopted.filter((prefix) => !within(announced, prefix)).map((prefix) => ({ ...none, prefix })),
    ...permissivePrefixes
      .filter((prefix) => !within([...announced, ...adopted], prefix))
      .map((prefix) => ({ ...none, prefix, clear: true as const })),
  ];
}

/** What makes a list of permissive prefixes unusable; undefined: nothing. */
export function permissiveGap(
  permissive: readonly Group[],
  overlay: {
    readonly vni: Vni;
    readonly prefixes: readonly Group[];
    readonly protectedPrefixes: readonly Group[];
    readonly pools: readonly Group[];
  },
): string | undefined {
  const ofHost = (groups: readonly Group[]): readonly Prefix[] =>
    groups.flatMap((group) => (group.vni === overlay.vni ? group.prefixes : []));
  const foreign = permissive.find(({ vni }) => vni !== overlay.vni);
  if (foreign !== undefined) return `has a prefix of VNI ${foreign.vni}; only overlay.vni can be in clear`;
  const mine = [...ofHost(overlay.prefixes), ...ofHost(overlay.pools)];
  const ranges = ofHost(overlay.protectedPrefixes);
  for (const prefix of ofHost(permissive)) {
    const own = mine.find((other) => overlaps(prefix, other));
    if (own !== undefined) return `${prefix} overlaps ${own}, which is this node's or a pool`;
    if (!ranges.some((range) => prefixContains(range, prefix)))
      return `${prefix} is not in overlay.protectedPrefixes`;
  }
  return undefined;
}
