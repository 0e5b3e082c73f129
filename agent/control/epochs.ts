// This node's epochs: fresh X25519 key pairs, one at each start of the agent and at each rotation. A new epoch is
// `pending` until its record is published, and that happens only once every known peer's inbound SAs under it stand
// (docs/keys.md §4). When an epoch may go is rotation.ts' to say. Secrets live here and nowhere else; they are
// overwritten when the epoch is retired. V8 may have copied a secret before (when it moved the buffer, or in
// tweetnacl's working arrays): such copies cannot be reached.
import { readFile } from 'node:fs/promises';
import { box } from 'tweetnacl';
import { MAX_OLDER_EPOCHS } from '../core/announcement';
import type { OwnEpoch } from '../core/epochs';
import { VxsealError } from '../errors';
import { writeWhole } from '../files';
import type { Clock } from '../ports';
import { reasonOf } from './problems';

export interface LocalEpoch extends OwnEpoch {
  /** Wall clock. */
  readonly createdMs: number;
}

/** The highest number ever given, which outlives the process; 0 for none. */
export interface EpochFile {
  load(): Promise<number>;
  save(number: number): Promise<void>;
}

export class Epochs {
  /** Newest first. */
  private epochs: readonly LocalEpoch[] = [];
  private beginning = false;

  /** @param randomSecret 32 fresh random bytes a call; the caller keeps no copy. */
  constructor(
    private readonly file: EpochFile,
    private readonly clock: Clock,
    private readonly randomSecret: () => Uint8Array,
  ) {}

  /**
   * A new epoch; its number is written down before anything is made with it. Throws VxsealError 'not-ready' while an
   * earlier rotation is under way: to make room by force would take keys from peers that still use them.
   */
  async begin(): Promise<LocalEpoch> {
    if (this.beginning || this.pending() !== undefined)
      throw new VxsealError(
        'not-ready',
        'an epoch is waiting to be published',
        'try again; see `vxseal status`',
      );
    if (this.epochs.length > MAX_OLDER_EPOCHS)
      throw new VxsealError(
        'not-ready',
        `${this.epochs.length} epochs are still in use by peers`,
        'see `vxseal peers` for those that have not moved to the newest epoch',
      );
    this.beginning = true;
    try {
      const number = Math.max(this.epochs[0]?.number ?? 0, await this.file.load()) + 1;
      await this.file.save(number);
      return this.add(number);
    } finally {
      this.beginning = false;
    }
  }

  /** Newest first. */
  live(): readonly LocalEpoch[] {
    return this.epochs;
  }

  newest(): LocalEpoch | undefined {
    return this.epochs[0];
  }

  /** The newest one whose record is out. */
  announced(): LocalEpoch | undefined {
    return this.epochs.find((epoch) => epoch.publishedNs !== undefined);
  }

  /** The newest epoch, while no peer can know of it yet. */
  pending(): LocalEpoch | undefined {
    return this.epochs[0]?.publishedNs === undefined ? this.epochs[0] : undefined;
  }

  /** The record of that epoch is out: the ones before it are superseded. */
  published(number: number): void {
    const nowNs = this.clock.monotonicNs();
    this.epochs = this.epochs.map((epoch) => {
      if (epoch.number === number) return { ...epoch, publishedNs: epoch.publishedNs ?? nowNs };
      return epoch.number < number ? { ...epoch, supersededNs: epoch.supersededNs ?? nowNs } : epoch;
    });
  }

  /** Overwrites the secret. The newest epoch is never retired. */
  retire(number: number): void {
    const gone = this.epochs.filter((epoch) => epoch.number === number && epoch !== this.epochs[0]);
    for (const epoch of gone) epoch.secretKey.fill(0);
    this.epochs = this.epochs.filter((epoch) => !gone.includes(epoch));
  }

  /** Overwrites every secret; for the end of the process. */
  wipe(): void {
    for (const epoch of this.epochs) epoch.secretKey.fill(0);
    this.epochs = [];
  }

  private add(number: number): LocalEpoch {
    const secretKey = this.randomSecret();
    const epoch = {
      number,
      publicKey: box.keyPair.fromSecretKey(secretKey).publicKey,
      secretKey,
      publishedNs: undefined,
      supersededNs: undefined,
      createdMs: this.clock.nowMs(),
    };
    this.epochs = [epoch, ...this.epochs];
    return epoch;
  }
}

/** In the state directory, with fsync: peers tell a newer epoch from an older one by its number. */
export class StateDirEpochFile implements EpochFile {
  constructor(private readonly path: string) {}

  load(): Promise<number> {
    return this.attempt('read', async () => {
      const text = await readFile(this.path, 'utf8').catch((error: unknown) => {
        if (Object(error).code === 'ENOENT') return undefined;
        throw error;
      });
      return text === undefined ? 0 : decode(text);
    });
  }

  save(number: number): Promise<void> {
    return this.attempt('write', () => writeWhole(this.path, `${JSON.stringify({ v: 1, number })}\n`));
  }

  private async attempt<T>(verb: 'read' | 'write', body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw new VxsealError(
        'state',
        `epoch file ${this.path}: cannot ${verb} it: ${reasonOf(error)}`,
        verb === 'write'
          ? 'check that the state directory exists, is writable and not full'
          : 'check the state directory; a damaged file may be removed while the agent is stopped',
        { cause: error },
      );
    }
  }
}

function decode(text: string): number {
  const { v, number } = Object(JSON.parse(text)) as Record<string, unknown>;
  if (v !== 1 || !Number.isSafeInteger(number) || Number(number) < 0) throw new Error('unknown layout');
  return Number(number);
}
