// Every scenario is played in order, shuffled, with repetitions, and cut in two by a restart that keeps only the
// highest orders: the view at the end is the same.
import type { NodeAnnouncement, VerifiedAnnouncement } from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import {
  EMPTY_ROSTER,
  fold,
  type OwnClaims,
  ownNode,
  type Roster,
  rosterFrom,
  sweep,
  viewRoster,
} from '../../../agent/core/roster';
import { seeded, shuffled } from './random';

const NOW = 1_000_000;
const OWN: OwnClaims = {
  node: 'me' as NodeName,
  hostVni: 42 as Vni,
  vteps: ['192.0.2.1' as IpAddress],
  prefixes: [{ vni: 42 as Vni, prefixes: ['10.1.0.0/24' as Prefix] }],
};

interface Change {
  readonly generation?: number;
  readonly sequence?: number;
  readonly bootId?: string;
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly vteps?: readonly string[];
  readonly prefixes?: Readonly<Record<number, readonly string[]>>;
  readonly certificateNotAfterMs?: number;
}

function node(name: string, change: Change = {}): VerifiedAnnouncement {
  const number = name.charCodeAt(0) - 96; // a is 1
  const { vteps = [`192.0.2.${100 + number}`], prefixes = { 42: [`10.${100 + number}.0.0/24`] } } = change;
  const announcement: NodeAnnouncement = {
    kind: 'node',
    node: name as NodeName,
    bootId: change.bootId ?? 'aa',
    generation: change.generation ?? 1,
    sequence: change.sequence ?? 1,
    notBeforeMs: change.notBeforeMs ?? NOW - 100,
    notAfterMs: change.notAfterMs ?? NOW + 1_000,
    vteps: vteps as IpAddress[],
    port: 4500,
    prefixes: Object.entries(prefixes).map(([vni, list]) => ({
      vni: Number(vni) as Vni,
      prefixes: list as Prefix[],
    })),
    suites: ['chacha20-poly1305'],
    epoch: { number: 1, publicKey: new Uint8Array(32).fill(number) },
    agentVersion: '0.1.0',
  };
  const certificateNotAfterMs = change.certificateNotAfterMs ?? NOW + 1_000_000;
  return { announcement, certificateNotAfterMs, certificateSerial: '01' };
}

function withdrawal(name: string, generation: number, sequence: number): VerifiedAnnouncement {
  return {
    announcement: {
      kind: 'withdrawal',
      node: name as NodeName,
      generation,
      sequence,
      notAfterMs: NOW + 1_000,
    },
    certificateNotAfterMs: NOW + 1_000_000,
    certificateSerial: '01',
  };
}

const states = (roster: Roster, nowMs = NOW): Record<string, string> =>
  Object.fromEntries(viewRoster(roster, OWN, nowMs).map((each) => [each.node, each.state]));

/** What a compacted topic still holds: the last record of each node. */
function compacted(records: readonly VerifiedAnnouncement[]): VerifiedAnnouncement[] {
  return [...new Map(records.map((each) => [each.announcement.node, each])).values()];
}

