// The file of the last known topology: grows at its end, a batch at a time, and is rewritten as a whole when too much of
// it is of no use any more. Owns the file and where its last whole entry ends; what is in the entries is its owner's.
// Calls come one after the other.
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, UNFINISHED_PREFIX } from '../files';
import { encodeEntry, LOG_HEAD, type LogEntry, readLog } from './topology-entry';

const WRITE_BYTES = 256 * 1024;

interface Extent {
  /** Up to the end of the last whole entry; 0: there is no file of ours. */
  readonly bytes: number;
  readonly entries: number;
}

const NOTHING: Extent = { bytes: 0, entries: 0 };

export class TopologyLog {
  #extent = NOTHING;

  constructor(private readonly path: string) {}

  /** In the file, also those that a later one has replaced. */
  get entries(): number {
    return this.#extent.entries;
  }

  /** Every whole entry in the order in which it was written. Throws what the system calls throw. */
  async load(take: (entry: LogEntry) => Promise<void>): Promise<void> {
    this.#extent = await this.#scan(take);
  }

  /**
   * Resolves once they are in the file. Throws what the system calls throw: the file is then as before, or, when
   * somebody has taken it away or cut it, begun anew by the next call: entries is 0 then.
   */
  async append(entries: readonly Uint8Array[]): Promise<void> {
    if (this.#extent.bytes === 0) await this.#begin();
    const file = await this.#open();
    try {
      const { size } = await file.stat();
      if (size < this.#extent.bytes) {
        this.#extent = NOTHING;
        throw new Error('the file was cut by somebody else');
      }
      // Half an entry, of a write that failed or a process that was killed: nothing behind it could be read.
      if (size > this.#extent.bytes) await file.truncate(this.#extent.bytes);
      const bytes = Buffer.concat(entries);
      await file.appendFile(bytes);
      this.#extent = {
        bytes: this.#extent.bytes + bytes.length,
        entries: this.#extent.entries + entries.length,
      };
    } finally {
      await file.close();
    }
  }

  /** Leaves out what is not wanted. The file is one or the other, whatever happens; throws what the system calls throw. */
  async rewrite(isWanted: (entry: LogEntry) => boolean): Promise<void> {
    await this.#replace(async (write) => {
      await this.#scan(async (entry) => {
        const bytes = isWanted(entry) ? encodeEntry(entry) : undefined;
        if (bytes !== undefined) await write(bytes);
      });
    });
  }

  async #open(): Promise<FileHandle> {
    try {
      // Never made here: what stood in it is gone if it is.
      return await open(this.path, constants.O_WRONLY | constants.O_APPEND);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') this.#extent = NOTHING;
      throw error;
    }
  }

  async #begin(): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await this.#replace(async () => undefined);
  }

  async #scan(take: (entry: LogEntry) => Promise<void>): Promise<Extent> {
    const file = await open(this.path, 'r').catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (file === undefined) return NOTHING;
    try {
      let entries = 0;
      const chunks = readLog(file);
      for (;;) {
        const { done, value } = await chunks.next();
        if (done === true) return { bytes: value, entries };
        entries += value.length;
        for (const entry of value) await take(entry);
      }
    } finally {
      await file.close();
    }
  }

  async #replace(fill: (write: (entry: Uint8Array) => Promise<void>) => Promise<void>): Promise<void> {
    const unfinished = join(dirname(this.path), `${UNFINISHED_PREFIX}${process.pid}`);
    try {
      const file = await open(unfinished, 'w', 0o600);
      const extent = await writeAll(file, fill).finally(() => file.close());
      await rename(unfinished, this.path);
      this.#extent = extent;
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => undefined);
      throw error;
    }
  }
}

async function writeAll(
  file: FileHandle,
  fill: (write: (entry: Uint8Array) => Promise<void>) => Promise<void>,
): Promise<Extent> {
  let waiting: Uint8Array[] = [LOG_HEAD];
  let waitingBytes = LOG_HEAD.length;
  let [bytes, entries] = [0, 0];
  const flush = async (): Promise<void> => {
    await file.appendFile(Buffer.concat(waiting));
    bytes += waitingBytes;
    [waiting, waitingBytes] = [[], 0];
  };
  await fill(async (entry) => {
    waiting.push(entry);
    waitingBytes += entry.length;
    entries += 1;
    if (waitingBytes >= WRITE_BYTES) await flush();
  });
  await flush();
  return { bytes, entries };
}
