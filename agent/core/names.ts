// What follows from a node's name alone: its grammar, its identity in the data plane, the MAC address of its VXLAN
// device. Deterministic, so that nobody has to announce it.
import { formatMac } from './bytes';
import { sha256, toHex } from './crypto';
import type { NodeName } from './ids';
import { accept, type Result, refuse } from './result';

const NODE_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$/;

/** Grammar of NodeName (ids.ts). Text in a refusal is cut: it may be hostile and of any length. */
export function parseNodeName(text: string): Result<NodeName, 'bad-name'> {
  if (NODE_NAME.test(text)) return accept(text as NodeName);
  const shown = JSON.stringify(text.slice(0, 64));
  return refuse('bad-name', `${shown}: 1 to 63 of a-z, 0-9, '-', '.', first and last a letter or digit`);
}

/** First 16 bytes of SHA-256(name), hex: what `peers` entries are recognised by after a restart. */
export function nodeIdentity(node: NodeName): string {
  const known = identities.get(node);
  if (known !== undefined) return known;
  const identity = toHex(sha256(node).subarray(0, 16));
  if (identities.size >= MAX_IDENTITIES) identities.clear();
  identities.set(node, identity);
  return identity;
}

/** Every pass asks for those of all nodes. */
const identities = new Map<NodeName, string>();
const MAX_IDENTITIES = 16_384;

/**
 * MAC of the node's VXLAN device: 02 (locally administered, unicast) and the first 5 bytes of
 * SHA-256("vxseal/1 mac" | name). Two nodes must differ: a kernel drops frames that carry its own MAC as source.
 */
export function nodeMac(node: NodeName): string {
  return formatMac(Uint8Array.of(0x02, ...sha256('vxseal/1 mac', node).subarray(0, 5)));
}

/**
 * Groups of names that share a VXLAN MAC, each sorted: one name of the group must change. With 5,000 nodes the
 * chance of any is 1 in 88,000.
 */
export function macClashes(nodes: readonly NodeName[]): NodeName[][] {
  const byMac = new Map<string, NodeName[]>();
  for (const node of [...new Set(nodes)].sort()) {
    const mac = nodeMac(node);
    byMac.set(mac, [...(byMac.get(mac) ?? []), node]);
  }
  return [...byMac.values()].filter((names) => names.length > 1);
}
