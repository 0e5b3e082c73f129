import {
  NODES_TOPIC,
  PODS_TOPIC,
  type PodAnnouncement,
  type PodWithdrawal,
  podKey,
} from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Vni } from '../../../agent/core/ids';
import { decodePayload, encodePayload } from '../../../agent/core/payload';
import { MAX_LEASE_MS, MAX_SKEW_MS, REJECT_REASONS } from '../../../agent/core/verify';
import { signAnnouncement, verifyRecord } from '../../../agent/identity/record';
import { DAY_MS, makeCa, makeLeaf, NOW_MS, parsed, TRUST_DOMAIN } from './forge';

const LONG = { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS };
const root = makeCa('root', undefined, LONG);
const ca = makeCa('ca', root, LONG);
const leaf = makeLeaf(ca);
const signer = { privateKey: leaf.pair.privateKey, chain: [leaf.der, ca.der] };
const context = { roots: [parsed(root.der)], trustDomain: TRUST_DOMAIN, nowMs: NOW_MS, hostVni: 42 as Vni };

const pod: PodAnnouncement = {
  kind: 'pod',
  node: 'node1' as NodeName,
  vni: 42 as Vni,
  address: '10.1.0.7' as IpAddress,
  uid: '8d2f',
  namespace: 'shop',
  name: 'web-0',
  labels: { app: 'web', 'example.org/tier': '' },
  ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
  mtuBytes: 1408,
  generation: NOW_MS,
  sequence: 1,
  notBeforeMs: NOW_MS,
  notAfterMs: NOW_MS + 60_000,
};
const withdrawal: PodWithdrawal = {
  kind: 'pod-withdrawal',
  node: pod.node,
  vni: pod.vni,
  address: pod.address,
  generation: NOW_MS,
  sequence: 2,
  notAfterMs: NOW_MS + 60_000,
};

async function judge(
  record: PodAnnouncement | PodWithdrawal,
  key = podKey(record),
  topic = PODS_TOPIC,
): Promise<string> {
  const result = await verifyRecord({ topic, key, value: await signAnnouncement(record, signer) }, context);
  if (result.ok) {
    expect(result.value.announcement).toEqual(record);
    return 'accepted';
  }
  expect(REJECT_REASONS).toContain(result.reason);
  return result.reason;
}

describe('what pods have in common is held once', () => {
  const decoded = (change: Partial<PodAnnouncement>): PodAnnouncement => {
    const result = decodePayload(encodePayload({ ...pod, ...change }), 'pod');
    if (!result.ok || result.value.kind !== 'pod') throw new Error('the record is refused');
    return result.value;
  };

  test.each<[string, Record<string, string>, Record<string, string>, boolean]>([
    ['1 the same labels', { app: 'a', tier: '' }, { tier: '', app: 'a' }, true],
    ['2 another value', { app: 'a' }, { app: 'b' }, false],
    ['3 key and value the other way round', { app: 'a' }, { a: 'app' }, false],
    ['4 one of two', { app: 'a', b: '' }, { app: 'a' }, false],
  ])('%s', (_, one, other, isOne) => {
    const [a, b] = [decoded({ labels: one }).labels, decoded({ labels: other, name: 'web-1' }).labels];
    expect([a, b]).toEqual([one, other]);
    expect(a === b).toBe(isOne);
    expect(Object.isFrozen(a)).toBe(true);
  });

  test('long sets are their own', () => {
    const labels = Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`label-${i}`, 'v'.repeat(60)]));
    expect(decoded({ labels }).labels).toEqual(labels);
    expect(decoded({ labels }).labels).not.toBe(decoded({ labels }).labels);
  });

  test('no ports', () => {
    expect(decoded({ ports: [] }).ports).toBe(decoded({ ports: [], name: 'web-1' }).ports);
  });
});