const SCENARIOS: readonly (readonly [string, readonly VerifiedAnnouncement[], Record<string, string>])[] = [
  ['one node', [node('a')], { a: 'live' }],
  ['a heartbeat', [node('a'), node('a', { sequence: 2, notAfterMs: NOW + 5 })], { a: 'live' }],
  ['a restart', [node('a', { sequence: 9 }), node('a', { generation: 2, bootId: 'bb' })], { a: 'live' }],
  ['an ended lease', [node('a', { notAfterMs: NOW })], { a: 'expired' }],
  ['a lease with a moment left', [node('a', { notAfterMs: NOW + 1 })], { a: 'live' }],
  ['a certificate that ended', [node('a', { certificateNotAfterMs: NOW })], { a: 'expired' }],
  ['a withdrawal', [node('a'), withdrawal('a', 1, 2)], { a: 'withdrawn' }],
  ['a return', [node('a'), withdrawal('a', 1, 2), node('a', { generation: 2 })], { a: 'live' }],
  [
    'overlapping VTEPs',
    [node('a'), node('b', { vteps: ['192.0.2.101'] })],
    { a: 'quarantined', b: 'quarantined' },
  ],
  [
    'overlapping prefixes, one in the other',
    [node('a', { prefixes: { 42: ['10.9.0.0/16'] } }), node('b', { prefixes: { 42: ['10.9.3.0/24'] } })],
    { a: 'quarantined', b: 'quarantined' },
  ],
  [
    'neighbouring prefixes',
    [node('a', { prefixes: { 42: ['10.9.2.0/24'] } }), node('b', { prefixes: { 42: ['10.9.3.0/24'] } })],
    { a: 'live', b: 'live' },
  ],
  [
    'the same prefix for two tenants',
    [node('a', { prefixes: { 5: ['10.9.0.0/16'] } }), node('b', { prefixes: { 6: ['10.9.0.0/16'] } })],
    { a: 'live', b: 'live' },
  ],
  ['a prefix over our own', [node('a', { prefixes: { 42: ['10.1.0.0/25'] } })], { a: 'quarantined' }],
  ['our own VTEP', [node('a', { vteps: ['192.0.2.1'] })], { a: 'quarantined' }],
  [
    "a prefix over another's VTEP",
    [node('a'), node('b', { prefixes: { 42: ['192.0.2.96/28'] } })],
    { a: 'quarantined', b: 'quarantined' },
  ],
  [
    "a tenant's prefix over the underlay",
    [node('a'), node('b', { prefixes: { 5: ['192.0.2.0/24'] } })],
    { a: 'live', b: 'live' },
  ],
  [
    'an overlap with a node that is gone',
    [node('a', { notAfterMs: NOW }), node('b', { vteps: ['192.0.2.101'] })],
    { a: 'expired', b: 'live' },
  ],
  [
    'an overlap that is given up',
    [node('a'), node('b', { vteps: ['192.0.2.101'] }), node('b', { sequence: 2 })],
    { a: 'live', b: 'live' },
  ],
  [
    'IPv6',
    [node('a', { prefixes: { 42: ['fd00:1::/64'] } }), node('b', { prefixes: { 42: ['::a01:0/112'] } })],
    { a: 'live', b: 'live' },
  ],
];

describe.each(SCENARIOS)('%s', (_, records, expected) => {
  const inOrder = fold(EMPTY_ROSTER, records).roster;

  test('in order', () => {
    expect(states(inOrder)).toEqual(expected);
  });

  test('in any order, with repetitions', () => {
    const random = seeded(records.length);
    for (let round = 0; round < 20; round++) {
      const mixed = shuffled([...records, ...shuffled(records, random).slice(0, 2)], random);
      const roster = mixed.reduce<Roster>((before, record) => fold(before, [record]).roster, EMPTY_ROSTER);
      expect(viewRoster(roster, OWN, NOW)).toEqual(viewRoster(inOrder, OWN, NOW));
      expect([...roster.values()].sort((a, b) => (a.node < b.node ? -1 : 1))).toEqual(
        [...inOrder.values()].sort((a, b) => (a.node < b.node ? -1 : 1)),
      );
    }
  });

  test('split by a restart at any point', () => {
    for (let cut = 0; cut <= records.length; cut++) {
      const before = fold(EMPTY_ROSTER, records.slice(0, cut)).roster;
      const seen = new Map([...before.values()].map((entry) => [entry.node, entry.highest]));
      // The new process reads what the topic still holds, then the rest; and is fed an old copy in between.
      const after = [...compacted(records.slice(0, cut)), ...records.slice(0, cut), ...records.slice(cut)];
      const roster = fold(rosterFrom(seen, NOW), after).roster;
      expect(states(roster)).toEqual(expected);
    }
  });
});

test('outcomes are counted: accepted, repeated, superseded', () => {
  const { outcomes } = fold(EMPTY_ROSTER, [
    node('a', { sequence: 2 }),
    node('a', { sequence: 2 }),
    node('a', { sequence: 1 }),
    node('a', { generation: 0, sequence: 99 }),
    node('a', { generation: 2, sequence: 0 }),
  ]);
  expect(outcomes).toEqual(['accepted', 'repeated', 'superseded', 'superseded', 'accepted']);
});

test('after a restart the record of the highest order counts, an older one does not', () => {
  const floors = new Map([['a' as NodeName, { generation: 3, sequence: 5 }]]);
  const old = fold(rosterFrom(floors, NOW), [node('a', { generation: 3, sequence: 4 })]);
  expect(old.outcomes).toEqual(['superseded']);
  expect(viewRoster(old.roster, OWN, NOW)).toEqual([]);
  const same = fold(old.roster, [node('a', { generation: 3, sequence: 5 })]);
  expect(same.outcomes).toEqual(['accepted']);
  expect(states(same.roster)).toEqual({ a: 'live' });
});

