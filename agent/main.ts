// The composition root: builds every room from the configuration, starts them in order, stops them in reverse. Only
// here do the rooms meet. Starting and stopping leave the data plane as it is; only cleanupAgent() takes it away.
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SteadyClock, SystemClock } from './clock';
import type { Config } from './config';
import { SOCKET_NAME } from './config/load';
import { FileCheckpoint } from './control/checkpoint';
import { StateDirEpochFile } from './control/epochs';
import { lockRunDir } from './control/lock';
import type { RoomSettings } from './control/parts';
import { reasonOf } from './control/problems';
import { ControlRoom } from './control/room';
import type { AgentView } from './control/status';
import { NODES_TOPIC, PODS_TOPIC } from './core/announcement';
import { POLICIES_TOPIC } from './core/policyrecord';
import { VxsealError } from './errors';
import { Metrics } from './http/metrics';
import { listenTcp, listenUnix, parseListen } from './http/server';
import { readKeptPolicy } from './identity/policyrecord';
import { readPreSharedKey } from './identity/psk';
import { RenewableIdentity } from './identity/renewal';
import { installedVersion } from './installation';
import { createDatapath, type DatapathOptions } from './kernel/datapath';
import { GracePeriods } from './kernel/graceperiods';
import { loadNative, type Native } from './kernel/native';
import { createNetlink } from './kernel/netlink';
import { createNetnsOpener } from './kernel/netns';
import { createTuner } from './kernel/tuning';
import type { Clock, Log, TopologyBus } from './ports';
import { AdoptedFile } from './sources/adopted';
import { Announcer } from './sources/announce';
import { PodAnnouncer } from './sources/announcepods';
import { makeBus } from './sources/bus';
import { CniSource } from './sources/cni';
import { ConflistKeeper } from './sources/conflist';
import { GenerationFile } from './sources/generation';
import { NO_INFORMER, NriInformer } from './sources/nri';
import { PolicyFolder } from './sources/policyfolder';
import { PolicyStore } from './sources/policystore';
import { RememberingBus } from './sources/remembering';
import { claimNames, nodeNames, SeenStore, vniNames } from './sources/seen';
import { TopologyCache } from './sources/topology-cache';

/** A superseded inbound SA goes once it was idle for this long: a small part of an epoch's life, or epochs pile up. */
const IDLE_SHARE = 1 / 8;
const LEAST_IDLE_MS = 5000;
const MOST_IDLE_MS = 60_000;
/**
 * Both agents restarted: after this long without a proof newer keys are used unproven. Long against the delay of a
 * record (docs/keys.md §4, R4): a peer that has not read ours yet could not open what comes under them.
 */
const STALEMATE_MS = 120_000;
/** A peer that was not heard for this long, although it is probed, is off. */
const SILENT_MS = 5 * 60_000;

export interface RunningAgent {
  readonly view: AgentView;
  /** Ends the process's part; programs, keys, routes and counters stay and go on working. */
  stop(): Promise<void>;
}

