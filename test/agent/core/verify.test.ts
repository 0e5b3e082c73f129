import { createPublicKey, diffieHellman, generateKeyPairSync } from 'node:crypto';
import { type NodeAnnouncement, type NodeWithdrawal, SUITE } from '../../../agent/core/announcement';
import { claimOutsideGrant, type Grant } from '../../../agent/core/grant';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { checkClaims, MAX_GENERATION_AHEAD_MS, MAX_LEASE_MS, MAX_SKEW_MS } from '../../../agent/core/verify';

const HOST = 1 as Vni;
const NOW_MS = Date.UTC(2026, 0, 1);
const grant: Grant = {
  node: 'node1' as NodeName,
  trustDomain: 'lab.vxseal',
  vteps: ['192.0.2.1', 'fd00::1'] as IpAddress[],
  prefixes: ['10.1.0.0/23', 'fd00:1::/64'] as Prefix[],
};
const record: NodeAnnouncement = {
  kind: 'node',
  node: 'node1' as NodeName,
  bootId: '0123456789abcdef',
  generation: 1,
  sequence: 1,
  notBeforeMs: NOW_MS,
  notAfterMs: NOW_MS + 60_000,
  vteps: ['192.0.2.1' as IpAddress],
  port: 4500,
  prefixes: [],
  suites: [SUITE],
  epoch: { number: 1, publicKey: new Uint8Array(32).fill(9) },
  agentVersion: '0.1.0',
};
const withdrawal: NodeWithdrawal = {
  kind: 'withdrawal',
  node: 'node1' as NodeName,
  generation: 1,
  sequence: 1,
  notAfterMs: NOW_MS,
};

const judge = (changes: Partial<NodeAnnouncement>): string => {
  const result = checkClaims({ ...record, ...changes }, grant, NOW_MS, HOST);
  return result.ok ? 'accepted' : result.reason;
};

describe('lease', () => {
  const lease = (fromMs: number, lengthMs: number): Partial<NodeAnnouncement> => ({
    notBeforeMs: NOW_MS + fromMs,
    notAfterMs: NOW_MS + fromMs + lengthMs,
  });
  test.each<[string, Partial<NodeAnnouncement>, string]>([
    ['1 length 0', lease(0, 0), 'bad-lease'],
    ['2 length 1', lease(0, 1), 'accepted'],
    ['3 the longest', lease(0, MAX_LEASE_MS), 'accepted'],
    ['4 one more', lease(0, MAX_LEASE_MS + 1), 'bad-lease'],
    ['5 negative', lease(0, -1), 'bad-lease'],
    ['6 begins as late as clocks may differ', lease(MAX_SKEW_MS, 1), 'accepted'],
    ['7 one later', lease(MAX_SKEW_MS + 1, 1), 'bad-lease'],
    ['8 as late, the longest', lease(MAX_SKEW_MS, MAX_LEASE_MS), 'accepted'],
    ['9 over long ago: that is for the roster to know', lease(-9 * MAX_LEASE_MS, 1), 'accepted'],
  ])('%s', (_, changes, expected) => {
    expect(judge(changes)).toBe(expected);
  });

  test('10 a withdrawal has an end only', () => {
    const at = (notAfterMs: number): boolean =>
      checkClaims({ ...withdrawal, notAfterMs }, grant, NOW_MS, HOST).ok;
    expect(at(0)).toBe(true);
    expect(at(NOW_MS + MAX_LEASE_MS + MAX_SKEW_MS)).toBe(true);
    expect(at(NOW_MS + MAX_LEASE_MS + MAX_SKEW_MS + 1)).toBe(false);
    expect(checkClaims({ ...withdrawal, node: 'node2' as NodeName }, grant, NOW_MS, HOST)).toMatchObject({
      reason: 'node-mismatch',
    });
  });
});

test.each<[number, number, number, number, string]>([
  // clock, generation, sequence
  [1, NOW_MS, NOW_MS + MAX_GENERATION_AHEAD_MS, 1, 'accepted'],
  [2, NOW_MS, NOW_MS + MAX_GENERATION_AHEAD_MS + 1, 1, 'bad-generation'],
  [3, NOW_MS, Number.MAX_SAFE_INTEGER, 1, 'bad-generation'],
  [4, NOW_MS, 0, 2 ** 52, 'accepted'],
  [5, NOW_MS, 0, 2 ** 52 + 1, 'bad-generation'],
  [6, 2 ** 52, 2 ** 52, 1, 'accepted'],
  [7, 2 ** 52, 2 ** 52 + 1, 1, 'bad-generation'],
])('%i: at %i, generation %i and sequence %i: %s', (_, nowMs, generation, sequence, expected) => {
  for (const each of [{ ...record, notBeforeMs: nowMs, notAfterMs: nowMs + 1 }, withdrawal]) {
    const result = checkClaims({ ...each, generation, sequence }, grant, nowMs, HOST);
    expect(result.ok ? 'accepted' : result.reason).toBe(expected);
  }
});

