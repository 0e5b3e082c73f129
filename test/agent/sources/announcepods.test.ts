import {
  PODS_TOPIC,
  type PodContent,
  type PodRecord,
  podKey,
  type UnverifiedAnnouncement,
} from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Vni } from '../../../agent/core/ids';
import { decodePayload, encodePayload } from '../../../agent/core/payload';
import { type OwnClaimsView, PodRoster } from '../../../agent/core/podroster';
import { PodAnnouncer } from '../../../agent/sources/announcepods';
import { ManualClock } from '../../fakes/clock';

const NODE = 'node1' as NodeName;
const LEASE_MS = 60_000;

const pod = (address: string, changes: Partial<PodContent> = {}): PodContent => ({
  vni: 42 as Vni,
  address: address as IpAddress,
  uid: '',
  namespace: 'shop',
  name: 'web',
  labels: {},
  ports: [],
  mtuBytes: 1408,
  ...changes,
});
const ONE = pod('10.1.0.1');
const TWO = pod('10.1.0.2');

/** A bus that keeps the last value of a key, and a roster that believes it. */
class Bench {
  readonly clock = new ManualClock();
  readonly stands = new Map<string, Uint8Array | undefined>();
  readonly written: string[] = [];
  roster = new PodRoster(new Map(), this.clock.nowMs());
  certificate = 'a';
  fails = false;
  private generation = 0;
  announcer = this.make();

  make(): PodAnnouncer {
    return new PodAnnouncer({
      node: NODE,
      leaseMs: LEASE_MS,
      bus: { publish: async (topic, key, value) => this.publish(topic, key, value) },
      clock: this.clock,
      certificate: () => this.certificate,
      generations: {
        next: async (_nowMs, above = 0) => {
          this.generation = Math.max(this.generation, above) + 1;
          return this.generation;
        },
      },
      sign: async (record) => Buffer.concat([Buffer.from(`${record.kind} `), encodePayload(record)]),
    });
  }

  private publish(topic: string, key: string, value: Uint8Array): void {
    expect(topic).toBe(PODS_TOPIC);
    if (this.fails) throw new Error('the bus is gone');
    this.written.push(`${key} ${Buffer.from(value).toString().split(' ')[0]}`);
    this.deliver(key, value);
  }

  deliver(key: string, value: Uint8Array | undefined): void {
    this.stands.set(key, value);
    this.announcer.observe({ topic: PODS_TOPIC, key, value });
    const record = value === undefined ? undefined : read(value);
    if (record === undefined) return;
    this.roster.fold({ announcement: record, certificateNotAfterMs: 2 ** 52, certificateSerial: '01' });
  }

  view(): OwnClaimsView {
    return {
      standing: this.roster.claimsOf(NODE, this.clock.nowMs()),
      orderOf: (key) => this.roster.orderOf(key, NODE),
    };
  }

  announce(...pods: readonly PodContent[]): Promise<void> {
    return this.announcer.announce(pods, this.view());
  }

  live(): string[] {
    return [...this.view().standing.keys()].sort();
  }
}

function read(value: Uint8Array): PodRecord | undefined {
  const [kind = '', payload = ''] = Buffer.from(value).toString().split(/ (.*)/s);
  const decoded = decodePayload(Buffer.from(payload), kind as UnverifiedAnnouncement['kind']);
  return decoded.ok ? (decoded.value as PodRecord) : undefined;
}

const stranger = Buffer.from('not a record');

test('1 what is attached stands, once; what is gone is withdrawn, once', async () => {
  const bench = new Bench();
  await bench.announce(ONE, TWO);
  await bench.announce(ONE, TWO);
  expect(bench.live()).toEqual(['42/10.1.0.1', '42/10.1.0.2']);
  expect(bench.written).toHaveLength(2);
  await bench.announce(TWO);
  await bench.announce(TWO);
  expect(bench.live()).toEqual(['42/10.1.0.2']);
  expect(bench.written.slice(2)).toEqual(['42/10.1.0.1 pod-withdrawal']);
  await bench.announce(ONE, TWO);
  expect(bench.live()).toEqual(['42/10.1.0.1', '42/10.1.0.2']);
});

test('2 it is renewed when half of the lease is over, and never runs out', async () => {
  const bench = new Bench();
  await bench.announce(ONE);
  await bench.clock.advance(LEASE_MS / 2 - 1);
  await bench.announce(ONE);
  expect(bench.written).toHaveLength(1);
  await bench.clock.advance(1);
  await bench.announce(ONE);
  expect(bench.written).toHaveLength(2);
  await bench.clock.advance(LEASE_MS / 2);
  expect(bench.live()).toEqual(['42/10.1.0.1']);
});

test.each<[number, string, (bench: Bench) => PodContent]>([
  [3, 'labels', () => ({ ...ONE, labels: { app: 'web' } })],
  [4, 'the pod behind the address', () => ({ ...ONE, uid: '2' })],
  [5, 'ports', () => ({ ...ONE, ports: [{ name: 'http', protocol: 'TCP', port: 80 }] })],
  [
    6,
    'the certificate',
    (bench) => {
      bench.certificate = 'b';
      return ONE;
    },
  ],
])('%i a change of %s is published at once', async (_number, _what, change) => {
  const bench = new Bench();
  await bench.announce(ONE);
  await bench.announce(change(bench));
  expect(bench.written).toHaveLength(2);
});

test.each([
  [7, undefined],
  [8, stranger],
])(
  '%i nulled or overwritten, it is published again after a while; ever more slowly',
  async (_number, value) => {
    const bench = new Bench();
    await bench.announce(ONE);
    const waits: number[] = [];
    for (let round = 0; round < 4; round++) {
      bench.deliver('42/10.1.0.1', value);
      const count = bench.written.length;
      let waitedMs = 0;
      while (bench.written.length === count) {
        await bench.announce(ONE);
        if (bench.written.length > count) break;
        await bench.clock.advance(500);
        waitedMs += 500;
      }
      waits.push(waitedMs);
    }
    expect(waits).toEqual([2000, 4000, 8000, 16_000]);
  },
);

test('9 what a former process left, and nobody has any more, is withdrawn', async () => {
  const bench = new Bench();
  await bench.announce(ONE, TWO);
  bench.announcer = bench.make();
  await bench.announce(TWO);
  expect(bench.live()).toEqual(['42/10.1.0.2']);
});

test('10 of a former process whose generation was greater: the new one comes after it', async () => {
  const bench = new Bench();
  const ahead = encodePayload({
    ...ONE,
    kind: 'pod',
    node: NODE,
    generation: 900,
    sequence: 7,
    notBeforeMs: bench.clock.nowMs(),
    notAfterMs: bench.clock.nowMs() + LEASE_MS,
  });
  bench.deliver(podKey(ONE), Buffer.concat([Buffer.from('pod '), ahead]));
  await bench.announce({ ...ONE, name: 'new' });
  expect(bench.view().standing.get(podKey(ONE))?.name).toBe('new');
  expect(bench.view().orderOf(podKey(ONE))).toEqual({ generation: 901, sequence: 1 });
});

test('11 while the bus is gone it fails, and is made up for', async () => {
  const bench = new Bench();
  await bench.announce(ONE);
  bench.fails = true;
  await expect(bench.announce(TWO)).rejects.toThrow('the bus is gone');
  expect(bench.live()).toEqual(['42/10.1.0.1']);
  bench.fails = false;
  await bench.announce(TWO);
  expect(bench.live()).toEqual(['42/10.1.0.2']);
});