test('two records of one order: whichever comes first, the same one counts', () => {
  const [one, two] = [node('a', { vteps: ['192.0.2.7'] }), node('a', { vteps: ['192.0.2.8'] })];
  const left = viewRoster(fold(EMPTY_ROSTER, [one, two]).roster, OWN, NOW);
  const right = viewRoster(fold(EMPTY_ROSTER, [two, one]).roster, OWN, NOW);
  expect(left).toEqual(right);
});

describe('duplicate identity', () => {
  const older = (sequence: number, notBeforeMs: number) =>
    node('a', { generation: 1, sequence, bootId: 'aa', notBeforeMs, notAfterMs: notBeforeMs + 1_000 });
  const newer = (sequence: number, notBeforeMs: number) =>
    node('a', { generation: 2, sequence, bootId: 'bb', notBeforeMs, notAfterMs: notBeforeMs + 1_000 });
  const duplicate = (records: readonly VerifiedAnnouncement[], nowMs = NOW) =>
    viewRoster(fold(EMPTY_ROSTER, records).roster, OWN, nowMs)[0]?.duplicateIdentity;

  test.each([
    [1, 'a restart', [older(1, NOW - 50), newer(1, NOW - 40), newer(2, NOW - 10)], false],
    [2, 'both at once', [older(1, NOW - 50), newer(1, NOW - 40), older(2, NOW - 30)], true],
    [3, 'replays of the older', [older(1, NOW - 50), newer(1, NOW - 40), older(1, NOW - 50)], false],
    [4, 'the same moment', [older(1, NOW - 40), newer(1, NOW - 40)], false],
  ] as const)('%i: %s', (_, __, records, expected) => {
    const random = seeded(4);
    for (let round = 0; round < 10; round++) expect(duplicate(shuffled(records, random))).toBe(expected);
  });

  test('it is over when the lease of one is', () => {
    const records = [older(1, NOW - 50), newer(1, NOW - 40), older(2, NOW - 30)];
    expect(duplicate(records, NOW + 959)).toBe(true);
    expect(duplicate(records, NOW + 960)).toBe(false);
  });

  test('our own name is not a peer, and is watched', () => {
    const mine = (generation: number, bootId: string, notBeforeMs: number) =>
      ({ ...node('a', { generation, bootId, notBeforeMs }) }) as VerifiedAnnouncement;
    const rename = (record: VerifiedAnnouncement): VerifiedAnnouncement => ({
      ...record,
      announcement: { ...record.announcement, node: OWN.node },
    });
    const { roster } = fold(EMPTY_ROSTER, [mine(1, 'aa', NOW - 9), mine(2, 'bb', NOW - 19)].map(rename));
    expect(viewRoster(roster, OWN, NOW)).toEqual([]);
    expect(ownNode(roster, OWN, NOW)?.duplicateIdentity).toBe(true);
    expect(ownNode(EMPTY_ROSTER, OWN, NOW)).toBeUndefined();
  });
});

test('sweep() forgets a node only when no lease it ever had can count', () => {
  const { roster } = fold(EMPTY_ROSTER, [
    node('a', { notAfterMs: NOW + 500 }),
    node('a', { sequence: 2, notAfterMs: NOW + 100 }),
    node('b'),
  ]);
  expect([...sweep(roster, NOW + 600, 100).keys()]).toEqual(['b']);
  expect([...sweep(roster, NOW + 599, 100).keys()]).toEqual(['a', 'b']);
  const floors = rosterFrom(new Map([['a' as NodeName, { generation: 3, sequence: 5 }]]), NOW);
  expect(sweep(floors, NOW + 24 * 3600_000, 0).size).toBe(1);
});

test('1,000 garbage replays of one node do not grow the roster', () => {
  const replays = Array.from({ length: 1_000 }, (_, i) =>
    node('a', { generation: i, bootId: i.toString(16), sequence: i }),
  );
  const [entry] = fold(EMPTY_ROSTER, replays).roster.values();
  expect(entry?.boots).toHaveLength(4);
  expect(entry?.highest).toEqual({ generation: 999, sequence: 999 });
});
