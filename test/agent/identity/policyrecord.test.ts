// Who may sign policy: chains, usages and names of every kind against one good record.
import { sign } from 'node:crypto';
import type { Vni } from '../../../agent/core/ids';
import { MAX_RECORD_BYTES } from '../../../agent/core/payload';
import {
  encodePolicyPayload,
  POLICIES_TOPIC,
  POLICY_REJECT_REASONS,
  type PolicyRecord,
} from '../../../agent/core/policyrecord';
import {
  POLICY_RECORD_TYPES,
  readKeptPolicy,
  signPolicy,
  verifyPolicy,
} from '../../../agent/identity/policyrecord';
import { RECORD_TYPES, verifyRecord } from '../../../agent/identity/record';
import { parseRevocations } from '../../../agent/identity/revoked';
import { parseObjects } from '../../../agent/sources/manifests';
import {
  DAY_MS,
  dns,
  leafExtensions,
  type Member,
  makeCa,
  makeLeaf,
  NOW_MS,
  names,
  newPair,
  notCa,
  parsed,
  TRUST_DOMAIN,
  uri,
  usage,
} from './forge';

const LONG = { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS };
const root = makeCa('root', undefined, LONG);
const ca = makeCa('ca', root, LONG);
const extensions = (id: string, ...hosts: string[]): Uint8Array[] => [
  notCa(),
  usage(0x80),
  names(uri(id), ...hosts.map(dns)),
];
const OPS = `spiffe://${TRUST_DOMAIN}/policy/ops`;
const authorOf = (id: string, ...hosts: string[]): Member =>
  makeLeaf(ca, { extensions: extensions(id, ...hosts) });
const ops = authorOf(OPS);
const context = { roots: [parsed(root.der)], trustDomain: TRUST_DOMAIN, nowMs: NOW_MS, hostVni: 42 as Vni };

const objects = parseObjects(
  '{kind: NetworkPolicy, metadata: {namespace: x, name: p}, spec: {podSelector: {}}}',
);
if (!objects.ok) throw new Error(objects.detail);
const record: PolicyRecord = {
  author: 'ops' as PolicyRecord['author'],
  key: '42/x/p',
  generation: NOW_MS,
  sequence: 1,
  document: objects.value[0],
};
const x5cOf = (...chain: Member[]): string[] => chain.map(({ der }) => Buffer.from(der).toString('base64'));

function jws(header: object, payload: Uint8Array, by: Member = ops): Uint8Array {
  const encode = (part: Uint8Array | string): string => Buffer.from(part).toString('base64url');
  const input = `${encode(JSON.stringify(header))}.${encode(payload)}`;
  const key = { key: by.pair.privateKey, dsaEncoding: 'ieee-p1363' as const };
  return Buffer.from(`${input}.${encode(sign('sha256', Buffer.from(input), key))}`);
}

const header = { alg: 'ES256', typ: POLICY_RECORD_TYPES.policy, x5c: x5cOf(ops, ca) };
const payload = encodePolicyPayload(record);

async function judge(
  value: Uint8Array | undefined,
  changes: Partial<typeof context> & { revoked?: ReturnType<typeof parseRevocations> } = {},
  key = '42/x/p',
  topic = POLICIES_TOPIC,
): Promise<string> {
  const result = await verifyPolicy({ topic, key, value }, { ...context, ...changes });
  if (!result.ok) expect(POLICY_REJECT_REASONS).toContain(result.reason);
  return result.ok ? 'accepted' : result.reason;
}

/** The record, signed by and with the chain of someone else. */
const by = (member: Member, ...above: Member[]): Uint8Array =>
  jws({ ...header, x5c: x5cOf(member, ...(above.length > 0 ? above : [ca])) }, payload, member);

test('signed by its author it is verified, and says the same when it is read from our own disk', async () => {
  const value = await signPolicy(record, { privateKey: ops.pair.privateKey, chain: [ops.der, ca.der] });
  const result = await verifyPolicy({ topic: POLICIES_TOPIC, key: '42/x/p', value }, context);
  expect(result).toEqual({
    ok: true,
    value: { record, certificateSerial: '4142', certificateNotAfterMs: NOW_MS + DAY_MS },
  });
  expect(readKeptPolicy({ topic: POLICIES_TOPIC, key: '42/x/p', value })).toMatchObject({
    ok: true,
    value: { record },
  });
  expect(readKeptPolicy({ topic: POLICIES_TOPIC, key: '42/x/q', value })).toMatchObject({ ok: false });
});

