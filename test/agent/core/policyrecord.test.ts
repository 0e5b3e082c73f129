// Policy records: their keys, their one canonical text, the claims an author may make, and the fold of them.
import type { NodeName, Vni } from '../../../agent/core/ids';
import { formatKey, type PolicyDocument, parseKey, placeOf } from '../../../agent/core/policydocument';
import {
  type AuthorGrant,
  checkPolicyClaims,
  decodePolicyPayload,
  encodePolicyPayload,
  nextOrder,
  type PolicyRecord,
} from '../../../agent/core/policyrecord';
import {
  foldPolicy,
  type PolicyEntry,
  type PolicyFloors,
  type PolicyRoster,
  raiseFloor,
  roomFor,
  viewPolicies,
} from '../../../agent/core/policyroster';
import { parseObjects } from '../../../agent/sources/manifests';
import { randomPolicy } from './policyworlds';
import { seeded } from './random';

const NOW_MS = Date.UTC(2026, 5, 1);
const HOST_VNI = 42 as Vni;
const OPS = 'ops' as PolicyRecord['author'];

function documents(text: string): readonly PolicyDocument[] {
  const parsed = parseObjects(text);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.value;
}

const [policy, namespace, pod] = documents(`
{kind: NetworkPolicy, metadata: {namespace: x, name: p, annotations: {a: b}}, spec: {podSelector: {matchLabels: {b: "1", a: "2"}}, egress: [{to: [{ipBlock: {cidr: 10.1.2.3/16}}]}]}}
---
{kind: Namespace, metadata: {name: x, labels: {team: a}}}
---
{kind: Pod, metadata: {namespace: x, name: web}, spec: {containers: [{ports: [{name: http, containerPort: 80}, {containerPort: 81}]}]}, status: {podIP: 10.244.1.2}}
`) as [PolicyDocument, PolicyDocument, PolicyDocument];

const record = (changes: Partial<PolicyRecord> = {}): PolicyRecord => ({
  author: OPS,
  key: '42/x/p',
  generation: NOW_MS,
  sequence: 1,
  document: policy,
  ...changes,
});

test.each([
  [policy, '42/x/p'],
  [namespace, '42/x'],
  [pod, '42/x/pods/web'],
])('the key of a document says what it is: %#', (document, key) => {
  const place = placeOf(document, HOST_VNI);
  expect(formatKey(place)).toBe(key);
  expect(parseKey(key)).toEqual(place);
});

test.each([
  '',
  '42',
  '42/',
  '0/x/p',
  '042/x/p',
  '16777216/x/p',
  'x/p',
  '42/X/p',
  '42/x/',
  '42/x/pod/web',
  '42/x/pods/web/more',
  '42/../p',
  '42/x/..',
  '42//p',
  `42/x/${'p'.repeat(200)}`,
])('no key: %j', (key) => {
  expect(parseKey(key)).toBeUndefined();
});

describe('payload', () => {
  test.each([
    record(),
    record({ key: '42/x', document: namespace }),
    record({ key: '42/x/pods/web', document: pod }),
  ])('a document comes back as it was: %#', (given) => {
    expect(decodePolicyPayload(encodePolicyPayload(given), 'policy')).toEqual({ ok: true, value: given });
  });

  test('a withdrawal too', () => {
    const given = record({ document: undefined });
    expect(decodePolicyPayload(encodePolicyPayload(given), 'policy-withdrawal')).toEqual({
      ok: true,
      value: given,
    });
  });

  test('random policies: each has one text, and comes back by it', () => {
    const random = seeded(7);
    for (let round = 0; round < 500; round++) {
      const made = { kind: 'NetworkPolicy', policy: randomPolicy(random, 'p') } as const;
      const given = record({ key: formatKey(placeOf(made, HOST_VNI)), document: made });
      const bytes = encodePolicyPayload(given);
      const decoded = decodePolicyPayload(bytes, 'policy');
      if (!decoded.ok) throw new Error(decoded.detail);
      expect(Buffer.from(encodePolicyPayload(decoded.value)).equals(bytes)).toBe(true);
      expect(decoded.value).toEqual(given);
    }
  });

  const good = JSON.parse(Buffer.from(encodePolicyPayload(record())).toString()) as Record<string, unknown>;
  const document = good.document as { metadata: object; spec: object };
  test.each<[string, string, unknown]>([
    ['1 not JSON', 'malformed', '{'],
    ['2 a list', 'malformed', []],
    ['3 another version', 'unknown-version', { ...good, v: 2 }],
    ['4 no author', 'malformed', { ...good, author: undefined }],
    ['5 an author that is no name', 'malformed', { ...good, author: 'Ops/' }],
    ['6 a key that is none', 'malformed', { ...good, key: 'x/p' }],
    ['7 the key of another document', 'malformed', { ...good, key: '42/x/q' }],
    ['8 the key of another kind', 'malformed', { ...good, key: '42/x' }],
    ['9 a generation that is no number', 'malformed', { ...good, generation: '1' }],
    ['10 a negative sequence', 'malformed', { ...good, sequence: -1 }],
    ['11 a sequence with a fraction', 'malformed', { ...good, sequence: 1.5 }],
    ['12 a field more', 'malformed', { ...good, more: 1 }],
    ['13 no document', 'malformed', { ...good, document: undefined }],
    ['14 a document that is a text', 'malformed', { ...good, document: 'x' }],
    ['15 of a kind that is not read', 'malformed', { ...good, document: { ...document, kind: 'Service' } }],
    [
      '16 with annotations',
      'malformed',
      { ...good, document: { ...document, metadata: { ...document.metadata, annotations: {} } } },
    ],
    [
      '17 with a field of spec that is not known',
      'malformed',
      { ...good, document: { ...document, spec: { ...document.spec, order: 1 } } },
    ],
    ['18 fields in another order', 'malformed', Object.fromEntries(Object.entries(good).reverse())],
  ])('%s: %s', (_, reason, value) => {
    const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
    expect(decodePolicyPayload(bytes, 'policy')).toMatchObject({ ok: false, reason });
  });

  test('19 white space, and a document in a withdrawal', () => {
    const spaced = Buffer.from(`${Buffer.from(encodePolicyPayload(record())).toString()} `);
    expect(decodePolicyPayload(spaced, 'policy')).toMatchObject({ ok: false, reason: 'malformed' });
    expect(decodePolicyPayload(encodePolicyPayload(record()), 'policy-withdrawal')).toMatchObject({
      ok: false,
      reason: 'malformed',
    });
  });
});

