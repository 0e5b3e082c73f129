// Protocol buffers' wire format, as much of it as the container runtime's messages need: varints, strings and nested
// messages. Fields are told by number; what they mean is cri.ts'.

/** Numbers, not zero, as varints; true as 1; text and bytes; nested messages; maps as pairs of fields 1 and 2. */
export type Value = number | boolean | string | Uint8Array | Message | readonly (string | Message)[];
export interface Message {
  readonly [field: number]: Value | undefined;
}

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

export function encode(message: Message): Buffer {
  const parts: Buffer[] = [];
  for (const [field, value] of Object.entries(message)) {
    for (const each of Array.isArray(value) ? value : [value]) parts.push(encodeField(Number(field), each));
  }
  return Buffer.concat(parts);
}

function encodeField(field: number, value: Exclude<Value, readonly unknown[]> | undefined): Buffer {
  if (value === undefined) return Buffer.alloc(0);
  if (typeof value === 'number' || typeof value === 'boolean')
    return Buffer.concat([varint(field * 8 + VARINT), varint(Number(value))]);
  const bytes =
    typeof value === 'string'
      ? Buffer.from(value)
      : value instanceof Uint8Array
        ? value
        : encode(value as Message);
  return Buffer.concat([varint(field * 8 + BYTES), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A decoded message. An absent field is '', 0 or []. */
export class Fields {
  private readonly values = new Map<number, (Buffer | number)[]>();

  constructor(bytes: Buffer) {
    let at = 0;
    const next = (): number => {
      let value = 0;
      for (let scale = 1; ; scale *= 128) {
        const byte = bytes[at++];
        if (byte === undefined) throw new RangeError('a message that is cut off');
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) return value;
      }
    };
    while (at < bytes.length) {
      const tag = next();
      const kind = tag % 8;
      let value: Buffer | number;
      if (kind === VARINT) value = next();
      else {
        const length = kind === BYTES ? next() : kind === FIXED64 ? 8 : kind === FIXED32 ? 4 : Number.NaN;
        if (!(at + length <= bytes.length)) throw new RangeError('a message that is cut off, or a group');
        value = bytes.subarray(at, at + length);
        at += length;
      }
      const field = Math.floor(tag / 8);
      this.values.set(field, [...(this.values.get(field) ?? []), value]);
    }
  }

  text(field: number): string {
    return this.bytes(field).toString();
  }

  bytes(field: number): Buffer {
    const value = this.values.get(field)?.at(-1);
    return Buffer.isBuffer(value) ? value : Buffer.alloc(0);
  }

  number(field: number): number {
    const value = this.values.get(field)?.at(-1);
    return typeof value === 'number' ? value : 0;
  }

  message(field: number): Fields {
    return new Fields(this.bytes(field));
  }

  messages(field: number): Fields[] {
    return (this.values.get(field) ?? []).flatMap((value) =>
      Buffer.isBuffer(value) ? [new Fields(value)] : [],
    );
  }

  /** A map of texts. */
  map(field: number): Map<string, string> {
    return new Map(this.messages(field).map((entry) => [entry.text(1), entry.text(2)]));
  }
}
