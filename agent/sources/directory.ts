// The embedded bus: a folder with one file a record, <path>/<topic>/<key>. Owns files, watching and what has been
// delivered; believes nothing it reads. Other writers may be careless or hostile: no link is followed, nothing but a
// regular file is opened for reading, and no more is read than a record may have.
import { createHash } from 'node:crypto';
import { constants, type FSWatcher, watch } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_RECORD_BYTES } from '../core/payload';
import { VxsealError } from '../errors';
import { errnoOf, writeWhole } from '../files';
import type { BusRecord, BusStatus, Clock, Log, TopologyBus } from '../ports';
import { decodeFileName, encodeFileName } from './filename';

export interface DirectoryBusParts {
  readonly path: string;
  readonly topics: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** How often everything is looked at again, in case a change was not told. */
  readonly rescanMs?: number;
}

const DEFAULT_RESCAN_MS = 10_000;
/** Timestamps are coarse: a file changed again within this may look as it did before. */
const UNSETTLED_MS = 2000;
const NEVER: BusStatus = { connected: false, inSync: false, lastSeenMs: 0, error: 'not started' };

/** What was last seen of a file: equal stamps need no reading, equal digests no delivery. */
interface SeenFile {
  readonly stamp: string;
  readonly digest: string;
}

/** One topic's folder: its watch, and what of it has been delivered. */
interface Topic {
  readonly name: string;
  readonly folder: string;
  readonly seen: Map<string, SeenFile>;
  /** File names that a watch told of and nobody has looked at since. */
  readonly told: Set<string>;
  watcher: FSWatcher | undefined;
  /** Device and inode of the folder that is watched: another one may come to stand under the name. */
  watched: string;
}

export class DirectoryBus implements TopologyBus {
  #status = NEVER;
  #receive: ((record: BusRecord) => void) | undefined;
  readonly #listeners: (() => void)[] = [];
  readonly #topics: readonly Topic[];
  #reading: Promise<void> | undefined;
  #readAll = true;
  #readAgain = false;
  #cancelRescan: () => void = () => undefined;
  #stopped = false;

