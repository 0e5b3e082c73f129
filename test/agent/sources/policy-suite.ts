// What must hold of policy on every bus, with real certificates, signatures and files: it arrives, it stands, and
// whoever else writes to the bus changes nothing but counters.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../agent/clock';
import { PolicyIntake } from '../../../agent/control/policyrecords';
import { Problems } from '../../../agent/control/problems';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { MAX_RECORD_BYTES } from '../../../agent/core/payload';
import type { PolicyDocument } from '../../../agent/core/policydocument';
import { POLICIES_TOPIC, type PolicyRecord } from '../../../agent/core/policyrecord';
import { type Author, loadAuthor } from '../../../agent/identity/author';
import { initCa, openCa } from '../../../agent/identity/ca';
import { issueLeaf, leafPaths } from '../../../agent/identity/leaf';
import { readCertificates, readPrivateKey } from '../../../agent/identity/local';
import { readKeptPolicy, signPolicy, verifyPolicy } from '../../../agent/identity/policyrecord';
import { parseRevocations } from '../../../agent/identity/revoked';
import type { TopologyBus } from '../../../agent/ports';
import { parseObjects } from '../../../agent/sources/manifests';
import { PolicyPublisher } from '../../../agent/sources/policypublisher';
import { PolicyStore } from '../../../agent/sources/policystore';
import { QuietLog } from '../../fakes/log';
import type { BusWorld } from './bus-suite';

const HOST_VNI = 1 as Vni;
const TRUST_DOMAIN = 'test.vxseal';
const clock = new SystemClock();

/** A policy that isolates the pods with that label. */
export function isolating(role: string, name = 'p'): PolicyDocument {
  const parsed = parseObjects(
    `kind: NetworkPolicy\nmetadata: {namespace: x, name: ${name}}\nspec: {podSelector: {matchLabels: {role: ${role}}}, ingress: [{}]}`,
  );
  if (!parsed.ok || parsed.value[0] === undefined) throw new Error('no policy');
  return parsed.value[0];
}

const applyTo = (to: PolicyPublisher, document: PolicyDocument, vni: Vni): Promise<string[]> =>
  to.apply([{ document, vni }]);

/** The intake of a node, with files of its own; a node may end and come back on the same files. */
class Reader {
  readonly problems = new Problems(clock, new QuietLog());
  private readonly intake: PolicyIntake;
  private watchers: (() => void)[] = [];
  revoked = '';

  constructor(
    private readonly bus: TopologyBus,
    folder: string,
    roots: Awaited<ReturnType<typeof readCertificates>>,
  ) {
    this.intake = new PolicyIntake({
      clock,
      log: new QuietLog(),
      problems: this.problems,
      busStatus: () => bus.status(),
      changed: () => this.check(),
      read: readKeptPolicy,
      store: new PolicyStore(folder),
      floors: { highest: new Map(), remember: async () => {} },
      verify: (record, nowMs) =>
        verifyPolicy(record, {
          roots,
          trustDomain: TRUST_DOMAIN,
          revoked: parseRevocations(this.revoked, 'revoked'),
          nowMs,
          hostVni: HOST_VNI,
        }),
    });
  }

  /** What holds before the bus is asked: "x/p role". */
  async load(): Promise<string[]> {
    await this.intake.load();
    return this.holds();
  }

  async join(): Promise<void> {
    this.bus.onStatus(() => this.check());
    await this.bus.start((record) => this.intake.receive(record));
    await this.until(() => this.intake.inSync());
  }

  holds(): string[] {
    return this.intake
      .world()
      .policies.map(({ vni, namespace, name, podSelector, ingress }) =>
        [`${vni}/${namespace}/${name}`, podSelector.labels.role, ingress?.length === 0 ? ['closed'] : []]
          .flat()
          .join(' '),
      );
  }

  refused(reason: string): number {
    return this.intake.counts().refused.find((each) => each.reason === reason)?.count ?? 0;
  }

  told(): string[] {
    this.intake.tell();
    return this.problems.list().map(({ object, reason }) => `${object}: ${reason}`);
  }

  judgeAnew(): void {
    this.intake.judgeAnew();
  }

  async until(done: () => boolean): Promise<void> {
    if (done()) return;
    await new Promise<void>((resolve) => this.watchers.push(() => done() && resolve()));
  }

  private check(): void {
    for (const watcher of this.watchers) watcher();
  }

  async stop(): Promise<void> {
    await this.bus.stop();
  }
}

