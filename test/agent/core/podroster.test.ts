import type { PodAnnouncement, PodRecord, VerifiedPodRecord } from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Vni } from '../../../agent/core/ids';
import { type ClaimName, MAX_CLAIMS_OF_NODE, PodRoster } from '../../../agent/core/podroster';
import type { RosterNode } from '../../../agent/core/roster';
import { seeded } from './random';

const NOW_MS = 1_000_000;
const OWN = 'node1' as NodeName;
const verified = (announcement: PodRecord, certificateNotAfterMs = NOW_MS * 9): VerifiedPodRecord => ({
  announcement,
  certificateNotAfterMs,
  certificateSerial: '01',
});

function claim(node: string, changes: Partial<PodAnnouncement> = {}): PodAnnouncement {
  return {
    kind: 'pod',
    node: node as NodeName,
    vni: 42 as Vni,
    address: '10.1.0.5' as IpAddress,
    uid: '',
    namespace: 'shop',
    name: 'web',
    labels: {},
    ports: [],
    mtuBytes: 1408,
    generation: 1,
    sequence: 1,
    notBeforeMs: NOW_MS,
    notAfterMs: NOW_MS + 60_000,
    ...changes,
  };
}

const withdrawal = (node: string, sequence: number): PodRecord => ({
  kind: 'pod-withdrawal',
  node: node as NodeName,
  vni: 42 as Vni,
  address: '10.1.0.5' as IpAddress,
  generation: 1,
  sequence,
  notAfterMs: NOW_MS + 60_000,
});

const nodes = (...names: readonly string[]): RosterNode[] =>
  names.map((text) => {
    const [name = '', state = 'live'] = text.split(' ');
    return {
      node: name as NodeName,
      state: state as RosterNode['state'],
      why: '',
      record: undefined,
      certificateNotAfterMs: NOW_MS * 9,
      duplicateIdentity: false,
    };
  });

const ALL = nodes('node2', 'node3');
const seen = (roster: PodRoster, all = ALL, nowMs = NOW_MS): string[] =>
  roster.view(all, OWN, nowMs).map(({ record, state }) => `${record.node} ${record.name} ${state}`);

function folded(...records: readonly PodRecord[]): PodRoster {
  const roster = new PodRoster(new Map(), NOW_MS);
  for (const record of records) roster.fold(verified(record));
  return roster;
}

test.each([
  [1, [claim('node2')], ['node2 web live']],
  [2, [claim('node2'), withdrawal('node2', 2)], []],
  [3, [withdrawal('node2', 2), claim('node2')], []],
  [4, [claim('node2', { sequence: 3, name: 'new' }), withdrawal('node2', 2)], ['node2 new live']],
  [5, [claim('node2'), claim('node3')], ['node2 web quarantined', 'node3 web quarantined']],
  [6, [claim('node2'), claim('node3'), withdrawal('node3', 2)], ['node2 web live']],
  [7, [claim('node2'), claim('node1')], ['node2 web quarantined']],
  [8, [claim('node1')], []],
  [9, [claim('node2', { notAfterMs: NOW_MS })], []],
  [10, [claim('node2', { vni: 7 as Vni }), claim('node3')], ['node2 web live', 'node3 web live']],
  [11, [claim('node2', { generation: 2, name: 'new' }), claim('node2', { sequence: 9 })], ['node2 new live']],
] as const)('%i what claims come to, in any order and given twice', (_number, records, expected) => {
  const random = seeded(11);
  for (let round = 0; round < 20; round++) {
    const shuffled = [...records, ...records]
      .map((record) => ({ record, at: random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ record }) => record);
    expect(seen(folded(...shuffled)).sort()).toEqual(expected);
  }
});

test('12 a claim counts as long as its node and its certificate do', () => {
  const roster = new PodRoster(new Map(), NOW_MS);
  roster.fold(verified(claim('node2'), NOW_MS + 10));
  for (const state of ['expired', 'withdrawn', 'quarantined', 'revoked'])
    expect(seen(roster, nodes(`node2 ${state}`))).toEqual([]);
  expect(seen(roster, [])).toEqual([]);
  expect(seen(roster, ALL, NOW_MS + 9)).toEqual(['node2 web live']);
  expect(seen(roster, ALL, NOW_MS + 10)).toEqual([]);
});

test('13 a dead claimant puts nobody into quarantine', () => {
  const roster = folded(claim('node2'), claim('node3'));
  expect(seen(roster, nodes('node2', 'node3 withdrawn'))).toEqual(['node2 web live']);
});

