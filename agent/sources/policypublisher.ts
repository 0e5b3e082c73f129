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

export interface PlacedDocument {
  readonly document: PolicyDocument;
  readonly vni: Vni;
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
      const { connected, error } = bus.status();
      // The first attempt is over: a command does not wait for a bus to come back.
      if ((!connected && error !== '') || clock.nowMs() > deadlineMs)
        throw new VxsealError(
          'bus',
          `the topology bus is not read: ${error || 'no answer'}`,
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

  /** Signs all before it publishes any. @returns the keys. Throws VxsealError 'bus', 'request'. */
  async apply(placed: readonly PlacedDocument[]): Promise<string[]> {
    const keys = placed.map(({ document, vni }) => formatKey(placeOf(document, vni)));
    await this.publish(placed.map(({ document }, index) => ({ key: keys[index] ?? '', document })));
    return keys;
  }

  /**
   * By key, also those that the bus does not show: nodes may hold them all the same.
   * @returns which of them the bus showed
   */
  async withdraw(keys: readonly string[]): Promise<boolean[]> {
    const known = keys.map((key) => this.standing.get(key)?.record.document !== undefined);
    await this.publish(keys.map((key) => ({ key, document: undefined })));
    return known;
  }

  async close(): Promise<void> {
    await this.parts.bus.stop();
  }

  private async publish(changes: readonly Pick<PolicyRecord, 'key' | 'document'>[]): Promise<void> {
    const signed: { readonly key: string; readonly value: Uint8Array; readonly verified: VerifiedPolicy }[] =
      [];
    for (const change of changes) signed.push({ key: change.key, ...(await this.sign(change)) });
    for (const { key, value, verified } of signed) {
      await this.parts.bus.publish(POLICIES_TOPIC, key, value);
      this.standing.set(key, verified);
    }
  }

  private async sign({
    key,
    document,
  }: Pick<PolicyRecord, 'key' | 'document'>): Promise<{ value: Uint8Array; verified: VerifiedPolicy }> {
    const { clock, author, sign, verify } = this.parts;
    const nowMs = clock.nowMs();
    const order = nextOrder(this.standing.get(key)?.record, nowMs);
    const value = await sign({ author, key, ...order, document });
    const verified = await verify({ topic: POLICIES_TOPIC, key, value }, nowMs);
    if (verified.ok) return { value, verified: verified.value };
    throw new VxsealError(
      'request',
      `${key}: no node would take it: ${verified.reason}: ${verified.detail}`,
      'ask for a certificate that grants the VNI: vxseal ca issue --policy-author … --vni …',
    );
  }
}
