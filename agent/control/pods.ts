// The pods of this node: who was attached, under which namespace, with which addresses. A pod is its network
// namespace, not its name. Keeps a checkpoint, so that a restarted agent wants the same pods. It hooks nothing
// itself: the reconciler does, and attach() answers once that is done.
import { type AskedMode, chooseMode, type PodMode, type WeakerMode } from '../core/adoption';
import type { CniAttachment, ContainerDevice } from '../core/cni';
import type { Prefix, Vni } from '../core/ids';
import type { PodFacts, PodFactsSink } from '../core/podfacts';
import { VxsealError } from '../errors';
import type { Clock, LinkInfo, Log, Netlink, NetnsOpener, PodGate, PodRequest } from '../ports';
import type { Checkpoint, SavedPod } from './checkpoint';
import { type AskedPod, type AttachedPod, inspectPod } from './inspection';
import { OffPods } from './offpods';
import { keepFacts, podIdAt, withFacts } from './podfacts';
import { reasonOf } from './problems';

const DEFAULT_DEVICE = 'eth0';
/** Attach answers "try again later" after this long. */
const ATTACH_DEADLINE_MS = 10_000;
const RETRY_MS = 200;

export interface PodSettings {
  readonly hostVni: Vni;
  /** Prefixes of this node by VNI: a pod's addresses must lie in them. */
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
  /** Modes that a pod may be given besides strict; none by default. */
  readonly allowedModes?: readonly WeakerMode[];
}

export interface PodParts {
  readonly opener: NetnsOpener;
  /** Of the agent's own namespace. */
  readonly netlink: Netlink;
  readonly clock: Clock;
  readonly log: Log;
  readonly checkpoint: Checkpoint;
  /** Of the pods that are off. */
  readonly offCheckpoint: Checkpoint;
  /** Inner MTU; undefined while the underlay is not known. */
  readonly mtuBytes: () => number | undefined;
  /** Runs a whole pass that begins after the call. */
  readonly reconcile: () => Promise<void>;
  /** Undefined once the pod is hooked, or guarded if it is off, else what is missing. */
  readonly missing: (pod: AttachedPod) => string | undefined;
  /** Why a pod that is hooked could not be reached all the same: no keys, no picture of the peers. */
  readonly blockers: () => readonly string[];
}

export class PodStore implements PodGate, PodFactsSink {
  private readonly pods = new Map<string, AttachedPod>();
  /** Host devices of pods that the runtime has ended, by ifindex, with their names. */
  private readonly ended = new Map<number, string>();
  private readonly offPods: OffPods;

  constructor(
    private readonly settings: PodSettings,
    private readonly parts: PodParts,
  ) {
    this.offPods = new OffPods({ ...parts, checkpoint: parts.offCheckpoint });
  }

  /** Those of the overlay, sorted by id. */
  list(): AttachedPod[] {
    return [...this.pods.values()].sort((a, b) => (a.pod.id < b.pod.id ? -1 : 1));
  }

  /**
   * Errors: 'request' for what the caller must change, 'not-ready' at the deadline; the pod stays attached then.
   * A runtime's pod is also waited for until it is keyed: its first packet may be its last chance.
   */
  async attach(request: PodRequest): Promise<AttachedPod> {
    const deadlineMs = this.parts.clock.nowMs() + ATTACH_DEADLINE_MS;
    const mtuBytes = await this.knownMtu(deadlineMs);
    const seen = await this.inspect(this.asked(request), mtuBytes);
    this.refuseSecondDevice(seen);
    const found = { ...seen, pod: keepFacts(seen.pod, this.pods.get(seen.pod.id)?.pod) };
    // Both must have happened before the answer; neither needs the other.
    await Promise.all([this.remember(found), this.waitUntilHooked(found, deadlineMs)]);
    this.parts.log.info(
      { pod: podName(found), id: found.pod.id, addresses: found.pod.addresses },
      'pod attached',
    );
    return found;
  }

  /** One without a veth on this host has no device here that could speak for others. */
  async leave({ netnsPath, device = DEFAULT_DEVICE, name, namespace, runtime }: PodRequest): Promise<void> {
    const asked = { netnsPath, device, name, namespace, vni: this.settings.hostVni };
    const found = await this.offPods.inspect({ ...asked, ...(runtime === undefined ? {} : { runtime }) });
    if (found !== undefined) await Promise.all([this.remember(found), this.waitUntilHooked(found)]);
  }

  /** Those that are off, sorted by id. */
  off(): AttachedPod[] {
    return this.offPods.list();
  }

  choose(asked: AskedMode): PodMode {
    const chosen = chooseMode(asked, this.settings.allowedModes ?? []);
    if (chosen.ok) return chosen.value;
    const remedy =
      chosen.reason === 'unknown'
        ? 'correct it'
        : 'take the mode away, or allow it in adoption.allow of the configuration';
    throw new VxsealError('request', chosen.detail, remedy);
  }

  /** In rising order. */
  closing(): number[] {
    return [...this.ended.keys()].sort((a, b) => a - b);
  }

