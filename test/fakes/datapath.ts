// The data plane as naive tables. FakePins is what stays pinned when an agent ends; a FakeDatapath is one agent's
// hold on it. Packets are simulated by FakeFabric (fabric.ts), which works on FakePins, as the kernel would.
import { createHash } from 'node:crypto';
import type { PeerNumber, Spi, Vni } from '../../agent/core/ids';
import type { InstalledPolicies, PolicyDrop, PolicyTables } from '../../agent/core/policytables';
import type { Sliced } from '../../agent/core/slices';
import type {
  DatapathSettings,
  HookEntry,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  RxSa,
  SharedEntry,
  TxSa,
} from '../../agent/core/state';
import { KernelError } from '../../agent/errors';
import type {
  AttachedHook,
  ClearTraffic,
  Datapath,
  DropCount,
  FlowReport,
  HookMode,
  InstalledRxSa,
  InstalledTxSa,
  IpAddress,
  PeerTraffic,
  ProbeReply,
  SaTables,
  Table,
} from '../../agent/ports';

export interface FakeTxSa extends TxSa {
  sequence: bigint;
}

export interface FakeRxSa extends RxSa {
  packets: bigint;
  lastOpenedNs: bigint;
  top: bigint;
}

const bytesEqual = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
export const txKey = (vni: Vni, peer: PeerNumber): string => `${vni}/${peer}`;
export const rxKey = (spi: Spi, source: IpAddress): string => `${spi}/${source}`;
export const hookKey = (hook: HookEntry): string => `${hook.program}/${hook.ifindex}`;

/** First 8 bytes of SHA-256("vxseal/1 fingerprint" | key | salt), hex. */
export const fakeFingerprint = (key: Uint8Array, salt: Uint8Array): string =>
  createHash('sha256').update('vxseal/1 fingerprint').update(key).update(salt).digest('hex').slice(0, 16);

export class FakePins {
  settings: DatapathSettings | undefined;
  vxlanIfindex = 0;
  readonly overlay = new Map<string, OverlayEntry>();
  readonly shared = new Map<string, SharedEntry>();
  readonly peers = new Map<string, PeerEntry>();
  readonly pods = new Map<string, PodEntry>();
  readonly tx = new Map<string, FakeTxSa>();
  readonly rx = new Map<string, FakeRxSa>();
  readonly hooks = new Map<string, AttachedHook>();
  readonly traffic = new Map<PeerNumber, { sealed: bigint; opened: bigint }>();
  readonly drops = new Map<string, DropCount>();
  /** What was written, in order: "putTx 42/1", "attach seal/2". */
  readonly calls: string[] = [];
  /** Returns an errno name to make the call fail. */
  fail: (call: string) => string | undefined = () => undefined;
  /** Every key that ever sent, to see that none starts its counter again. */
  readonly usedTxKeys = new Set<string>();

  enter(call: string): void {
    this.calls.push(call);
    const errno = this.fail(call);
    if (errno) throw new KernelError(call, 1, errno);
  }

  drop(peer: PeerNumber, reason: string, direction: 'egress' | 'ingress'): void {
    const key = `${peer}/${reason}/${direction}`;
    const before = this.drops.get(key)?.packets ?? 0n;
    this.drops.set(key, { peer, reason, direction, packets: before + 1n, bytes: (before + 1n) * 100n });
  }
}

class FakeTable<E> implements Table<E> {
  readonly capacity = 65536;

  constructor(
    readonly name: string,
    private readonly pins: FakePins,
    private readonly entries: Map<string, E>,
    readonly key: (entry: E) => string,
  ) {}

  equal(a: E, b: E): boolean {
    return JSON.stringify(a) === JSON.stringify(b);
  }
  list(): E[] {
    return [...this.entries.values()];
  }
  put(entry: E): void {
    this.pins.enter(`put ${this.name} ${this.key(entry)}`);
    this.entries.set(this.key(entry), entry);
  }
  remove(entry: E): void {
    this.pins.enter(`remove ${this.name} ${this.key(entry)}`);
    this.entries.delete(this.key(entry));
  }
}

class FakeSas implements SaTables {
  constructor(private readonly pins: FakePins) {}

  listTx(): InstalledTxSa[] {
    return [...this.pins.tx.values()].map((sa) => ({
      vni: sa.vni,
      peer: sa.peer,
      spi: sa.spi,
      fingerprint: fakeFingerprint(sa.key, sa.salt),
      sequence: sa.sequence,
      limit: sa.limit,
    }));
  }

  listRx(): InstalledRxSa[] {
    return [...this.pins.rx.values()].map((sa) => ({
      vni: sa.vni,
      peer: sa.peer,
      spi: sa.spi,
      source: sa.source,
      fingerprint: fakeFingerprint(sa.key, sa.salt),
      top: sa.top,
      packets: sa.packets,
      lastOpenedNs: sa.lastOpenedNs,
    }));
  }

  *listingTx(): Sliced<InstalledTxSa[]> {
    yield;
    return this.listTx();
  }

  *listingRx(): Sliced<InstalledRxSa[]> {
    yield;
    return this.listRx();
  }

  putTx(sa: TxSa): void {
    this.pins.enter(`putTx ${txKey(sa.vni, sa.peer)} ${sa.spi}`);
    const print = fakeFingerprint(sa.key, sa.salt);
    if (this.pins.usedTxKeys.has(print))
      throw new Error(`putTx: key ${print} sent before: its counter would start again`);
    this.pins.usedTxKeys.add(print);
    this.pins.tx.set(txKey(sa.vni, sa.peer), {
      ...sa,
      key: sa.key.slice(),
      salt: sa.salt.slice(),
      sequence: 0n,
    });
  }

