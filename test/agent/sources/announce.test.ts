import {
  NODES_TOPIC,
  type NodeAnnouncement,
  type UnverifiedAnnouncement,
  type VerifiedRecord,
} from '../../../agent/core/announcement';
import type { IpAddress, NodeName } from '../../../agent/core/ids';
import { decodePayload, encodePayload } from '../../../agent/core/payload';
import { accept, type Result, refuse } from '../../../agent/core/result';
import type { RejectReason } from '../../../agent/core/verify';
import type { BusRecord } from '../../../agent/ports';
import { type AnnouncedContent, Announcer } from '../../../agent/sources/announce';
import { FakeBus, MemoryTopics } from '../../fakes/bus';
import { ManualClock, settle } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';

const NODE = 'node1' as NodeName;
const LEASE_MS = 60_000;
const START_MS = Date.UTC(2026, 0, 1);

/** Signatures are not what is tested here: a value is its kind and payload. */
async function sign(record: UnverifiedAnnouncement): Promise<Uint8Array> {
  return Buffer.concat([Buffer.from(`${record.kind} `), encodePayload(record)]);
}

async function verify(record: BusRecord): Promise<Result<VerifiedRecord, RejectReason>> {
  const announcement = read(record.value);
  if (announcement === undefined) return refuse('bad-signature', '');
  const verified = { announcement, certificateNotAfterMs: START_MS * 2, certificateSerial: '01' };
  return accept(verified as VerifiedRecord);
}

function read(value: Uint8Array | undefined): UnverifiedAnnouncement | undefined {
  const text = Buffer.from(value ?? []).toString();
  const kind = text.startsWith('node ') ? 'node' : 'withdrawal';
  const decoded = decodePayload(Buffer.from(text.slice(kind.length + 1)), kind);
  return decoded.ok ? decoded.value : undefined;
}

const content = (epoch = 1): AnnouncedContent => ({
  vteps: ['192.0.2.1' as IpAddress],
  port: 4500,
  prefixes: [],
  suites: ['chacha20-poly1305'],
  epoch: { number: epoch, publicKey: new Uint8Array(32).fill(9) },
});

class World {
  readonly clock = new ManualClock(START_MS);
  readonly topics = new MemoryTopics();
  readonly log = new QuietLog();
  /** Every value ever written, in order. */
  readonly history: BusRecord[] = [];
  readonly made: { announcer: Announcer; bus: FakeBus }[] = [];
  certificate = 'first';
  private lastGeneration = 0;

  constructor() {
    this.topics.listeners.add((record) => this.history.push(record));
  }

  async announcer(bootId: string, echo = true): Promise<{ announcer: Announcer; bus: FakeBus }> {
    const bus = new FakeBus(this.topics, () => this.clock.nowMs());
    const announcer = new Announcer({
      node: NODE,
      bootId: bootId.repeat(16),
      agentVersion: '0.1.0',
      leaseMs: LEASE_MS,
      bus,
      clock: this.clock,
      log: this.log,
      generations: {
        next: async (nowMs, above = 0) => {
          this.lastGeneration = Math.max(this.lastGeneration + 1, above + 1, nowMs);
          return this.lastGeneration;
        },
      },
      certificate: () => this.certificate,
      sign,
      verify,
    });
    await bus.start((record) => {
      if (echo) announcer.observe(record);
    });
    const made = { announcer, bus };
    this.made.push(made);
    return made;
  }

  /** What stands on the bus under our name. */
  get standing(): NodeAnnouncement {
    const record = read(this.topics.records.get(`${NODES_TOPIC}\n${NODE}`)?.value);
    if (record?.kind !== 'node') throw new Error('no record of a node stands');
    return record;
  }

  write(value: Uint8Array | undefined): void {
    this.topics.write({ topic: NODES_TOPIC, key: NODE, value });
  }
}