/** Errors: VxsealError with a remedy for whatever makes a start impossible; nothing of a data plane is touched then. */
export async function runAgent(config: Config, log: Log): Promise<RunningAgent> {
  const undo: (() => unknown)[] = [];
  const stop = async (): Promise<void> => {
    for (let step = undo.pop(); step !== undefined; step = undo.pop()) await step();
  };
  try {
    const view = await build(config, log, (step) => undo.push(step));
    return { view, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function build(config: Config, log: Log, later: (step: () => unknown) => void): Promise<AgentView> {
  const clock = new SteadyClock(new SystemClock());
  await makeFolders(config);
  const lock = lockRunDir(config.runDir);
  later(() => lock.release());
  const identity = await RenewableIdentity.open(config.identity, config.nodeName, clock);
  const psk = await readPreSharedKey(config.keys.pskFile);
  const native = loadNative();
  const netlink = createNetlink(native);
  later(() => netlink.close());
  const datapath = createDatapath(native, datapathOptions(config, log));
  datapath.open();
  later(() => datapath.close());

  const bootId = randomBytes(16).toString('hex');
  const version = installedVersion();
  const seen = await SeenStore.open(join(config.stateDir, 'seen.json'), nodeNames);
  const seenPods = await SeenStore.open(join(config.stateDir, 'seen-pods.json'), claimNames);
  const floors = await SeenStore.open(join(config.stateDir, 'policy-floors.json'), vniNames);
  const bus = rememberingBus(config, clock, log, identity);
  const announcer = makeAnnouncer(config, { bus, clock, log, identity, bootId, version });
  const podAnnouncer = makePodAnnouncer(config, { bus, clock, identity });
  const metrics = new Metrics();
  const room = new ControlRoom(roomSettings(config, bootId, version), {
    clock,
    log,
    measures: metrics,
    netlink,
    opener: createNetnsOpener(native),
    datapath,
    tuner: createTuner(native, log, tuning(config)),
    bus,
    announcer,
    podAnnouncer,
    watchOwn: (record) => {
      announcer.observe(record);
      podAnnouncer.observe(record);
    },
    verify: (record, nowMs) => bus.verify(record, nowMs),
    remember: (highest) => seen.remember(highest),
    highest: seen.highest,
    rememberPods: (highest) => seenPods.remember(highest),
    highestOfPods: seenPods.highest,
    cni: (pods) => new CniSource(pods, { log, clock, measures: metrics }),
    policyRecords: {
      verify: (record, nowMs) => identity.current().verifyPolicy(record, nowMs, config.overlay.vni),
      read: readKeptPolicy,
      store: new PolicyStore(join(config.stateDir, 'policies')),
      floors,
    },
    policies:
      config.policies.path === '' ? undefined : new PolicyFolder(config.policies.path, config.overlay.vni),
    informer:
      config.cni.nriSocket === '' ? NO_INFORMER : new NriInformer(config.cni.nriSocket, { clock, log }),
    identity: () => identity.current(),
    psk,
    adopted: await AdoptedFile.open(join(config.stateDir, 'adopted.json')),
    checkpoint: new FileCheckpoint(config.runDir, log),
    offCheckpoint: new FileCheckpoint(config.runDir, log, 'off.json'),
    epochFile: new StateDirEpochFile(join(config.stateDir, 'epoch.json')),
    randomSecret: () => new Uint8Array(randomBytes(32)),
  });
  const api = { agent: room, metrics, log, version };
  const server = await listenUnix(api, join(config.runDir, SOCKET_NAME));
  later(() => server.close());
  await keepConflist(config, clock, log, later);
  const tcp = parseListen(config.http.listen);
  if (tcp !== undefined) {
    const pageServer = await listenTcp(api, tcp);
    later(() => pageServer.close());
  }
  later(() => announcer.stop());
  later(() => room.stop());
  later(() => identity.stop());
  await room.start();
  identity.watch(room);
  log.info({ node: config.nodeName, version, bootId }, 'agent started');
  return room;
}

/** The first look is waited for, but a runtime that is not there yet is no reason not to start. */
async function keepConflist(
  { cni, runDir }: Config,
  clock: Clock,
  log: Log,
  later: (step: () => unknown) => void,
): Promise<void> {
  if (cni.confDir === '') return;
  const keeper = new ConflistKeeper(
    {
      dir: cni.confDir,
      network: cni.network === '' ? undefined : cni.network,
      socket: join(runDir, SOCKET_NAME),
      vni: undefined,
      dropIn: false,
    },
    clock,
    log,
  );
  later(() => keeper.stop());
  await keeper.start();
}

interface AnnouncerInput {
  readonly bus: Pick<TopologyBus, 'publish'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly identity: RenewableIdentity;
  readonly bootId: string;
  readonly version: string;
}

function makeAnnouncer(
  config: Config,
  { bus, clock, log, identity, bootId, version }: AnnouncerInput,
): Announcer {
  return new Announcer({
    node: config.nodeName,
    bootId,
    agentVersion: version,
    leaseMs: config.keys.leaseMs,
    bus,
    clock,
    log,
    generations: new GenerationFile(join(config.stateDir, 'generation.json')),
    certificate: () => identity.current().fingerprint,
    sign: (announcement) => identity.current().sign(announcement),
    verify: (record, nowMs) => identity.current().verify(record, nowMs, config.overlay.vni),
  });
}

function makePodAnnouncer(
  config: Config,
  { bus, clock, identity }: Pick<AnnouncerInput, 'bus' | 'clock' | 'identity'>,
): PodAnnouncer {
  return new PodAnnouncer({
    node: config.nodeName,
    leaseMs: config.keys.leaseMs,
    bus,
    clock,
    generations: new GenerationFile(join(config.stateDir, 'pod-generation.json')),
    certificate: () => identity.current().fingerprint,
    sign: (announcement) => identity.current().sign(announcement),
  });
}

const topologyBus = ({ bus, kafka }: Config, clock: Clock, log: Log): TopologyBus =>
  makeBus({ bus, kafka, topics: [NODES_TOPIC, PODS_TOPIC, POLICIES_TOPIC], clock, log });

/** The bus, and on disk what was last verified from it. */
function rememberingBus(config: Config, clock: Clock, log: Log, identity: RenewableIdentity): RememberingBus {
  const path = join(config.stateDir, 'topology');
  return new RememberingBus({
    bus: topologyBus(config, clock, log),
    cache: new TopologyCache({ path, clock, log }),
    clock,
    verify: (record, nowMs) => identity.current().verify(record, nowMs, config.overlay.vni),
  });
}

async function makeFolders(config: Config): Promise<void> {
  for (const [folder, mode] of [
    [config.runDir, 0o755],
    [config.stateDir, 0o700],
  ] as const) {
    await mkdir(folder, { recursive: true, mode }).catch((cause: unknown) => {
      throw new VxsealError(
        'state',
        `folder ${folder} cannot be made`,
        'check its parent folder and permissions',
        { cause },
      );
    });
  }
}

const tuning = ({ runDir, underlay }: Config) => ({ mode: underlay.tune, file: join(runDir, 'tuned.json') });

/** The caller holds the run directory: what a former process left of the switch is taken back here. */
function datapathOptions({ bpfDir, pinDir, runDir, underlay, overlay }: Config, log: Log): DatapathOptions {
  const gracePeriods = new GracePeriods(log, { file: join(runDir, 'expedited') });
  gracePeriods.restore();
  const { engine } = overlay;
  return { bpfDir, pinDir, xdp: underlay.xdp, engine, expedite: gracePeriods.expedite };
}

function roomSettings(config: Config, bootId: string, version: string): RoomSettings {
  const { nodeName, underlay, overlay, keys } = config;
  return {
    node: nodeName,
    version,
    bootId,
    busType: config.bus.type,
    overlay: {
      node: nodeName,
      hostVni: overlay.vni,
      device: overlay.device,
      vxlanPort: overlay.port,
      espPort: underlay.espPort,
      sharedPort: underlay.sharedPort,
      mtuBytes: overlay.mtuBytes,
      prefixes: overlay.prefixes,
      protectedPrefixes: overlay.protectedPrefixes,
      pools: overlay.pools.flatMap((group) => group.prefixes),
      shared: overlay.shared,
      permissivePrefixes: config.adoption.permissivePrefixes.flatMap((group) => group.prefixes),
      ...(overlay.engine === 'xfrm' ? { kernelOpens: true } : {}),
    },
    underlayDevices: underlay.devices,
    vteps: underlay.vteps,
    packetLimit: keys.packetLimit,
    timing: {
      idleMs: Math.min(Math.max(keys.rotateMs * IDLE_SHARE, LEAST_IDLE_MS), MOST_IDLE_MS),
      hardLimitMs: keys.hardLimitMs,
      stalemateMs: STALEMATE_MS,
      silentMs: SILENT_MS,
      rotateMs: keys.rotateMs,
    },
    probes: config.probes,
    reconcileIntervalMs: config.reconcileIntervalMs,
    leaseMs: keys.leaseMs,
    allowedModes: config.adoption.allow,
  };
}

/** Runs until SIGTERM or SIGINT. A second signal ends the process at once. */
export async function runUntilSignal(config: Config, log: Log): Promise<void> {
  const signalled = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve(signal));
  });
  const agent = await runAgent(config, log);
  const signal = await signalled;
  log.info({ signal }, 'agent stops; traffic goes on');
  await agent.stop();
}

