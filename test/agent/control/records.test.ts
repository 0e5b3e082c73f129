import { Problems } from '../../../agent/control/problems';
import { RecordIntake } from '../../../agent/control/records';
import type { NodeAnnouncement, VerifiedRecord } from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import type { ClaimName } from '../../../agent/core/podroster';
import { accept, type Result, refuse } from '../../../agent/core/result';
import type { RecordOrder } from '../../../agent/core/roster';
import { VxsealError } from '../../../agent/errors';
import type { BusRecord, BusStatus } from '../../../agent/ports';
import { ManualClock, settle } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';

const leaseMs = 60_000;
const graceMs = 60_000;
const vni = 42 as Vni;
const own = { node: 'node1' as NodeName, vteps: [], prefixes: [], hostVni: vni };

const textOf = ({ value }: BusRecord): string => Buffer.from(value ?? []).toString();

function bench(
  highest: ReadonlyMap<NodeName, RecordOrder> = new Map(),
  highestOfPods: ReadonlyMap<ClaimName, RecordOrder> = new Map(),
) {
  const clock = new ManualClock();
  const log = new QuietLog();
  const bus: { -readonly [K in keyof BusStatus]: BusStatus[K] } = {
    connected: true,
    inSync: true,
    lastSeenMs: clock.nowMs(),
    error: '',
  };
  const kept: ReadonlyMap<NodeName, RecordOrder>[] = [];
  const keptPods: ReadonlyMap<ClaimName, RecordOrder>[] = [];
  const seen = { verifying: 0, most: 0, changes: 0 };
  /** By the text of the record. */
  const verdicts = new Map<string, Result<VerifiedRecord, string>>();
  const gates: (() => void)[] = [];
  const control = { held: false, full: false, writing: () => {} };
  let made = 0;
  const intake = new RecordIntake(
    {
      clock,
      log,
      verify: async (record) => {
        seen.verifying += 1;
        seen.most = Math.max(seen.most, seen.verifying);
        if (control.held) await new Promise<void>((resolve) => gates.push(resolve));
        await settle(1);
        seen.verifying -= 1;
        return verdicts.get(textOf(record)) ?? refuse('malformed', 'garbage');
      },
      busStatus: () => bus,
      graceMs,
      remember: async (map) => {
        if (control.full) throw new VxsealError('state', 'seen.json: ENOSPC', 'make room');
        kept.push(map);
        control.writing();
        await settle(1);
      },
      rememberPods: async (map) => {
        keptPods.push(map);
      },
      changed: () => {
        seen.changes += 1;
      },
    },
    highest,
    highestOfPods,
  );
  const record = (node: string, sequence: number, generation = 1): BusRecord => {
    const announcement: NodeAnnouncement = {
      kind: 'node',
      node: node as NodeName,
      bootId: 'b',
      generation,
      sequence,
      notBeforeMs: clock.nowMs(),
      notAfterMs: clock.nowMs() + leaseMs,
      vteps: [`192.0.2.${node.slice(4)}` as IpAddress],
      port: 4500,
      prefixes: [{ vni, prefixes: [`10.${node.slice(4)}.0.0/24` as Prefix] }],
      suites: [],
      epoch: { number: 1, publicKey: new Uint8Array(32) },
      agentVersion: '',
    };
    made += 1;
    const value = Buffer.from(`${node}.${generation}.${sequence}.${made}`);
    verdicts.set(
      value.toString(),
      accept({ announcement, certificateNotAfterMs: Number.MAX_SAFE_INTEGER, certificateSerial: '' }),
    );
    return { topic: 'vxseal.nodes.v1', key: node, value };
  };
  const states = () => intake.nodes(own).map(({ node, state }) => `${node} ${state}`);
  /** From now on that record is refused. */
  const refuseIt = (record: BusRecord, reason: string): void => {
    verdicts.set(textOf(record), refuse(reason, 'because'));
  };
  return { clock, log, bus, kept, seen, control, gates, intake, record, refuseIt, verdicts, states };
}

test('1 in sync only once what stood on the bus is judged, not merely delivered; and it stays so', async () => {
  const { intake, record, control, gates, bus, states } = bench();
  control.held = true;
  intake.receive(record('node2', 1));
  expect(intake.inSync()).toBe(false);
  await settle();
  for (const open of gates) open();
  await settle();
  expect([intake.inSync(), states()]).toEqual([true, ['node2 live']]);
  bus.connected = false;
  bus.inSync = false;
  expect(intake.inSync()).toBe(true);
});

test('1b a record that comes while orders are written is judged, without another one behind it', async () => {
  const { intake, record, control, states } = bench();
  control.writing = () => {
    control.writing = () => {};
    intake.receive(record('node3', 1));
  };
  intake.receive(record('node2', 1));
  await settle();
  expect(states()).toEqual(['node2 live', 'node3 live']);
  expect(intake.inSync()).toBe(true);
});

