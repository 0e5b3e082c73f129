// One pass from what is there to what is wanted: observe, decide by the pure core, apply, say what failed. Level-
// triggered: it keeps no list of things to do, so it repairs whatever was changed behind its back. When a pass runs
// is loop.ts'. Only objects that carry our mark are ever removed, and none before the roster is complete.
import type { OwnClaims } from '../core/conflicts';
import { DesiredMemory, desiring, overlayMtus } from '../core/desired';
import { type EpochBook, notingEpochs, type OwnEpoch, type RotationTiming } from '../core/epochs';
import type { NodeName, Prefix } from '../core/ids';
import { numberPeers, type OverlayConfig, type Peer, selectingPeers } from '../core/peers';
import { planning, Settled, type Step } from '../core/plan';
import type { RemotePod } from '../core/podroster';
import { findingGap } from '../core/protection';
import type { PreSharedKey } from '../core/psk';
import type { RosterNode } from '../core/roster';
import { type Rotation, rotating } from '../core/rotation';
import { SharedSecrets } from '../core/secrets';
import type { Sliced } from '../core/slices';
import type { DesiredState, SaKeys } from '../core/state';
import { SteadyChoices } from '../core/steady';
import type { Clock, Datapath, IpAddress, Netlink, UnderlayTuner } from '../ports';
import { applySteps, stepKey } from './drivers/apply';
import { type Observation, observe } from './drivers/observe';
import type { Epochs } from './epochs';
import { tellFailures } from './failures';
import type { AttachedPod } from './inspection';
import { mirrored } from './mirror';
import { tellOvertaken } from './overtaken';
import { type Problems, reasonOf } from './problems';
import type { Slices } from './slices';
import { findUnderlay, type Underlay, underlayRemedies } from './underlay';

/** IPv6 needs links of 1280 bytes (RFC 8200 §5); a tunnel below it would break dual-stack pods. */
const LEAST_MTU_BYTES = 1280;
/** Rounds of one pass; what is still undone then waits for the next pass. */
const MAX_ROUNDS = 5;
/**
 * How long a pass may rest on what was read before it. Below the shortest idle time of SAs, or one that is in use could
 * seem idle; and somebody else's changes are to be mended within seconds, however busy the bus is.
 */
const MAX_MIRROR_NS = 3_000_000_000n;

export interface ReconcilerSettings {
  readonly node: NodeName;
  /** Without the VTEPs, which are found at each pass. */
  readonly overlay: Omit<OverlayConfig, 'vteps'>;
  readonly underlayDevices: readonly string[];
  readonly vteps: readonly IpAddress[];
  readonly packetLimit: bigint;
  readonly timing: RotationTiming;
}

export interface ReconcilerParts {
  readonly clock: Clock;
  readonly netlink: Netlink;
  readonly datapath: Datapath;
  readonly tuner: UnderlayTuner;
  readonly epochs: Epochs;
  readonly problems: Problems;
  readonly psk: PreSharedKey | undefined;
  readonly grantedVteps: () => readonly IpAddress[];
  readonly slices: Slices;
  readonly roster: { viewing(own: OwnClaims): Sliced<RosterNode[]>; inSync(): boolean };
  /** Pods of other nodes as their records say; the same list while they say the same. */
  readonly remotePods: (nodes: readonly RosterNode[]) => Sliced<readonly RemotePod[]>;
  /** What nodes have ever announced of the permissive prefixes; asked behind remotePods. */
  readonly adopted: (nodes: readonly RosterNode[]) => readonly Prefix[];
  readonly pods: {
    list(): AttachedPod[];
    off(): AttachedPod[];
    closing(): number[];
    dropVanished(links: Observation['links']): Promise<void>;
  };
}

/** What the last pass saw and wanted; status, readiness and probes are made from it. */
export interface Picture {
  readonly observed: Observation;
  readonly underlay: Underlay;
  readonly underlayMtuBytes: number;
  readonly mtuBytes: number;
  /** The bus had been read to its end when the roster was looked at: what is missing in it is not there. */
  readonly complete: boolean;
  readonly roster: readonly RosterNode[];
  readonly peers: readonly Peer[];
  readonly rotation: Rotation;
  readonly wanted: DesiredState;
}

