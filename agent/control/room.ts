// The control room put together: what a pass is followed by, and the answers the API gives. It holds the parts and
// little state of its own; bus, kernel, files and signing come in through the ports.
import type { OwnClaims } from '../core/conflicts';
import { suiteOf } from '../core/psk';
import type { VxsealError } from '../errors';
import type { BusRecord, CniAnswer, CniAnswerer } from '../ports';
import { Adoption } from './adoption';
import { Causes } from './causes';
import { Epochs } from './epochs';
import { Flows } from './flows';
import { Inquiries } from './inquiries';
import { Intakes } from './intakes';
import { Prober } from './liveness';
import { Loop } from './loop';
import { timedPass } from './pace';
import type { RoomParts, RoomSettings } from './parts';
import { PeerStates } from './peerstates';
import { PodRecords } from './podrecords';
import { PodStore } from './pods';
import { PolicyKeeper } from './policies';
import { PolicyIntake } from './policyrecords';
import { Problems } from './problems';
import { Publication } from './publication';
import { judgeReadiness } from './readiness';
import { Reconciler } from './reconciler';
import { RecordIntake } from './records';
import { sharedView } from './sharedview';
import { Slices } from './slices';
import type {
  AgentView,
  AttachRequest,
  BlockerName,
  FlowStatus,
  PodStatus,
  PolicyStatus,
  ProbeRequest,
  ProbeStatus,
  Readiness,
  RemotePodStatus,
  Status,
} from './status';
import { UnknownKeys } from './unknownkeys';
import {
  adoptionView,
  busView,
  dropViews,
  hookViews,
  missingHooks,
  missingOfPod,
  nodeView,
  peerName,
  peerViews,
  podView,
  saViews,
  type ViewParts,
} from './view';
import { Warnings } from './warnings';
import { PeerWatch, probeProblem } from './watch';

export class ControlRoom implements AgentView {
  private readonly problems: Problems;
  private readonly epochs: Epochs;
  private readonly intakes: Intakes;
  private readonly pods: PodStore;
  private readonly podRecords: PodRecords;
  private readonly adoption: Adoption;
  private readonly cni: CniAnswerer;
  private readonly reconciler: Reconciler;
  private readonly prober: Prober;
  private readonly states: PeerStates;
  private readonly loop: Loop;
  private readonly publication: Publication;
  private readonly warnings: Warnings;
  private readonly view: ViewParts;
  private readonly watch: PeerWatch;
  private readonly inquiries: Inquiries;
  private readonly flows: Flows;
  private readonly policyKeeper: PolicyKeeper;
  private readonly startedMs: number;
  private readonly slices: Slices;
  private readonly causes = new Causes();

  constructor(
    private readonly settings: RoomSettings,
    private readonly parts: RoomParts,
  ) {
    const { clock, log, datapath, netlink, identity } = parts;
    this.startedMs = clock.nowMs();
    this.slices = new Slices(clock);
    this.problems = new Problems(clock, log);
    this.states = new PeerStates(clock, log);
    const busStatus = () => parts.bus.status();
    this.warnings = new Warnings(settings.node, { clock, problems: this.problems, identity, busStatus });
    this.epochs = new Epochs(parts.epochFile, clock, parts.randomSecret);
    this.intakes = this.makeIntakes();
    this.pods = this.makePods();
    this.adoption = new Adoption(settings.overlay, parts.adopted, this.problems);
    this.cni = parts.cni(this.pods);
    this.reconciler = this.makeReconciler();
    this.podRecords = new PodRecords({
      node: settings.node,
      intake: this.intakes.nodes,
      announcer: parts.podAnnouncer,
      problems: this.problems,
      describe: (pod) => this.policyKeeper.describe(pod),
    });
    this.publication = new Publication(settings.overlay, suiteOf(parts.psk?.id ?? ''), {
      clock,
      log,
      epochs: this.epochs,
      problems: this.problems,
      announcer: parts.announcer,
    });
    this.prober = new Prober(
      clock,
      datapath,
      settings.probes,
      (peer, error) => this.problems.reportError(probeProblem(this.reconciler.picture(), peer), error),
      () => this.kickFresh(),
    );
    this.flows = new Flows({
      clock,
      datapath,
      nameOf: (number) => peerName(this.reconciler.picture(), number),
      pods: () => this.pods.list(),
      policiesAt: (ifindex, direction) => this.policyKeeper.isolatingAt(ifindex, direction),
    });
    this.policyKeeper = new PolicyKeeper({
      netlink,
      datapath,
      problems: this.problems,
      source: parts.policies,
      signed: () => this.intakes.policies.world(),
      hostVni: settings.overlay.hostVni,
      remote: () => this.podRecords.forPolicies(),
    });
    this.loop = new Loop(clock, settings.reconcileIntervalMs, () => this.pass());
    this.view = {
      clock,
      datapath,
      prober: this.prober,
      epochs: this.epochs,
      states: this.states,
      unknownKeys: new UnknownKeys(clock, datapath, settings.probes.timeoutMs),
      problems: this.problems,
      probeTimeoutMs: settings.probes.timeoutMs,
    };
    this.watch = new PeerWatch(this.view);
    this.inquiries = new Inquiries(this.view);
  }