  constructor(private readonly parts: DirectoryBusParts) {
    this.#topics = parts.topics.map((name) => ({
      name,
      folder: join(parts.path, name),
      seen: new Map(),
      told: new Set(),
      watcher: undefined,
      watched: '',
    }));
  }

  /** Resolves after the first look at the folder, also when that failed: status() says so and it goes on trying. */
  async start(receive: (record: BusRecord) => void): Promise<void> {
    this.#receive = receive;
    // Only here: a folder that vanishes later (a file system unmounted) must not come back as an empty one of ours.
    for (const { folder } of this.#topics) {
      await mkdir(folder, { recursive: true, mode: 0o755 }).catch(() => undefined);
    }
    await this.#read(true);
  }

  /** Errors: VxsealError 'bus'; the record is then not there, or it is but may not outlast a power cut. */
  async publish(topic: string, key: string, value: Uint8Array): Promise<void> {
    const name = encodeFileName(key);
    const folder = this.#topics.find((known) => known.name === topic)?.folder;
    if (name === undefined || folder === undefined) {
      throw new VxsealError('bus', `${topic}: key of ${key.length} characters cannot be a file name`);
    }
    const path = join(folder, name);
    try {
      await writeWhole(path, value, 0o644);
    } catch (error) {
      throw new VxsealError(
        'bus',
        `${path}: record cannot be written: ${errnoOf(error)}`,
        'check that the folder exists, is writable and not full',
        { cause: error },
      );
    }
  }

  status(): BusStatus {
    return this.#status;
  }

  onStatus(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancelRescan();
    this.#unwatch();
    await this.#reading;
    this.#receive = undefined;
  }

  /** One look at a time; what is asked for meanwhile is done after it. */
  #read(all: boolean): Promise<void> {
    if (this.#stopped || this.#receive === undefined) return Promise.resolve();
    this.#readAll ||= all;
    this.#readAgain = true;
    this.#reading ??= this.#readUntilQuiet().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #readUntilQuiet(): Promise<void> {
    while (this.#readAgain && !this.#stopped) {
      this.#readAgain = false;
      if (this.#readAll) await this.#lookAtAll();
      else await this.#lookAtTold();
    }
  }

  async #lookAtAll(): Promise<void> {
    this.#readAll = false;
    this.#cancelRescan();
    try {
      for (const topic of this.#topics) {
        // Watching comes first: what changes after the look is told.
        await this.#watchTopic(topic);
        await this.#lookAtTopic(topic);
      }
      this.#report({ connected: true, inSync: true, lastSeenMs: this.parts.clock.nowMs(), error: '' });
    } catch (error) {
      // A folder we cannot read is not a folder without files: the last state stands.
      this.#unwatch();
      this.#report({ ...this.#status, connected: false, error: describeFailure(error, this.parts.path) });
    }
    if (this.#stopped) return;
    this.#cancelRescan = this.parts.clock.after(
      this.parts.rescanMs ?? DEFAULT_RESCAN_MS,
      () => void this.#read(true),
    );
  }

  async #lookAtTopic(topic: Topic): Promise<void> {
    topic.told.clear();
    const names = new Set(await readdir(topic.folder));
    for (const key of topic.seen.keys()) names.add(encodeFileName(key) ?? '');
    for (const name of names) {
      const key = decodeFileName(name);
      // Unfinished files of writers, and whatever people leave in folders.
      if (key !== undefined) await this.#look(topic, key, name);
    }
  }

  async #lookAtTold(): Promise<void> {
    for (const topic of this.#topics) {
      const names = [...topic.told];
      topic.told.clear();
      for (const name of names) {
        const key = decodeFileName(name);
        if (key === undefined) continue;
        const found = await this.#look(topic, key, name);
        // Nothing there, and nothing was: it may be the folder itself that has gone.
        if (!found) void this.#read(true);
      }
    }
  }

  /** @returns whether there is a file under the name, or there was one. */
  async #look(topic: Topic, key: string, name: string): Promise<boolean> {
    const before = topic.seen.get(key);
    const now = await this.#readFile(join(topic.folder, name), before);
    if (this.#stopped || now === 'unreadable') return true;
    if (now !== 'none') {
      topic.seen.set(key, { stamp: now.stamp, digest: now.digest });
      if (now.digest !== before?.digest && now.value !== undefined) this.#deliver(topic, key, now.value);
      return true;
    }
    // Files vanish with their folder, but a folder that has gone says nothing about its records.
    if (before !== undefined && (await isFolder(topic.folder))) {
      topic.seen.delete(key);
      this.#deliver(topic, key, undefined);
      return true;
    }
    return false;
  }

  async #readFile(
    path: string,
    before: SeenFile | undefined,
  ): Promise<(SeenFile & { readonly value?: Uint8Array }) | 'none' | 'unreadable'> {
    try {
      const stamp = await this.#stampOf(path);
      if (stamp === undefined) return 'none';
      if (before !== undefined && stamp !== '' && stamp === before.stamp) return before;
      const value = await readRecord(path);
      if (value === undefined) return 'none';
      return { stamp, digest: createHash('sha256').update(value).digest('base64'), value };
    } catch (error) {
      const code = errnoOf(error);
      if (code === '') throw error;
      // One file that cannot be read must not stop the others.
      return code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP' ? 'none' : 'unreadable';
    }
  }

  /** What changes with the file; '' while another change could still leave it the same. Undefined: not a file. */
  async #stampOf(path: string): Promise<string | undefined> {
    const found = await lstat(path, { bigint: true });
    if (!found.isFile()) return undefined;
    if (Math.abs(this.parts.clock.nowMs() - Number(found.ctimeMs)) < UNSETTLED_MS) return '';
    return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(':');
  }

  #deliver(topic: Topic, key: string, value: Uint8Array | undefined): void {
    if (!this.#stopped) this.#receive?.({ topic: topic.name, key, value });
  }

  async #watchTopic(topic: Topic): Promise<void> {
    const { dev, ino } = await stat(topic.folder, { bigint: true });
    const folder = `${dev}:${ino}`;
    if (this.#stopped || (topic.watcher !== undefined && topic.watched === folder)) return;
    topic.watcher?.close();
    topic.watcher = undefined;
    try {
      const watcher = watch(topic.folder, { persistent: false }, (_, name) => {
        if (name !== null) topic.told.add(name);
        void this.#read(name === null);
      });
      watcher.on('error', () => void this.#read(true));
      topic.watcher = watcher;
      topic.watched = folder;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') throw error;
      // Out of inotify watches: the regular look remains.
      this.parts.log.warn({ folder: topic.folder, errno: errnoOf(error) }, 'folder cannot be watched');
    }
  }

  #unwatch(): void {
    for (const topic of this.#topics) {
      topic.watcher?.close();
      topic.watcher = undefined;
    }
  }

  #report(status: BusStatus): void {
    const { connected, inSync, error } = this.#status;
    this.#status = status;
    if (status.connected === connected && status.inSync === inSync && status.error === error) return;
    if (status.error !== '') this.parts.log.warn({ error: status.error }, 'topology bus cannot be read');
    else this.parts.log.info({ path: this.parts.path }, 'topology bus is read');
    for (const listener of this.#listeners) listener();
  }
}

async function isFolder(path: string): Promise<boolean> {
  return await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** At most one byte more than a record may have: enough to be refused as oversize. Undefined: not a regular file. */
async function readRecord(path: string): Promise<Uint8Array | undefined> {
  // O_NONBLOCK: a FIFO put there since must not hold us up.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    if (!(await file.stat()).isFile()) return undefined;
    return await readUpTo(file, MAX_RECORD_BYTES + 1);
  } finally {
    await file.close();
  }
}

async function readUpTo(file: FileHandle, mostBytes: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(mostBytes);
  let filled = 0;
  while (filled < mostBytes) {
    const { bytesRead } = await file.read(buffer, filled, mostBytes - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return new Uint8Array(buffer.subarray(0, filled));
}

function describeFailure(error: unknown, path: string): string {
  const code = errnoOf(error);
  if (code === '') throw error;
  return code === 'ENOENT' ? `${path}: the folder is gone` : `${path}: cannot be read: ${code}`;
}
