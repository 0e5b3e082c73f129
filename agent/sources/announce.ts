// Publishes this node's record and keeps it standing: on change, as heartbeat when half of the lease is over, and
// again when somebody has nulled, overwritten or rolled it back. Owns order, lease and repetition; what the
// record says comes from control/, the signature from identity/.
import {
  NODES_TOPIC,
  type NodeAnnouncement,
  type UnverifiedAnnouncement,
  type VerifiedRecord,
} from '../core/announcement';
import type { NodeName } from '../core/ids';
import { encodePayload } from '../core/payload';
import type { Result } from '../core/result';
import { MAX_LEASE_MS, type RejectReason } from '../core/verify';
import { VxsealError } from '../errors';
import type { BusRecord, Clock, Log, TopologyBus } from '../ports';

/** What our record says, without order, lease and signature. */
export type AnnouncedContent = Pick<
  NodeAnnouncement,
  'vteps' | 'port' | 'prefixes' | 'suites' | 'epoch' | 'olderEpochs'
>;

export interface AnnouncerParts {
  readonly node: NodeName;
  /** Random per process, hex, 16 to 64 digits. */
  readonly bootId: string;
  readonly agentVersion: string;
  /** How long a record holds without another one. */
  readonly leaseMs: number;
  readonly bus: Pick<TopologyBus, 'publish'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Changes with the certificate that signs: what stands is then signed anew. */
  readonly certificate: () => string;
  readonly generations: { next(nowMs: number, above?: number): Promise<number> };
  readonly sign: (announcement: UnverifiedAnnouncement) => Promise<Uint8Array>;
  readonly verify: (record: BusRecord, nowMs: number) => Promise<Result<VerifiedRecord, RejectReason>>;
}

export interface AnnouncerState {
  readonly generation: number;
  readonly sequence: number;
  /** Wall clock, 0 for never. */
  readonly publishedMs: number;
  readonly leaseEndMs: number;
  /** Boot id of a newer process that uses our name, else ''. */
  readonly duplicate: string;
  /** Of the last attempt; '' when it succeeded. */
  readonly error: string;
}

interface Standing {
  readonly value: Uint8Array;
  readonly content: string;
  readonly publishedMs: number;
  readonly notAfterMs: number;
}

/** Our own publications come back late: only what still stands after this long is repaired. */
const SETTLE_MS = 1000;
const MAX_SETTLE_MS = 60_000;
const MAX_TICK_MS = 30_000;

export class Announcer {
  readonly #startedMs: number;
  readonly #leaseMs: number;
  #generation = 0;
  #sequence = 0;
  #content: AnnouncedContent | undefined;
  #published: Standing | undefined;
  /** What stands on the bus in place of our record; undefined while ours does. */
  #foreign: BusRecord | undefined;
  #duplicate = { bootId: '', untilMs: 0 };
  #settleMs = SETTLE_MS;
  #replacedMs = 0;
  #error = '';
  #ended = false;
  #queue: Promise<unknown> = Promise.resolve();
  #cancelTick: () => void = () => undefined;
  #cancelRepair: (() => void) | undefined;

  constructor(private readonly parts: AnnouncerParts) {
    this.#startedMs = parts.clock.nowMs();
    this.#leaseMs = Math.min(parts.leaseMs, MAX_LEASE_MS);
  }

  /**
   * Publishes when the content differs from what was published; resolves once it is on the bus. The content stays:
   * heartbeats carry it, and after a failure they try again.
   * Throws VxsealError: 'bus', 'state', or 'identity' while a newer process uses our name.
   */
  async announce(content: AnnouncedContent): Promise<void> {
    if (this.#ended)
      throw new VxsealError('not-ready', `record of ${this.parts.node}: the agent is stopping`);
    this.#content = content;
    this.#scheduleTick();
    await this.#inTurn(async () => {
      if (this.#content !== content || this.#published?.content === this.#contentKey(content)) return;
      await this.#publish(content);
    });
  }

  /** Give it every record that the bus delivers. */
  observe(record: BusRecord): void {
    if (record.topic !== NODES_TOPIC || record.key !== this.parts.node || this.#ended) return;
    const ours = this.#published;
    if (ours !== undefined && record.value !== undefined && Buffer.compare(ours.value, record.value) === 0) {
      this.#foreign = undefined;
      return;
    }
    this.#foreign = record;
    this.#replacedMs = this.parts.clock.nowMs();
    if (ours !== undefined) this.#scheduleRepair();
  }

  /**
   * Takes the node out of the overlay; nothing is published after it. Throws VxsealError 'bus' when it could not:
   * the lease then ends by itself.
   */
  async withdraw(): Promise<void> {
    this.#end();
    await this.#inTurn(async () => {
      const { bus, clock, node, sign } = this.parts;
      const generation = await this.#currentGeneration();
      this.#sequence += 1;
      // At least as long as any record of ours could still be replayed.
      const notAfterMs = Math.max(clock.nowMs() + this.#leaseMs, this.#published?.notAfterMs ?? 0);
      const value = await sign({
        kind: 'withdrawal',
        node,
        generation,
        sequence: this.#sequence,
        notAfterMs,
      });
      await bus.publish(NODES_TOPIC, node, value);
    });
  }

  /** Ends heartbeats; the record stands until its lease ends. Resolves when nothing is under way. */
  async stop(): Promise<void> {
    this.#end();
    await this.#queue.catch(() => undefined);
  }

  state(): AnnouncerState {
    return {
      generation: this.#generation,
      sequence: this.#sequence,
      publishedMs: this.#published?.publishedMs ?? 0,
      leaseEndMs: this.#published?.notAfterMs ?? 0,
      duplicate: this.#duplicate.untilMs > this.parts.clock.nowMs() ? this.#duplicate.bootId : '',
      error: this.#error,
    };
  }

