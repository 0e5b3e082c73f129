import { CompactSign } from 'jose';
import { NODES_TOPIC, type NodeAnnouncement, PODS_TOPIC, SUITE } from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { encodePayload, MAX_RECORD_BYTES } from '../../../agent/core/payload';
import { REJECT_REASONS } from '../../../agent/core/verify';
import { RECORD_TYPES, signAnnouncement, verifyRecord } from '../../../agent/identity/record';
import { parseRevocations } from '../../../agent/identity/revoked';
import { DAY_MS, leafExtensions, makeCa, makeLeaf, NOW_MS, newPair, parsed, TRUST_DOMAIN } from './forge';

const LONG = { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS };
const root = makeCa('root', undefined, LONG);
const ca = makeCa('ca', root, LONG);
const leaf = makeLeaf(ca);
const chain = [leaf.der, ca.der];
const signer = { privateKey: leaf.pair.privateKey, chain };
const context = { roots: [parsed(root.der)], trustDomain: TRUST_DOMAIN, nowMs: NOW_MS, hostVni: 42 as Vni };

const record: NodeAnnouncement = {
  kind: 'node',
  node: 'node1' as NodeName,
  bootId: '0123456789abcdef',
  generation: NOW_MS,
  sequence: 1,
  notBeforeMs: NOW_MS,
  notAfterMs: NOW_MS + 60_000,
  vteps: ['192.0.2.1' as IpAddress],
  port: 4500,
  prefixes: [{ vni: 42 as Vni, prefixes: ['10.1.0.0/24' as Prefix] }],
  suites: [SUITE],
  epoch: { number: 1, publicKey: new Uint8Array(32).fill(9) },
  agentVersion: '0.1.0',
};
const withdrawal = {
  kind: 'withdrawal',
  node: 'node1' as NodeName,
  generation: NOW_MS,
  sequence: 2,
  notAfterMs: NOW_MS + 60_000,
} as const;

async function judge(
  value: Uint8Array | undefined,
  key = 'node1',
  topic = NODES_TOPIC,
  ctx = context,
): Promise<string> {
  const result = await verifyRecord({ topic, key, value }, ctx);
  if (!result.ok) expect(REJECT_REASONS).toContain(result.reason);
  return result.ok ? 'accepted' : result.reason;
}

/** A JWS of whatever header and payload. */
async function jws(
  header: object,
  payload: Uint8Array | string,
  key = leaf.pair.privateKey,
): Promise<Uint8Array> {
  const encode = (part: Uint8Array | string): string => Buffer.from(part).toString('base64url');
  const { sign } = await import('node:crypto');
  const input = `${encode(JSON.stringify(header))}.${encode(payload)}`;
  const signature = sign('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' });
  return Buffer.from(`${input}.${encode(signature)}`);
}

const x5c = chain.map((der) => Buffer.from(der).toString('base64'));
const header = { alg: 'ES256', typ: RECORD_TYPES.node, x5c };
const payload = encodePayload(record);

test('a record signed by its node is verified, with the end and serial of its certificate', async () => {
  const value = await signAnnouncement(record, signer);
  expect(await verifyRecord({ topic: NODES_TOPIC, key: 'node1', value }, context)).toEqual({
    ok: true,
    value: { announcement: record, certificateNotAfterMs: NOW_MS + DAY_MS, certificateSerial: '4142' },
  });
  expect(await judge(await jws(header, payload))).toBe('accepted');
});

test('a withdrawal too', async () => {
  const value = await signAnnouncement(withdrawal, signer);
  expect(await verifyRecord({ topic: NODES_TOPIC, key: 'node1', value }, context)).toMatchObject({
    ok: true,
    value: { announcement: withdrawal },
  });
});

