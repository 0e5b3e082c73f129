// Policies from a folder of manifests (*.yaml, *.yml, *.json): whatever writes them there. Read again when a file's
// stamp changes. A file that cannot be read keeps the meaning it last had: an error while editing opens nothing.
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Vni } from '../core/ids';
import type { PolicyReading, PolicySource } from '../core/policy';
import { type Manifests, parseManifests } from './manifests';

const MAX_FILE_BYTES = 4 << 20;
const SUFFIX = /^[^.].*\.(ya?ml|json)$/;

interface Known {
  readonly stamp: string;
  readonly manifests: Manifests | undefined;
  readonly issue: string | undefined;
}

export class PolicyFolder implements PolicySource {
  private readonly files = new Map<string, Known>();

  constructor(
    private readonly path: string,
    private readonly hostVni: Vni,
  ) {}

  async read(): Promise<PolicyReading> {
    const names = (await readdir(this.path)).filter((name) => SUFFIX.test(name)).sort();
    for (const name of this.files.keys()) if (!names.includes(name)) this.files.delete(name);
    for (const name of names) this.files.set(name, await this.look(name));
    const all = [...this.files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, known]) => known);
    const namespaces = all.flatMap(({ manifests }) => manifests?.namespaces ?? []);
    const vniOf = (namespace: string): Vni =>
      namespaces.find(({ name }) => name === namespace)?.vni ?? this.hostVni;
    return {
      policies: all.flatMap(({ manifests }) => manifests?.policies ?? []),
      namespaces,
      pods: all
        .flatMap(({ manifests }) => manifests?.pods ?? [])
        .map((pod) => ({ ...pod, vni: vniOf(pod.namespace) })),
      issues: all.flatMap(({ issue }) => (issue === undefined ? [] : [issue])),
    };
  }

  private async look(name: string): Promise<Known> {
    const path = join(this.path, name);
    const before = this.files.get(name);
    const failed = (stamp: string, why: string): Known => ({
      stamp,
      manifests: before?.manifests,
      issue: `${path}: ${why}`,
    });
    try {
      const { mtimeMs, ino, size } = await stat(path);
      const stamp = `${ino}/${mtimeMs}/${size}`;
      if (before?.stamp === stamp) return before;
      if (size > MAX_FILE_BYTES) return failed(stamp, `${size} bytes, at most ${MAX_FILE_BYTES} are read`);
      const parsed = parseManifests(await readFile(path, 'utf8'));
      return parsed.ok ? { stamp, manifests: parsed.value, issue: undefined } : failed(stamp, parsed.detail);
    } catch (error) {
      return failed('', error instanceof Error ? error.message : 'cannot be read');
    }
  }
}
