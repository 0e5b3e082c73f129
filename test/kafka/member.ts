// A node without a kernel on a real bus: its own certificate, its files, the real intake, announcer and memory of what
// it saw. A member may end and come back on the same files.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../agent/clock';
import { RecordIntake } from '../../agent/control/records';
import { type PodContent, SUITE } from '../../agent/core/announcement';
import type { OwnClaims } from '../../agent/core/conflicts';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import { initCa, openCa } from '../../agent/identity/ca';
import { issueLeaf, leafPaths } from '../../agent/identity/leaf';
import { type LocalIdentity, loadIdentity } from '../../agent/identity/local';
import type { Clock, TopologyBus } from '../../agent/ports';
import { type AnnouncedContent, Announcer } from '../../agent/sources/announce';
import { PodAnnouncer } from '../../agent/sources/announcepods';
import { GenerationFile } from '../../agent/sources/generation';
import { RememberingBus } from '../../agent/sources/remembering';
import { claimNames, nodeNames, SeenStore } from '../../agent/sources/seen';
import { TopologyCache } from '../../agent/sources/topology-cache';
import { QuietLog } from '../fakes/log';

export const TRUST_DOMAIN = 'test.vxseal';
const VNI = 1 as Vni;
const LEASE_MS = 3600_000;
const NO_ONE: OwnClaims = { node: 'nobody' as NodeName, vteps: [], prefixes: [], hostVni: VNI };

/** A CA and whatever it has issued, in a folder of its own. */
export class Authority {
  readonly dir = mkdtempSync(join(tmpdir(), 'vxseal-ca-'));

  static async make(): Promise<Authority> {
    const authority = new Authority();
    const options = { trustDomain: TRUST_DOMAIN, days: 10, prefixes: [], parent: undefined };
    await initCa(join(authority.dir, 'ca'), options, Date.now());
    return authority;
  }

  /** Node n: VTEP 192.0.2.n, prefix 10.n.0.0/24. */
  async identity(number: number): Promise<LocalIdentity> {
    const ca = await openCa(join(this.dir, 'ca'), Date.now());
    const folder = join(this.dir, `node${number}`);
    const { vteps, prefixes } = claims(number);
    const request = { node: `node${number}` as NodeName, vteps, prefixes, days: 5 };
    await issueLeaf(folder, ca, request);
    return await loadIdentity({
      trustDomain: TRUST_DOMAIN,
      ...leafPaths(folder),
      revoked: join(folder, 'revoked'),
    });
  }

  dispose(): void {
    rmSync(this.dir, { recursive: true });
  }
}

const claims = (number: number): { vteps: IpAddress[]; prefixes: Prefix[] } => ({
  vteps: [`192.0.2.${number}` as IpAddress],
  prefixes: [`10.${number}.0.0/24` as Prefix],
});

/** What the node says, under epoch `epoch`. */
export function contentOf(number: number, epoch: number): AnnouncedContent {
  const { vteps, prefixes } = claims(number);
  return {
    vteps,
    port: 4500,
    prefixes: [{ vni: VNI, prefixes }],
    suites: [SUITE],
    epoch: { number: epoch, publicKey: new Uint8Array(32).fill(number + 8) },
  };
}

export class Member {
  readonly name: NodeName;
  readonly log = new QuietLog();
  readonly bus: RememberingBus;
  readonly announcer: Announcer;
  readonly podAnnouncer: PodAnnouncer;
  intake: RecordIntake | undefined;
  private readonly clock: Clock = new SystemClock();
  private watchers: (() => void)[] = [];

  /** @param stateDir what outlives the member */
  constructor(
    readonly number: number,
    readonly identity: LocalIdentity,
    inner: TopologyBus,
    private readonly stateDir: string,
  ) {
    this.name = identity.node;
    const { clock, log } = this;
    const cache = new TopologyCache({
      path: join(stateDir, 'topology'),
      clock,
      log,
    });
    this.bus = new RememberingBus({
      bus: inner,
      cache,
      clock,
      verify: (record, nowMs) => identity.verify(record, nowMs, VNI),
    });
    this.announcer = new Announcer({
      node: this.name,
      bootId: Buffer.from(`boot of ${this.name} ${Math.random()}`.padEnd(32).slice(0, 32)).toString('hex'),
      agentVersion: '0.1.0',
      leaseMs: LEASE_MS,
      bus: this.bus,
      clock,
      log,
      generations: new GenerationFile(join(stateDir, 'generation.json')),
      certificate: () => identity.fingerprint,
      sign: (announcement) => identity.sign(announcement),
      verify: (record, nowMs) => identity.verify(record, nowMs, VNI),
    });
    this.podAnnouncer = new PodAnnouncer({
      node: this.name,
      leaseMs: LEASE_MS,
      bus: this.bus,
      clock,
      generations: new GenerationFile(join(stateDir, 'pod-generation.json')),
      certificate: () => identity.fingerprint,
      sign: (announcement) => identity.sign(announcement),
    });
  }

  async start(): Promise<void> {
    const seen = await SeenStore.open(join(this.stateDir, 'seen.json'), nodeNames);
    const seenPods = await SeenStore.open(join(this.stateDir, 'seen-pods.json'), claimNames);
    const intake = new RecordIntake(
      {
        clock: this.clock,
        log: this.log,
        verify: (record, nowMs) => this.bus.verify(record, nowMs),
        busStatus: () => this.bus.status(),
        graceMs: LEASE_MS,
        remember: (highest) => seen.remember(highest),
        rememberPods: (highest) => seenPods.remember(highest),
        changed: () => this.check(),
      },
      seen.highest,
      seenPods.highest,
    );
    this.intake = intake;
    this.bus.onStatus(() => intake.noteStatus());
    await this.bus.start(
      (record) => {
        this.announcer.observe(record);
        this.podAnnouncer.observe(record);
        intake.receive(record);
      },
      () => intake.ready(),
    );
  }

  async announce(epoch: number): Promise<void> {
    await this.until(() => this.intake?.inSync() === true);
    await this.announcer.announce(contentOf(this.number, epoch));
  }

  /** As a pass of the control room does; repeat it for repairs. */
  async announcePods(pods: readonly PodContent[]): Promise<void> {
    const view = this.intake?.ownPods(this.name);
    if (view === undefined) throw new Error(`${this.name} is not started`);
    await this.podAnnouncer.announce(pods, view);
  }

  /** "node2 10.2.0.5 web live": node, address, name, state of every pod of other nodes. */
  pods(): string[] {
    const nodes = this.intake?.nodes({ ...NO_ONE, node: this.name }) ?? [];
    return (this.intake?.pods(nodes, this.name) ?? [])
      .map(({ record, state }) => `${record.node} ${record.address} ${record.name} ${state}`)
      .sort();
  }

  /** As SIGTERM ends an agent: nothing is withdrawn. */
  async stop(): Promise<void> {
    await this.announcer.stop();
    await this.bus.stop();
  }

  /** "node2 live 7": name, state, epoch of every other node. */
  peers(): string[] {
    const nodes = this.intake?.nodes({ ...NO_ONE, node: this.name }) ?? [];
    return nodes.map(({ node, state, record }) => `${node} ${state} ${record?.epoch.number ?? '-'}`);
  }

  refused(reason: string): number {
    return this.intake?.counts().refused.find((entry) => entry.reason === reason)?.count ?? 0;
  }

  async until(done: () => boolean): Promise<void> {
    if (done()) return;
    await new Promise<void>((resolve) => this.watchers.push(() => done() && resolve()));
  }

  private check(): void {
    for (const watcher of this.watchers) watcher();
  }
}