  /** The data plane must be open. Throws VxsealError for what makes a start impossible. */
  async start(): Promise<void> {
    await this.epochs.begin();
    await this.pods.reload();
    await this.intakes.policies.load();
    // Hooks, adopted keys and pods stand before the first record is read: a bus that is slow or gone delays nothing.
    await this.runFresh();
    this.parts.informer.start(this.pods);
    this.prober.start();
    this.parts.bus.onStatus(() => this.intakes.nodes.noteStatus());
    const receive = (record: BusRecord): void => {
      this.parts.watchOwn(record);
      this.intakes.receive(record);
    };
    await this.parts.bus.start(receive, () => this.intakes.nodes.ready());
    this.kickFresh();
  }

  /** The data plane goes on; secrets of this process are overwritten. */
  async stop(): Promise<void> {
    this.prober.stop();
    await Promise.all([this.parts.informer.stop(), this.loop.stop(), this.inquiries.stop()]);
    await this.parts.bus.stop();
    this.epochs.wipe();
  }

  // ------------------------------------------------------------------------------------------- a pass

  private async pass(): Promise<void> {
    const { clock, measures } = this.parts;
    // Before a pod is hooked its rules stand.
    await this.policyKeeper.pass(this.pods.list());
    await timedPass(this.parts, this.reconciler, this.causes.takeFresh());
    const picture = this.reconciler.picture();
    await this.intakes.tell(this.problems);
    this.warn();
    if (picture !== undefined) {
      await this.slices.run(this.watch.watching(picture));
      const mayPublish = picture.complete && this.intakes.inSync();
      const before = this.epochs.announced()?.number;
      if (await this.publication.after(picture, mayPublish)) this.kickFresh();
      // Behind the first record of ours: a pod counts with its node. Not waited for: a bus that is slow holds up nothing.
      if (mayPublish && this.epochs.announced() !== undefined)
        void this.podRecords.announce(this.pods.list());
      const published = this.epochs.announced();
      if (published !== undefined && published.number !== before)
        measures.rotated('published', clock.nowMs() - published.createdMs);
    }
  }

  private kickFresh(): void {
    this.causes.otherCame();
    this.loop.kick();
  }

  private runFresh(): Promise<void> {
    this.causes.otherCame();
    return this.loop.run();
  }

  private warn(): void {
    this.warnings.note({
      busInSync: this.intakes.inSync(),
      distrust: this.intakes.nodes.distrustOf(this.settings.node),
      duplicateIdentity: this.intakes.nodes.own(this.claims())?.duplicateIdentity === true,
    });
  }

  // -------------------------------------------------------------------------------------- what the API asks

  status(): Status {
    const picture = this.reconciler.picture();
    const { datapath } = this.parts;
    return {
      node: {
        ...nodeView(picture, this.settings, this.epochs),
        uptimeMs: this.parts.clock.nowMs() - this.startedMs,
        certificateNotAfterMs: this.parts.identity().notAfterMs,
      },
      readiness: this.readiness(),
      bus: busView(this.settings.busType, this.parts.bus, this.intakes, this.parts.clock.nowMs()),
      informer: this.parts.informer.status(),
      peers: picture === undefined ? [] : peerViews(picture, this.view),
      pods: this.pods.list().map((pod) => podView(picture, pod, this.problems)),
      adoption: adoptionView(this.pods.list(), this.settings.overlay, this.adoption, datapath),
      shared: sharedView(this.settings.overlay),
      sas: saViews(picture, this.view),
      drops: dropViews(picture, datapath.dropCounts()),
      recentDrops: this.flows.recentDrops(),
      hooks: picture === undefined ? [] : hookViews(picture),
      maps: datapath.mapUsage(),
      problems: this.problems.list(),
    };
  }

  remotePods(): RemotePodStatus[] {
    return this.podRecords.status();
  }

  policies(): PolicyStatus {
    return this.policyKeeper.status();
  }