test('1c while the start is read there are no passes for each pause in it, and few writes; all of them at its end', async () => {
  const { intake, record, seen, kept, bus } = bench();
  bus.inSync = false;
  for (let node = 2; node < 6; node++) {
    intake.receive(record(`node${node}`, 1));
    await settle();
  }
  expect([seen.changes, kept.length, intake.inSync()]).toEqual([0, 0, false]);
  bus.inSync = true;
  intake.noteStatus();
  expect(intake.inSync()).toBe(false); // not before it is written
  await settle();
  expect([seen.changes, kept.length, kept[0]?.size, intake.inSync()]).toEqual([1, 1, 4, true]);
});

test('1d who reads faster than is judged waits, and goes on', async () => {
  const { intake, record, control, gates } = bench();
  const ready = async (): Promise<boolean> => {
    let isReady = false;
    void intake.ready().then(() => {
      isReady = true;
    });
    await settle(1);
    return isReady;
  };
  control.held = true;
  // 64 are being judged.
  for (let node = 0; node < 64 + 1023; node++) intake.receive(record(`node${node}`, 1));
  await settle();
  expect(await ready()).toBe(true);
  intake.receive(record('node5000', 1));
  let isReady = false;
  const waited = intake.ready().then(() => {
    isReady = true;
  });
  await settle();
  expect(isReady).toBe(false);
  control.held = false;
  for (const open of gates.splice(0)) open();
  await waited;
});

test('2 a bus that is not at its end is not in sync, however much was judged', async () => {
  const { intake, record, bus } = bench();
  bus.inSync = false;
  intake.receive(record('node2', 1));
  await settle();
  expect(intake.inSync()).toBe(false);
});

test('3 a flood is judged in batches; of one key only the last record is, and every refusal is counted', async () => {
  const { intake, seen, log, record, states } = bench();
  for (let i = 0; i < 1000; i++)
    intake.receive({ topic: 'vxseal.nodes.v1', key: `x${i}`, value: new Uint8Array(1) });
  intake.receive(record('node2', 1));
  intake.receive(record('node2', 2));
  await settle(400);
  expect(states()).toEqual(['node2 live']);
  expect(seen.most).toBeLessThanOrEqual(64);
  expect(intake.counts()).toEqual({ accepted: 1, refused: [{ reason: 'malformed', count: 1000 }] });
  expect(log.lines).toHaveLength(1);
});

test('4 what a former process has seen is not rolled back by an older record', async () => {
  const { intake, record, states } = bench(new Map([['node2' as NodeName, { generation: 1, sequence: 5 }]]));
  intake.receive(record('node2', 4));
  await settle();
  expect(states()).toEqual([]);
  expect(intake.counts().refused).toEqual([{ reason: 'superseded', count: 1 }]);
  intake.receive(record('node2', 6));
  await settle();
  expect(states()).toEqual(['node2 live']);
});

test('5 the highest order is kept when it grows, and only then', async () => {
  const { intake, record, kept } = bench();
  intake.receive(record('node2', 3));
  await settle();
  intake.receive(record('node2', 2));
  await settle();
  expect(kept).toEqual([new Map([['node2', { generation: 1, sequence: 3 }]])]);
});

test.each([
  ['6 a lease one millisecond before its end', leaseMs - 1, 'live'],
  ['7 a lease at its end', leaseMs, 'expired'],
])('%s', async (_, afterMs, state) => {
  const { intake, record, clock, states } = bench();
  intake.receive(record('node2', 1));
  await settle();
  await clock.advance(afterMs);
  expect(states()).toEqual([`node2 ${state}`]);
});

test('8 an outage stops the clock of leases, the grace behind it too; then they count again', async () => {
  const { intake, record, clock, bus, states } = bench();
  intake.receive(record('node2', 1));
  await settle();
  expect(intake.inSync()).toBe(true);
  bus.connected = false;
  bus.lastSeenMs = clock.nowMs();
  intake.noteStatus();
  await clock.advance(3_600_000);
  intake.noteStatus();
  expect(states()).toEqual(['node2 live']);
  bus.connected = true;
  intake.noteStatus();
  await clock.advance(graceMs - 1);
  expect(states()).toEqual(['node2 live']);
  await clock.advance(1);
  expect(states()).toEqual(['node2 expired']);
});

test.each([
  ['8a', graceMs / 3 - 1, 'expired'],
  ['8b', graceMs / 3, 'live'],
])(
  '%s an outage of %d ms is long from a third of a lease on: behind it node2 is %s',
  async (_, outageMs, state) => {
    const { intake, record, clock, bus, states } = bench();
    intake.receive(record('node2', 1));
    await settle();
    expect(intake.inSync()).toBe(true);
    await clock.advance(leaseMs - outageMs - 1);
    bus.connected = false;
    bus.lastSeenMs = clock.nowMs();
    intake.noteStatus();
    await clock.advance(outageMs);
    bus.connected = true;
    intake.noteStatus();
    await clock.advance(1);
    expect(states()).toEqual([`node2 ${state}`]);
  },
);