test.each<[string, string[], string[], string | undefined]>([
  ['1 nothing', [], [], undefined],
  ['2 both VTEPs', ['192.0.2.1', 'fd00::1'], [], undefined],
  ['3 another VTEP', ['192.0.2.1', 'fd00::2'], [], 'fd00::2'],
  ['4 all', [], ['10.1.0.0/23', 'fd00:1::/64'], undefined],
  ['5 halves of one granted', [], ['10.1.0.0/24', '10.1.1.0/24'], undefined],
  ['6 one address', [], ['10.1.1.255/32'], undefined],
  ['7 the next address', [], ['10.1.2.0/32'], '10.1.2.0/32'],
  ['8 the address before', [], ['10.0.255.255/32'], '10.0.255.255/32'],
  ['9 one bit wider', [], ['10.0.0.0/15'], '10.0.0.0/15'],
  ['10 everything', [], ['0.0.0.0/0'], '0.0.0.0/0'],
  ['11 a VTEP is no prefix', [], ['192.0.2.1/32'], '192.0.2.1/32'],
])('claims: %s', (_, vteps, prefixes, outside) => {
  const groups = [{ vni: 1 as Vni, prefixes: prefixes as Prefix[] }];
  expect(claimOutsideGrant(grant, { vteps: vteps as IpAddress[], prefixes: groups }, HOST)).toBe(outside);
});

test.each<[string, number[] | undefined, number[], string | undefined]>([
  ["1 none named: the hosts'", undefined, [1], undefined],
  ['2 none named: no other', undefined, [1, 2], 'VNI 2'],
  ['3 named', [1, 2], [1, 2], undefined],
  ["4 the hosts' must be named too, once any is", [2], [1], 'VNI 1'],
  ['5 between two', [1, 3], [2], 'VNI 2'],
])('VNIs: %s', (_, granted, claimed, outside) => {
  const groups = claimed.map((vni) => ({ vni: vni as Vni, prefixes: ['10.1.0.0/24' as Prefix] }));
  const vnis = granted as Vni[] | undefined;
  expect(claimOutsideGrant({ ...grant, vnis }, { vteps: [], prefixes: groups }, HOST)).toBe(outside);
});

describe('keys of low order', () => {
  const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
  const ff = 'ff'.repeat(30);
  const bad = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    `ec${ff}7f`,
    `ed${ff}7f`,
    `ee${ff}7f`,
  ];
  const all = bad.flatMap((text) => [
    text,
    text.slice(0, 62) + (Number.parseInt(text.slice(62), 16) | 0x80).toString(16),
  ]);

  test.each(all)('%s is refused, and is one', (text) => {
    expect(judge({ epoch: { number: 2, publicKey: hex(text) } })).toBe('no-key');
    expect(judge({ olderEpochs: [{ number: 0, publicKey: hex(text) }] })).toBe('no-key');
    // The oracle: OpenSSL finds the shared secret zero and refuses to derive it.
    const spki = Buffer.concat([Buffer.from('302a300506032b656e032100', 'hex'), hex(text)]);
    const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    const { privateKey } = generateKeyPairSync('x25519');
    expect(() => diffieHellman({ privateKey, publicKey })).toThrow();
  });

  test.each([`02${'00'.repeat(31)}`, `eb${ff}7f`, `ef${ff}7f`, '09'.padEnd(64, '0')])(
    '%s is accepted',
    (text) => {
      expect(judge({ epoch: { number: 1, publicKey: hex(text) } })).toBe('accepted');
    },
  );
});

test.each<[string, string[], string]>([
  ['1', [SUITE], 'accepted'],
  ['2', ['future', SUITE], 'accepted'],
  ['3', ['future'], 'unknown-suite'],
  ['4', [], 'unknown-suite'],
])('suites %s: %j is %s', (_, suites, expected) => {
  expect(judge({ suites })).toBe(expected);
});
