// The Datapath port: programs, hooks, maps and pins as one object. Everything it makes is pinned and goes on working
// without it; only detach(), remove() and destroy() end something.
import { randomBytes } from 'node:crypto';
import {
  ABI_VERSION,
  decodeConfig,
  decodePeer,
  encodeConfig,
  encodePeerKey,
  type InstalledConfig,
} from '../abi/codec';
import { decodeEvent, decodeFlow, encodeProbe } from '../abi/events';
import type { PeerNumber } from '../core/ids';
import type {
  DatapathSettings,
  HookEntry,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  SharedEntry,
} from '../core/state';
import { KernelError } from '../errors';
import type {
  AttachedHook,
  ClearTraffic,
  Datapath,
  DropCount,
  FlowReport,
  PeerTraffic,
  ProbeReply,
  SaTables,
  Table,
} from '../ports';
import { refuseOther } from './adopt';
import { readClear, readDrops, readTraffic } from './counters';
import { createEngine, type Engine, type EngineName, joinDrops, removeKernelSas } from './engine';
import { attempt, isErrno, kernelError } from './fault';
import type { Expedite } from './graceperiods';
import { Hooks, type XdpChoice } from './hooks';
import type { Fd, Native } from './native';
import { Pins } from './pins';
import { PolicyMaps } from './policy';
import { type LoadedPrograms, loadPrograms } from './programs';
import { createOverlayTable, createPeerTable, createPodTable, createSharedTable } from './tables';
import { type MapUsage, MapUsages } from './usage';
import { STATISTICS_FILE } from './xfrm/counters';

const CONFIG_KEY = Buffer.alloc(4);
/** Those that bpf/drop.h would make a 0 of. */
const FORBIDDEN_STAMPS: readonly number[] = [0, 0xffff, 0x0ff0, 0xf00f, 0xff00];

export interface DatapathOptions {
  /** Folder of the compiled objects. */
  readonly bpfDir: string;
  /** Folder on a bpffs; one is mounted if there is none. */
  readonly pinDir: string;
  readonly xdp: XdpChoice;
  /** Without it attaching and detaching take as long as the kernel likes. */
  readonly expedite?: Expedite;
  /** Who does the cipher; default: our programs. */
  readonly engine?: EngineName;
  /** Another file than the kernel's of what its IPsec refused. */
  readonly statistics?: string;
}

export function createDatapath(native: Native, options: DatapathOptions): Datapath {
  return new PinnedDatapath(native, options);
}

/** What open() makes. */
interface Opened {
  readonly programs: LoadedPrograms;
  readonly hooks: Hooks;
  readonly overlay: Table<OverlayEntry>;
  readonly shared: Table<SharedEntry>;
  readonly peers: Table<PeerEntry>;
  readonly pods: Table<PodEntry>;
  readonly engine: Engine;
  readonly policies: PolicyMaps;
  readonly usages: MapUsages;
  readonly ring: { close(): void };
}

class PinnedDatapath implements Datapath {
  private readonly pins: Pins;
  private opened: Opened | undefined;
  private readonly listeners: ((reply: ProbeReply) => void)[] = [];
  private readonly flowListeners: ((flow: FlowReport) => void)[] = [];
  private sampling = false;

  constructor(
    private readonly native: Native,
    private readonly options: DatapathOptions,
  ) {
    this.pins = new Pins(native, options.pinDir);
  }

  open(): void {
    this.pins.prepare();
    refuseOther(this.native, this.pins, this.options.engine ?? 'bpf');
    const { native, pins } = this;
    const { bpfDir, engine = 'bpf' } = this.options;
    const programs = loadPrograms(native, bpfDir, pins.maps, engine);
    try {
      const map = (name: string) => programs.map(name);
      const hooks = new Hooks(native, pins, programs, this.options.xdp, this.options.expedite);
      hooks.adopt();
      for (const name of programs.names) pins.pinProgram(name, programs.program(name));
      this.opened = {
        programs,
        hooks,
        overlay: createOverlayTable(native, map('overlay')),
        shared: createSharedTable(native, map('shared')),
        peers: createPeerTable(native, map('peers'), map('vteps'), map('peer_stats')),
        pods: createPodTable(native, map('pods'), map('endpoints')),
        engine: this.engine(engine, programs),
        policies: new PolicyMaps(native, map),
        usages: new MapUsages(native, map),
        ring: attempt('open ring buffer of events', () =>
          native.openRingBuffer(map('events'), (record) => this.receive(record)),
        ),
      };
    } catch (cause) {
      programs.close();
      throw cause;
    }
  }

  get overlay(): Table<OverlayEntry> {
    return this.use().overlay;
  }

  get shared(): Table<SharedEntry> {
    return this.use().shared;
  }

  get peers(): Table<PeerEntry> {
    return this.use().peers;
  }

  get pods(): Table<PodEntry> {
    return this.use().pods;
  }

  get policies(): PolicyMaps {
    return this.use().policies;
  }

  get sas(): SaTables {
    return this.use().engine.sas;
  }

  settings(): DatapathSettings | undefined {
    const settings = this.installed()?.settings;
    return settings !== undefined && this.use().engine.isPrepared(settings) ? settings : undefined;
  }

