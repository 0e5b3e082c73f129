// One pass from what is there to what is wanted: observe, decide by the pure core, apply, say what failed. Level-
// triggered: it keeps no list of things to do, so it repairs whatever was changed behind its back. When a pass runs
// is loop.ts'. Only objects that carry our mark are ever removed, and none before the roster is complete.
import type { OwnClaims } from '../core/conflicts';
import {
  desired,
  numberPeers,
  type OverlayConfig,
  overlayMtus,
  type Peer,
  selectPeers,
} from '../core/desired';
import { type EpochBook, noteEpochs, type RotationTiming } from '../core/epochs';
import type { NodeName, Prefix } from '../core/ids';
import { plan } from '../core/plan';
import type { RemotePod } from '../core/podroster';
import { protectionGap } from '../core/protection';
import type { PreSharedKey } from '../core/psk';
import type { RosterNode } from '../core/roster';
import { type Rotation, rotate } from '../core/rotation';
import { SharedSecrets } from '../core/secrets';
import type { DesiredState } from '../core/state';
import type { Clock, Datapath, IpAddress, Netlink, UnderlayTuner } from '../ports';
import { applySteps, stepKey } from './drivers/apply';
import { type Observation, observe } from './drivers/observe';
import type { Epochs } from './epochs';
import { tellFailures } from './failures';
import type { AttachedPod } from './inspection';
import { tellOvertaken } from './overtaken';
import { type Problems, reasonOf } from './problems';
import { findUnderlay, type Underlay, underlayRemedies } from './underlay';

/** IPv6 needs links of 1280 bytes (RFC 8200 §5); a tunnel below it would break dual-stack pods. */
const LEAST_MTU_BYTES = 1280;
/** Rounds of one pass; what is still undone then waits for the next pass. */
const MAX_ROUNDS = 5;

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
  readonly roster: { nodes(own: OwnClaims): RosterNode[]; inSync(): boolean };
  /** Pods of other nodes as their records say. */
  readonly remotePods: (nodes: readonly RosterNode[]) => readonly RemotePod[];
  /** What nodes have ever announced of the permissive prefixes. */
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
  readonly roster: readonly RosterNode[];
  readonly peers: readonly Peer[];
  readonly rotation: Rotation;
  readonly wanted: DesiredState;
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
   * Applies, reads back and plans again until nothing new is to be done: some steps wait for others to stand (keys to
   * send under for those to receive under, hooks for their device). Never rejects for what the kernel refuses: that
   * is told as problems.
   */
  async pass(): Promise<void> {
    let observed = await this.read();
    if (observed === undefined) return;
    tellOvertaken(this.parts.problems, observed);
    await this.parts.pods.dropVanished(observed.links);
    const underlay = this.underlay(observed);
    if (underlay === undefined) return;
    this.parts.tuner.tune(underlay.devices);
    const attempted = new Set<string>();
    const failed = new Map<string, unknown>();
    let guarded = true;
    let picture = this.decide(observed, underlay);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const planned = plan(picture.wanted, this.trusted(observed), this.parts.roster.inSync());
      const steps = planned.filter((step) => !attempted.has(stepKey(step)));
      if (round === 0) this.lastDrift = steps.length;
      if (steps.length === 0) break;
      const applied = await applySteps(
        steps,
        this.parts.netlink,
        this.parts.datapath,
        observed.vxlan?.ifindex,
        guarded,
      );
      guarded = applied.guarded;
      for (const key of applied.attempted) attempted.add(key);
      for (const [object, error] of applied.failed) failed.set(object, error);
      this.configuredFor = applied.configuredFor ?? this.configuredFor;
      this.remember(applied.installed);
      wipeKeys(picture.wanted);
      observed = await this.read();
      if (observed === undefined) return;
      picture = this.decide(observed, underlay);
    }
    wipeKeys(picture.wanted);
    tellFailures(this.parts.problems, failed, observed.links);
    this.lastPicture = picture;
    this.retire(picture.rotation);
  }

  /** Settings that name another device than the one that is there are none: it may be new under the old name. */
  private trusted(observed: Observation): Observation {
    return this.configuredFor === observed.vxlan?.ifindex ? observed : { ...observed, settings: undefined };
  }

  private async read(): Promise<Observation | undefined> {
    try {
      const observed = await observe(this.parts.netlink, this.parts.datapath, this.settings.overlay.device);
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

  private decide(observed: Observation, underlay: Underlay): Picture {
    const { epochs, clock, pods } = this.parts;
    const config = { ...this.settings.overlay, vteps: underlay.vteps };
    const roster = this.parts.roster.nodes({ ...config, node: this.settings.node });
    const live = roster.flatMap(({ state, record }) =>
      state === 'live' && record !== undefined ? [record] : [],
    );
    const nowNs = clock.monotonicNs();
    this.book = noteEpochs(this.book, live, nowNs, this.settings.timing);
    const numbers = numberPeers(
      observed.peers,
      live.map((record) => record.node),
    );
    const peers = selectPeers(config, roster, numbers);
    const rotation = rotate({
      node: this.settings.node,
      nowNs,
      startedNs: this.startedNs,
      own: epochs.live(),
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
    });
    const mtus = overlayMtus(config, underlay.devices, peers);
    this.checkMtu(mtus.vxlanMtuBytes, mtus.underlayMtuBytes);
    this.checkProtection(protectionGap(config, roster));
    const wanted = desired({
      config,
      links: observed.links,
      underlay: underlay.devices.map((device) => device.name),
      roster,
      peers,
      rotation,
      pods: pods.list().map((pod) => pod.entry),
      off: pods.off().map((pod) => pod.entry),
      remotePods: this.parts.remotePods(roster),
      closing: pods.closing(),
      adopted: this.parts.adopted(roster),
    });
    return {
      observed,
      underlay,
      underlayMtuBytes: mtus.underlayMtuBytes,
      mtuBytes: mtus.vxlanMtuBytes,
      roster,
      peers,
      rotation,
      wanted,
    };
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
    this.secrets.retain(epochs.live(), [...this.book.values()].flat());
    const oldest = Math.min(...epochs.live().map((epoch) => epoch.number));
    for (const [fingerprint, newest] of this.installed)
      if (newest < oldest) this.installed.delete(fingerprint);
  }
}

/** The copies made for this picture have done their work: it is kept for the status, which needs no key. */
function wipeKeys({ rxSas, txSas }: DesiredState): void {
  for (const sa of [...rxSas, ...txSas]) {
    sa.key.fill(0);
    sa.salt.fill(0);
  }
}