test.each<[number, string, Partial<PodAnnouncement>, string]>([
  [1, 'as it should be', {}, 'accepted'],
  [
    2,
    'without labels, ports, uid and namespace',
    { labels: {}, ports: [], uid: '', namespace: '' },
    'accepted',
  ],
  [3, 'the last address of the grant', { address: '10.1.0.255' as IpAddress }, 'accepted'],
  [4, 'the one behind it', { address: '10.1.1.0' as IpAddress }, 'outside-grant'],
  [5, 'another VNI', { vni: 43 as Vni }, 'outside-grant'],
  [6, 'an address in IPv6', { address: '2001:db8:9::1' as IpAddress }, 'outside-grant'],
  [7, 'another node', { node: 'node2' as NodeName }, 'node-mismatch'],
  [8, 'a lease of nothing', { notAfterMs: NOW_MS }, 'bad-lease'],
  [9, 'the longest lease', { notAfterMs: NOW_MS + MAX_LEASE_MS }, 'accepted'],
  [10, 'one longer', { notAfterMs: NOW_MS + MAX_LEASE_MS + 1 }, 'bad-lease'],
  [
    11,
    'a lease that begins too late',
    { notBeforeMs: NOW_MS + MAX_SKEW_MS + 1, notAfterMs: NOW_MS + MAX_SKEW_MS + 2 },
    'bad-lease',
  ],
  [12, 'a generation of the far future', { generation: 2 ** 52 + 1 }, 'bad-generation'],
  [13, 'no name', { name: '' }, 'malformed'],
  [14, 'a name with a line end', { name: 'a\nb' }, 'malformed'],
  [15, 'a label key that is none', { labels: { ' ': 'x' } }, 'malformed'],
  [16, 'a label value of 64', { labels: { a: 'x'.repeat(64) } }, 'malformed'],
  [17, 'a port of 0', { ports: [{ name: 'a', protocol: 'TCP', port: 0 }] }, 'malformed'],
  [
    23,
    'a port name with two numbers',
    {
      ports: [
        { name: 'a', protocol: 'TCP', port: 1 },
        { name: 'a', protocol: 'TCP', port: 2 },
      ],
    },
    'malformed',
  ],
  [
    18,
    '65 labels',
    { labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, 'v'])) },
    'malformed',
  ],
])('%i a pod record: %s', async (_number, _what, changes, expected) => {
  expect(await judge({ ...pod, ...changes })).toBe(expected);
});

test('19 withdrawals, and their grant', async () => {
  expect(await judge(withdrawal)).toBe('accepted');
  expect(await judge({ ...withdrawal, address: '10.2.0.1' as IpAddress })).toBe('outside-grant');
});

test('20 only under its own key, and on its own topic', async () => {
  for (const key of ['42/10.1.0.8', '43/10.1.0.7', 'node1', '', '42/10.1.0.07', '042/10.1.0.7'])
    expect([key, await judge(pod, key)]).toEqual([key, 'key-mismatch']);
  expect(await judge(pod, 'node1', NODES_TOPIC)).toBe('wrong-type');
});

test('21 a signature for one kind is none for the other', async () => {
  const value = Buffer.from(await signAnnouncement(pod, signer)).toString();
  const [, payload, signature] = value.split('.');
  const [head] = Buffer.from(await signAnnouncement(withdrawal, signer))
    .toString()
    .split('.');
  const mixed = Buffer.from(`${head}.${payload}.${signature}`);
  const result = await verifyRecord({ topic: PODS_TOPIC, key: podKey(pod), value: mixed }, context);
  expect(result).toMatchObject({ ok: false, reason: 'bad-signature' });
});

test('22 one text for one record: other orders, fields and forms are refused', () => {
  const text = Buffer.from(encodePayload(pod)).toString();
  const decode = (changed: string): string => {
    const result = decodePayload(Buffer.from(changed), 'pod');
    return result.ok ? 'accepted' : result.reason;
  };
  expect(decode(text)).toBe('accepted');
  for (const [from, to] of [
    ['["app","web"],["example.org/tier",""]', '["example.org/tier",""],["app","web"]'],
    ['["app","web"]', '["app","web"],["app","web"]'],
    ['["app","web"]', '["app","web","x"]'],
    ['"vni":42', '"vni":42.0'],
    ['10.1.0.7', '010.1.0.7'],
    ['"TCP"', '"tcp"'],
    ['{"v":1', '{"x":0,"v":1'],
  ] as const) {
    expect(text).toContain(from);
    expect([to, decode(text.replace(from, to))]).toEqual([to, 'malformed']);
  }
});
