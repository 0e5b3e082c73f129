// Files of the control room, kept in memory: real ones would take wall time that a manual clock does not see.
import type { AdoptedPrefixes } from '../../agent/control/adoption';
import type { Checkpoint, SavedPod } from '../../agent/control/checkpoint';
import type { EpochFile } from '../../agent/control/epochs';
import type { Prefix } from '../../agent/core/ids';

export class MemoryCheckpoint implements Checkpoint {
  pods: readonly SavedPod[] = [];

  async load(): Promise<SavedPod[]> {
    return [...this.pods];
  }
  async save(pods: readonly SavedPod[]): Promise<void> {
    this.pods = pods;
  }
}

export class MemoryAdopted implements AdoptedPrefixes {
  former: readonly Prefix[] = [];

  async save(prefixes: readonly Prefix[]): Promise<void> {
    this.former = prefixes;
  }
}

export class MemoryEpochFile implements EpochFile {
  number = 0;

  async load(): Promise<number> {
    return this.number;
  }
  async save(number: number): Promise<void> {
    this.number = number;
  }
}