test('14 what a former process has seen is not rolled back', () => {
  const orders = folded(claim('node2'), withdrawal('node2', 2)).orders();
  const after = new PodRoster(orders, NOW_MS);
  expect(after.fold(verified(claim('node2')))).toBe('superseded');
  expect(after.fold(verified(claim('node2', { sequence: 3 })))).toBe('accepted');
  expect([...after.orders().keys()]).toEqual(['42/10.1.0.5 node2' as ClaimName]);
});

test('15 a node is remembered for so many claims, and no more; others are not kept out', () => {
  const roster = new PodRoster(new Map(), NOW_MS);
  const address = (i: number): IpAddress => `10.1.${i >> 8}.${i & 255}` as IpAddress;
  for (let i = 0; i < MAX_CLAIMS_OF_NODE; i++)
    expect(roster.fold(verified(claim('node2', { address: address(i) })))).toBe('accepted');
  const one = claim('node2', { address: address(MAX_CLAIMS_OF_NODE) });
  expect(roster.fold(verified(one))).toBe('crowded');
  expect(roster.fold(verified(claim('node3', { address: one.address })))).toBe('accepted');
  roster.sweep(NOW_MS + 60_001);
  expect(roster.fold(verified(one))).toBe('accepted');
  expect(roster.orders().size).toBe(1);
});

test('16 the version moves with what is claimed, and only then', () => {
  const roster = folded(claim('node2'));
  const { version } = roster;
  roster.fold(verified(claim('node2')));
  expect(roster.version).toBe(version);
  roster.fold(verified(withdrawal('node2', 2)));
  expect(roster.version).toBeGreaterThan(version);
});

test('what it remembers of the view is what a roster without a memory shows, whatever happens in between', () => {
  const random = seeded(11);
  const any = (count: number): number => Math.floor(random() * count);
  const roster = new PodRoster(new Map(), NOW_MS);
  const told: VerifiedPodRecord[] = [];
  let nowMs = NOW_MS;
  let remembered = 0;
  let before: unknown;
  for (let round = 0; round < 1000; round++) {
    const chance = random();
    if (chance < 0.2) {
      const node = `node${1 + any(4)}`;
      const address = `10.1.0.${any(6)}` as IpAddress;
      const lease = { notBeforeMs: nowMs, notAfterMs: nowMs + 1 + any(5000) };
      const record =
        random() < 0.2 ? withdrawal(node, round) : claim(node, { address, sequence: round, ...lease });
      told.push(verified(record, nowMs + any(9000)));
      roster.fold(told.at(-1) as VerifiedPodRecord);
    } else if (chance < 0.4) nowMs += any(400);
    const live = nodes('node2', chance > 0.9 ? 'node3 expired' : 'node3', 'node4');
    const shown = roster.view(live, OWN, nowMs);
    remembered += shown === before ? 1 : 0;
    before = shown;
    const twin = new PodRoster(new Map(), NOW_MS);
    for (const each of told) twin.fold(each);
    expect(shown).toEqual(twin.view(live, OWN, nowMs));
  }
  expect(told.length).toBeGreaterThan(100);
  expect(remembered).toBeGreaterThan(200);
});

test('the view is the same list while it says the same, and another one when it does not', () => {
  const roster = new PodRoster(new Map(), NOW_MS);
  roster.fold(verified(claim('node2', { notAfterMs: NOW_MS + 100 })));
  roster.fold(verified(claim('node3', { address: '10.1.0.6' as IpAddress })));
  const first = roster.view(ALL, OWN, NOW_MS);
  expect(roster.view(nodes('node3', 'node2'), OWN, NOW_MS + 99)).toBe(first);
  const steps: readonly (() => readonly unknown[])[] = [
    () => roster.view(ALL, OWN, NOW_MS + 100), // a lease has ended
    () => roster.view(nodes('node2', 'node3 expired'), OWN, NOW_MS + 100), // a node has gone
    () => roster.view(ALL, OWN, NOW_MS), // the clock is set back
    () => {
      roster.fold(verified(claim('node1', { sequence: 2 })));
      return roster.view(ALL, OWN, NOW_MS); // a claim of ours
    },
  ];
  const counts = steps.map((step) => step().length);
  expect(counts).toEqual([1, 0, 2, 2]);
  expect(seen(roster)).toEqual(['node2 web quarantined', 'node3 web live']);
});
