// A whole node without a kernel: its network, pins and files outlive its agent, as on a real machine. Records are
// not signed: serialised announcements, believed as they come.
import { createHash } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import { SteadyClock } from '../../agent/clock';
import type { Announcer, OwnRecord } from '../../agent/control/parts';
import { ControlRoom } from '../../agent/control/room';
import { NODES_TOPIC, type NodeAnnouncement, type VerifiedRecord } from '../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import type { ClaimName } from '../../agent/core/podroster';
import type { PreSharedKey } from '../../agent/core/psk';
import { accept, type Result, refuse } from '../../agent/core/result';
import type { RecordOrder } from '../../agent/core/roster';
import type { BusRecord, Clock, Measures, TopologyBus, UnderlayTuner } from '../../agent/ports';
import { PodAnnouncer } from '../../agent/sources/announcepods';
import { CniSource } from '../../agent/sources/cni';
import { NO_INFORMER } from '../../agent/sources/nri';
import { FakeBus, type MemoryTopics } from './bus';
import { MemoryAdopted, MemoryCheckpoint, MemoryEpochFile } from './checkpoint';
import { type ManualClock, MortalClock } from './clock';
import type { FakePins } from './datapath';
import type { FakeFabric } from './fabric';
import { QuietLog } from './log';
import { addPod, FakeNetnsOpener, FakeNetwork } from './netlink';
import { MemoryPolicyStore, plainPolicyRecords } from './policies';

export const HOST_VNI = 42 as Vni;
export const LEASE_MS = 300_000;
export const RECONCILE_MS = 3000;
export const PROBE_MS = 2000;
const NEVER_MS = 10_000 * 24 * 3600_000;

export const NO_MEASURES: Measures = {
  reconciled: () => {},
  drifted: () => {},
  rotated: () => {},
  answeredCni: () => {},
};

export const NO_TUNER: UnderlayTuner = { tune: () => {}, undo: () => {} };

export interface FakeWorld {
  readonly clock: ManualClock;
  readonly fabric: FakeFabric;
  readonly topics: MemoryTopics;
}

class PlainAnnouncer implements Announcer {
  private sequence = 0;
  private last: { readonly text: string; readonly atMs: number } | undefined;

  constructor(
    private readonly node: FakeNode,
    private readonly bus: TopologyBus,
    private readonly generation: number,
  ) {}

  async announce(record: OwnRecord): Promise<void> {
    const { clock } = this.node;
    const text = JSON.stringify(record, (_, value) => (value instanceof Uint8Array ? [...value] : value));
    const fresh = this.last !== undefined && clock.nowMs() - this.last.atMs < LEASE_MS / 3;
    if (fresh && this.last?.text === text) return;
    this.sequence += 1;
    const announcement: NodeAnnouncement = {
      kind: 'node',
      node: this.node.name,
      bootId: `boot-${this.generation}`,
      generation: this.generation,
      sequence: this.sequence,
      notBeforeMs: clock.nowMs(),
      notAfterMs: clock.nowMs() + LEASE_MS,
      agentVersion: '0.1.0',
      ...record,
    };
    await this.bus.publish(NODES_TOPIC, this.node.name, serialize(announcement));
    this.last = { text, atMs: clock.nowMs() };
  }
}

async function believe(
  record: BusRecord,
  revoked: ReadonlySet<string>,
): Promise<Result<VerifiedRecord, string>> {
  if (record.value === undefined) return refuse('tombstone', 'value is null');
  if (revoked.has(record.key)) return refuse('revoked', 'the node is revoked');
  try {
    const announcement = deserialize(record.value) as NodeAnnouncement;
    return accept({ announcement, certificateNotAfterMs: Number.MAX_SAFE_INTEGER, certificateSerial: '01' });
  } catch {
    return refuse('malformed', 'not a record');
  }
}

export interface FakeNodeOptions {
  readonly vtep: string;
  readonly prefix: string;
  readonly packetLimit?: bigint;
  readonly rotateMs?: number;
  readonly hardLimitMs?: number;
  readonly pools?: readonly Prefix[];
}

export class FakeNode {
  readonly name: NodeName;
  readonly network = new FakeNetwork();
  readonly opener = new FakeNetnsOpener();
  readonly pins: FakePins;
  readonly log = new QuietLog();
  readonly checkpoint = new MemoryCheckpoint();
  readonly offCheckpoint = new MemoryCheckpoint();
  readonly adopted = new MemoryAdopted();
  /** Counts from the next renew() on. */
  psk: PreSharedKey | undefined;
  /** Nodes, and authors of policy, whose records this one refuses. */
  readonly revoked = new Set<string>();
  readonly policyStore = new MemoryPolicyStore();
  private readonly epochFile = new MemoryEpochFile();
  private highest: ReadonlyMap<NodeName, RecordOrder> = new Map();
  private highestOfPods: ReadonlyMap<ClaimName, RecordOrder> = new Map();
  private generation = 0;
  private secrets = 0;
  bus: FakeBus;
  room: ControlRoom;
  private mortal: MortalClock;
  clock: Clock;