  putRx(sa: RxSa): void {
    this.pins.enter(`putRx ${sa.spi} ${sa.source}`);
    const found = this.pins.rx.get(rxKey(sa.spi, sa.source));
    if (found && bytesEqual(found.key, sa.key)) return;
    this.pins.rx.set(rxKey(sa.spi, sa.source), {
      ...sa,
      key: sa.key.slice(),
      salt: sa.salt.slice(),
      packets: 0n,
      lastOpenedNs: 0n,
      top: 0n,
    });
  }

  removeTx(vni: Vni, peer: PeerNumber): void {
    this.pins.enter(`removeTx ${txKey(vni, peer)}`);
    this.pins.tx.delete(txKey(vni, peer));
  }

  removeRx(spi: Spi, source: IpAddress): void {
    this.pins.enter(`removeRx ${rxKey(spi, source)}`);
    this.pins.rx.delete(rxKey(spi, source));
  }
}

const modes: Partial<Record<HookEntry['program'], HookMode>> = { open: 'xdp-native' };

export class FakePolicies implements InstalledPolicies {
  installed: PolicyTables | undefined;
  private at = 0;

  generation(): number {
    return this.installed === undefined ? 0 : this.at;
  }

  install(tables: PolicyTables): number {
    this.installed = tables;
    this.at++;
    return this.at;
  }

  clear(): void {
    this.installed = undefined;
  }

  refused: PolicyDrop[] = [];

  drops(): PolicyDrop[] {
    return this.refused;
  }
}

export class FakeDatapath implements Datapath {
  readonly overlay: Table<OverlayEntry>;
  readonly shared: Table<SharedEntry>;
  readonly peers: Table<PeerEntry>;
  readonly pods: Table<PodEntry>;
  readonly sas: SaTables;
  readonly policies = new FakePolicies();
  private readonly flowListeners: ((flow: FlowReport) => void)[] = [];
  /** Somebody watches. */
  sampling = false;
  private replyListeners: ((reply: ProbeReply) => void)[] = [];
  private isOpen = false;

  /** @param transmit carries a probe away; set by FakeFabric. */
  constructor(
    readonly pins: FakePins,
    private readonly transmit: (peer: PeerNumber, id: bigint, frameBytes: number) => void = () => {},
  ) {
    this.overlay = new FakeTable('overlay', pins, pins.overlay, (entry) => `${entry.vni}/${entry.prefix}`);
    this.shared = new FakeTable('shared', pins, pins.shared, (entry) => `${entry.vni}/${entry.prefix}`);
    this.peers = new FakeTable('peers', pins, pins.peers, (entry) => `${entry.number}`);
    this.pods = new FakeTable('pods', pins, pins.pods, (entry) => `${entry.ifindex}`);
    this.sas = new FakeSas(pins);
  }

  open(): void {
    this.pins.enter('open');
    this.isOpen = true;
  }
  settings(): DatapathSettings | undefined {
    return this.pins.settings;
  }
  configure(settings: DatapathSettings, vxlanIfindex: number): void {
    this.pins.enter('configure');
    this.pins.settings = settings;
    this.pins.vxlanIfindex = vxlanIfindex;
  }
  attached(): AttachedHook[] {
    return [...this.pins.hooks.values()];
  }
  attach(hook: HookEntry): AttachedHook {
    this.pins.enter(`attach ${hookKey(hook)}`);
    const attached: AttachedHook = { ...hook, mode: modes[hook.program] ?? 'tcx' };
    this.pins.hooks.set(hookKey(hook), attached);
    return attached;
  }
  detach(hook: HookEntry): void {
    this.pins.enter(`detach ${hookKey(hook)}`);
    this.pins.hooks.delete(hookKey(hook));
  }
  dropCounts(): DropCount[] {
    return [...this.pins.drops.values()];
  }
  clear: ClearTraffic = { sent: { packets: 0n, bytes: 0n }, received: { packets: 0n, bytes: 0n } };

  clearTraffic(): ClearTraffic {
    return this.clear;
  }
  peerTraffic(): PeerTraffic[] {
    return [...this.pins.traffic].map(([peer, { sealed, opened }]) => ({
      peer,
      sealedPackets: sealed,
      sealedBytes: sealed * 100n,
      openedPackets: opened,
      openedBytes: opened * 100n,
    }));
  }
  sendProbe(peer: PeerNumber, id: bigint, frameBytes: number): void {
    this.pins.enter(`sendProbe ${peer} ${frameBytes}`);
    this.transmit(peer, id, frameBytes);
  }
  onFlow(listener: (flow: FlowReport) => void): void {
    this.flowListeners.push(listener);
  }
  sampleFlows(on: boolean): void {
    this.pins.enter(`sampleFlows ${on}`);
    this.sampling = on;
  }
  /** The data plane reports a packet. */
  flow(report: FlowReport): void {
    for (const listener of this.flowListeners) listener(report);
  }
  onProbeReply(listener: (reply: ProbeReply) => void): void {
    this.replyListeners.push(listener);
  }
  /** For FakeFabric: a reply came in. */
  reply(reply: ProbeReply): void {
    if (this.isOpen) for (const listener of this.replyListeners) listener(reply);
  }
  mapUsage(): { map: string; entries: number; capacity: number; evicted: number }[] {
    return [{ map: 'rx_sa', entries: this.pins.rx.size, capacity: 131072, evicted: 0 }];
  }
  close(): void {
    this.isOpen = false;
    this.replyListeners = [];
  }
  destroy(): void {
    this.close();
    this.pins.calls.push('destroy');
    const { overlay, shared, peers, pods, tx, rx } = this.pins;
    for (const table of [overlay, shared, peers, pods, tx, rx]) table.clear();
    this.pins.hooks.clear();
    this.pins.settings = undefined;
  }
}
