// What every proof is given, and the shape of its outcome. A proof's body returns its numbers, or throws what did
// not hold; jest and the lab's command share the same bodies.
import { randomBytes } from 'node:crypto';
import { Endpoint } from './endpoint';
import type { LabLayout, NodeLayout, PodLayout } from './layout';

export interface Proof {
  readonly name: string;
  readonly ok: boolean;
  /** Numbers, or what did not hold. */
  readonly detail: string;
}

export interface ProofOf {
  readonly name: string;
  /** @returns numbers for the report. Throws when it does not hold. */
  readonly body: (context: Context) => Promise<string>;
}

export class Context {
  /** What no sniffer may see: 16 random bytes, in every payload that is long enough. */
  readonly marker = randomBytes(16);
  private readonly endpoints = new Map<string, Endpoint>();

  constructor(readonly lab: LabLayout) {}

  /** The worker in that namespace, started on first use. */
  endpoint(netns: string): Endpoint {
    const known = this.endpoints.get(netns);
    if (known !== undefined) return known;
    const made = new Endpoint(netns);
    this.endpoints.set(netns, made);
    return made;
  }

  /** @param index from 1. */
  node(index: number): NodeLayout {
    const node = this.lab.nodes[index - 1];
    if (node === undefined) throw new Error(`this proof needs node${index}: --nodes ${index} or more`);
    return node;
  }

  /** First pod of a node, from 1. */
  pod(index: number): PodLayout {
    const pod = this.node(index).pods[0];
    if (pod === undefined) throw new Error(`this proof needs a pod on node${index}: --pods 1 or more`);
    return pod;
  }

  /** The marker again and again. */
  payload(bytes: number): Buffer {
    return bytes === 0 ? Buffer.alloc(0) : Buffer.alloc(bytes, this.marker);
  }

  /** Ends the worker in that namespace, before the namespace goes. */
  async drop(netns: string): Promise<void> {
    const endpoint = this.endpoints.get(netns);
    this.endpoints.delete(netns);
    await endpoint?.close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.endpoints.values()].map((endpoint) => endpoint.close()));
    this.endpoints.clear();
  }
}

export async function prove(context: Context, proof: ProofOf): Promise<Proof> {
  try {
    return { name: proof.name, ok: true, detail: await proof.body(context) };
  } catch (error) {
    return { name: proof.name, ok: false, detail: error instanceof Error ? error.message : String(error) };
  }
}

/** Throws the list, shortened, unless it is empty. */
export function expectNone(what: string, failures: readonly string[]): void {
  if (failures.length === 0) return;
  const shown = failures.slice(0, 6).join('; ');
  throw new Error(`${failures.length} ${what}: ${shown}${failures.length > 6 ? '; …' : ''}`);
}
