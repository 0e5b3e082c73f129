// What goes on to the agent of what was read, and as what. Owns the memory of what was last delivered under each key:
// a log that is read again is told only by what is different in it. Cuts what is too large, so that it is refused for
// what it is and not carried about.
import { createHash, hash } from 'node:crypto';
import { recordName } from '../../core/announcement';
import { MAX_RECORD_BYTES } from '../../core/payload';
import type { BusRecord } from '../../ports';
import type { KafkaRecord } from './batch';

/** Longer keys are none of ours; the rest of one is as good. */
const MAX_KEY_BYTES = 1024;
/** Keys remembered, whatever a stranger writes: beyond it a vanished record is noticed by its lease alone. */
const MAX_KEYS = 262_144;
const UNUSABLE = new Uint8Array(0);

/** Where a record was read. */
export interface Origin {
  /** Our name, without the prefix. */
  readonly topic: string;
  readonly partition: number;
  /** Grows whenever the partition is read from its beginning. */
  readonly round: number;
  /** What is read was read before, or stands in its place. */
  readonly rereading: boolean;
}

interface Delivered extends Pick<Origin, 'partition' | 'round'> {
  readonly digest: string;
}

export class Delivery {
  readonly #delivered = new Map<string, Delivered>();

  constructor(private readonly receive: (record: BusRecord) => void) {}

  take(origin: Origin, record: KafkaRecord): void {
    const { topic, partition, round } = origin;
    const key = Buffer.from(record.key).toString('utf8', 0, MAX_KEY_BYTES);
    const id = recordName({ topic, key });
    const before = this.#delivered.get(id);
    if (record.value === undefined) {
      // Of a record we have never seen it says nothing.
      if (this.#delivered.delete(id)) this.receive({ topic, key, value: undefined });
      return;
    }
    const digest = hash('sha256', record.value, 'base64');
    if (before !== undefined || this.#delivered.size < MAX_KEYS)
      this.#delivered.set(id, { partition, round, digest });
    if (origin.rereading && before?.digest === digest) return;
    this.receive({ topic, key, value: record.value.slice(0, MAX_RECORD_BYTES + 1) });
  }

  /** A batch that could not be read goes on as a record of nobody, to be refused and counted like the others. */
  takeUnusable({ topic }: Origin): void {
    this.receive({ topic, key: '', value: UNUSABLE });
  }

  /** What stood there before and does not any more: a hint to its owner, as a tombstone is. */
  finishRereading(origin: Origin): void {
    for (const [id, delivered] of this.#delivered) {
      const [topic = '', key = ''] = split(id);
      if (topic !== origin.topic || delivered.partition !== origin.partition) continue;
      if (delivered.round === origin.round) continue;
      this.#delivered.delete(id);
      this.receive({ topic, key, value: undefined });
    }
  }
}

/** Keys may hold line feeds, names of topics not. */
function split(id: string): [string, string] {
  const end = id.indexOf('\n');
  return [id.slice(0, end), id.slice(end + 1)];
}

/** What proves that a log still holds a record. */
export function digestOf(record: KafkaRecord): string {
  const whole = createHash('sha256');
  whole.update(`${record.key.length} ${record.value === undefined ? 'null' : record.value.length} `);
  whole.update(record.key);
  if (record.value !== undefined) whole.update(record.value);
  return whole.digest('base64');
}
