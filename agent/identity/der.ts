// Reader and writer of DER (X.690 §10), as strict as the encoding rules: one encoding for one value. Owns tags and
// lengths; what the values mean belongs to certificate.ts and blocks.ts. Malformed input throws DerError inside the
// identity room, and parseCertificate() turns it into a refusal: no other caller may let it escape.

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  sequence: 0x30,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** Input that is not DER. */
export class DerError extends Error {}

export interface DerValue {
  readonly tag: number;
  /** Contents, without tag and length. */
  readonly body: Uint8Array;
  /** The whole encoding, tag and length included. */
  readonly raw: Uint8Array;
}

/** Reads consecutive values; every byte must be accounted for with end(). */
export class DerReader {
  #at = 0;

  constructor(private readonly bytes: Uint8Array) {}

  get done(): boolean {
    return this.#at === this.bytes.length;
  }

  /** Tag of the next value, or -1 at the end. */
  get nextTag(): number {
    return this.bytes[this.#at] ?? -1;
  }

  next(tag?: number): DerValue {
    const start = this.#at;
    const found = this.#byte();
    // Tag numbers above 30 do not occur in a certificate.
    if ((found & 0x1f) === 0x1f) throw new DerError('tag number above 30');
    if (tag !== undefined && found !== tag) throw new DerError(`tag ${found} in place of ${tag}`);
    const length = this.#length();
    if (length > this.bytes.length - this.#at) throw new DerError('value longer than its container');
    const body = this.bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return { tag: found, body, raw: this.bytes.subarray(start, this.#at) };
  }

  /** The next value if it has this tag. */
  optional(tag: number): DerValue | undefined {
    return this.nextTag === tag ? this.next(tag) : undefined;
  }

  /** Reader of the contents of the next value. */
  into(tag: number): DerReader {
    return new DerReader(this.next(tag).body);
  }

  end(): void {
    if (!this.done) throw new DerError('bytes behind the last value');
  }

  #byte(): number {
    const byte = this.bytes[this.#at];
    if (byte === undefined) throw new DerError('ends inside a tag or length');
    this.#at += 1;
    return byte;
  }

  /** Definite and shortest form only (X.690 §10.1). */
  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 3) throw new DerError('indefinite or huge length');
    let length = 0;
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 2 ** (8 * (count - 1)))
      throw new DerError('length not in its shortest form');
    return length;
  }
}

/** The one value that fills `bytes`. */
export function readSingle(bytes: Uint8Array, tag: number): DerValue {
  const reader = new DerReader(bytes);
  const value = reader.next(tag);
  reader.end();
  return value;
}

/** @returns dotted decimal. */
export function readOid(body: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  let fresh = true;
  for (const byte of body) {
    if (fresh && byte === 0x80) throw new DerError('OID arc not in its shortest form');
    arc = arc * 128 + (byte & 0x7f);
    if (!Number.isSafeInteger(arc)) throw new DerError('OID arc too large');
    fresh = (byte & 0x80) === 0;
    if (fresh) {
      arcs.push(arc);
      arc = 0;
    }
  }
  const first = arcs[0];
  if (first === undefined || !fresh) throw new DerError('OID cut short');
  const top = Math.min(2, Math.floor(first / 40));
  return [top, first - top * 40, ...arcs.slice(1)].join('.');
}

/** Non-negative INTEGER contents in shortest form, sign byte removed. */
export function readUnsigned(body: Uint8Array): Uint8Array {
  const [first, second] = body;
  if (first === undefined) throw new DerError('empty INTEGER');
  if (first >= 0x80) throw new DerError('negative INTEGER');
  if (first === 0 && second !== undefined && second < 0x80)
    throw new DerError('INTEGER not in its shortest form');
  return first === 0 && body.length > 1 ? body.subarray(1) : body;
}

/** DEFAULT FALSE booleans are absent when false, and TRUE is 0xff (X.690 §11.1, §11.5). */
export function readTrue(body: Uint8Array): true {
  if (body.length !== 1 || body[0] !== 0xff) throw new DerError('BOOLEAN that is not TRUE in DER');
  return true;
}

/** @returns bytes and the count of unused bits at the end, which are zero (X.690 §11.2). */
export function readBits(body: Uint8Array): { readonly bytes: Uint8Array; readonly unused: number } {
  const unused = body[0];
  if (unused === undefined || unused > 7) throw new DerError('BIT STRING with a wrong count of unused bits');
  const bytes = body.subarray(1);
  const last = bytes[bytes.length - 1];
  if (last === undefined ? unused !== 0 : (last & ((1 << unused) - 1)) !== 0) {
    throw new DerError('BIT STRING with unused bits set');
  }
  return { bytes, unused };
}

/** @returns milliseconds since 1970; only the forms of RFC 5280 §4.1.2.5. */
export function readTime(value: DerValue): number {
  const text = Buffer.from(value.body).toString('latin1');
  let digits: string;
  if (value.tag === TAG.utcTime && /^\d{12}Z$/.test(text)) {
    digits = (Number(text.slice(0, 2)) >= 50 ? '19' : '20') + text.slice(0, 12);
  } else if (
    value.tag === TAG.generalizedTime &&
    /^\d{14}Z$/.test(text) &&
    Number(text.slice(0, 4)) >= 2050
  ) {
    digits = text.slice(0, 14);
  } else {
    throw new DerError('time in a form RFC 5280 does not allow');
  }
  const iso = digits.replace(/(....)(..)(..)(..)(..)(..)/, '$1-$2-$3T$4:$5:$6.000Z');
  const time = Date.parse(iso);
  // Date.parse() moves 31 February into March.
  if (Number.isNaN(time) || new Date(time).toISOString() !== iso) throw new DerError('no such time');
  return time;
}

/** One value from its contents. */
export function encode(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  for (let rest = body.length; rest > 0; rest = Math.floor(rest / 256)) length.unshift(rest & 0xff);
  const head = body.length < 0x80 ? [tag, body.length] : [tag, 0x80 | length.length, ...length];
  return Buffer.concat([Buffer.from(head), body]);
}
