// The signed records that count, as they came, to be judged anew when roots or revocations change. A cluster has tens of
// thousands, and of each most is the header with the chain of its node: one text for all of the same node. What is in
// a record is nobody's business here; split where its first dot is, put together it is the same bytes.
import type { BusRecord } from '../ports';

interface Packed {
  /** Up to the first dot. */
  readonly head: string;
  readonly rest: string;
}

const DOT = 0x2e;
/** Heads that no record has any more are left up to as many as there are records, and this many. */
const LEAST_UNUSED = 1024;

export class StandingRecords {
  readonly #records = new Map<string, Packed>();
  #heads = new Map<string, string>();

  set(name: string, { value }: BusRecord): void {
    if (value === undefined) {
      this.#records.delete(name);
      return;
    }
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
    const dot = Math.max(0, bytes.indexOf(DOT));
    this.#records.set(name, {
      head: this.#shared(bytes.toString('latin1', 0, dot)),
      rest: bytes.toString('latin1', dot),
    });
  }

  get(name: string): BusRecord | undefined {
    const packed = this.#records.get(name);
    if (packed === undefined) return undefined;
    const end = name.indexOf('\n'); // names of topics have none
    const value = new Uint8Array(Buffer.from(packed.head + packed.rest, 'latin1'));
    return { topic: name.slice(0, end), key: name.slice(end + 1), value };
  }

  has(name: string): boolean {
    return this.#records.has(name);
  }

  /** Whether this very record, byte for byte, is the one that stands under the name. */
  holds(name: string, { value }: BusRecord): boolean {
    const known = this.get(name)?.value;
    return known !== undefined && value !== undefined && Buffer.compare(known, value) === 0;
  }

  delete(name: string): void {
    this.#records.delete(name);
  }

  /** Texts kept to be shared. */
  get heads(): number {
    return this.#heads.size;
  }

  names(): IterableIterator<string> {
    return this.#records.keys();
  }

  #shared(head: string): string {
    const known = this.#heads.get(head);
    if (known !== undefined) return known;
    if (this.#heads.size > 2 * this.#records.size + LEAST_UNUSED)
      this.#heads = new Map([...this.#records.values()].map((packed) => [packed.head, packed.head]));
    this.#heads.set(head, head);
    return head;
  }
}