export function policySuite(name: string, makeWorld: () => Promise<BusWorld>): void {
  describe(`policy over the bus: ${name}`, () => {
    let world: BusWorld;
    let dir: string;
    let open: { stop(): Promise<void> }[];
    let roots: Awaited<ReturnType<typeof readCertificates>>;

    beforeEach(async () => {
      world = await makeWorld();
      open = [];
      dir = mkdtempSync(join(tmpdir(), 'vxseal-policy-'));
      await initCa(
        join(dir, 'ca'),
        { trustDomain: TRUST_DOMAIN, days: 10, prefixes: [], parent: undefined },
        Date.now(),
      );
      roots = await readCertificates(join(dir, 'ca', 'roots.crt'), 'roots');
    });

    afterEach(async () => {
      for (const each of open) await each.stop();
      await world.dispose();
      rmSync(dir, { recursive: true });
    });

    async function author(who: string, vnis: readonly number[] = []): Promise<Author> {
      const folder = join(dir, who);
      const request = { role: 'policy', node: who as NodeName, vteps: [], prefixes: [], days: 5 } as const;
      const ca = await openCa(join(dir, 'ca'), Date.now());
      await issueLeaf(folder, ca, { ...request, vnis: vnis as Vni[] });
      return await loadAuthor(folder, Date.now());
    }

    async function publisher(who: Author): Promise<PolicyPublisher> {
      const made = new PolicyPublisher({
        bus: world.client(),
        clock,
        author: who.grant.author,
        sign: (record) => who.sign(record),
        verify: (record, nowMs) => who.verify(record, nowMs, HOST_VNI),
      });
      open.push({ stop: () => made.close() });
      await made.open();
      return made;
    }

    function reader(folder = 'node'): Reader {
      const made = new Reader(world.client(), join(dir, folder), roots);
      open.push(made);
      return made;
    }

    async function joined(folder = 'node'): Promise<Reader> {
      const made = reader(folder);
      await made.load();
      await made.join();
      return made;
    }

    const record = (changes: Partial<PolicyRecord> = {}): PolicyRecord => ({
      author: 'ops' as PolicyRecord['author'],
      key: '1/x/p',
      generation: Date.now(),
      sequence: 1,
      document: isolating('forged'),
      ...changes,
    });
    const write = (key: string, value: Uint8Array | undefined): Promise<void> =>
      world.write(POLICIES_TOPIC, key, value);

    test('1 what an author applies reaches every node, also one that comes later, until he withdraws it', async () => {
      const early = await joined('early');
      const ops = await publisher(await author('ops'));
      expect(await applyTo(ops, isolating('db'), HOST_VNI)).toEqual(['1/x/p']);
      await early.until(() => early.holds().join() === '1/x/p db');
      const late = await joined('late');
      expect(late.holds()).toEqual(['1/x/p db']);
      expect(await ops.withdraw(['1/x/p'])).toEqual([true]);
      await early.until(() => early.holds().length === 0);
      await late.until(() => late.holds().length === 0);
    });

    test('2 who signs last wins, whoever it is, and whatever his clock says', async () => {
      const node = await joined();
      await applyTo(await publisher(await author('ops')), isolating('one'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/p one');
      const other = await author('other');
      const behind = new PolicyPublisher({
        bus: world.client(),
        clock: {
          nowMs: () => Date.now() - 60_000,
          monotonicNs: clock.monotonicNs,
          after: (ms, run) => clock.after(ms, run),
        },
        author: other.grant.author,
        sign: (each) => other.sign(each),
        verify: (each) => other.verify(each, Date.now(), HOST_VNI),
      });
      open.push({ stop: () => behind.close() });
      await behind.open();
      await applyTo(behind, isolating('two'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/p two');
    });

    test('3 hostile records change nothing and are counted, each by its reason', async () => {
      const ops = await author('ops');
      const tenant = await author('tenant', [7]);
      const node = await joined();
      await applyTo(await publisher(ops), isolating('db'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/p db');
      const ca = await openCa(join(dir, 'ca'), Date.now());
      await issueLeaf(join(dir, 'node1'), ca, {
        node: 'node1' as NodeName,
        vteps: ['192.0.2.1' as IpAddress],
        prefixes: ['10.1.0.0/24' as Prefix],
        days: 5,
      });
      const paths = leafPaths(join(dir, 'node1'));
      const nodeSigner = {
        privateKey: await readPrivateKey(paths.key),
        chain: (await readCertificates(paths.chain, 'chain')).map(({ der }) => der),
      };
      const inHour = Date.now() + 3_600_000;
      const hostile: [string, string, () => Promise<Uint8Array | undefined>][] = [
        ['1/x/p', 'not-an-author', () => signPolicy(record(), nodeSigner)],
        ['1/x/p', 'not-an-author', () => signPolicy(record({ document: undefined }), nodeSigner)],
        ['1/x/p', 'superseded', () => ops.sign(record({ generation: Date.now() - 60_000 }))],
        ['1/x/p', 'bad-generation', () => ops.sign(record({ generation: inHour }))],
        ['1/x/other', 'key-mismatch', () => ops.sign(record())],
        ['7/x/p', 'outside-grant', () => ops.sign(record({ key: '7/x/p' }))],
        ['1/x/p', 'outside-grant', () => tenant.sign(record({ author: 'tenant' as PolicyRecord['author'] }))],
        ['1/x/p', 'author-mismatch', () => tenant.sign(record())],
        ['1/x/p', 'oversize', async () => new Uint8Array(MAX_RECORD_BYTES + 1)],
        ['1/x/p', 'malformed', async () => Buffer.from('nonsense')],
        ['1/x/p', 'tombstone', async () => undefined],
      ];
      for (const [key, reason, make] of hostile) {
        const before = node.refused(reason);
        await write(key, await make());
        await node.until(() => node.refused(reason) > before);
        expect([reason, node.holds()]).toEqual([reason, ['1/x/p db']]);
      }
      expect(node.told().join('\n')).toContain('policy record 1/x/p: its record is gone from the bus');
      // The partition has moved on, and a restart finds no more and no less.
      await node.stop();
      const again = reader();
      expect(await again.load()).toEqual(['1/x/p db']);
    });

    test("4 a tenant's author writes policy of that tenant", async () => {
      const node = await joined();
      await applyTo(await publisher(await author('tenant', [7])), isolating('db'), 7 as Vni);
      await node.until(() => node.holds().join() === '7/x/p db');
      await expect(
        applyTo(await publisher(await author('other', [8])), isolating('web'), 7 as Vni),
      ).rejects.toMatchObject({ code: 'request', message: expect.stringContaining('outside-grant') });
      expect(node.holds()).toEqual(['7/x/p db']);
    });

    test('5 a bus that is gone, or empty, or rolled back over a restart, takes nothing away', async () => {
      const ops = await author('ops');
      const node = await joined();
      const writer = await publisher(ops);
      const old = await ops.sign(record({ generation: Date.now() - 60_000, document: isolating('old') }));
      await applyTo(writer, isolating('gone', 'q'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/q gone');
      await writer.withdraw(['1/x/q']);
      await applyTo(writer, isolating('db'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/p db');
      await world.vanish();
      expect(node.holds()).toEqual(['1/x/p db']);
      await node.stop();
      // A restart with the bus down: it holds before anything else is asked.
      const down = reader();
      expect(await down.load()).toEqual(['1/x/p db']);
      await down.stop();
      await world.comeBack();
      await write('1/x/p', old);
      await write(
        '1/x/q',
        await ops.sign(
          record({ key: '1/x/q', generation: Date.now() - 60_000, document: isolating('old', 'q') }),
        ),
      );
      const up = await joined();
      // In sync: both are judged, and what a log holds of before as well.
      expect(up.refused('superseded')).toBeGreaterThanOrEqual(2);
      expect(up.holds()).toEqual(['1/x/p db']);
    });

    test('6 an author who is revoked allows nothing any more, and opens nothing either, also over a restart', async () => {
      const ops = await author('ops');
      const node = await joined();
      await applyTo(await publisher(ops), isolating('db'), HOST_VNI);
      await node.until(() => node.holds().join() === '1/x/p db');
      node.revoked = 'policy ops';
      node.judgeAnew();
      await node.until(() => node.holds().join() === '1/x/p db closed');
      expect(node.told().join('\n')).toContain('its author ops is not trusted');
      await write('1/x/new', await ops.sign(record({ key: '1/x/new', document: isolating('x', 'new') })));
      await write('1/x/p', await ops.sign(record({ document: undefined })));
      await node.until(() => node.refused('revoked') >= 3);
      expect(node.holds()).toEqual(['1/x/p db closed']);
      await node.stop();
      const again = reader();
      again.revoked = 'policy ops';
      expect(await again.load()).toEqual(['1/x/p db closed']);
      await again.join();
      // Another author takes it over.
      await applyTo(await publisher(await author('second')), isolating('db'), HOST_VNI);
      await again.until(() => again.holds().join() === '1/x/p db');
    });
  });
}