  constructor(
    readonly world: FakeWorld,
    name: string,
    private readonly options: FakeNodeOptions,
  ) {
    this.name = name as NodeName;
    this.pins = world.fabric.host(name, options.vtep);
    const lo = this.network.addLink({ name: 'lo', loopback: true, mtuBytes: 65536 });
    this.network.addAddress(lo.ifindex, '127.0.0.1', 8);
    const eth0 = this.network.addLink({ name: 'eth0' });
    this.network.addAddress(eth0.ifindex, options.vtep, 24);
    this.mortal = new MortalClock(world.clock);
    this.clock = this.steady();
    this.bus = this.makeBus();
    this.room = this.makeRoom();
  }

  /** Ends the agent as SIGKILL would when `gracefully` is false, and makes a new one that is not started yet. */
  async renew(gracefully = true, busInSync = true): Promise<void> {
    if (gracefully) await this.room.stop();
    this.mortal.kill();
    this.bus.kill();
    this.mortal = new MortalClock(this.world.clock);
    this.clock = this.steady();
    this.bus = this.makeBus(busInSync);
    this.room = this.makeRoom();
  }

  /** The machine never sleeps. */
  private steady(): Clock {
    return new SteadyClock(this.mortal, () => Number(this.world.clock.monotonicNs()) / 1e6);
  }

  pod(name: string, address: string): ReturnType<typeof addPod> {
    return addPod(this.network, this.opener, name, address);
  }

  private makeBus(busInSync = true): FakeBus {
    return new FakeBus(this.world.topics, () => this.world.clock.nowMs(), busInSync);
  }

  private makeRoom(): ControlRoom {
    this.generation += 1;
    const { fabric } = this.world;
    const datapath = fabric.datapath(this.name);
    datapath.open();
    const vtep = this.options.vtep as IpAddress;
    const podAnnouncer = new PodAnnouncer({
      node: this.name,
      leaseMs: LEASE_MS,
      bus: this.bus,
      clock: this.clock,
      certificate: () => '',
      generations: { next: async (_nowMs, above = 0) => Math.max(this.generation, above + 1) },
      sign: async (announcement) => serialize(announcement),
    });
    return new ControlRoom(
      {
        node: this.name,
        version: '0.1.0',
        bootId: `boot-${this.generation}`,
        busType: 'memory',
        overlay: {
          node: this.name,
          hostVni: HOST_VNI,
          device: 'vxseal0',
          vxlanPort: 4799,
          espPort: 4500,
          sharedPort: false,
          mtuBytes: 0,
          prefixes: [{ vni: HOST_VNI, prefixes: [this.options.prefix as Prefix] }],
          protectedPrefixes: [{ vni: HOST_VNI, prefixes: ['10.0.0.0/8' as Prefix] }],
          pools: this.options.pools ?? [],
        },
        underlayDevices: [],
        vteps: [],
        packetLimit: this.options.packetLimit ?? 1n << 40n,
        timing: {
          idleMs: 20_000,
          hardLimitMs: this.options.hardLimitMs ?? 600_000,
          stalemateMs: 10_000,
          silentMs: 60_000,
          rotateMs: this.options.rotateMs ?? NEVER_MS,
        },
        probes: { intervalMs: PROBE_MS, timeoutMs: 15_000 },
        reconcileIntervalMs: RECONCILE_MS,
        leaseMs: LEASE_MS,
      },
      {
        clock: this.clock,
        log: this.log,
        measures: NO_MEASURES,
        netlink: this.network.netlink(),
        opener: this.opener,
        datapath,
        tuner: NO_TUNER,
        bus: this.bus,
        announcer: new PlainAnnouncer(this, this.bus, this.generation),
        podAnnouncer,
        watchOwn: (record) => podAnnouncer.observe(record),
        verify: (record) => believe(record, this.revoked),
        policyRecords: plainPolicyRecords(this.policyStore, this.revoked),
        remember: async (highest) => {
          this.highest = highest;
        },
        highest: this.highest,
        rememberPods: async (highest) => {
          this.highestOfPods = highest;
        },
        highestOfPods: this.highestOfPods,
        cni: (pods) => new CniSource(pods, { log: this.log, clock: this.clock, measures: NO_MEASURES }),
        informer: NO_INFORMER,
        identity: () => ({ grant: { vteps: [vtep] }, notBeforeMs: 0, notAfterMs: Number.MAX_SAFE_INTEGER }),
        psk: this.psk,
        adopted: this.adopted,
        checkpoint: this.checkpoint,
        offCheckpoint: this.offCheckpoint,
        epochFile: this.epochFile,
        randomSecret: () => {
          this.secrets += 1;
          return new Uint8Array(createHash('sha256').update(`${this.name} ${this.secrets}`).digest());
        },
      },
    );
  }
}