  /**
   * A pod that the runtime ends keeps its hooks as long as its device stands, and they drop everything: what it still
   * says on its way out must not leave by another way. One detached by hand goes back to how it was.
   * @param which id, or what the runtime calls it. False when there was no such pod.
   */
  async detach(which: string | CniAttachment): Promise<boolean> {
    const pod = typeof which === 'string' ? this.pods.get(which) : this.find(which, this.all());
    if (pod === undefined) return false;
    if (typeof which !== 'string') this.ended.set(pod.entry.ifindex, pod.pod.hostDevice);
    this.forget(pod, 'detached');
    await Promise.all([this.save(), this.parts.reconcile()]);
    return true;
  }

  async check(attachment: CniAttachment, netnsPath: string): Promise<readonly string[] | undefined> {
    const known = this.find(attachment);
    if (known === undefined) return undefined;
    const mtuBytes = this.parts.mtuBytes();
    const found = await this.inspect({ ...known.pod, netnsPath, device: known.device }, undefined);
    const missing = this.parts.missing(known);
    return [
      ...(found.pod.id === known.pod.id ? [] : [`${netnsPath} is another namespace than the one attached`]),
      ...(found.entry.ifindex === known.entry.ifindex ? [] : ['its host device is another one']),
      ...(found.pod.addresses.join() === known.pod.addresses.join() ? [] : ['its addresses have changed']),
      ...(mtuBytes === undefined || found.mtuBytes <= mtuBytes
        ? []
        : [`MTU ${found.mtuBytes} of ${known.device} is larger than the tunnel's ${mtuBytes}`]),
      ...(missing === undefined ? [] : [missing]),
    ];
  }

  /** Pods that were attached by hand are no runtime's to collect. */
  async collect(network: string, valid: readonly ContainerDevice[]): Promise<number> {
    const kept = new Set(valid.map(({ containerId, ifname }) => `${containerId}/${ifname}`));
    const stale = this.all().filter(({ pod }) => {
      const attachment = pod.runtime?.attachment;
      return attachment?.network === network && !kept.has(`${attachment.containerId}/${attachment.ifname}`);
    });
    for (const pod of stale) this.forget(pod, 'unknown to the runtime');
    if (stale.length > 0) await Promise.all([this.save(), this.parts.reconcile()]);
    return stale.length;
  }

  blockers(): readonly string[] {
    return this.parts.blockers();
  }

  /** Labels may be what policies go by: a pass follows. */
  async inform(told: readonly PodFacts[]): Promise<void> {
    let changed = 0;
    for (const facts of told) {
      const known = this.pods.get(podIdAt(this.parts.opener, facts.netnsPath) ?? '');
      const pod = known === undefined ? undefined : withFacts(known.pod, facts);
      if (known === undefined || pod === undefined) continue;
      this.pods.set(pod.id, { ...known, pod });
      changed += 1;
    }
    if (changed === 0) return;
    this.parts.log.debug({ told: told.length, changed }, 'labels of pods told');
    await Promise.all([this.save(), this.parts.reconcile()]);
  }

  /** Detaches pods whose host device is gone, or is another one under the same number. */
  async dropVanished(links: readonly LinkInfo[]): Promise<void> {
    const byIndex = new Map(links.map((link) => [link.ifindex, link]));
    for (const [ifindex, name] of this.ended)
      if (byIndex.get(ifindex)?.name !== name) this.ended.delete(ifindex);
    const vanished = this.all().filter(({ pod, entry }) => {
      const link = byIndex.get(entry.ifindex);
      return link?.name !== pod.hostDevice || link.kind !== 'veth';
    });
    for (const pod of vanished) this.forget(pod, `host device ${pod.pod.hostDevice} is gone`);
    if (vanished.length > 0) await this.save();
  }

  /** Takes up the pods of a former process; one whose namespace is gone is dropped with a log line. */
  async reload(): Promise<void> {
    await this.offPods.reload();
    for (const saved of await this.parts.checkpoint.load()) {
      try {
        // The MTU was lowered when the pod came; what its owner did to it since is not ours to undo.
        const found = await this.inspect(this.stillAllowed(saved), undefined);
        if (found.pod.id !== saved.id)
          throw new VxsealError('not-found', 'its network namespace is another one now');
        this.pods.set(found.pod.id, found);
      } catch (error) {
        this.parts.log.warn(
          { pod: `${saved.namespace}/${saved.name}`, reason: reasonOf(error) },
          'pod dropped at start',
        );
      }
    }
    await this.save();
  }

  /** What the configuration does not allow any more is strict from now on. */
  private stillAllowed({ mode, ...pod }: SavedPod): SavedPod {
    if (mode === undefined) return pod;
    const allowed = this.settings.allowedModes?.includes(mode) === true && pod.vni === this.settings.hostVni;
    if (allowed) return { ...pod, mode };
    this.parts.log.warn(
      { pod: `${pod.namespace}/${pod.name}`, mode },
      'mode not allowed any more: pod is strict',
    );
    return pod;
  }