/**
 * Takes away exactly our objects: routes with our protocol, the overlay device, programs, maps and pins. The state
 * directory stays: generations and epoch numbers must not be given twice. Refuses while an agent runs.
 */
export async function cleanupAgent(config: Config, log: Log): Promise<void> {
  await makeFolders(config);
  const lock = lockRunDir(config.runDir);
  try {
    const native = loadNative();
    await withdraw(config, log);
    await removeFromNetwork(native, config);
    createDatapath(native, datapathOptions(config, log)).destroy();
    createTuner(native, log, tuning(config)).undo();
    for (const name of ['pods.json', 'off.json', 'tuned.json', SOCKET_NAME])
      await rm(join(config.runDir, name), { force: true });
    log.info({ node: config.nodeName }, 'removed programs, maps, overlay device and routes');
  } finally {
    lock.release();
  }
}

/** Peers then drop what is for us at once. As well as can be: without it they do when our lease ends. */
async function withdraw(config: Config, log: Log): Promise<void> {
  try {
    const clock = new SystemClock();
    const identity = await RenewableIdentity.open(config.identity, config.nodeName, clock);
    const bus = topologyBus(config, clock, log);
    const bootId = randomBytes(16).toString('hex');
    await makeAnnouncer(config, {
      bus,
      clock,
      log,
      identity,
      bootId,
      version: installedVersion(),
    }).withdraw();
  } catch (error) {
    log.warn(
      { reason: reasonOf(error) },
      'our record could not be withdrawn: it stands until its lease ends',
    );
  }
}

/** Routes before the device, the device before its programs: nothing is led to a device without its guards. */
async function removeFromNetwork(native: Native, config: Config): Promise<void> {
  const netlink = createNetlink(native);
  try {
    for (const route of await netlink.ownRoutes()) await netlink.removeRoute(route);
    const device = (await netlink.links()).find((link) => link.name === config.overlay.device);
    if (device?.kind === 'vxlan') await netlink.removeLink(device.ifindex);
  } finally {
    netlink.close();
  }
}
