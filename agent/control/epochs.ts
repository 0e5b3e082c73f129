// This node's epochs: fresh X25519 key pairs, one at each start of the agent and at each rotation. A new epoch is
// `pending` until its record is published, and that happens only once every known peer's inbound SAs under it stand
// (docs/keys.md §4). Secrets live here and nowhere else; they are overwritten when the epoch is retired. V8 may have
// copied a secret before (when it moved the buffer, or in tweetnacl's working arrays): such copies cannot be reached.
import { box } from 'tweetnacl';
import { type AnnouncedEpoch, MAX_OLDER_EPOCHS } from '../core/announcement';
import { VxsealError } from '../errors';
import type { Clock } from '../ports';
import { readWhole, writeWhole } from './files';
import { reasonOf } from './problems';

export interface LocalEpoch extends AnnouncedEpoch {
  /** Undefined when it died with the process that made it. */
  readonly secretKey: Uint8Array | undefined;
  /** Wall clock. */
  readonly createdMs: number;
}

/** What outlives the process: numbers and public keys, newest first. Never a secret. */
export interface EpochFile {
  load(): SavedEpoch[];
  save(epochs: readonly SavedEpoch[]): void;
}

export interface SavedEpoch extends AnnouncedEpoch {
  readonly createdMs: number;
}

export class Epochs {
  /** Oldest first; the last one is the newest. */
  private epochs: LocalEpoch[] = [];
  private publishedNumber = 0;

  /** @param randomSecret 32 fresh random bytes a call; the caller keeps no copy. */
  constructor(
    private readonly file: EpochFile,
    private readonly clock: Clock,
    private readonly randomSecret: () => Uint8Array,
  ) {}

  /**
   * Takes up the numbers of former processes and begins a new epoch.
   * @param announced highest number of ours that was seen on the bus: a lost state directory must not go back.
   */
  start(announced = 0): LocalEpoch {
    this.epochs = this.file
      .load()
      .slice(0, MAX_OLDER_EPOCHS)
      .sort((a, b) => a.number - b.number)
      .map((saved) => ({ ...saved, secretKey: undefined }));
    return this.begin(announced);
  }

  /** A new epoch, written down before anything is made with it. */
  begin(announced = 0): LocalEpoch {
    const newest = this.epochs.at(-1)?.number ?? 0;
    const secretKey = this.randomSecret();
    const epoch = {
      number: Math.max(newest, announced) + 1,
      publicKey: box.keyPair.fromSecretKey(secretKey).publicKey,
      secretKey,
      createdMs: this.clock.nowMs(),
    };
    this.epochs = [...this.epochs, epoch];
    while (this.epochs.length > MAX_OLDER_EPOCHS + 1) this.drop(this.epochs[0]);
    this.save();
    return epoch;
  }

  /** Oldest first. */
  live(): readonly LocalEpoch[] {
    return this.epochs;
  }

  newest(): LocalEpoch | undefined {
    return this.epochs.at(-1);
  }

  /** The newest epoch, while peers do not know of it yet. */
  pending(): LocalEpoch | undefined {
    const newest = this.newest();
    return newest !== undefined && newest.number > this.publishedNumber ? newest : undefined;
  }

  published(number: number): void {
    this.publishedNumber = Math.max(this.publishedNumber, number);
  }

  /** Overwrites the secret. The newest epoch is never retired. */
  retire(number: number): void {
    const epoch = this.epochs.find((other) => other.number === number);
    if (epoch === undefined || epoch === this.newest()) return;
    this.drop(epoch);
    this.save();
  }

  /** Overwrites every secret; for the end of the process. */
  wipe(): void {
    for (const epoch of this.epochs) epoch.secretKey?.fill(0);
  }

  private drop(epoch: LocalEpoch | undefined): void {
    epoch?.secretKey?.fill(0);
    this.epochs = this.epochs.filter((other) => other !== epoch);
  }

  private save(): void {
    const saved = this.epochs.map(({ number, publicKey, createdMs }) => ({ number, publicKey, createdMs }));
    this.file.save(saved.reverse());
  }
}

/** Epoch numbers in the state directory, with fsync: a number must never be given twice. */
export class StateDirEpochFile implements EpochFile {
  constructor(private readonly path: string) {}

  load(): SavedEpoch[] {
    const text = this.attempt('read', () => readWhole(this.path));
    if (text === undefined) return [];
    return this.attempt('read', () => decode(text));
  }

  save(epochs: readonly SavedEpoch[]): void {
    const written = epochs.map((epoch) => ({
      ...epoch,
      publicKey: Buffer.from(epoch.publicKey).toString('base64url'),
    }));
    this.attempt('write', () => writeWhole(this.path, `${JSON.stringify({ v: 1, epochs: written })}\n`));
  }

  private attempt<T>(verb: string, body: () => T): T {
    try {
      return body();
    } catch (error) {
      throw new VxsealError(
        'state',
        `epoch file ${this.path}: cannot ${verb} it: ${reasonOf(error)}`,
        'check the state directory; a damaged file may be removed, the number is then taken from the bus',
        { cause: error },
      );
    }
  }
}

function decode(text: string): SavedEpoch[] {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== 'object' || parsed === null || !('epochs' in parsed) || !Array.isArray(parsed.epochs))
    throw new Error('unknown layout');
  return parsed.epochs.map((epoch: unknown) => {
    const { number, publicKey, createdMs } = Object(epoch) as Record<string, unknown>;
    const bytes = Buffer.from(String(publicKey), 'base64url');
    if (!Number.isSafeInteger(number) || bytes.length !== 32) throw new Error('not an epoch');
    return { number: Number(number), publicKey: new Uint8Array(bytes), createdMs: Number(createdMs) };
  });
}