  private async remember(found: AttachedPod): Promise<void> {
    // A device or an address has one owner: what is attached later is what is there now.
    // One that is off takes no address from anybody (core/desired.ts), and none is taken from it.
    const isOff = found.entry.off === true;
    for (const other of this.all()) {
      const sameAddress =
        !isOff &&
        other.entry.off !== true &&
        other.pod.vni === found.pod.vni &&
        other.pod.addresses.some((address) => found.pod.addresses.includes(address));
      if (other.pod.id !== found.pod.id && (other.entry.ifindex === found.entry.ifindex || sameAddress))
        this.forget(other, `replaced by ${podName(found)}`);
    }
    this.ended.delete(found.entry.ifindex);
    (isOff ? this.pods : this.offPods).delete(found.pod.id);
    if (isOff) this.offPods.put(found);
    else this.pods.set(found.pod.id, found);
    await this.save();
  }

  private forget(pod: AttachedPod, why: string): void {
    this.pods.delete(pod.pod.id);
    this.offPods.delete(pod.pod.id);
    this.parts.log.info({ pod: podName(pod), id: pod.pod.id, why }, 'pod detached');
  }

  private async save(): Promise<void> {
    await Promise.all([
      this.parts.checkpoint.save(this.list().map(({ pod, device }) => ({ ...pod, device }))),
      this.offPods.save(),
    ]);
  }

  /** An agent that has just started learns it in its first pass: a pod may be faster. */
  private async knownMtu(deadlineMs: number): Promise<number> {
    for (;;) {
      const mtuBytes = this.parts.mtuBytes();
      if (mtuBytes !== undefined) return mtuBytes;
      if (this.parts.clock.nowMs() + RETRY_MS > deadlineMs)
        throw new VxsealError(
          'not-ready',
          'the tunnel MTU is not known yet: no underlay device',
          'see `vxseal status`',
        );
      await this.retryTime();
    }
  }

  private retryTime(): Promise<void> {
    return new Promise((resolve) => this.parts.clock.after(RETRY_MS, resolve));
  }

  private async waitUntilHooked(
    pod: AttachedPod,
    deadlineMs = this.parts.clock.nowMs() + ATTACH_DEADLINE_MS,
  ): Promise<void> {
    for (;;) {
      await this.parts.reconcile();
      const missing = this.missing(pod);
      if (missing === undefined) return;
      if (this.parts.clock.nowMs() + RETRY_MS > deadlineMs)
        throw new VxsealError(
          'not-ready',
          `pod ${podName(pod)} is not hooked: ${missing}`,
          'try again; see `vxseal status`',
        );
      await this.retryTime();
    }
  }

  private missing(pod: AttachedPod): string | undefined {
    const isOff = pod.entry.off === true;
    if (!(isOff ? this.offPods : this.pods).has(pod.pod.id)) return 'its host device is gone';
    const needsKeys = !isOff && pod.pod.runtime !== undefined;
    return this.parts.missing(pod) ?? (needsKeys ? this.blockers()[0] : undefined);
  }

  private inspect(asked: AskedPod, mtuBytes: number | undefined): Promise<AttachedPod> {
    const { opener, netlink } = this.parts;
    return inspectPod({ opener, netlink, prefixes: this.settings.prefixes }, asked, mtuBytes);
  }

  private asked({ netnsPath, device, name, namespace, vni, mode, runtime }: PodRequest): AskedPod {
    const { hostVni } = this.settings;
    const chosen = this.choose({ network: mode, annotation: undefined });
    if (chosen === 'off')
      throw new VxsealError(
        'request',
        `pod ${namespace}/${name}: off is not to be attached`,
        'leave it alone',
      );
    if (chosen === 'permissive' && (vni ?? hostVni) !== hostVni)
      throw new VxsealError(
        'request',
        `pod ${namespace}/${name}: in VNI ${vni} no pod can be permissive, only in the host's (${hostVni})`,
        "take the mode away: a tenant's addresses mean nothing outside the tunnel",
      );
    return {
      netnsPath,
      device: device ?? DEFAULT_DEVICE,
      name,
      namespace,
      vni: (vni ?? hostVni) as Vni,
      ...(chosen === 'permissive' ? { mode: chosen } : {}),
      ...(runtime === undefined ? {} : { runtime }),
    };
  }

  private all(): AttachedPod[] {
    return [...this.list(), ...this.offPods.list()];
  }

  private find(
    { network, containerId, ifname }: CniAttachment,
    among = this.list(),
  ): AttachedPod | undefined {
    return among.find(({ pod }) => {
      const known = pod.runtime?.attachment;
      return known?.network === network && known.containerId === containerId && known.ifname === ifname;
    });
  }

  /** A pod is its namespace: a second device would take the place of the first. */
  private refuseSecondDevice({ pod, device }: AttachedPod): void {
    const known = this.pods.get(pod.id);
    if (known === undefined || known.device === device || pod.runtime === undefined) return;
    throw new VxsealError(
      'request',
      `pod ${podName(known)} is attached with ${known.device} already; ${device} would be its second device`,
      'put the plugin behind one network of a pod only',
    );
  }
}

const podName = ({ pod }: AttachedPod): string => `${pod.namespace}/${pod.name}`;
