// Both takers of records, of nodes and of policy, as the room sees them: one bus, one answer to "is all of it read".
import type { BusRecord } from '../ports';
import { isPolicyRecord, type PolicyIntake } from './policyrecords';
import type { Problems } from './problems';
import type { RecordIntake } from './records';
import { addCounts, type RecordCounts } from './refusals';
import type { RecordTotal } from './status';

export class Intakes {
  constructor(
    readonly nodes: RecordIntake,
    readonly policies: PolicyIntake,
  ) {}

  /** Never throws. */
  receive(record: BusRecord): void {
    if (isPolicyRecord(record)) this.policies.receive(record);
    else this.nodes.receive(record);
  }

  judgeAnew(): void {
    this.nodes.judgeAnew();
    this.policies.judgeAnew();
  }

  /** A pod that is hooked before the policies are read would be open: both are waited for. */
  inSync(): boolean {
    const [nodes, policies] = [this.nodes.inSync(), this.policies.inSync()];
    return nodes && policies;
  }

  counts(): RecordCounts {
    return addCounts(this.nodes.counts(), this.policies.counts());
  }

  totals(): RecordTotal[] {
    return [...totalsOf('topology', this.nodes.counts()), ...totalsOf('policy', this.policies.counts())];
  }

  /** Tries again to keep on disk what could not be kept. */
  async tell(problems: Problems): Promise<void> {
    this.nodes.tellRefusals(problems);
    await this.nodes.tellUnkept(problems);
    this.policies.tell();
  }
}

const totalsOf = (kind: RecordTotal['kind'], { accepted, refused }: RecordCounts): RecordTotal[] => [
  { kind, result: 'accepted', count: accepted },
  ...refused.map(({ reason, count }) => ({ kind, result: reason, count })),
];