test.each<[string, string, () => Promise<string>]>([
  ['1 null', 'tombstone', () => judge(undefined)],
  ['2 one byte too many', 'oversize', () => judge(new Uint8Array(MAX_RECORD_BYTES + 1))],
  ['3 nonsense', 'malformed', () => judge(Buffer.from('a.b'))],
  [
    '4 on the topic of nodes',
    'wrong-topic',
    () => judge(jws(header, payload), {}, '42/x/p', 'vxseal.nodes.v1'),
  ],
  ['5 of the type of a node', 'wrong-type', () => judge(jws({ ...header, typ: RECORD_TYPES.node }, payload))],
  ['6 another algorithm', 'wrong-algorithm', () => judge(jws({ ...header, alg: 'none' }, payload))],
  ['7 a header field more', 'malformed', () => judge(jws({ ...header, kid: '1' }, payload))],
  [
    '8 as a withdrawal',
    'malformed',
    () => judge(jws({ ...header, typ: POLICY_RECORD_TYPES['policy-withdrawal'] }, payload)),
  ],
  ['9 by a node', 'not-an-author', () => judge(by(makeLeaf(ca)))],
  [
    '10 by a node of the same name',
    'not-an-author',
    () => judge(by(makeLeaf(ca, { extensions: leafExtensions('ops') }))),
  ],
  ['11 by another role', 'not-an-author', () => judge(by(authorOf(`spiffe://${TRUST_DOMAIN}/policies/ops`)))],
  ['12 by nobody', 'not-an-author', () => judge(by(makeLeaf(ca, { extensions: [notCa(), usage(0x80)] })))],
  [
    '13 a node and an author in one',
    'not-an-author',
    () =>
      judge(
        by(
          makeLeaf(ca, {
            extensions: [notCa(), usage(0x80), names(uri(OPS), uri(`spiffe://${TRUST_DOMAIN}/node/ops`))],
          }),
        ),
      ),
  ],
  ['14 a longer name', 'not-an-author', () => judge(by(authorOf(`${OPS}/node/ops`)))],
  ['15 of another trust domain', 'bad-chain', () => judge(by(authorOf('spiffe://other/policy/ops')))],
  ['16 by the CA itself', 'bad-chain', () => judge(by(ca, root))],
  [
    '17 below an author',
    'bad-chain',
    () => judge(by(makeLeaf(ops, { extensions: extensions(OPS) }), ops, ca)),
  ],
  [
    "18 of a stranger's CA",
    'bad-chain',
    () => {
      const odd = makeCa('ca', undefined);
      return judge(by(makeLeaf(odd, { extensions: extensions(OPS) }), odd));
    },
  ],
  ['19 without its CA', 'bad-chain', () => judge(jws({ ...header, x5c: x5cOf(ops) }, payload))],
  [
    '20 with the certificate of the author, by another key',
    'bad-signature',
    () => judge(jws(header, payload, { ...ops, pair: newPair() })),
  ],
  ['21 under another key', 'key-mismatch', () => judge(jws(header, payload), {}, '42/x/q')],
  [
    '22 of another author',
    'author-mismatch',
    () => judge(by(authorOf(`spiffe://${TRUST_DOMAIN}/policy/eve`))),
  ],
  ['23 of a tenant, for the hosts', 'outside-grant', () => judge(by(authorOf(OPS, 'vni-7.vxseal.internal')))],
  [
    '24 of that VNI among others',
    'accepted',
    () => judge(by(authorOf(OPS, 'vni-7.vxseal.internal', 'vni-42.vxseal.internal'))),
  ],
  [
    '25 in the time of its certificate, read when that has ended',
    'accepted',
    () => judge(jws(header, payload), { nowMs: NOW_MS + 2 * DAY_MS }),
  ],
  [
    '26 after the end of its certificate',
    'bad-generation',
    () =>
      judge(jws(header, encodePolicyPayload({ ...record, generation: NOW_MS + DAY_MS })), {
        nowMs: NOW_MS + 2 * DAY_MS,
      }),
  ],
  [
    '27 before its beginning',
    'bad-generation',
    () => judge(jws(header, encodePolicyPayload({ ...record, generation: NOW_MS - DAY_MS - 1 }))),
  ],
  [
    '28 certificate not valid yet',
    'bad-chain',
    () => judge(jws(header, payload), { nowMs: NOW_MS - DAY_MS - 1 }),
  ],
  [
    '29 of an author who is revoked',
    'revoked',
    () => judge(jws(header, payload), { revoked: parseRevocations('policy ops', 'r') }),
  ],
  [
    '30 of a node of that name that is revoked',
    'accepted',
    () => judge(jws(header, payload), { revoked: parseRevocations('node ops', 'r') }),
  ],
  [
    '31 by a certificate that is revoked',
    'revoked',
    () => judge(jws(header, payload), { revoked: parseRevocations('serial 4142', 'r') }),
  ],
  [
    '32 a forger with the certificate of a revoked author',
    'bad-signature',
    () =>
      judge(jws(header, payload, { ...ops, pair: newPair() }), {
        revoked: parseRevocations('policy ops', 'r'),
      }),
  ],
  ['33 as it should be', 'accepted', () => judge(jws(header, payload))],
])('%s: %s', async (_, expected, run) => {
  expect(await run()).toBe(expected);
});

test("an author's certificate makes no node: its record is refused there", async () => {
  const value = jws({ ...header, typ: RECORD_TYPES.node }, payload);
  expect(await verifyRecord({ topic: 'vxseal.nodes.v1', key: 'ops', value }, context)).toMatchObject({
    ok: false,
    reason: 'bad-chain',
    detail: expect.stringContaining('SPIFFE id of a node'),
  });
});

test('what no node would take is not signed', async () => {
  const signer = { privateKey: ops.pair.privateKey, chain: [ops.der, ca.der] };
  const [document] = objects.value;
  if (document?.kind !== 'NetworkPolicy') throw new Error('no policy');
  const peers = Array.from({ length: 2000 }, (_, i) => ({
    podSelector: { labels: { [`k${i}`]: 'v' }, expressions: [] },
  }));
  const large = { ...document, policy: { ...document.policy, ingress: [{ ports: [], peers }] } };
  await expect(signPolicy({ ...record, document: large }, signer)).rejects.toMatchObject({ code: 'request' });
  await expect(signPolicy({ ...record, key: '42/X/p' }, signer)).rejects.toMatchObject({ code: 'request' });
});