  #end(): void {
    this.#ended = true;
    this.#cancelTick();
    this.#cancelRepair?.();
  }

  /** One publication after the other. */
  #inTurn(run: () => Promise<void>): Promise<void> {
    const turn = this.#queue.catch(() => undefined).then(run);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** Looks often and compares with the wall clock, which may be set while a timer runs. */
  #scheduleTick(): void {
    this.#cancelTick();
    if (this.#ended) return;
    this.#cancelTick = this.parts.clock.after(Math.min(this.#leaseMs / 6, MAX_TICK_MS), () => {
      this.#scheduleTick();
      if (this.parts.clock.nowMs() - this.#replacedMs > MAX_SETTLE_MS) this.#settleMs = SETTLE_MS;
      if (this.#heartbeatDue()) this.#republish();
    });
  }

  /** With half the lease left there is time for several attempts before the last third. */
  #heartbeatDue(): boolean {
    if (this.#published === undefined) return true;
    const leftMs = this.#published.notAfterMs - this.parts.clock.nowMs();
    return leftMs <= this.#leaseMs / 2 || leftMs > this.#leaseMs || this.#error !== '';
  }

  /** Waits longer each time, so that two writers do not chase each other. */
  #scheduleRepair(): void {
    this.#cancelRepair ??= this.parts.clock.after(this.#settleMs, () => {
      this.#cancelRepair = undefined;
      if (this.#foreign === undefined) return;
      if (this.#settleMs === SETTLE_MS)
        this.parts.log.warn({ node: this.parts.node }, 'our record was replaced');
      this.#settleMs = Math.min(2 * this.#settleMs, MAX_SETTLE_MS);
      this.#republish();
    });
  }

  #republish(): void {
    void this.#inTurn(async () => {
      if (this.#content !== undefined && !this.#ended) await this.#publish(this.#content);
    }).catch(() => undefined); // kept in #error, tried again at the next tick
  }

  async #publish(content: AnnouncedContent): Promise<void> {
    try {
      await this.#yieldToForeign();
      await this.#publishNow(content);
      if (this.#error !== '') this.parts.log.info({ node: this.parts.node }, 'our record is published again');
      this.#error = '';
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (this.#error === '')
        this.parts.log.warn({ node: this.parts.node, reason: message }, 'our record is not published');
      this.#error = message;
      throw error;
    }
  }

  async #publishNow(content: AnnouncedContent): Promise<void> {
    const { node, bootId, agentVersion, bus, clock, sign } = this.parts;
    const generation = await this.#currentGeneration();
    this.#sequence += 1;
    const publishedMs = clock.nowMs();
    const notAfterMs = publishedMs + this.#leaseMs;
    const value = await sign({
      kind: 'node',
      node,
      bootId,
      generation,
      sequence: this.#sequence,
      notBeforeMs: publishedMs,
      notAfterMs,
      agentVersion,
      ...content,
    });
    const before = this.#published;
    // Before it is on the bus: its echo may come before publish() returns.
    this.#published = { value, content: this.#contentKey(content), publishedMs, notAfterMs };
    this.#foreign = undefined;
    try {
      await bus.publish(NODES_TOPIC, node, value);
    } catch (error) {
      this.#published = before;
      throw error;
    }
  }

  async #currentGeneration(): Promise<number> {
    if (this.#generation === 0) this.#generation = await this.parts.generations.next(this.#startedMs);
    return this.#generation;
  }

  /**
   * Looks at what another process has signed under our name, before we publish over it. A process that began after
   * us has our identity: the older of the two gives way for as long as the other's lease runs.
   */
  async #yieldToForeign(): Promise<void> {
    const { clock, node } = this.parts;
    if (this.#foreign?.value !== undefined) await this.#judge(this.#foreign);
    if (this.#duplicate.untilMs <= clock.nowMs()) return;
    throw new VxsealError(
      'identity',
      `record of ${node}: another agent (boot ${this.#duplicate.bootId}) uses this node's name and key`,
      'stop one of the two, and give each its own certificate: vxseal ca issue',
    );
  }

  async #judge(record: BusRecord): Promise<void> {
    const { bootId, clock, generations, log, node, verify } = this.parts;
    const nowMs = clock.nowMs();
    const verified = await verify(record, nowMs);
    if (!verified.ok) return; // a forgery: we publish over it
    const other = verified.value.announcement;
    if (other.kind === 'node' && other.bootId === bootId) return; // rolled back to an older one of ours
    if (other.generation < (await this.#currentGeneration())) return; // of a former process
    if (other.kind === 'node' && other.notBeforeMs > this.#startedMs && other.notAfterMs > nowMs) {
      if (this.#duplicate.untilMs <= nowMs)
        log.error({ node, bootId: other.bootId }, 'another agent uses our name');
      this.#duplicate = { bootId: other.bootId, untilMs: other.notAfterMs };
      return;
    }
    // Of a former process whose clock was ahead, or one that withdrew: peers believe us only if we come after it.
    this.#generation = await generations.next(nowMs, other.generation);
    this.#sequence = 0;
  }

  /** Equal for contents that say the same, signed by the same certificate. */
  #contentKey(content: AnnouncedContent): string {
    const order = { bootId: '', generation: 0, sequence: 0, notBeforeMs: 0, notAfterMs: 0, agentVersion: '' };
    const payload = encodePayload({ kind: 'node', node: this.parts.node, ...order, ...content });
    return `${this.parts.certificate()} ${Buffer.from(payload).toString('latin1')}`;
  }
}
