// Signs documents of policy and publishes them, behind whatever stands on the bus already. Owns their order; what they
// say and who may sign is the caller's. A publisher lives as long as one command.
import type { Vni } from '../core/ids';
import { formatKey, type PolicyDocument, placeOf } from '../core/policydocument';
import {
  type AuthorName,
  nextOrder,
  POLICIES_TOPIC,
  type PolicyRecord,
  type VerifiedPolicy,
} from '../core/policyrecord';
import type { Result } from '../core/result';
import { VxsealError } from '../errors';
import type { BusRecord, Clock, TopologyBus } from '../ports';

export interface PublisherParts {
  readonly bus: TopologyBus;
  readonly clock: Clock;
  readonly author: AuthorName;
  readonly sign: (record: PolicyRecord) => Promise<Uint8Array>;
  readonly verify: (record: BusRecord, nowMs: number) => Promise<Result<VerifiedPolicy, string>>;
  /** How long the bus may take to be read to its end. */
  readonly patienceMs?: number;
}

const PATIENCE_MS = 30_000;
const LOOK_MS = 20;

export class PolicyPublisher {
  private readonly standing = new Map<string, VerifiedPolicy>();
  private readonly arrived = new Map<string, BusRecord>();

  constructor(private readonly parts: PublisherParts) {}

  /** Reads the bus to its end. Throws VxsealError 'bus' when it cannot be. */
  async open(): Promise<void> {
    const { bus, clock, verify, patienceMs = PATIENCE_MS } = this.parts;
    const deadlineMs = clock.nowMs() + patienceMs;
    await bus.start((record) => this.arrived.set(record.key, record));
    while (!bus.status().inSync) {
      if (clock.nowMs() > deadlineMs)
        throw new VxsealError(
          'bus',
          `the topology bus is not read: ${bus.status().error || 'no answer'}`,
          'check the bus section of the configuration; nothing was published',
        );
      await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
    }
    for (const [key, record] of this.arrived) {
      // What no node would take counts for nothing here either.
      const verified = await verify(record, clock.nowMs());
      if (verified.ok) this.standing.set(key, verified.value);
    }
  }

  /** @returns the key. Throws VxsealError 'bus', 'request'. */
  async apply(document: PolicyDocument, vni: Vni): Promise<string> {
    const key = formatKey(placeOf(document, vni));
    await this.publish(key, document);
    return key;
  }

  /**
   * By key, also one that the bus does not show: nodes may hold it all the same.
   * @returns whether the bus showed it
   */
  async withdraw(key: string): Promise<boolean> {
    const known = this.standing.get(key)?.record.document !== undefined;
    await this.publish(key, undefined);
    return known;
  }

  async close(): Promise<void> {
    await this.parts.bus.stop();
  }

  private async publish(key: string, document: PolicyDocument | undefined): Promise<void> {
    const { bus, clock, author, sign, verify } = this.parts;
    const nowMs = clock.nowMs();
    const order = nextOrder(this.standing.get(key)?.record, nowMs);
    const value = await sign({ author, key, ...order, document });
    const record = { topic: POLICIES_TOPIC, key, value };
    const verified = await verify(record, nowMs);
    if (!verified.ok)
      throw new VxsealError(
        'request',
        `${key}: no node would take it: ${verified.reason}: ${verified.detail}`,
        'ask for a certificate that grants the VNI: vxseal ca issue --policy-author … --vni …',
      );
    await bus.publish(POLICIES_TOPIC, key, value);
    this.standing.set(key, verified.value);
  }
}