describe('refusals', () => {
  const stranger = newPair();
  const other = makeLeaf(ca, { extensions: leafExtensions('node2') });
  const claims = (changes: Partial<NodeAnnouncement>): Uint8Array => encodePayload({ ...record, ...changes });
  const group = (...prefixes: readonly string[]): NodeAnnouncement['prefixes'] => [
    { vni: 42 as Vni, prefixes: prefixes as readonly Prefix[] },
  ];

  test("a node that holds one tenant's VNI claims no other tenant's, and not the hosts' either", async () => {
    const tenant = makeLeaf(ca, { extensions: leafExtensions('node1', ['vni-7.vxseal.internal']) });
    const head = { ...header, x5c: [tenant, ca].map(({ der }) => Buffer.from(der).toString('base64')) };
    const claim = async (...vnis: number[]): Promise<string> => {
      const prefixes = vnis.map((vni) => ({ vni: vni as Vni, prefixes: ['10.1.0.0/24' as Prefix] }));
      return judge(await jws(head, claims({ prefixes }), tenant.pair.privateKey));
    };
    expect([await claim(7), await claim(7, 8), await claim(8), await claim(42)]).toEqual([
      'accepted',
      'outside-grant',
      'outside-grant',
      'outside-grant',
    ]);
  });

  test.each<[string, string, () => Promise<Uint8Array | undefined>]>([
    ['1 null', 'tombstone', async () => undefined],
    ['2 nothing', 'malformed', async () => new Uint8Array(0)],
    ['3 one byte too many', 'oversize', async () => new Uint8Array(MAX_RECORD_BYTES + 1)],
    ['4 as large as allowed', 'malformed', async () => new Uint8Array(MAX_RECORD_BYTES)],
    ['5 not ASCII', 'malformed', async () => Buffer.from('ä.ä.ä')],
    ['6 four parts', 'malformed', async () => Buffer.from('a.b.c.d')],
    ['7 header not JSON', 'malformed', async () => Buffer.from('YQ.YQ.YQ')],
    ['8 header null', 'malformed', async () => jws(null as unknown as object, payload)],
    ['9 header a list', 'malformed', async () => jws([], payload)],
    ['10 one header field more', 'malformed', async () => jws({ ...header, kid: 'x' }, payload)],
    ['11 with crit', 'malformed', async () => jws({ ...header, crit: ['b64'], b64: false }, payload)],
    ['12 with a key of its own', 'malformed', async () => jws({ ...header, jwk: {} }, payload)],
    ['13 alg none', 'wrong-algorithm', async () => jws({ ...header, alg: 'none' }, payload)],
    ['14 alg HS256', 'wrong-algorithm', async () => jws({ ...header, alg: 'HS256' }, payload)],
    ['15 alg ES384', 'wrong-algorithm', async () => jws({ ...header, alg: 'ES384' }, payload)],
    ['16 another type', 'wrong-type', async () => jws({ ...header, typ: 'JWT' }, payload)],
    ['17 no type', 'malformed', async () => jws({ alg: 'ES256', x5c }, payload)],
    [
      '18 the type of a withdrawal',
      'malformed',
      async () => jws({ ...header, typ: RECORD_TYPES.withdrawal }, payload),
    ],
    ['19 x5c empty', 'bad-chain', async () => jws({ ...header, x5c: [] }, payload)],
    ['20 x5c of five', 'bad-chain', async () => jws({ ...header, x5c: Array(5).fill(x5c[0]) }, payload)],
    ['21 x5c not text', 'bad-chain', async () => jws({ ...header, x5c: [1] }, payload)],
    [
      '22 x5c not canonical base64',
      'bad-chain',
      async () => jws({ ...header, x5c: [`${x5c[0]}\n`, x5c[1]] }, payload),
    ],
    ['23 x5c not certificates', 'bad-chain', async () => jws({ ...header, x5c: ['AAAA'] }, payload)],
    ['24 chain without its CA', 'bad-chain', async () => jws({ ...header, x5c: x5c.slice(0, 1) }, payload)],
    ['25 signed by a stranger', 'bad-signature', async () => jws(header, payload, stranger.privateKey)],
    ['26 signed by another node', 'bad-signature', async () => jws(header, payload, other.pair.privateKey)],
    [
      '27 payload exchanged',
      'bad-signature',
      async () => {
        const [head, , signature] = Buffer.from(await jws(header, payload))
          .toString()
          .split('.');
        return Buffer.from(
          `${head}.${Buffer.from(claims({ sequence: 9 })).toString('base64url')}.${signature}`,
        );
      },
    ],
    [
      '28 signature of another length',
      'bad-signature',
      async () => {
        const text = Buffer.from(await jws(header, payload)).toString();
        return Buffer.from(text.slice(0, -4));
      },
    ],
    ['29 payload not JSON', 'malformed', async () => jws(header, 'x')],
    ['30 payload of another version', 'unknown-version', async () => jws(header, '{"v":2}')],
    [
      '31 record of another node',
      'node-mismatch',
      async () => jws(header, claims({ node: 'node2' as NodeName })),
    ],
    [
      '32 a VTEP not granted',
      'outside-grant',
      async () => jws(header, claims({ vteps: ['192.0.2.2' as IpAddress] })),
    ],
    [
      '33 a prefix not granted',
      'outside-grant',
      async () => jws(header, claims({ prefixes: group('10.2.0.0/24') })),
    ],
    [
      '34 a wider prefix',
      'outside-grant',
      async () => jws(header, claims({ prefixes: group('10.0.0.0/15') })),
    ],
    [
      '35 one good, one bad',
      'outside-grant',
      async () => jws(header, claims({ prefixes: group('10.1.0.0/25', '10.2.0.0/25') })),
    ],
    [
      '36 part of a granted prefix',
      'accepted',
      async () => jws(header, claims({ prefixes: group('10.1.0.128/25') })),
    ],
    ['37 no prefix', 'accepted', async () => jws(header, claims({ prefixes: [] }))],
    ['38 no suite of ours', 'unknown-suite', async () => jws(header, claims({ suites: ['rot13'] }))],
    [
      '39 key zero',
      'no-key',
      async () => jws(header, claims({ epoch: { number: 1, publicKey: new Uint8Array(32) } })),
    ],
  ])('%s: %s', async (_, expected, make) => {
    expect(await judge(await make())).toBe(expected);
  });

  test('40 under the key of another node', async () => {
    const value = await signAnnouncement(record, signer);
    for (const key of ['node2', 'Node1', '', 'node1 ']) expect(await judge(value, key)).toBe('key-mismatch');
  });

  test('41 on a topic of something else', async () => {
    const value = await signAnnouncement(record, signer);
    expect(await judge(value, 'node1', PODS_TOPIC)).toBe('wrong-type');
    expect(await judge(value, 'node1', 'vxseal.others.v1')).toBe('wrong-topic');
  });

  test('42 certificate not valid any more, or not yet', async () => {
    const value = await signAnnouncement(record, signer);
    const at = (nowMs: number): Promise<string> => judge(value, 'node1', NODES_TOPIC, { ...context, nowMs });
    expect(await at(NOW_MS + DAY_MS)).toBe('expired-certificate');
    expect(await at(NOW_MS - DAY_MS - 1)).toBe('expired-certificate');
  });

  test('43 of another root or trust domain', async () => {
    const value = await signAnnouncement(record, signer);
    const others = { ...context, roots: [parsed(makeCa('root', undefined).der)] };
    expect(await judge(value, 'node1', NODES_TOPIC, others)).toBe('bad-chain');
    expect(await judge(value, 'node1', NODES_TOPIC, { ...context, trustDomain: 'other' })).toBe('bad-chain');
  });

  test('44 every single flipped bit of a record', async () => {
    const good = await signAnnouncement(record, signer);
    let steps = 0;
    for (let at = 0; at < good.length; at++) {
      // All of header and payload would take a minute; the signature is looked at bit by bit.
      const bits = at > good.length - 86 ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8];
      for (const bit of bits) {
        const value = Uint8Array.from(good);
        value[at] = (value[at] ?? 0) ^ (1 << bit);
        // The last character of a signature has four bits that no byte is made of.
        const outcome = await judge(value);
        if (outcome === 'accepted' && at !== good.length - 1)
          throw new Error(`bit ${bit} of byte ${at} does not count`);
        steps += 1;
      }
    }
    expect(steps).toBeGreaterThan(2000);
  });

  test('45 random bytes and random JSON never throw', async () => {
    let state = 99;
    const next = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
    for (let round = 0; round < 500; round++) {
      const bytes = Uint8Array.from({ length: Math.floor(next() * 300) }, () => Math.floor(next() * 256));
      expect(await judge(bytes)).toBe('malformed');
      const field = ['alg', 'typ', 'x5c'][round % 3] ?? '';
      const junk: unknown = [null, 1, '', [], {}, [null], [[]], 'x'.repeat(1000), { toString: 1 }][
        Math.floor(next() * 9)
      ];
      expect(await judge(await jws({ ...header, [field]: junk }, payload))).not.toBe('accepted');
    }
  });
});

