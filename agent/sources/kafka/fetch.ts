// Fetch responses (Kafka protocol, Fetch version 4, which brokers from 0.11 to 4.x speak) from bytes to partitions.
// Their batches stay bytes: batch.ts. A response that cannot be read ends the session, not the agent.

export const FETCH_VERSION = 4;

export interface FetchedPartition {
  readonly topic: string;
  readonly partition: number;
  /** 0, or an error code of the protocol. */
  readonly errorCode: number;
  readonly highWatermark: bigint;
  readonly batches: Buffer;
}

/** Throws RangeError on bytes that are no such response. */
export function decodeFetchResponse(bytes: Buffer): FetchedPartition[] {
  const cursor = new Cursor(bytes);
  cursor.int32(); // throttle time: the broker has waited already
  return cursor
    .list(() => {
      const topic = cursor.text();
      return cursor.list(() => decodePartition(cursor, topic));
    })
    .flat();
}

function decodePartition(cursor: Cursor, topic: string): FetchedPartition {
  const partition = cursor.int32();
  const errorCode = cursor.int16();
  const highWatermark = cursor.int64();
  cursor.int64(); // last stable offset: open transactions of others must not hold us up
  cursor.list(() => [cursor.int64(), cursor.int64()]); // aborted transactions
  return { topic, partition, errorCode, highWatermark, batches: cursor.bytes() };
}

class Cursor {
  private at = 0;

  constructor(private readonly buffer: Buffer) {}

  int16(): number {
    this.at += 2;
    return this.buffer.readInt16BE(this.at - 2);
  }

  int32(): number {
    this.at += 4;
    return this.buffer.readInt32BE(this.at - 4);
  }

  int64(): bigint {
    this.at += 8;
    return this.buffer.readBigInt64BE(this.at - 8);
  }

  text(): string {
    return this.take(this.int16()).toString('utf8');
  }

  /** Empty for null. */
  bytes(): Buffer {
    return this.take(Math.max(0, this.int32()));
  }

  list<T>(element: () => T): T[] {
    const found: T[] = [];
    for (let left = this.int32(); left > 0; left--) found.push(element());
    return found;
  }

  private take(length: number): Buffer {
    if (length < 0 || length > this.buffer.length - this.at) throw new RangeError('response ends early');
    this.at += length;
    return this.buffer.subarray(this.at - length, this.at);
  }
}
