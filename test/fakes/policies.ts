// Policy records without signatures: serialised, believed as they come; and the disk of a node in memory.
import { deserialize, serialize } from 'node:v8';
import type { PolicyRecordParts } from '../../agent/control/policyrecords';
import { POLICIES_TOPIC, type PolicyRecord, type VerifiedPolicy } from '../../agent/core/policyrecord';
import type { PolicyFloors } from '../../agent/core/policyroster';
import { accept, type Result, refuse } from '../../agent/core/result';
import type { BusRecord } from '../../agent/ports';

/** Outlives the agent, as a disk does. */
export class MemoryPolicyStore {
  readonly records = new Map<string, BusRecord>();
  floors: PolicyFloors = new Map();

  async load(): Promise<BusRecord[]> {
    return [...this.records.values()];
  }

  async keep(record: BusRecord): Promise<void> {
    this.records.set(record.key, record);
  }

  async forget(key: string): Promise<void> {
    this.records.delete(key);
  }
}

export const plainPolicy = (record: PolicyRecord): BusRecord => ({
  topic: POLICIES_TOPIC,
  key: record.key,
  value: serialize(record),
});

function read({ value }: BusRecord): Result<VerifiedPolicy, string> {
  if (value === undefined) return refuse('tombstone', 'value is null');
  try {
    const record = deserialize(value) as PolicyRecord;
    return accept({ record, certificateSerial: '01', certificateNotAfterMs: Number.MAX_SAFE_INTEGER });
  } catch {
    return refuse('malformed', 'not a record');
  }
}

/** @param revoked names of authors whose records are refused */
export function plainPolicyRecords(
  store: MemoryPolicyStore,
  revoked: ReadonlySet<string> = new Set(),
): PolicyRecordParts {
  return {
    store,
    floors: {
      highest: store.floors,
      remember: async (floors) => {
        store.floors = floors;
      },
    },
    read,
    verify: async (record) => {
      const found = read(record);
      return found.ok && revoked.has(found.value.record.author)
        ? refuse('revoked', 'the author is revoked')
        : found;
    },
  };
}