describe('claims', () => {
  const grant: AuthorGrant = {
    author: OPS,
    trustDomain: 't',
    vnis: undefined,
    notBeforeMs: NOW_MS - 1000,
    notAfterMs: NOW_MS + 1000,
  };
  const judge = (
    given: PolicyRecord,
    granted: Partial<AuthorGrant> = {},
    key = given.key,
    nowMs = NOW_MS,
  ) => {
    const result = checkPolicyClaims(given, key, { ...grant, ...granted }, nowMs, HOST_VNI);
    return result.ok ? 'accepted' : result.reason;
  };
  const vnis = (...numbers: number[]) => ({ vnis: numbers as Vni[] });

  test.each<[string, string, () => string]>([
    ['1 all is well', 'accepted', () => judge(record())],
    ['2 under another key', 'key-mismatch', () => judge(record(), {}, '42/x/q')],
    [
      '3 another author',
      'author-mismatch',
      () => judge(record(), { author: 'eve' as NodeName as typeof OPS }),
    ],
    ['4 no VNI granted: the hosts', 'accepted', () => judge(record())],
    ['5 no VNI granted: a tenant', 'outside-grant', () => judge(record({ key: '7/x/p' }))],
    ['6 that VNI granted', 'accepted', () => judge(record({ key: '7/x/p' }), vnis(7))],
    ['7 another granted', 'outside-grant', () => judge(record({ key: '7/x/p' }), vnis(8))],
    ['8 tenant granted: not the hosts', 'outside-grant', () => judge(record(), vnis(7))],
    ['9 signed at the first moment', 'accepted', () => judge(record({ generation: NOW_MS - 1000 }))],
    ['10 signed before it', 'bad-generation', () => judge(record({ generation: NOW_MS - 1001 }))],
    ['11 signed at the last moment', 'accepted', () => judge(record({ generation: NOW_MS + 999 }))],
    ['12 signed after it', 'bad-generation', () => judge(record({ generation: NOW_MS + 1000 }))],
    ['13 long ago, and it stands', 'accepted', () => judge(record(), {}, '42/x/p', NOW_MS + 1e10)],
    ['14 five minutes ahead', 'accepted', () => judge(record(), {}, '42/x/p', NOW_MS - 300_000)],
    ['15 further ahead', 'bad-generation', () => judge(record(), {}, '42/x/p', NOW_MS - 300_001)],
    ['16 the last sequence', 'accepted', () => judge(record({ sequence: 2 ** 52 }))],
    ['17 one more', 'bad-generation', () => judge(record({ sequence: 2 ** 52 + 1 }))],
  ])('%s: %s', (_, expected, run) => {
    expect(run()).toBe(expected);
  });
});

test.each([
  [undefined, { generation: 100, sequence: 1 }],
  [
    { generation: 99, sequence: 7 },
    { generation: 100, sequence: 1 },
  ],
  [
    { generation: 100, sequence: 7 },
    { generation: 100, sequence: 8 },
  ],
  [
    { generation: 200, sequence: 7 },
    { generation: 200, sequence: 8 },
  ],
])('what is signed comes behind what stands: %j', (highest, expected) => {
  expect(nextOrder(highest, 100)).toEqual(expected);
});