test('jose itself reads what we sign', async () => {
  const value = await signAnnouncement(record, signer);
  const { compactVerify } = await import('jose');
  const opened = await compactVerify(Buffer.from(value).toString(), leaf.pair.publicKey);
  expect(opened.protectedHeader).toEqual(header);
  const again = await new CompactSign(opened.payload).setProtectedHeader(header).sign(leaf.pair.privateKey);
  expect(await judge(Buffer.from(again))).toBe('accepted');
});

describe('revoked', () => {
  const under = async (text: string, value?: Uint8Array): Promise<string> =>
    judge(value ?? (await signAnnouncement(record, signer)), 'node1', NODES_TOPIC, {
      ...context,
      revoked: parseRevocations(text, 'revoked'),
    } as typeof context);

  test.each([
    ['1 nothing', '', 'accepted'],
    ['2 its certificate', 'serial 4142', 'revoked'],
    ['3 its certificate, as openssl prints it', 'serial 41:42', 'revoked'],
    ['4 the node', 'node node1', 'revoked'],
    ['5 another node', 'node node2', 'accepted'],
    ['6 another certificate', 'serial 4143', 'accepted'],
  ])('%s', async (_, text, outcome) => {
    expect(await under(text)).toBe(outcome);
  });

  test('7 a CA above it', async () => {
    const odd = makeCa('odd', root, { ...LONG, serial: Uint8Array.of(0x77) });
    const below = makeLeaf(odd);
    const value = await signAnnouncement(record, {
      privateKey: below.pair.privateKey,
      chain: [below.der, odd.der],
    });
    expect(await under('serial 77', value)).toBe('revoked');
    expect(await under('serial 78', value)).toBe('accepted');
  });

  test('8 said only of who signed: a forger with the certificate of a revoked node is a forger', async () => {
    expect(await under('node node1', await jws(header, payload, newPair().privateKey))).toBe('bad-signature');
  });
});
