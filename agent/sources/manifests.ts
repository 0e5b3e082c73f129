// Texts of Kubernetes manifests: YAML documents and lists of them, to the values of core/manifest.ts. Knows no file and
// no server.
import { parseAllDocuments } from 'yaml';
import {
  asFields,
  asList,
  ManifestError,
  type ManifestNamespace,
  type ManifestObject,
  type ManifestPod,
  readObject,
} from '../core/manifest';
import type { NetworkPolicy } from '../core/policy';
import { accept, type Result, refuse } from '../core/result';

export interface Manifests {
  readonly policies: readonly NetworkPolicy[];
  readonly namespaces: readonly ManifestNamespace[];
  readonly pods: readonly ManifestPod[];
}

const MAX_ALIASES = 100;

/** @returns everything of the text, or what is wrong with the first object that is not as it should be. */
export function parseManifests(text: string): Result<Manifests, 'malformed'> {
  const parsed = parseObjects(text);
  if (!parsed.ok) return parsed;
  const objects = parsed.value;
  return accept({
    policies: objects.flatMap((object) => (object.kind === 'NetworkPolicy' ? [object.policy] : [])),
    namespaces: objects.flatMap((object) => (object.kind === 'Namespace' ? [object.namespace] : [])),
    pods: objects.flatMap((object) => (object.kind === 'Pod' ? [object.pod] : [])),
  });
}

/** In the order of the text. */
export function parseObjects(text: string): Result<readonly ManifestObject[], 'malformed'> {
  const found: ManifestObject[] = [];
  try {
    for (const document of parseAllDocuments(text, { uniqueKeys: true })) {
      const [problem] = document.errors ?? [];
      if (problem !== undefined) throw new ManifestError(`not YAML: ${problem.message.split('\n')[0]}`);
      const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
      if (value !== null && value !== undefined) take(value, found);
    }
    return accept(found);
  } catch (error) {
    if (error instanceof ManifestError) return refuse('malformed', error.message);
    // yaml throws for what only shows when values are made, such as too many aliases.
    return refuse('malformed', `not YAML: ${error instanceof Error ? error.message : 'unknown'}`);
  }
}

function take(value: unknown, found: ManifestObject[]): void {
  const object = asFields(value, 'document');
  const kind = String(object.kind);
  if (kind !== 'List' && !kind.endsWith('PolicyList')) found.push(readObject(object));
  else for (const item of asList(object.items, 'items')) take(item, found);
}
