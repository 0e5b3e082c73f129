// Keeps the records of this node's pods standing: published when a pod is attached, renewed when half of the lease is over
// or the certificate changed, again when nulled or overwritten, and withdrawn when the pod is gone, also by a former
// process. Level-triggered: it is told what there is, never what happened.
import { PODS_TOPIC, type PodContent, podKey, type UnverifiedAnnouncement } from '../core/announcement';
import type { NodeName } from '../core/ids';
import type { OwnClaimsView } from '../core/podroster';
import type { RecordOrder } from '../core/roster';
import { MAX_LEASE_MS } from '../core/verify';
import type { BusRecord, Clock, TopologyBus } from '../ports';

export interface PodAnnouncerParts {
  readonly node: NodeName;
  readonly leaseMs: number;
  readonly bus: Pick<TopologyBus, 'publish'>;
  readonly clock: Clock;
  /** Changes with the certificate that signs. */
  readonly certificate: () => string;
  readonly generations: { next(nowMs: number, above?: number): Promise<number> };
  readonly sign: (announcement: UnverifiedAnnouncement) => Promise<Uint8Array>;
}

interface Standing {
  readonly content: string;
  readonly value: Uint8Array;
  readonly notAfterMs: number;
}

interface Signed {
  readonly key: string;
  readonly value: Uint8Array;
  /** What stands from then on; undefined: the claim is withdrawn. */
  readonly standing: Standing | undefined;
}

/** Our own publications come back late, and another claimant publishes as we do: wait before publishing over it. */
const SETTLE_MS = 2000;
const MAX_SETTLE_MS = 60_000;
/** Publications under way at once. */
const AT_ONCE = 16;

export class PodAnnouncer {
  readonly #leaseMs: number;
  readonly #published = new Map<string, Standing>();
  /** Withdrawn by this process: the lease of what was withdrawn ends by itself. */
  readonly #withdrawn = new Set<string>();
  /** Keys under which something else stands on the bus: when we publish again. */
  readonly #repairMs = new Map<string, number>();
  /** How long each key waited last, and since when: two that take turns become slower. */
  readonly #settled = new Map<string, { readonly waitMs: number; readonly atMs: number }>();
  #generation = 0;
  #sequence = 0;
  #working: Promise<void> | undefined;

  constructor(private readonly parts: PodAnnouncerParts) {
    this.#leaseMs = Math.min(parts.leaseMs, MAX_LEASE_MS);
  }

  /** Give it every record that the bus delivers. */
  observe(record: BusRecord): void {
    if (record.topic !== PODS_TOPIC) return;
    const ours = this.#published.get(record.key);
    if (ours === undefined) return;
    if (record.value !== undefined && Buffer.compare(record.value, ours.value) === 0) {
      this.#repairMs.delete(record.key);
      return;
    }
    const nowMs = this.parts.clock.nowMs();
    const last = this.#settled.get(record.key);
    const isAgain = last !== undefined && nowMs - last.atMs < 2 * MAX_SETTLE_MS;
    const waitMs = isAgain ? Math.min(2 * last.waitMs, MAX_SETTLE_MS) : SETTLE_MS;
    this.#settled.set(record.key, { waitMs, atMs: nowMs });
    this.#repairMs.set(record.key, nowMs + waitMs);
  }

  /**
   * Brings the bus to what is wanted; a call while one is under way shares it. Publishes nothing that stands already.
   * Rejects with the first error; what is left is done at the next call.
   */
  announce(pods: readonly PodContent[], view: OwnClaimsView): Promise<void> {
    this.#working ??= this.#bring(pods, view).finally(() => {
      this.#working = undefined;
    });
    return this.#working;
  }

  async #bring(pods: readonly PodContent[], view: OwnClaimsView): Promise<void> {
    const wanted = new Map(pods.map((pod) => [podKey(pod), pod]));
    const signed: Signed[] = [];
    for (const [key, pod] of wanted)
      if (this.#isDue(key, pod)) signed.push(await this.#claim(key, pod, view));
    for (const key of new Set([...this.#published.keys(), ...view.standing.keys()]))
      if (!wanted.has(key) && !this.#withdrawn.has(key)) signed.push(await this.#release(key, view));
    while (signed.length > 0) await Promise.all(signed.splice(0, AT_ONCE).map((each) => this.#publish(each)));
  }

  #isDue(key: string, pod: PodContent): boolean {
    const nowMs = this.parts.clock.nowMs();
    const ours = this.#published.get(key);
    if (ours === undefined || ours.content !== this.#contentKey(pod)) return true;
    const leftMs = ours.notAfterMs - nowMs;
    if (leftMs <= this.#leaseMs / 2 || leftMs > this.#leaseMs) return true;
    return (this.#repairMs.get(key) ?? Number.POSITIVE_INFINITY) <= nowMs;
  }

  async #claim(key: string, pod: PodContent, view: OwnClaimsView): Promise<Signed> {
    const { clock, node, sign } = this.parts;
    const order = await this.#nextOrder(view.orderOf(key));
    const notBeforeMs = clock.nowMs();
    const notAfterMs = notBeforeMs + this.#leaseMs;
    const value = await sign({ kind: 'pod', node, ...pod, ...order, notBeforeMs, notAfterMs });
    return { key, value, standing: { content: this.#contentKey(pod), value, notAfterMs } };
  }

  async #release(key: string, view: OwnClaimsView): Promise<Signed> {
    const { clock, node, sign } = this.parts;
    const [vni = '', address = ''] = key.split('/');
    const order = await this.#nextOrder(view.orderOf(key));
    // At least as long as any record of ours could still be replayed.
    const standingMs = this.#published.get(key)?.notAfterMs ?? view.standing.get(key)?.notAfterMs ?? 0;
    const value = await sign({
      kind: 'pod-withdrawal',
      node,
      vni: Number(vni) as PodContent['vni'],
      address: address as PodContent['address'],
      ...order,
      notAfterMs: Math.max(clock.nowMs() + this.#leaseMs, standingMs),
    });
    return { key, value, standing: undefined };
  }

  async #publish({ key, value, standing }: Signed): Promise<void> {
    const before = this.#published.get(key);
    this.#repairMs.delete(key);
    // Before it is on the bus: its echo may come before publish() returns.
    this.#keep(key, standing);
    try {
      await this.parts.bus.publish(PODS_TOPIC, key, value);
    } catch (error) {
      this.#keep(key, before);
      throw error;
    }
    if (standing === undefined) this.#withdrawn.add(key);
    else this.#withdrawn.delete(key);
  }

  #keep(key: string, standing: Standing | undefined): void {
    if (standing === undefined) this.#published.delete(key);
    else this.#published.set(key, standing);
  }

  /** After all that was seen under our name, also of a former process whose clock was ahead. */
  async #nextOrder(seen: RecordOrder | undefined): Promise<RecordOrder> {
    if (this.#generation === 0 || (seen?.generation ?? 0) > this.#generation) {
      this.#generation = await this.parts.generations.next(this.parts.clock.nowMs(), seen?.generation);
      this.#sequence = 0;
    }
    this.#sequence += 1;
    return { generation: this.#generation, sequence: this.#sequence };
  }

  /** Equal for contents that say the same, signed by the same certificate. */
  #contentKey({ vni, address, uid, namespace, name, labels, ports, mtuBytes }: PodContent): string {
    const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const content = [vni, address, uid, namespace, name, sorted, ports, mtuBytes];
    return JSON.stringify([this.parts.certificate(), ...content]);
  }
}
