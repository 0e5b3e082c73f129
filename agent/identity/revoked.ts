// The list of what is no longer trusted, before its certificate ends by itself: a local file, distributed like the
// roots, one entry a line: "serial <hex>" (a certificate, or a CA's with all below it), "node <name>" or
// "policy <name>" (a policy author). Owns its grammar. Who judges by it are record.ts and policyrecord.ts.
import { readFile } from 'node:fs/promises';
import type { NodeName } from '../core/ids';
import { parseNodeName } from '../core/names';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';

export interface Revocations {
  /** Lower-case hex, without leading zeros. */
  readonly serials: ReadonlySet<string>;
  readonly nodes: ReadonlySet<NodeName>;
  /** Policy authors. */
  readonly authors: ReadonlySet<NodeName>;
}

export const NOTHING_REVOKED: Revocations = { serials: new Set(), nodes: new Set(), authors: new Set() };

/** A file that is missing revokes nothing. Throws VxsealError 'identity': half a list would let somebody in. */
export async function readRevocations(path: string): Promise<Revocations> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return NOTHING_REVOKED;
    throw new VxsealError(
      'identity',
      `${path}: list of revocations cannot be read: ${errnoOf(error)}`,
      'check its owner and mode',
      { cause: error },
    );
  }
  return parseRevocations(text, path);
}

/** @param source for messages. Throws VxsealError 'identity' naming the line. */
export function parseRevocations(text: string, source: string): Revocations {
  const serials = new Set<string>();
  const nodes = new Set<NodeName>();
  const authors = new Set<NodeName>();
  for (const [index, line] of text.split('\n').entries()) {
    const words = line.replace(/#.*/, '').trim().split(/\s+/);
    if (words[0] === '') continue;
    const [kind, value = '', ...more] = words;
    const serial = /^(?:0x)?0*([0-9a-f]{1,40})$/.exec(value.toLowerCase().replaceAll(':', ''))?.[1];
    const node = parseNodeName(value);
    if (kind === 'serial' && serial !== undefined && more.length === 0) serials.add(serial);
    else if (kind === 'node' && node.ok && more.length === 0) nodes.add(node.value);
    else if (kind === 'policy' && node.ok && more.length === 0) authors.add(node.value);
    else
      throw new VxsealError(
        'identity',
        `${source}:${index + 1}: not a revocation`,
        'write "serial 1a2b…" (as vxseal ca show prints it) or "node NAME" or "policy NAME", one a line',
      );
  }
  return { serials, nodes, authors };
}

/** One sentence, or undefined for what is not revoked. @param path serials of the whole path, the leaf's first */
export function revocationOf(
  { serials, nodes, authors }: Revocations,
  name: NodeName,
  path: readonly string[],
  role: 'node' | 'policy' = 'node',
): string | undefined {
  if (role === 'node' && nodes.has(name)) return 'the node is revoked';
  if (role === 'policy' && authors.has(name)) return 'the author is revoked';
  const index = path.findIndex((serial) => serials.has(serial.replace(/^0+/, '')));
  if (index < 0) return undefined;
  return index === 0
    ? `its certificate ${path[0]} is revoked`
    : `the CA certificate ${path[index]} is revoked`;
}
