// The bytes of one structure of abi.h, read and written by field name. Scalars are in the machine's order: all the
// machines that we build for are little-endian. Fields marked __be in abi.h are handled as their bytes.
import { LAYOUT } from './layout.gen';

export type StructName = keyof typeof LAYOUT;
export type FieldName<S extends StructName> = keyof (typeof LAYOUT)[S]['fields'] & string;

interface Place {
  readonly offset: number;
  readonly size: number;
}

export class Image<S extends StructName> {
  readonly bytes: Buffer;
  private readonly fields: Readonly<Record<string, Place>>;

  /** Throws RangeError when `bytes` are not as many as the structure has: layouts were mixed up. Default: zeros. */
  constructor(
    private readonly struct: S,
    bytes?: Uint8Array,
  ) {
    const { size, fields } = LAYOUT[struct];
    if (bytes !== undefined && bytes.length !== size) {
      throw new RangeError(`struct ${struct} has ${size} bytes, not ${bytes.length}`);
    }
    // A view, not a copy: there may be a key in it, to be wiped in one place.
    this.bytes =
      bytes === undefined
        ? Buffer.alloc(size)
        : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.fields = fields;
  }

  /** A view of the field's bytes. */
  raw(field: FieldName<S>): Buffer {
    const { offset, size } = this.place(field);
    return this.bytes.subarray(offset, offset + size);
  }

  setRaw(field: FieldName<S>, bytes: Uint8Array): this {
    const { offset, size } = this.place(field);
    if (bytes.length !== size) {
      throw new RangeError(`${this.struct}.${field} has ${size} bytes, not ${bytes.length}`);
    }
    this.bytes.set(bytes, offset);
    return this;
  }

  /** A scalar of 1, 2 or 4 bytes. */
  number(field: FieldName<S>): number {
    const { offset, size } = this.scalar(field, 4);
    return this.bytes.readUIntLE(offset, size);
  }

  /** Throws RangeError when the value does not fit. */
  setNumber(field: FieldName<S>, value: number): this {
    const { offset, size } = this.scalar(field, 4);
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * size)) {
      throw new RangeError(`${value} does not fit ${this.struct}.${field}`);
    }
    this.bytes.writeUIntLE(value, offset, size);
    return this;
  }

  /** A scalar of 8 bytes. */
  big(field: FieldName<S>): bigint {
    return this.bytes.readBigUInt64LE(this.scalar(field, 8).offset);
  }

  setBig(field: FieldName<S>, value: bigint): this {
    this.bytes.writeBigUInt64LE(value, this.scalar(field, 8).offset);
    return this;
  }

  private place(field: FieldName<S>): Place {
    const place = this.fields[field];
    if (place === undefined) throw new Error(`struct ${this.struct} has no field ${field}`);
    return place;
  }

  private scalar(field: FieldName<S>, most: 4 | 8): Place {
    const place = this.place(field);
    if (most === 8 ? place.size !== 8 : place.size > 4) {
      throw new Error(`${this.struct}.${field} has ${place.size} bytes`);
    }
    return place;
  }
}