/** What must be there, as it was read or written by us. */
interface Mirror {
  readonly observed: Observation;
  readonly underlay: Underlay;
  /** When all of it was last read. */
  readonly readNs: bigint;
}

/** Of one pass. */
interface Work {
  readonly attempted: Set<string>;
  readonly failed: Map<string, unknown>;
  guarded: boolean;
}

export class Reconciler {
  private readonly secrets: SharedSecrets;
  private readonly startedNs: bigint;
  private book: EpochBook = new Map();
  /** Fingerprint -> our newest epoch when it was installed: kept as long as one of its epochs could be. */
  private readonly installed = new Map<string, number>();
  /** ifindex that the data plane's settings name, as far as this process wrote them. */
  private configuredFor: number | undefined;
  private lastUnderlay: Underlay | undefined;
  private lastPicture: Picture | undefined;
  private lastDrift = 0;
  /** Of the last pass, if it ended well. */
  private mirror: Mirror | undefined;
  private readonly settled = new Settled();
  private readonly steady = new SteadyChoices();
  private readonly memory = new DesiredMemory();
  /** The same object as long as it says the same. */
  private config: OverlayConfig | undefined;
  /** What secrets were last kept for. */
  private retained: { readonly own: readonly OwnEpoch[]; readonly book: EpochBook } | undefined;

  constructor(
    private readonly settings: ReconcilerSettings,
    private readonly parts: ReconcilerParts,
  ) {
    this.secrets = new SharedSecrets(parts.psk?.key);
    this.startedNs = parts.clock.monotonicNs();
  }

  /** Steps that the last pass found to be done at first sight. */
  drift(): number {
    return this.lastDrift;
  }

  picture(): Picture | undefined {
    return this.lastPicture;
  }