test.each([
  ['8c', 0, 'expired'],
  ['8d', 1, 'live'],
])(
  '%s started while the bus is down: leases stand at its last sign of life, if one is known',
  async (_, known, state) => {
    const { intake, record, clock, bus, states } = bench();
    bus.connected = false;
    bus.inSync = false;
    bus.lastSeenMs = known * clock.nowMs();
    intake.noteStatus();
    intake.receive(record('node2', 1));
    await clock.advance(leaseMs);
    intake.noteStatus();
    expect(states()).toEqual([`node2 ${state}`]);
    expect(intake.inSync()).toBe(false);
  },
);

test('9 a bus that flaps: the grace begins again with each return', async () => {
  const { intake, record, clock, bus, states } = bench();
  intake.receive(record('node2', 1));
  await settle();
  intake.inSync();
  for (let flap = 0; flap < 5; flap++) {
    bus.connected = false;
    intake.noteStatus();
    await clock.advance(graceMs - 1);
    bus.connected = true;
    intake.noteStatus();
    await clock.advance(graceMs - 1);
    expect(states()).toEqual(['node2 live']);
  }
});

describe('roots or revocations change', () => {
  const whys = (made: ReturnType<typeof bench>) =>
    made.intake.nodes(own).map(({ node, state, why }) => `${node} ${state} ${why}`);

  test.each([
    ['10 a revocation', 'revoked'],
    ['11 a root taken away', 'bad-chain'],
  ])('%s takes the node down, with the reason, and brings it back', async (_, reason) => {
    const made = bench();
    const { intake, record, refuseIt, verdicts } = made;
    const two = record('node2', 1);
    intake.receive(two);
    intake.receive(record('node3', 1));
    await settle();
    const good = verdicts.get(textOf(two));
    refuseIt(two, reason);
    expect(whys(made)).toEqual(['node2 live ', 'node3 live ']);
    intake.judgeAnew();
    await settle();
    expect(whys(made)).toEqual([`node2 revoked ${reason}: because`, 'node3 live ']);
    if (good !== undefined) verdicts.set(textOf(two), good);
    intake.judgeAnew();
    await settle();
    expect(whys(made)).toEqual(['node2 live ', 'node3 live ']);
  });

  test('12 a new certificate brings a revoked node back; its old record, seen again, does not take it down', async () => {
    const made = bench();
    const { intake, record, refuseIt } = made;
    const old = record('node2', 1);
    intake.receive(old);
    await settle();
    refuseIt(old, 'revoked');
    intake.judgeAnew();
    await settle();
    intake.receive(record('node2', 2));
    await settle();
    expect(whys(made)).toEqual(['node2 live ']);
    intake.receive(old);
    await settle();
    expect(whys(made)).toEqual(['node2 live ']);
  });

  test('13 a revoked node that was never believed is named; a forger under a good name harms nobody', async () => {
    const made = bench();
    const { intake, record, refuseIt } = made;
    const revoked = record('node2', 1);
    refuseIt(revoked, 'revoked');
    intake.receive(revoked);
    intake.receive(record('node3', 1));
    await settle();
    const forged = record('node3', 2);
    refuseIt(forged, 'bad-chain');
    intake.receive(forged);
    await settle();
    expect(whys(made)).toEqual(['node2 revoked revoked: because', 'node3 live ']);
  });

  test('14 a record under a root that comes later is believed then, and without being sent again', async () => {
    const made = bench();
    const { intake, record, refuseIt, verdicts } = made;
    const two = record('node2', 1);
    const good = verdicts.get(textOf(two));
    refuseIt(two, 'bad-chain');
    intake.receive(two);
    await settle();
    expect(whys(made)).toEqual([]);
    if (good !== undefined) verdicts.set(textOf(two), good);
    intake.judgeAnew();
    await settle();
    expect(whys(made)).toEqual(['node2 live ']);
  });

  test('15 a flood of doubtful records is bounded, and judged once a change', async () => {
    const { intake, seen, refuseIt, record } = bench();
    const one = record('node2', 1);
    refuseIt(one, 'bad-chain');
    for (let i = 0; i < 5000; i++) intake.receive({ ...one, key: `x${i}` });
    await settle(400);
    seen.most = 0;
    const before = intake.counts().refused[0]?.count ?? 0;
    intake.judgeAnew();
    await settle(400);
    expect((intake.counts().refused[0]?.count ?? 0) - before).toBe(1024);
  });
});

test('16 orders that cannot be kept are told, tried again at each pass, and kept once there is room', async () => {
  const { intake, record, control, kept, clock, log } = bench();
  const problems = new Problems(clock, log);
  control.full = true;
  intake.receive(record('node2', 7));
  await settle();
  await intake.tellUnkept(problems);
  expect(problems.list()).toMatchObject([
    { object: 'orders of records on disk', reason: 'seen.json: ENOSPC', remedy: 'make room' },
  ]);
  expect(kept).toEqual([]);
  control.full = false;
  await intake.tellUnkept(problems);
  expect(problems.list()).toEqual([]);
  expect(kept.map((map) => [...map])).toEqual([[['node2', { generation: 1, sequence: 7 }]]]);
  await intake.tellUnkept(problems);
  expect(kept).toHaveLength(1);
});