  configure(settings: DatapathSettings, vxlanIfindex: number): void {
    const before = this.installed();
    const { engine } = this.use();
    engine.prepare(settings);
    const value = encodeConfig({
      settings,
      vxlanIfindex,
      cookie: before?.cookie ?? randomCookie(),
      stamp: before?.stamp ?? randomStamp(),
      flows: this.sampling,
      xfrm: engine.name === 'xfrm',
    });
    attempt('write configuration of the data plane', () =>
      this.native.mapUpdate(this.map('config'), CONFIG_KEY, value),
    );
  }

  attached(): AttachedHook[] {
    return this.use().hooks.list();
  }

  attach(hook: HookEntry): AttachedHook {
    return this.use().hooks.attach(hook);
  }

  detach(hook: HookEntry): void {
    this.use().hooks.detach(hook);
  }

  dropCounts(): DropCount[] {
    return joinDrops(readDrops(this.native, this.map('drops')), this.use().engine.drops());
  }

  clearTraffic(): ClearTraffic {
    return readClear(this.native, this.map('clear_stats'));
  }

  peerTraffic(): PeerTraffic[] {
    return readTraffic(this.native, this.map('peer_stats'));
  }

  sendProbe(peer: PeerNumber, id: bigint, frameBytes: number): void {
    const op = `send probe to peer ${peer}`;
    const config = this.installed();
    if (config === undefined) throw new KernelError(op, 2, 'ENOENT', 'the data plane is not configured yet');
    const frame = encodeProbe({ peer, id, sentNs: process.hrtime.bigint() }, frameBytes);
    try {
      this.native.sendFrame(config.vxlanIfindex, frame);
    } catch (cause) {
      // A drop by our own programs comes back as ENOBUFS: it is counted there, and the probe is lost.
      if (!isErrno(cause, 'ENOBUFS')) throw kernelError(op, cause);
    }
  }

  onProbeReply(listener: (reply: ProbeReply) => void): void {
    this.listeners.push(listener);
  }

  onFlow(listener: (flow: FlowReport) => void): void {
    this.flowListeners.push(listener);
  }

  sampleFlows(on: boolean): void {
    this.sampling = on;
    const config = this.installed();
    // Before the first configure() there is nothing to sample, and that writes it too.
    if (config === undefined) return;
    const value = encodeConfig({ ...config, flows: on });
    attempt('switch sampling of flows', () => this.native.mapUpdate(this.map('config'), CONFIG_KEY, value));
  }

  mapUsage(): MapUsage[] {
    return this.use().usages.read();
  }

  close(): void {
    this.opened?.ring.close();
    this.opened?.programs.close();
    this.opened = undefined;
  }

  destroy(): void {
    const hooks =
      this.opened?.hooks ??
      new Hooks(this.native, this.pins, NO_PROGRAMS, this.options.xdp, this.options.expedite);
    hooks.detachAll();
    this.close();
    removeKernelSas(this.native);
    this.pins.removeAll();
  }

  private use(): Opened {
    if (this.opened === undefined) throw new Error('the data plane is not open');
    return this.opened;
  }

  private map(name: string): Fd {
    return this.use().programs.map(name);
  }

  private engine(name: EngineName, programs: LoadedPrograms): Engine {
    const { native } = this;
    return createEngine(name, {
      native,
      statistics: this.options.statistics ?? STATISTICS_FILE,
      map: (name) => programs.map(name),
      settings: () => this.installed()?.settings,
      peers: () => this.use().peers.list(),
      peer: (number) => {
        const key = encodePeerKey(number);
        const value = attempt(`look up peer ${number}`, () => native.mapLookup(programs.map('peers'), key));
        return value === undefined ? undefined : decodePeer(key, value);
      },
    });
  }

  private installed(): InstalledConfig | undefined {
    const value = attempt('read configuration of the data plane', () =>
      this.native.mapLookup(this.map('config'), CONFIG_KEY),
    );
    const config = value === undefined ? undefined : decodeConfig(value);
    return config?.abi === ABI_VERSION && config.cookie !== 0n ? config : undefined;
  }

  private receive(record: Buffer): void {
    const reply = decodeEvent(record);
    if (reply !== undefined) for (const listener of this.listeners) listener(reply);
    const flow = this.flowListeners.length > 0 && reply === undefined ? decodeFlow(record) : undefined;
    if (flow !== undefined) for (const listener of this.flowListeners) listener(flow);
  }
}

/** For a destroy() without open(), which must work with what another version has pinned: detaching needs none. */
const NO_PROGRAMS: LoadedPrograms = {
  program: (name) => {
    throw new Error(`program ${name} is not loaded`);
  },
  map: (name) => {
    throw new Error(`map ${name} is not loaded`);
  },
  names: [],
  copy: (of) => {
    throw new Error(`program ${of} is not loaded`);
  },
  close: () => {},
};

/** Never 0: a zero entry of the map would be valid. */
function randomCookie(): bigint {
  const cookie = randomBytes(8).readBigUInt64LE();
  return cookie === 0n ? randomCookie() : cookie;
}

/** The data plane uses the value and its complement, and neither may be 0 (abi.h). */
function randomStamp(): number {
  const stamp = randomBytes(2).readUInt16LE();
  return FORBIDDEN_STAMPS.includes(stamp) ? randomStamp() : stamp;
}