  /**
   * Applies and plans again until nothing new is to be done: some steps wait for others to stand (keys to send under
   * for those to receive under, hooks for their device). Never rejects for what the kernel refuses: that is told as
   * problems.
   * @param fresh read everything. Else what the pass before left behind may do, if that was not long ago: only what
   * others than we changed since then is seen later
   */
  async pass(fresh = true): Promise<void> {
    const begun = await this.begin(fresh);
    if (begun === undefined) return;
    const { underlay } = begun;
    const work: Work = { attempted: new Set(), failed: new Map(), guarded: true };
    let picture = await this.decide(begun.observed, underlay);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const steps = await this.plan(picture, work.attempted);
      if (round === 0) this.lastDrift = steps.length;
      if (steps.length === 0) break;
      const observed = await this.apply(steps, picture.observed, work);
      wipeKeys(picture.wanted);
      if (observed === undefined) return;
      picture = await this.decide(observed, underlay);
    }
    wipeKeys(picture.wanted);
    tellFailures(this.parts.problems, work.failed, picture.observed.links);
    this.lastPicture = picture;
    this.retire(picture.rotation);
    if (work.failed.size === 0) this.mirror = { observed: picture.observed, underlay, readNs: begun.readNs };
  }

  /** What the pass rests on, and since when it was not read. */
  private async begin(fresh: boolean): Promise<Mirror | undefined> {
    const { mirror } = this;
    const { clock, problems, pods, tuner } = this.parts;
    this.mirror = undefined; // until the pass has ended well
    const readNs = clock.monotonicNs();
    if (!fresh && mirror !== undefined && readNs - mirror.readNs < MAX_MIRROR_NS) return mirror;
    const observed = await this.read();
    if (observed === undefined) return undefined;
    tellOvertaken(problems, observed);
    await pods.dropVanished(observed.links);
    const underlay = this.underlay(observed);
    if (underlay === undefined) return undefined;
    tuner.tune(underlay.devices);
    return { observed, underlay, readNs };
  }

  private async plan(
    { wanted, observed, complete }: Picture,
    attempted: ReadonlySet<string>,
  ): Promise<Step[]> {
    const steps = planning(wanted, this.trusted(observed), complete, this.settled);
    return (await this.parts.slices.run(steps)).filter((step) => !attempted.has(stepKey(step)));
  }

  /** @returns what is there then */
  private async apply(
    steps: readonly Step[],
    before: Observation,
    work: Work,
  ): Promise<Observation | undefined> {
    const { netlink, datapath, slices } = this.parts;
    const ifindex = before.vxlan?.ifindex;
    const applied = await applySteps(steps, netlink, datapath, ifindex, work.guarded, slices);
    work.guarded = applied.guarded;
    for (const key of applied.attempted) work.attempted.add(key);
    for (const [object, error] of applied.failed) work.failed.set(object, error);
    this.configuredFor = applied.configuredFor ?? this.configuredFor;
    this.remember(applied.installed);
    const allDone = applied.failed.size === 0 && applied.guarded;
    return (allDone ? mirrored(before, steps) : undefined) ?? (await this.read());
  }

  /** Settings that name another device than the one that is there are none: it may be new under the old name. */
  private trusted(observed: Observation): Observation {
    return this.configuredFor === observed.vxlan?.ifindex ? observed : { ...observed, settings: undefined };
  }

  private async read(): Promise<Observation | undefined> {
    try {
      const { netlink, datapath, slices } = this.parts;
      const observed = await observe(netlink, datapath, this.settings.overlay.device, slices);
      this.parts.problems.clear('kernel state');
      return observed;
    } catch (error) {
      this.parts.problems.report('kernel state', reasonOf(error), 'run `vxseal doctor`');
      return undefined;
    }
  }

  /** An address that is gone for a while, as on a flap, takes nothing down: what stood last stands on. */
  private underlay(observed: Observation): Underlay | undefined {
    const granted = this.parts.grantedVteps();
    const wanted = { devices: this.settings.underlayDevices, vteps: this.settings.vteps };
    const found = findUnderlay(wanted, granted, observed.links, observed.addresses);
    if (found.ok) {
      this.parts.problems.clear('underlay');
      this.lastUnderlay = found.value;
      return found.value;
    }
    this.parts.problems.report('underlay', found.detail, underlayRemedies[found.reason]);
    const last = this.lastUnderlay;
    if (last === undefined) return undefined;
    const devices = observed.links.filter((link) => last.devices.some((device) => device.name === link.name));
    return devices.length === 0 ? undefined : { vteps: last.vteps, devices };
  }

  /** What is taken from outside is taken at the beginning: others have their turn while this is made. */
  private async decide(observed: Observation, underlay: Underlay): Promise<Picture> {
    const { epochs, clock, slices } = this.parts;
    const config = this.configFor(underlay);
    const own = epochs.live();
    const pods = this.parts.pods.list().map((pod) => pod.entry);
    const off = this.parts.pods.off().map((pod) => pod.entry);
    const closing = this.parts.pods.closing();
    const complete = this.parts.roster.inSync();
    const roster = await slices.run(this.parts.roster.viewing({ ...config, node: this.settings.node }));
    const live = roster.flatMap(({ state, record }) =>
      state === 'live' && record !== undefined ? [record] : [],
    );
    const nowNs = clock.monotonicNs();
    this.book = await slices.run(notingEpochs(this.book, live, nowNs, this.settings.timing));
    const numbers = numberPeers(
      observed.peers,
      live.map((record) => record.node),
    );
    const peers = await slices.run(selectingPeers(config, roster, numbers));
    const rotation = await slices.run(this.rotation(observed, own, peers, nowNs));
    const mtus = overlayMtus(config, underlay.devices, peers);
    this.checkMtu(mtus.vxlanMtuBytes, mtus.underlayMtuBytes);
    this.checkProtection(await slices.run(findingGap(config, roster)));
    const remotePods = await slices.run(this.parts.remotePods(roster));
    const input = {
      config,
      links: observed.links,
      underlay: underlay.devices.map((device) => device.name),
      roster,
      peers,
      rotation,
      pods,
      off,
      remotePods,
      closing,
      adopted: this.parts.adopted(roster),
      memory: this.memory,
    };
    const wanted = await slices.run(desiring(input));
    return {
      observed,
      underlay,
      underlayMtuBytes: mtus.underlayMtuBytes,
      mtuBytes: mtus.vxlanMtuBytes,
      complete,
      roster,
      peers,
      rotation,
      wanted,
    };
  }

  private rotation(
    observed: Observation,
    own: readonly OwnEpoch[],
    peers: readonly Peer[],
    nowNs: bigint,
  ): Sliced<Rotation> {
    const input = {
      node: this.settings.node,
      nowNs,
      startedNs: this.startedNs,
      own,
      peers: peers.map((peer) => ({
        node: peer.node,
        number: peer.entry.number,
        source: peer.entry.vtep,
        vnis: peer.vnis,
        epochs: this.book.get(peer.node) ?? [],
      })),
      rx: observed.rxSas,
      tx: observed.txSas,
      installed: new Set(this.installed.keys()),
      psk: this.parts.psk?.id ?? '',
      packetLimit: this.settings.packetLimit,
      timing: this.settings.timing,
      secrets: this.secrets,
    };
    return rotating(input, this.steady);
  }

  private configFor({ vteps }: Underlay): OverlayConfig {
    if (this.config === undefined || this.config.vteps.join() !== vteps.join())
      this.config = { ...this.settings.overlay, vteps };
    return this.config;
  }

  private checkMtu(mtuBytes: number, underlayMtuBytes: number): void {
    const { problems } = this.parts;
    const asked = this.settings.overlay.mtuBytes;
    const remedy = 'raise the MTU of the underlay devices, or lower overlay.mtuBytes';
    if (mtuBytes < LEAST_MTU_BYTES)
      problems.report(
        'overlay MTU',
        `${mtuBytes} over an underlay of ${underlayMtuBytes}: IPv6 needs 1280`,
        remedy,
      );
    else if (asked > mtuBytes)
      problems.report(
        'overlay MTU',
        `${asked} is configured, ${mtuBytes} fits an underlay of ${underlayMtuBytes}`,
        remedy,
      );
    else problems.clear('overlay MTU');
  }

  private checkProtection(gap: string | undefined): void {
    const { problems } = this.parts;
    const object = 'overlay.protectedPrefixes';
    const remedy = 'name the pod ranges of the whole cluster there, and nothing else';
    if (gap === undefined) problems.clear(object);
    else problems.report(object, gap, remedy);
  }

  private remember(fingerprints: readonly string[]): void {
    const newest = this.parts.epochs.newest()?.number ?? 0;
    for (const fingerprint of fingerprints) this.installed.set(fingerprint, newest);
  }

  /** Secrets go as soon as nothing can need them. */
  private retire(rotation: Rotation): void {
    const { epochs } = this.parts;
    for (const number of rotation.retirable) epochs.retire(number);
    const own = epochs.live();
    if (this.retained?.own !== own || this.retained.book !== this.book) {
      this.secrets.retain(own, [...this.book.values()].flat());
      this.retained = { own, book: this.book };
    }
    const oldest = Math.min(...epochs.live().map((epoch) => epoch.number));
    for (const [fingerprint, newest] of this.installed)
      if (newest < oldest) this.installed.delete(fingerprint);
  }
}

/** Lists that hold no key any more: those of peers at rest are the same at every pass. */
const wiped = new WeakSet<readonly SaKeys[]>();

/** The copies made for this picture have done their work: it is kept for the status, which needs no key. */
function wipeKeys({ rxSas, txSas }: DesiredState): void {
  for (const list of [rxSas, txSas]) {
    if (wiped.has(list)) continue;
    for (const sa of list) {
      sa.key.fill(0);
      sa.salt.fill(0);
    }
    wiped.add(list);
  }
}
