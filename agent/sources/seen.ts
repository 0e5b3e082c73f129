// The highest (generation, sequence) seen of each node, on disk: what a hostile bus cannot roll back over a restart.
// Which nodes are remembered, and for how long, is the roster's.
import type { NodeName } from '../core/ids';
import { parseNodeName } from '../core/names';
import type { RecordOrder } from '../core/roster';
import { isOrderNumber, readState, writeState } from './statefile';

export type Highest = ReadonlyMap<NodeName, RecordOrder>;

export class SeenStore {
  #latest: Highest = new Map();
  #writing: Promise<void> = Promise.resolve();
  #queued: Promise<void> | undefined;

  private constructor(
    private readonly path: string,
    /** As it was on disk at the start. */
    readonly highest: Highest,
  ) {}

  /** Empty when there is no file. Throws VxsealError 'state' on one that cannot be read or is damaged. */
  static async open(path: string): Promise<SeenStore> {
    return new SeenStore(path, (await readState(path, decode)) ?? new Map());
  }

  /**
   * Replaces what is remembered. Resolves once this, or what was given later, is on disk; calls that come while a
   * write is under way share the next one. Throws VxsealError 'state'.
   */
  async remember(highest: Highest): Promise<void> {
    this.#latest = highest;
    if (this.#queued === undefined) {
      this.#queued = this.#writing.then(() => {
        this.#queued = undefined;
        return writeState(this.path, encode(this.#latest));
      });
      this.#writing = this.#queued.catch(() => undefined);
    }
    await this.#queued;
  }
}

function encode(highest: Highest): object {
  return {
    v: 1,
    nodes: [...highest].map(([node, { generation, sequence }]) => [node, generation, sequence]),
  };
}

function decode(json: unknown): Highest | undefined {
  if (typeof json !== 'object' || json === null || !('v' in json) || json.v !== 1) return undefined;
  if (!('nodes' in json) || !Array.isArray(json.nodes)) return undefined;
  const highest = new Map<NodeName, RecordOrder>();
  for (const entry of json.nodes as readonly unknown[]) {
    if (!Array.isArray(entry) || entry.length !== 3) return undefined;
    const [name, generation, sequence] = entry as readonly unknown[];
    const node = typeof name === 'string' ? parseNodeName(name) : undefined;
    if (node?.ok !== true || !isOrderNumber(generation) || !isOrderNumber(sequence)) return undefined;
    highest.set(node.value, { generation, sequence });
  }
  return highest;
}
