// Pods of mode `off`: no part of the overlay and not hooked, but held to their own addresses, or they could pass for pods
// that are. Knows them over restarts; guard does the holding. Which pod is off is pods.ts' and sources/cni.ts'.
import type { Log, Netlink, NetnsOpener } from '../ports';
import type { Checkpoint } from './checkpoint';
import { type AskedPod, type AttachedPod, inspectOffPod } from './inspection';
import { reasonOf } from './problems';

export interface OffPodParts {
  readonly opener: NetnsOpener;
  /** Of the agent's own namespace. */
  readonly netlink: Netlink;
  readonly log: Log;
  readonly checkpoint: Checkpoint;
}

export class OffPods {
  private readonly pods = new Map<string, AttachedPod>();

  constructor(private readonly parts: OffPodParts) {}

  /** Sorted by id. */
  list(): AttachedPod[] {
    return [...this.pods.values()].sort((a, b) => (a.pod.id < b.pod.id ? -1 : 1));
  }

  has(id: string): boolean {
    return this.pods.has(id);
  }

  put(pod: AttachedPod): void {
    this.pods.set(pod.pod.id, pod);
  }

  delete(id: string): void {
    this.pods.delete(id);
  }

  /** Undefined: its device does not come out at one of this host's. Errors as inspectPod(). */
  inspect(asked: AskedPod): Promise<AttachedPod | undefined> {
    const { opener, netlink } = this.parts;
    return inspectOffPod({ opener, netlink }, asked);
  }

  async save(): Promise<void> {
    await this.parts.checkpoint.save(this.list().map(({ pod, device }) => ({ ...pod, device })));
  }

  /** They stay off also where the configuration allows it no more: a pod that runs is not hooked behind its back. */
  async reload(): Promise<void> {
    for (const saved of await this.parts.checkpoint.load()) {
      try {
        const found = await this.inspect(saved);
        if (found?.pod.id === saved.id) this.put(found);
      } catch (error) {
        this.parts.log.warn(
          { pod: `${saved.namespace}/${saved.name}`, reason: reasonOf(error) },
          'pod that is off dropped at start',
        );
      }
    }
  }
}