describe('fold', () => {
  const verified = (given: PolicyRecord) => ({
    record: given,
    certificateSerial: '',
    certificateNotAfterMs: 0,
  });
  const foldAll = (records: readonly PolicyRecord[]): PolicyRoster => {
    const roster = new Map<string, PolicyEntry>();
    for (const each of records) roster.set(each.key, foldPolicy(roster.get(each.key), verified(each)).entry);
    return roster;
  };

  test('the order of arrival does not matter, nor what comes twice', () => {
    const random = seeded(11);
    for (let round = 0; round < 200; round++) {
      const records = Array.from({ length: 8 }, (): PolicyRecord => {
        const withdrawn = random() < 0.3;
        const made = {
          kind: 'NetworkPolicy',
          policy: { ...randomPolicy(random, 'p'), namespace: 'x' },
        } as const;
        return record({
          generation: Math.floor(random() * 3),
          sequence: Math.floor(random() * 3),
          document: withdrawn ? undefined : made,
        });
      });
      const shuffled = [...records, ...records.slice(0, 3)].sort(() => random() - 0.5);
      expect(viewPolicies(foldAll(shuffled))).toEqual(viewPolicies(foldAll(records)));
    }
  });

  test('what is not trusted isolates in the same directions, and allows nothing', () => {
    const entry = { verified: verified(record()), distrust: 'revoked: because' };
    const [closed] = viewPolicies(new Map([['42/x/p', entry]])).policies;
    expect(closed).toMatchObject({
      vni: 42,
      podSelector: { labels: { a: '2', b: '1' } },
      ingress: [],
      egress: [],
    });
    expect(closed?.origin).toContain('signed by ops');
  });

  test('what described pods and namespaces is not believed either, of him who is not trusted', () => {
    const doubted = (given: PolicyRecord): [string, PolicyEntry] => [
      given.key,
      { verified: verified(given), distrust: 'revoked: because' },
    ];
    const world = viewPolicies(
      new Map([
        doubted(record({ key: '42/x', document: namespace })),
        doubted(record({ key: '42/x/pods/web', document: pod })),
      ]),
    );
    expect(world.namespaces).toEqual([{ name: 'x', labels: { team: 'a' }, vni: 42, distrusted: true }]);
    expect(world.pods).toMatchObject([{ name: 'web', ports: [], distrusted: true }]);
  });

  const held = (key: string, changes: Partial<PolicyRecord> = {}) => record({ key, ...changes });
  const withdrawn = (key: string, at: number) => held(key, { document: undefined, generation: NOW_MS + at });
  const later = (key: string, at = 9) => held(key, { generation: NOW_MS + at });
  const nothing: PolicyFloors = new Map();

  test('the oldest withdrawal makes room, a document that holds never', () => {
    const old = withdrawn('42/x/c', 1);
    const roster = foldAll([held('42/x/a'), withdrawn('42/x/b', 2), old]);
    expect(roomFor(roster, nothing, later('42/x/d'), 4)).toEqual({});
    expect(roomFor(roster, nothing, later('42/x/d'), 3)).toEqual({ evict: old });
    expect(roomFor(roster, nothing, later('42/x/a'), 3)).toEqual({});
    expect(roomFor(foldAll([held('42/x/a')]), nothing, later('42/x/d'), 1)).toBe('full');
  });

  test('a VNI that is full takes no room from another, nor its withdrawals', () => {
    const roster = foldAll([held('42/x/a'), held('42/x/b'), withdrawn('7/x/a', 1), held('423/x/a')]);
    expect(roomFor(roster, nothing, later('42/x/c'), 2)).toBe('full');
    expect(roomFor(roster, nothing, later('7/x/b'), 2)).toEqual({});
    expect(roomFor(roster, nothing, later('423/x/b'), 2)).toEqual({});
    expect(roomFor(roster, nothing, later('8/x/b'), 2)).toEqual({});
  });

  test.each([
    ['42/x/c', 4, 'forgotten'],
    ['42/x/c', 5, 'forgotten'],
    ['42/x/c', 6, 'room'],
    ['42/x/a', 4, 'room'], // known: its own order decides
    ['7/x/c', 4, 'room'],
  ])('a withdrawal that made room leaves its order: %s signed at %i: %s', (key, at, expected) => {
    const floors = raiseFloor(raiseFloor(nothing, withdrawn('42/x/z', 5)), withdrawn('42/x/y', 3));
    const found = roomFor(foldAll([held('42/x/a')]), floors, later(key, at), 9);
    expect(typeof found === 'string' ? found : 'room').toBe(expected);
  });
});
