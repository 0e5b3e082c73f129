// Record batches as a broker would send them, written by the protocol's description and not by the code under test.
export interface PlannedRecord {
  readonly delta: number;
  readonly key?: string;
  readonly value?: string | null;
}

export interface PlannedBatch {
  readonly base: bigint;
  readonly records: readonly PlannedRecord[];
  readonly lastDelta?: number;
  readonly attributes?: number;
  readonly magic?: number;
  readonly count?: number;
  /** In place of the records' bytes. */
  readonly body?: Buffer;
}

/** Zig-zag, seven bits a byte, least first. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = (BigInt(value) << 1n) ^ (BigInt(value) >> 63n);
  do {
    const more = left > 0x7fn ? 0x80 : 0;
    bytes.push(Number(left & 0x7fn) | more);
    left >>= 7n;
  } while (left > 0n);
  return Buffer.from(bytes);
}

const field = (text: string | null | undefined): Buffer =>
  text === null
    ? varint(-1)
    : Buffer.concat([varint(Buffer.byteLength(text ?? '')), Buffer.from(text ?? '')]);

export function recordBytes({ delta, key, value }: PlannedRecord): Buffer {
  const headers = Buffer.concat([varint(1), field('h'), field('x')]);
  const body = Buffer.concat([
    Buffer.of(0),
    varint(1234567),
    varint(delta),
    field(key),
    field(value),
    headers,
  ]);
  return Buffer.concat([varint(body.length), body]);
}

export function batchBytes(plan: PlannedBatch): Buffer {
  const body = plan.body ?? Buffer.concat(plan.records.map(recordBytes));
  const head = Buffer.alloc(61);
  head.writeBigInt64BE(plan.base, 0);
  head.writeInt32BE(49 + body.length, 8);
  head.writeInt8(plan.magic ?? 2, 16);
  head.writeInt16BE(plan.attributes ?? 0, 21);
  head.writeInt32BE(plan.lastDelta ?? plan.records.at(-1)?.delta ?? 0, 23);
  head.writeInt32BE(plan.count ?? plan.records.length, 57);
  return Buffer.concat([head, body]);
}
