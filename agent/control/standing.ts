// The signed records that count, as they came, to be judged anew when roots or revocations change. A cluster has tens of
// thousands, and of each most is the header with the chain of its node: one text for all of the same node. The payload
// is what it says, written down again: there is one text for it. Put together it is the same bytes.
import type { UnverifiedAnnouncement } from '../core/announcement';
import { encodePayload } from '../core/payload';
import type { BusRecord } from '../ports';

interface Packed {
  /** Up to the first dot. */
  readonly head: string;
  /** What the payload behind it says; undefined when that is in `rest`. */
  readonly says: UnverifiedAnnouncement | undefined;
  readonly rest: string;
}

const DOT = 0x2e;
/** Heads that no record has any more are left up to as many as there are records, and this many. */
const LEAST_UNUSED = 1024;

export class StandingRecords {
  readonly #records = new Map<string, Packed>();
  #heads = new Map<string, string>();

  /** @param announcement what decodePayload() made of the record's payload */
  set(name: string, { value }: BusRecord, announcement: UnverifiedAnnouncement): void {
    if (value === undefined) {
      this.#records.delete(name);
      return;
    }
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
    const dot = Math.max(0, bytes.indexOf(DOT));
    const head = this.#shared(bytes.toString('latin1', 0, dot));
    const end = bytes.indexOf(DOT, dot + 1);
    const isSaid = end > 0 && bytes.toString('latin1', dot, end) === payloadText(announcement);
    this.#records.set(name, {
      head,
      says: isSaid ? announcement : undefined,
      rest: bytes.toString('latin1', isSaid ? end : dot),
    });
  }

  get(name: string): BusRecord | undefined {
    const packed = this.#records.get(name);
    if (packed === undefined) return undefined;
    const end = name.indexOf('\n'); // names of topics have none
    const { head, says, rest } = packed;
    const payload = says === undefined ? '' : payloadText(says);
    const value = new Uint8Array(Buffer.from(head + payload + rest, 'latin1'));
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

/** As it stands behind the header. */
const payloadText = (announcement: UnverifiedAnnouncement): string =>
  `.${Buffer.from(encodePayload(announcement)).toString('base64url')}`;