  readiness(): Readiness {
    const picture = this.reconciler.picture();
    const names = new Map(picture?.observed.links.map((link) => [link.ifindex, link.name]));
    const vxlan = picture?.observed.vxlan;
    return judgeReadiness({
      pictured: picture !== undefined,
      problem: (object) => this.problems.get(object),
      certificateNotAfterMs: this.parts.identity().notAfterMs,
      nowMs: this.parts.clock.nowMs(),
      busInSync: this.intakes.inSync(),
      busError: this.parts.bus.status().error,
      deviceName: this.settings.overlay.device,
      deviceUp: vxlan?.up === true && vxlan.external,
      configured: picture?.observed.settings !== undefined,
      epochPublished: this.epochs.announced() !== undefined,
      missingHooks:
        picture === undefined
          ? []
          : missingHooks(picture).map(
              (hook) => `${hook.program} on ${names.get(hook.ifindex) ?? hook.ifindex}`,
            ),
    });
  }

  watchFlows(listener: (flow: FlowStatus) => void): () => void {
    return this.flows.watch(listener);
  }

  async attachPod(request: AttachRequest): Promise<PodStatus> {
    const pod = await this.pods.attach(request);
    return podView(this.reconciler.picture(), pod, this.problems);
  }

  detachPod(id: string): Promise<boolean> {
    return this.pods.detach(id);
  }

  answerCni(request: Uint8Array): Promise<CniAnswer> {
    return this.cni.answer(request);
  }

  /** The identity's files were renewed: what we publish is signed anew, what others published is judged anew. */
  changed({ own, trust }: { readonly own: boolean; readonly trust: boolean }): void {
    this.parts.log.info({ own, trust }, 'identity renewed');
    if (own) this.publication.renewKeys();
    if (trust) this.intakes.judgeAnew();
    this.kickFresh();
  }

  /** The identity's files cannot be taken over, or can again: what was read before goes on. */
  told(reason: VxsealError | undefined): void {
    if (reason === undefined) this.problems.clear('identity files');
    else this.problems.reportError('identity files', reason);
  }

  probe(request: ProbeRequest): Promise<ProbeStatus[]> {
    return this.inquiries.ask(request, this.reconciler.picture());
  }

  rotate(): Promise<{ readonly epoch: number }> {
    return this.publication
      .rotate(() => this.runFresh())
      .catch((error: unknown) => {
        this.parts.measures.rotated('failed', 0);
        throw error;
      });
  }

  /** Not hooks of other devices, which come and go with other pods, nor what the operator is warned of. */
  private podBlockers(): string[] {
    const named: readonly BlockerName[] = ['kernel', 'bus-sync', 'datapath', 'link', 'keys'];
    return this.readiness()
      .blockers.filter((blocker) => named.includes(blocker.name))
      .map((blocker) => blocker.reason);
  }

  private claims(): OwnClaims {
    const vteps = this.reconciler.picture()?.underlay.vteps ?? [];
    return { ...this.settings.overlay, node: this.settings.node, vteps };
  }

  private makeReconciler(): Reconciler {
    const { settings, parts } = this;
    const { clock, netlink, datapath } = parts;
    return new Reconciler(settings, {
      clock,
      netlink,
      datapath,
      tuner: parts.tuner,
      epochs: this.epochs,
      problems: this.problems,
      slices: this.slices,
      psk: parts.psk,
      grantedVteps: () => parts.identity().grant.vteps,
      roster: this.intakes.nodes,
      pods: this.pods,
      remotePods: (nodes) => this.podRecords.looking(nodes),
      adopted: (nodes) => this.adoption.look(nodes, this.podRecords.list()),
    });
  }

  private makeIntakes(): Intakes {
    const { clock, log, bus, verify, remember, highest, rememberPods, highestOfPods } = this.parts;
    const breathe = (): Promise<void> => this.slices.breathe();
    const common = { clock, log, busStatus: () => bus.status(), breathe };
    const ofNodes = {
      ...common,
      verify,
      remember,
      rememberPods,
      graceMs: this.settings.leaseMs,
      changed: () => {
        this.causes.recordsCame();
        this.loop.kick();
      },
    };
    const changed = (): void => this.kickFresh();
    const ofPolicies = { ...common, ...this.parts.policyRecords, problems: this.problems, changed };
    const nodes = new RecordIntake(ofNodes, highest, highestOfPods);
    return new Intakes(nodes, new PolicyIntake(ofPolicies));
  }

  private makePods(): PodStore {
    const { opener, netlink, clock, log, checkpoint, offCheckpoint } = this.parts;
    const { hostVni, prefixes, pools } = this.settings.overlay;
    const own = [...prefixes, { vni: hostVni, prefixes: pools }];
    return new PodStore(
      { hostVni, prefixes: own, allowedModes: this.settings.allowedModes ?? [] },
      {
        opener,
        netlink,
        clock,
        log,
        checkpoint,
        offCheckpoint,
        mtuBytes: () => this.reconciler.picture()?.mtuBytes,
        reconcile: () => this.runFresh(),
        missing: (pod) =>
          missingOfPod(this.reconciler.picture(), pod, this.problems) ?? this.policyKeeper.missing(pod),
        blockers: () => this.podBlockers(),
      },
    );
  }
}