describe('announcer', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });
  afterEach(async () => {
    for (const { announcer, bus } of world.made) {
      await announcer.stop();
      await bus.stop();
    }
    expect(world.clock.pending).toBe(0);
  });

  test('what stands is signed anew with another certificate, also when it says the same', async () => {
    const { announcer } = await world.announcer('a');
    const same = content();
    await announcer.announce(same);
    await announcer.announce(same);
    expect(world.history).toHaveLength(1);
    world.certificate = 'second';
    await announcer.announce(same);
    expect(world.history).toHaveLength(2);
  });

  test('publishes at once, with generation, sequence and lease', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    expect(world.standing).toMatchObject({
      node: NODE,
      bootId: 'a'.repeat(16),
      generation: START_MS,
      sequence: 1,
      notBeforeMs: START_MS,
      notAfterMs: START_MS + LEASE_MS,
      epoch: { number: 1 },
    });
    expect(announcer.state()).toMatchObject({
      generation: START_MS,
      sequence: 1,
      publishedMs: START_MS,
      error: '',
    });
  });

  test('the same content again publishes nothing, another one the next sequence', async () => {
    const { announcer } = await world.announcer('a');
    await Promise.all([announcer.announce(content()), announcer.announce(content())]);
    await announcer.announce(content());
    expect(world.history).toHaveLength(1);
    await announcer.announce(content(2));
    expect(world.standing).toMatchObject({ sequence: 2, epoch: { number: 2 } });
  });

  test('of contents given while a publication is under way the last one ends up standing', async () => {
    const { announcer } = await world.announcer('a');
    await Promise.all([1, 2, 3, 4].map((epoch) => announcer.announce(content(epoch))));
    expect(world.standing.epoch.number).toBe(4);
    const sequences = world.history.map((record) => (read(record.value) as NodeAnnouncement).sequence);
    expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
  });

  test('at every moment more than a third of the lease is left', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    for (let second = 0; second < 600; second++) {
      await world.clock.advance(1000);
      expect(world.standing.notAfterMs - world.clock.nowMs()).toBeGreaterThan(LEASE_MS / 3);
    }
    expect(world.history.length).toBeLessThan(30);
  });

  test('a failing bus is tried again, and the failure told once', async () => {
    const { announcer, bus } = await world.announcer('a');
    bus.refuse = true;
    await expect(announcer.announce(content())).rejects.toThrow('bus');
    expect(announcer.state().error).not.toBe('');
    await world.clock.advance(LEASE_MS);
    expect(world.log.matching('not published')).toHaveLength(1);
    bus.refuse = false;
    await world.clock.advance(LEASE_MS / 6);
    expect(world.standing.epoch.number).toBe(1);
    expect(announcer.state().error).toBe('');
    expect(world.log.matching('published again')).toHaveLength(1);
  });

  describe.each([
    ['1 nulled', () => undefined],
    ['2 overwritten with garbage', () => new Uint8Array(Buffer.from('garbage'))],
    ['3 rolled back', (world: World) => world.history[0]?.value],
  ])('a record that is %s', (_, replacement) => {
    test('is published again, under a new sequence', async () => {
      const { announcer } = await world.announcer('a');
      await announcer.announce(content(1));
      await announcer.announce(content(2));
      world.write(replacement(world));
      await world.clock.advance(1000);
      expect(world.standing).toMatchObject({ sequence: 3, epoch: { number: 2 } });
    });

    test('is left to the next one that stands, when ours came back by itself', async () => {
      const { announcer } = await world.announcer('a');
      await announcer.announce(content(1));
      await announcer.announce(content(2));
      const ours = world.history[1]?.value;
      world.write(replacement(world));
      await world.clock.advance(500);
      world.write(ours);
      await world.clock.advance(5000);
      expect(world.history).toHaveLength(4);
    });
  });

  test('whoever replaces it all the time is answered ever more seldom, to a limit', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    let answers = 0;
    for (let second = 0; second < 3600; second++) {
      if (world.topics.records.get(`${NODES_TOPIC}\n${NODE}`)?.value !== undefined) answers += 1;
      world.write(undefined);
      await world.clock.advance(1000);
    }
    expect(answers).toBeGreaterThan(50);
    expect(answers).toBeLessThan(500);
    expect(world.log.matching('replaced').length).toBeLessThan(20);
  });

  test('late echoes of our own publications cause none', async () => {
    const { announcer } = await world.announcer('a', false);
    for (let epoch = 1; epoch <= 5; epoch++) await announcer.announce(content(epoch));
    for (const record of [...world.history]) announcer.observe(record);
    await world.clock.advance(10_000);
    expect(world.history).toHaveLength(5);
  });

  test('records of others are not ours', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    world.topics.write({ topic: NODES_TOPIC, key: 'node2', value: undefined });
    world.topics.write({ topic: 'vxseal.pods.v1', key: NODE, value: undefined });
    await world.clock.advance(10_000);
    expect(world.history).toHaveLength(3);
  });

  test('the next process comes after the one before', async () => {
    const first = await world.announcer('a');
    await first.announcer.announce(content());
    await first.announcer.stop();
    await first.bus.stop();
    await world.clock.advance(5000);
    const second = await world.announcer('b');
    await second.announcer.announce(content(2));
    expect(world.standing).toMatchObject({ generation: START_MS + 5000, sequence: 1, epoch: { number: 2 } });
    expect(second.announcer.state().duplicate).toBe('');
  });

  test('a former self from a future that the clock took back is exceeded', async () => {
    const future: NodeAnnouncement = {
      kind: 'node',
      node: NODE,
      bootId: 'f'.repeat(16),
      generation: START_MS + 1e9,
      sequence: 7,
      notBeforeMs: START_MS - 10,
      notAfterMs: START_MS + LEASE_MS,
      agentVersion: '0.1.0',
      ...content(),
    };
    world.write(await sign(future));
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    expect(world.standing).toMatchObject({
      bootId: 'a'.repeat(16),
      generation: START_MS + 1e9 + 1,
      sequence: 1,
    });
  });

  test('of two agents with one identity the older gives way, and comes back after the other has gone', async () => {
    const older = await world.announcer('a');
    await older.announcer.announce(content(1));
    await world.clock.advance(5000);
    const newer = await world.announcer('b');
    await newer.announcer.announce(content(2));
    await world.clock.advance(10 * LEASE_MS);
    expect(world.standing.bootId).toBe('b'.repeat(16));
    expect(older.announcer.state()).toMatchObject({ duplicate: 'b'.repeat(16) });
    await expect(older.announcer.announce(content(3))).rejects.toMatchObject({ code: 'identity' });
    expect(newer.announcer.state()).toMatchObject({ duplicate: '', error: '' });
    expect(world.log.matching('uses our name')).toHaveLength(1);
    await newer.announcer.stop();
    await world.clock.advance(3 * LEASE_MS);
    expect(world.standing).toMatchObject({ bootId: 'a'.repeat(16), epoch: { number: 3 } });
    expect(world.standing.generation).toBeGreaterThan(newer.announcer.state().generation);
    expect(older.announcer.state()).toMatchObject({ duplicate: '', error: '' });
  });

  test('a clock that jumps forward over the lease is followed by a record at the next tick', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    await world.clock.advance(LEASE_MS / 6);
    expect(world.history).toHaveLength(1);
    await world.clock.advance(LEASE_MS * 100);
    expect(world.standing.notAfterMs).toBeGreaterThan(world.clock.nowMs());
  });

  test('a withdrawal is signed, comes last and outlasts every record of ours', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    const { notAfterMs } = world.standing;
    await announcer.withdraw();
    await settle();
    const withdrawal = read(world.history.at(-1)?.value);
    expect(withdrawal).toMatchObject({ kind: 'withdrawal', generation: START_MS, sequence: 2 });
    expect(withdrawal?.notAfterMs).toBeGreaterThanOrEqual(notAfterMs);
    await expect(announcer.announce(content(2))).rejects.toMatchObject({ code: 'not-ready' });
    world.write(undefined);
    await world.clock.advance(10 * LEASE_MS);
    expect(world.history).toHaveLength(3);
  });

  test('nothing is published after stop', async () => {
    const { announcer } = await world.announcer('a');
    await announcer.announce(content());
    await announcer.stop();
    world.write(undefined);
    await world.clock.advance(10 * LEASE_MS);
    expect(world.history).toHaveLength(2);
  });
});
