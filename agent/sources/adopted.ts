// The prefixes that were adopted, on disk: what they mean is control/adoption.ts'.
import { parsePrefix } from '../core/bytes';
import type { Prefix } from '../core/ids';
import { readState, writeState } from './statefile';

export class AdoptedFile {
  private writing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly path: string,
    readonly former: readonly Prefix[],
  ) {}

  /** Empty when there is no file. Throws VxsealError 'state' on one that cannot be read or is damaged. */
  static async open(path: string): Promise<AdoptedFile> {
    return new AdoptedFile(path, (await readState(path, decode)) ?? []);
  }

  /** Calls are written in their order. Throws VxsealError 'state'. */
  save(prefixes: readonly Prefix[]): Promise<void> {
    const written = this.writing.then(() => writeState(this.path, { v: 1, prefixes }));
    this.writing = written.catch(() => undefined);
    return written;
  }
}

function decode(json: unknown): readonly Prefix[] | undefined {
  const { v, prefixes } = Object(json) as { readonly v?: unknown; readonly prefixes?: unknown };
  if (v !== 1 || !Array.isArray(prefixes)) return undefined;
  const parsed = prefixes.map((text) => parsePrefix(typeof text === 'string' ? text : ''));
  return parsed.every((one) => one.ok) ? parsed.flatMap((one) => (one.ok ? [one.value] : [])) : undefined;
}
