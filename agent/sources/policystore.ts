// The policy records that this node has accepted, on disk: one file each, written through before a record counts. They
// are the policy while the bus is down, and, since a record holds its own order, what a bus cannot roll back.
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_RECORD_BYTES } from '../core/payload';
import { POLICIES_TOPIC } from '../core/policyrecord';
import { VxsealError } from '../errors';
import { errnoOf, syncFolder, UNFINISHED_PREFIX, writeWhole } from '../files';
import type { BusRecord } from '../ports';
import { decodeFileName, encodeFileName } from './filename';

export class PolicyStore {
  /** @param path folder; made when it is missing */
  constructor(private readonly path: string) {}

  /**
   * Everything that was kept. Throws VxsealError 'state' when any of it cannot be read: going on without would forget
   * policy that is in force.
   */
  async load(): Promise<BusRecord[]> {
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 });
      const records: BusRecord[] = [];
      for (const name of (await readdir(this.path)).sort()) {
        const file = join(this.path, name);
        if (name.startsWith(UNFINISHED_PREFIX)) {
          await rm(file, { force: true });
          continue;
        }
        const key = decodeFileName(name);
        const { size } = await stat(file);
        if (key === undefined || size > MAX_RECORD_BYTES)
          throw new VxsealError('state', `${file}: not a policy record`, 'move it out of this folder');
        records.push({ topic: POLICIES_TOPIC, key, value: new Uint8Array(await readFile(file)) });
      }
      return records;
    } catch (error) {
      if (error instanceof VxsealError) throw error;
      throw this.failure('cannot be read', error);
    }
  }

  /** Resolves once it outlasts a power cut. Throws VxsealError 'state'. */
  async keep({ key, value }: BusRecord): Promise<void> {
    const name = encodeFileName(key);
    if (name === undefined || value === undefined) return;
    try {
      await writeWhole(join(this.path, name), value, 0o600);
    } catch (error) {
      throw this.failure('cannot be written', error);
    }
  }

  /** Throws VxsealError 'state'. */
  async forget(key: string): Promise<void> {
    const name = encodeFileName(key);
    if (name === undefined) return;
    try {
      await rm(join(this.path, name), { force: true });
      await syncFolder(this.path);
    } catch (error) {
      throw this.failure('cannot be written', error);
    }
  }

  private failure(what: string, cause: unknown): VxsealError {
    return new VxsealError(
      'state',
      `${this.path}: accepted policy ${what}: ${errnoOf(cause) || String(cause)}`,
      'check that the state directory exists, is writable and not full',
      { cause },
    );
  }
}
