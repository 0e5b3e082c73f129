// Where the reading of one partition stands: from when on all is read, and whether the log is still the one that was
// read before. Pure. No offset is kept anywhere but here: an agent that starts reads from the beginning.
import type { KafkaRecord } from './batch';

/** What a broker says of a partition's log. */
export interface LogEnds {
  readonly earliest: bigint;
  /** The high watermark: the offset behind the last record. */
  readonly latest: bigint;
}

/** What of a record proves that a log still holds it. */
export interface Landmark {
  readonly offset: bigint;
  readonly digest: string;
}

export class PartitionReading {
  #position = 0n;
  #target = 0n;
  #earliest = 0n;
  #last: Landmark | undefined;
  #proving = false;
  #rereading = false;
  #done = false;
  #round = 0;

  constructor(private readonly digestOf: (record: KafkaRecord) => string) {}

  /** Where to fetch. */
  get position(): bigint {
    return this.#position;
  }

  /** All that stood there when the session began has been read. */
  get done(): boolean {
    return this.#done;
  }

  /** Grows whenever reading begins at the beginning. */
  get round(): number {
    return this.#round;
  }

  /** Reads again what was read before, or what stands in its place. */
  get rereading(): boolean {
    return this.#rereading;
  }

  /**
   * A session begins. Goes on behind the last record if that still stands; a log that is shorter or begins later
   * than it, as after a broker lost its disk or was given an older copy, is read from its beginning.
   */
  begin({ earliest, latest }: LogEnds): void {
    this.#earliest = earliest;
    this.#target = latest;
    this.#done = false;
    if (this.#rereading || this.#last === undefined) this.#startOver();
    else if (this.#last.offset >= latest || this.#last.offset < earliest) this.#startOver();
    else {
      this.#position = this.#last.offset;
      this.#proving = true;
    }
  }

  /** From the beginning: what was read before is not taken for what stands there now. */
  #startOver(): void {
    this.#rereading ||= this.#last !== undefined;
    this.#position = this.#earliest;
    this.#last = undefined;
    this.#proving = false;
    this.#round += 1;
    this.#done = this.#position >= this.#target;
  }

  /**
   * Takes what a fetch at `position` brought. @returns the records that are new
   * @param next where the fetched batches end
   */
  take(records: readonly KafkaRecord[], next: bigint): readonly KafkaRecord[] {
    let fresh = records;
    if (this.#proving) {
      const [first, ...rest] = records;
      const proven =
        first !== undefined &&
        first.offset === this.#last?.offset &&
        this.digestOf(first) === this.#last.digest;
      if (!proven) {
        this.#startOver();
        return [];
      }
      this.#proving = false;
      fresh = rest;
    }
    const last = fresh.at(-1);
    if (last !== undefined) this.#last = { offset: last.offset, digest: this.digestOf(last) };
    if (next > this.#position) this.#position = next;
    if (this.#position >= this.#target) this.#done = true;
    return fresh;
  }

  /**
   * A fetch that waited brought nothing although the log goes on: compaction and markers of transactions leave
   * offsets that no record has, also at the end. So all is read.
   */
  takeNothing(): void {
    if (this.#proving) this.#startOver();
    else this.#done = true;
  }

  /** Everything has been read again; the next session may go on from here. */
  finishRereading(): void {
    this.#rereading = false;
  }
}
