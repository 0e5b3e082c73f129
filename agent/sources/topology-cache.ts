// The last known topology on disk: the signed records themselves, in one file that grows at its end, so that an agent
// that starts while the bus is down knows its peers. It stores no trust: what it hands out is verified like anything
// from a bus, and whoever changes the file changes nothing but what is refused. The order of records is not held here
// either (seen.ts).
import { hash } from 'node:crypto';
import { mkdir, open, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { PODS_TOPIC, recordName } from '../core/announcement';
import { compareOrder, type RecordOrder } from '../core/roster';
import { MAX_LEASE_MS, MAX_SKEW_MS } from '../core/verify';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';
import type { BusRecord, Clock, Log } from '../ports';
import { encodeEntry, type LogEntry } from './topology-entry';
import { TopologyLog } from './topology-log';

const LOG_NAME = 'records.log';
/** Its time says when the bus last gave a sign of life. */
const ALIVE_NAME = '.alive';
const ALIVE_EVERY_MS = 30_000;
/** By then the lease of whatever is in an entry has ended. */
const KEEP_MS = MAX_LEASE_MS + MAX_SKEW_MS;
/** Entries that nobody needs any more are left in the file up to as many as there are others, and this many. */
const LEAST_DEAD = 1024;

export interface TopologyCacheParts {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Of the last entry of a key. */
interface Kept {
  readonly digest: string;
  /** Undefined until the record was verified; what the record says, which others hold too. */
  readonly order: RecordOrder | undefined;
}

interface Pending {
  readonly id: string;
  readonly kept: Kept;
  readonly bytes: Buffer;
}

export class TopologyCache {
  readonly #log: TopologyLog;
  /** Of what is in the file, by idOf(). */
  readonly #kept = new Map<string, Kept>();
  /** What waits for the next write, which takes all of it at once. */
  #pending: Pending[] = [];
  #queued: Promise<void> | undefined;
  #writing = Promise.resolve();
  /** Entries of the file. */
  #notBefore = 0;
  #loading = false;
  #failed = false;
  #cancelAlive: () => void = () => undefined;

  constructor(private readonly parts: TopologyCacheParts) {
    this.#log = new TopologyLog(join(parts.path, LOG_NAME));
  }

  /**
   * What a former process kept, in the order in which it was written: the last record of each key, of pods that of each
   * node that claims the address. What is too old is left out, and what is behind damage. The file is read twice, so
   * that it is never in memory as a whole. Throws VxsealError 'state' when the folder can be neither made nor read.
   * @param take is waited for
   * @returns the wall clock of the bus's last sign of life, 0 for never
   */
  async load(take: (record: BusRecord) => Promise<void>): Promise<number> {
    const { path } = this.parts;
    this.#loading = true;
    try {
      await mkdir(path, { recursive: true, mode: 0o700 });
      await this.#clear();
      const last = await this.#lastOfEach();
      let at = 0;
      await this.#log.load(async (entry) => {
        const { topic, key, value } = entry;
        const id = idOf(entry);
        if (last.get(id) !== at++) return;
        this.#kept.set(id, { digest: digestOf(value), order: undefined });
        await take({ topic, key, value });
      });
      return Math.floor((await stat(join(path, ALIVE_NAME)).catch(() => undefined))?.mtimeMs ?? 0);
    } catch (error) {
      if (errnoOf(error) === '') throw error;
      throw new VxsealError(
        'state',
        `${path}: the last known topology cannot be read: ${errnoOf(error)}`,
        'check the owner, mode and file system of the state directory',
        { cause: error },
      );
    } finally {
      this.#loading = false;
    }
  }

  /**
   * Keeps a record that was found good, unless what is kept under its key comes after it: a replay must not take away
   * what a restart will need. Resolves once it is in the file, which need not outlast a power cut: neither do the
   * peers' keys in the kernel. Never throws: the first failure is logged.
   */
  async keep({ topic, key, value }: BusRecord, order: RecordOrder): Promise<void> {
    // What is judged while the file is read came out of it.
    if (value === undefined || this.#loading) return;
    const bytes = encodeEntry({ topic, key, value, writtenMs: this.parts.clock.nowMs() });
    if (bytes === undefined) return;
    const kept = { digest: digestOf(value), order };
    this.#pending.push({ id: idOf({ topic, key, value }), kept, bytes });
    // What comes while a write is under way shares the next one.
    this.#queued ??= this.#writing = this.#writing.then(() => {
      this.#queued = undefined;
      return this.#write(this.#pending.splice(0));
    });
    await this.#queued;
  }

  /** Tells that the file of the record holds it already. */
  holds({ topic, key, value }: BusRecord, order: RecordOrder): void {
    if (value === undefined) return;
    this.#kept.set(idOf({ topic, key, value }), { digest: digestOf(value), order });
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

  /** Where in the file, counted in entries, the last one of a key stands that still counts. */
  async #lastOfEach(): Promise<ReadonlyMap<string, number>> {
    const last = new Map<string, number>();
    let at = 0;
    await this.#log.load(async (entry) => {
      if (!this.#isDead(entry)) last.set(idOf(entry), at);
      at += 1;
    });
    return last;
  }

  /** What no process of ours writes any more: halves of files, and one file a record as older agents had it. */
  async #clear(): Promise<void> {
    for (const name of await readdir(this.parts.path))
      if (name !== LOG_NAME && name !== ALIVE_NAME)
        await rm(join(this.parts.path, name), { recursive: true, force: true });
  }

  #isDead({ writtenMs }: LogEntry): boolean {
    return writtenMs + KEEP_MS < this.parts.clock.nowMs();
  }

  async #write(pending: readonly Pending[]): Promise<void> {
    try {
      const wanted = new Map<string, Pending>();
      for (const each of pending) {
        const before = wanted.get(each.id)?.kept ?? this.#kept.get(each.id);
        if (before === undefined || comesAfter(each.kept, before)) wanted.set(each.id, each);
      }
      if (wanted.size === 0) return;
      await this.#log.append([...wanted.values()].map(({ bytes }) => bytes));
      for (const { id, kept } of wanted.values()) this.#kept.set(id, kept);
      if (this.#log.entries > Math.max(2 * this.#kept.size + LEAST_DEAD, this.#notBefore))
        await this.#compact();
      this.#failed = false;
    } catch (error) {
      if (this.#log.entries === 0) this.#kept.clear();
      this.#tell(error);
    }
  }

  /** Reads and writes all of it: not again for a good while when it fails. */
  async #compact(): Promise<void> {
    this.#notBefore = this.#log.entries + this.#kept.size + LEAST_DEAD;
    const found = new Set<string>();
    await this.#log.rewrite((entry) => {
      const id = idOf(entry);
      if (this.#isDead(entry) || found.has(id)) return false;
      const isLast = this.#kept.get(id)?.digest === digestOf(entry.value);
      if (isLast) found.add(id);
      return isLast;
    });
    for (const id of [...this.#kept.keys()]) if (!found.has(id)) this.#kept.delete(id);
    this.#notBefore = 0;
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
      { folder: this.parts.path, errno: errnoOf(error), reason: String(error) },
      'last known topology cannot be kept: an agent that starts while the bus is down will not know its peers',
    );
  }
}

/**
 * Topic and key; of a pod's record also whose claim it is, as it says itself: of an address that two nodes claim neither
 * may be forgotten, or the other would get it.
 */
function idOf({ topic, key, value }: { topic: string; key: string; value: Uint8Array }): string {
  const name = recordName({ topic, key });
  return topic === PODS_TOPIC ? `${name}\n${claimantIn(value)}` : name;
}

/** Nothing is believed of it. "" for what is no record. */
function claimantIn(value: Uint8Array): string {
  const [, payload = ''] = Buffer.from(value.buffer, value.byteOffset, value.length)
    .toString('latin1')
    .split('.', 2);
  try {
    const said: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('latin1'));
    const node = typeof said === 'object' && said !== null && 'node' in said ? said.node : '';
    return typeof node === 'string' ? node : '';
  } catch {
    return '';
  }
}

/** What was not verified again in this process gives way to whatever was, unless it is the same. */
function comesAfter(next: Kept, before: Kept): boolean {
  if (next.digest === before.digest || next.order === undefined) return false;
  return before.order === undefined || compareOrder(next.order, before.order) >= 0;
}

const digestOf = (value: Uint8Array): string => hash('sha256', value, 'base64');
