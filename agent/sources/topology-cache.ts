// The last known topology on disk: the signed records themselves, one file each, so that an agent that starts while
// the bus is down knows its peers. It stores no trust: what it hands out is verified like anything from a bus, and
// whoever changes a file changes nothing but what is refused. The order of records is not held here either (seen.ts).
import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_RECORD_BYTES } from '../core/payload';
import { compareOrder, type RecordOrder } from '../core/roster';
import { MAX_LEASE_MS, MAX_SKEW_MS } from '../core/verify';
import { VxsealError } from '../errors';
import { errnoOf, UNFINISHED_PREFIX } from '../files';
import type { BusRecord, Clock, Log } from '../ports';
import { decodeFileName, encodeFileName } from './filename';

/** Its time says when the bus last gave a sign of life. */
const ALIVE_NAME = '.alive';
const ALIVE_EVERY_MS = 30_000;
/** By then the lease of whatever is in the file has ended. */
const KEEP_MS = MAX_LEASE_MS + MAX_SKEW_MS;

export interface TopologyCacheParts {
  readonly path: string;
  readonly topics: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export class TopologyCache {
  /** Of what is in the file, by topic and key. */
  readonly #kept = new Map<string, { readonly digest: string; readonly order: RecordOrder }>();
  #writing = Promise.resolve();
  #unfinished = 0;
  #failed = false;
  #cancelAlive: () => void = () => undefined;

  constructor(private readonly parts: TopologyCacheParts) {}

  /**
   * What a former process kept. Files that are too old, too large or of other names are passed over, the old ones
   * removed. Throws VxsealError 'state' when the folder can be neither made nor read.
   * @returns the records in no order, and the wall clock of the bus's last sign of life, 0 for never
   */
  async load(): Promise<{ readonly records: readonly BusRecord[]; readonly aliveMs: number }> {
    const records: BusRecord[] = [];
    try {
      for (const topic of this.parts.topics) {
        const folder = join(this.parts.path, topic);
        await mkdir(folder, { recursive: true, mode: 0o700 });
        for (const name of await readdir(folder)) {
          const record = await this.#read(topic, name);
          if (record !== undefined) records.push(record);
        }
      }
      const alive = await stat(join(this.parts.path, ALIVE_NAME)).catch(() => undefined);
      return { records, aliveMs: Math.floor(alive?.mtimeMs ?? 0) };
    } catch (error) {
      throw new VxsealError(
        'state',
        `${this.parts.path}: the last known topology cannot be read: ${errnoOf(error) || String(error)}`,
        'check the owner, mode and file system of the state directory',
        { cause: error },
      );
    }
  }

  /**
   * Keeps a record that was found good, unless what is kept under its key comes after it: a replay must not take away
   * what a restart will need. Resolves once it is in the file, which need not outlast a power cut: neither do the
   * peers' keys in the kernel. Never throws: the first failure is logged.
   */
  async keep({ topic, key, value }: BusRecord, order: RecordOrder): Promise<void> {
    const name = encodeFileName(key);
    if (value === undefined || name === undefined) return;
    const id = `${topic}\n${key}`;
    const digest = digestOf(value);
    const kept = this.#kept.get(id);
    if (kept !== undefined && (kept.digest === digest || compareOrder(order, kept.order) < 0)) return;
    this.#kept.set(id, { digest, order });
    // One after the other: of two records of one key the later one must end up in the file.
    this.#writing = this.#writing.then(() => this.#write(join(this.parts.path, topic), name, value));
    await this.#writing;
  }

  /** Tells that the file of the record holds it already. */
  holds({ topic, key, value }: BusRecord, order: RecordOrder): void {
    if (value !== undefined) this.#kept.set(`${topic}\n${key}`, { digest: digestOf(value), order });
  }

  /** Notes from now on when the bus is alive. */
  watch(isAlive: () => boolean): void {
    const look = (): void => {
      const nowMs = this.parts.clock.nowMs();
      if (isAlive()) this.#writing = this.#writing.then(() => this.#touch(nowMs));
      this.#cancelAlive = this.parts.clock.after(ALIVE_EVERY_MS, look);
    };
    look();
  }

  async stop(): Promise<void> {
    this.#cancelAlive();
    await this.#writing;
  }

  async #read(topic: string, name: string): Promise<BusRecord | undefined> {
    const path = join(this.parts.path, topic, name);
    const key = decodeFileName(name);
    const found = await stat(path);
    const tooOld = found.mtimeMs + KEEP_MS < this.parts.clock.nowMs();
    if (tooOld || name.startsWith(UNFINISHED_PREFIX)) await rm(path, { force: true, recursive: true });
    if (tooOld || key === undefined || !found.isFile() || found.size > MAX_RECORD_BYTES) return undefined;
    return { topic, key, value: new Uint8Array(await readFile(path)) };
  }

  async #write(folder: string, name: string, value: Uint8Array): Promise<void> {
    this.#unfinished += 1;
    const unfinished = join(folder, `${UNFINISHED_PREFIX}${process.pid}-${this.#unfinished}`);
    try {
      await writeFile(unfinished, value, { mode: 0o600, flag: 'wx' });
      await rename(unfinished, join(folder, name));
      this.#failed = false;
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => undefined);
      this.#tell(error);
    }
  }

  async #touch(nowMs: number): Promise<void> {
    const path = join(this.parts.path, ALIVE_NAME);
    const now = new Date(nowMs);
    try {
      await (await open(path, 'a', 0o600)).close();
      await utimes(path, now, now);
    } catch (error) {
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.parts.log.error(
      { folder: this.parts.path, errno: errnoOf(error) },
      'last known topology cannot be kept: an agent that starts while the bus is down will not know its peers',
    );
  }
}

const digestOf = (value: Uint8Array): string => createHash('sha256').update(value).digest('base64');
