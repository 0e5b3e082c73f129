// The highest (generation, sequence) seen of each node, of each claim of a pod's address, and of each VNI's forgotten
// withdrawals of policy, on disk: what a hostile bus cannot roll back over a restart. Which are remembered, and for how long, is the rosters'.
import { parseAddress } from '../core/bytes';
import type { NodeName } from '../core/ids';
import { parseNodeName } from '../core/names';
import type { ClaimName } from '../core/podroster';
import type { RecordOrder } from '../core/roster';
import { isOrderNumber, readState, writeState } from './statefile';

/** What a store is about: undefined for a text that is no such name. */
export type ParseName<K extends string> = (text: string) => K | undefined;

export const nodeNames: ParseName<NodeName> = (text) => {
  const name = parseNodeName(text);
  return name.ok ? name.value : undefined;
};

export const claimNames: ParseName<ClaimName> = (text) => {
  const [, address = '', node = ''] = /^[1-9]\d{0,7}\/([0-9a-f.:]+) (\S+)$/.exec(text) ?? [];
  return parseAddress(address).ok && parseNodeName(node).ok ? (text as ClaimName) : undefined;
};

/** Number of a VNI. */
export const vniNames: ParseName<string> = (text) => (/^[1-9]\d{0,7}$/.test(text) ? text : undefined);

export class SeenStore<K extends string> {
  /** Until it is written: those of a large cluster are as much as all else that is known of its pods. */
  #latest: ReadonlyMap<K, RecordOrder> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;

  private constructor(
    private readonly path: string,
    /** As it was on disk at the start. */
    readonly highest: ReadonlyMap<K, RecordOrder>,
  ) {}

  /** Empty when there is no file. Throws VxsealError 'state' on one that cannot be read or is damaged. */
  static async open<K extends string>(path: string, parse: ParseName<K>): Promise<SeenStore<K>> {
    return new SeenStore(path, (await readState(path, (json) => decode(json, parse))) ?? new Map());
  }

  /**
   * Replaces what is remembered. Resolves once this, or what was given later, is on disk; calls that come while a
   * write is under way share the next one. Throws VxsealError 'state'.
   */
  async remember(highest: ReadonlyMap<K, RecordOrder>): Promise<void> {
    this.#latest = highest;
    if (this.#queued === undefined) {
      this.#queued = this.#writing.then(() => {
        this.#queued = undefined;
        const latest = this.#latest;
        if (latest === undefined) throw new Error('no orders to write');
        this.#latest = undefined;
        return writeState(this.path, encode(latest));
      });
      this.#writing = this.#queued.catch(() => undefined);
    }
    await this.#queued;
  }
}

function encode(highest: ReadonlyMap<string, RecordOrder>): object {
  return {
    v: 1,
    nodes: [...highest].map(([name, { generation, sequence }]) => [name, generation, sequence]),
  };
}

function decode<K extends string>(json: unknown, parse: ParseName<K>): Map<K, RecordOrder> | undefined {
  if (typeof json !== 'object' || json === null || !('v' in json) || json.v !== 1) return undefined;
  if (!('nodes' in json) || !Array.isArray(json.nodes)) return undefined;
  const highest = new Map<K, RecordOrder>();
  for (const entry of json.nodes as readonly unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 3) return undefined;
    const [text, generation, sequence] = entry as readonly unknown[];
    const name = typeof text === 'string' ? parse(text) : undefined;
    if (name === undefined || !isOrderNumber(generation) || !isOrderNumber(sequence)) return undefined;
    highest.set(name, { generation, sequence });
  }
  return highest;
}
