// Record batches as a broker stores them (Kafka protocol, "Record Batch", magic 2). Owns their decoding, nothing of
// trust. Whoever may write to a topic decides what is in a batch, so nothing in one may stop the reading of what
// comes after it: a batch that cannot be used is stepped over and counted. Compressed batches are among them: our
// records are never compressed (topics.ts sees to it), and what cannot be unpacked cannot unpack to gigabytes.

export interface KafkaRecord {
  readonly offset: bigint;
  readonly key: Uint8Array;
  /** Undefined: a tombstone. */
  readonly value: Uint8Array | undefined;
}

export interface DecodedBatches {
  /** From `from` on, in order of offset. Keys and values are copies. */
  readonly records: readonly KafkaRecord[];
  /** Where to go on reading; greater than `from` unless not even one batch was whole. */
  readonly next: bigint;
  /** Batches, or ends of batches, without use to us. */
  readonly unusable: number;
}

const FRAME_BYTES = 12; // base offset, length
const MAGIC_AT = 16;
const ATTRIBUTES_AT = 21;
const LAST_OFFSET_DELTA_AT = 23;
const COUNT_AT = 57;
const HEADER_BYTES = 61;
const MAGIC = 2;
const COMPRESSION_MASK = 0x07;
const CONTROL_FLAG = 0x20;

/** @param bytes `records` of a fetch response: whole batches, then possibly a part of one. */
export function decodeBatches(bytes: Buffer, from: bigint): DecodedBatches {
  const records: KafkaRecord[] = [];
  let next = from;
  let unusable = 0;
  let at = 0;
  while (at + HEADER_BYTES <= bytes.length) {
    const length = bytes.readInt32BE(at + 8);
    if (length < HEADER_BYTES - FRAME_BYTES || at + FRAME_BYTES + length > bytes.length) break;
    const batch = bytes.subarray(at, at + FRAME_BYTES + length);
    const found = decodeBatch(batch);
    records.push(...found.records.filter((record) => record.offset >= from));
    if (!found.whole) unusable += 1;
    if (found.next > next) next = found.next;
    at += batch.length;
  }
  return { records, next, unusable };
}

interface DecodedBatch {
  readonly records: readonly KafkaRecord[];
  readonly next: bigint;
  readonly whole: boolean;
}

function decodeBatch(batch: Buffer): DecodedBatch {
  const base = batch.readBigInt64BE(0);
  // Compaction takes records out of a batch, but its last offset stays.
  const next = base + BigInt(Math.max(0, batch.readInt32BE(LAST_OFFSET_DELTA_AT))) + 1n;
  const attributes = batch.readInt16BE(ATTRIBUTES_AT);
  if (batch.readInt8(MAGIC_AT) !== MAGIC) return { records: [], next: base + 1n, whole: false };
  // Markers of transactions: not ours to read, and nothing wrong.
  if ((attributes & CONTROL_FLAG) !== 0) return { records: [], next, whole: true };
  if ((attributes & COMPRESSION_MASK) !== 0) return { records: [], next, whole: false };
  const { records, whole } = decodeRecords(batch, base, next);
  return { records, next, whole };
}

function decodeRecords(
  batch: Buffer,
  base: bigint,
  next: bigint,
): { readonly records: readonly KafkaRecord[]; readonly whole: boolean } {
  const records: KafkaRecord[] = [];
  const reader = new Varints(batch, HEADER_BYTES);
  try {
    for (let left = batch.readInt32BE(COUNT_AT); left > 0; left--) {
      const end = reader.read() + reader.at;
      reader.at += 1; // attributes, unused
      reader.read(); // time
      const offset = base + BigInt(reader.read());
      const key = reader.bytes() ?? new Uint8Array(0);
      const value = reader.bytes();
      if (end > batch.length || reader.at > end || offset < base || offset >= next) throw new RangeError();
      records.push({ offset, key, value });
      reader.at = end; // past the headers
    }
    return { records, whole: true };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { records, whole: false };
  }
}

const MAX_VARINT_BYTES = 10;

/** Zig-zag variable-length integers. Throws RangeError past the end. */
class Varints {
  constructor(
    private readonly buffer: Buffer,
    public at: number,
  ) {}

  read(): number {
    let raw = 0n;
    for (let index = 0; index < MAX_VARINT_BYTES; index++) {
      const byte = this.buffer[this.at];
      if (byte === undefined) break;
      this.at += 1;
      raw |= BigInt(byte & 0x7f) << BigInt(7 * index);
      if (byte < 0x80) return Number((raw >> 1n) ^ -(raw & 1n));
    }
    throw new RangeError();
  }

  /** Undefined for null. */
  bytes(): Uint8Array | undefined {
    const length = this.read();
    if (length < 0) return undefined;
    const start = this.at;
    if (length > this.buffer.length - start) throw new RangeError();
    this.at += length;
    return Uint8Array.from(this.buffer.subarray(start, this.at));
  }
}
