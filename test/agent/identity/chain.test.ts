import { verifyChain } from '../../../agent/identity/chain';
import { encode, TAG } from '../../../agent/identity/der';
import {
  blocks,
  caConstraints,
  DAY_MS,
  dns,
  ECDSA_SHA256,
  extension,
  forge,
  inherited,
  ip,
  leafExtensions,
  type Member,
  makeCa,
  makeLeaf,
  NOW_MS,
  names,
  newPair,
  notCa,
  parsed,
  rawBlocks,
  TRUST_DOMAIN,
  time,
  uri,
  usage,
} from './forge';

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');
const [NOT_CA, SIGNS, NAMES, BLOCKS] = leafExtensions() as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
const NODE_URI = uri(`spiffe://${TRUST_DOMAIN}/node/node1`);

const root = makeCa('root', undefined);
const ca1 = makeCa('ca1', root);
const ca2 = makeCa('ca2', ca1);

function judge(members: readonly Member[], roots: readonly Member[] = [root], nowMs = NOW_MS): string {
  const result = verifyChain(
    members.map(({ der }) => der),
    roots.map(({ der }) => parsed(der)),
    nowMs,
    TRUST_DOMAIN,
  );
  return result.ok ? 'accepted' : result.reason;
}

const withLeaf = (...extensions: readonly Uint8Array[]): Member => makeLeaf(root, { extensions });
const leaf = makeLeaf(root);

test('a good chain gives name, grant, end and serial', () => {
  const early = makeCa('early', root, { notAfterMs: NOW_MS + DAY_MS / 2 });
  const chain = [makeLeaf(early).der, early.der];
  expect(verifyChain(chain, [parsed(root.der)], NOW_MS, TRUST_DOMAIN)).toMatchObject({
    ok: true,
    value: {
      node: 'node1',
      trustDomain: TRUST_DOMAIN,
      vteps: ['192.0.2.1', 'fd00:c0de::1'],
      prefixes: ['10.1.0.0/24', 'fd00:1::/64'],
      notAfterMs: NOW_MS + DAY_MS / 2,
      serial: '4142',
    },
  });
});

describe('length and order', () => {
  const tight = (name: string, issuer: Member | undefined, pathLength: number): Member =>
    makeCa(name, issuer, { extensions: [caConstraints(pathLength), usage(0x04)] });
  const ca3 = makeCa('ca3', ca2);
  const root0 = tight('root0', undefined, 0);
  const root1 = tight('root1', undefined, 1);
  const under1 = makeCa('under1', root1);
  const zero = tight('zero', root, 0);

  test.each<[string, readonly Member[], string, Member?]>([
    ['1 no intermediate', [leaf], 'accepted'],
    ['2 one', [makeLeaf(ca1), ca1], 'accepted'],
    ['3 two', [makeLeaf(ca2), ca2, ca1], 'accepted'],
    ['4 three', [makeLeaf(ca3), ca3, ca2, ca1], 'chain-too-long'],
    ['5 two and the root', [makeLeaf(ca2), ca2, ca1, root], 'accepted'],
    ['6 the root alone', [root], 'malformed'],
    ['7 nothing', [], 'malformed'],
    ['8 five', [leaf, leaf, leaf, leaf, leaf], 'chain-too-long'],
    ['9 wrong order', [makeLeaf(ca2), ca1, ca2], 'untrusted'],
    ['10 an intermediate left out', [makeLeaf(ca2), ca1], 'bad-signature'],
    ['11 one that does not belong', [leaf, ca1], 'bad-signature'],
    ['12 path length 0, no intermediate', [makeLeaf(root0)], 'accepted', root0],
    ['13 path length 0, one', [makeLeaf(makeCa('x', root0)), makeCa('x', root0)], 'bad-signature', root0],
    ['14 path length 1, one', [makeLeaf(under1), under1], 'accepted', root1],
    ['15 path length 0 in an intermediate', [makeLeaf(zero), zero], 'accepted'],
  ])('%s', (_, members, expected, trusted = root) => {
    expect(judge(members, [trusted])).toBe(expected);
  });

  test('16 one intermediate more than a root or an intermediate allows', () => {
    const below0 = makeCa('below0', root0);
    expect(judge([makeLeaf(below0), below0], [root0])).toBe('chain-too-long');
    const below1 = makeCa('below1', under1);
    expect(judge([makeLeaf(below1), below1, under1], [root1])).toBe('chain-too-long');
    const belowZero = makeCa('belowZero', zero);
    expect(judge([makeLeaf(belowZero), belowZero, zero])).toBe('chain-too-long');
  });
});

describe('time', () => {
  const BEGIN = NOW_MS - DAY_MS;
  const END = NOW_MS + DAY_MS;
  test.each<[string, number, string]>([
    ['1 the moment before it begins', BEGIN - 1, 'not-yet-valid'],
    ['2 the moment it begins', BEGIN, 'accepted'],
    ['3 the moment before it ends', END - 1, 'accepted'],
    ['4 the moment it ends', END, 'expired'],
  ])('%s', (_, nowMs, expected) => {
    const long = makeCa('root', undefined, { notBeforeMs: BEGIN - DAY_MS, notAfterMs: END + DAY_MS });
    expect(judge([makeLeaf(long)], [long], nowMs)).toBe(expected);
    const inter = makeCa('inter', long);
    const wide = { notBeforeMs: BEGIN - DAY_MS, notAfterMs: END + DAY_MS };
    expect(judge([makeLeaf(inter, wide), inter], [long], nowMs)).toBe(expected);
  });

  test('5 a root outside its time is not used', () => {
    expect(judge([makeLeaf(root, { notAfterMs: END + DAY_MS })], [root], END)).toBe('untrusted');
  });
  test('6 years of both time forms', () => {
    const far = Date.UTC(2050, 0, 1);
    expect(parsed(makeLeaf(root, { notAfterMs: far }).der).notAfterMs).toBe(far);
    expect(parsed(makeLeaf(root, { notAfterMs: far - 1000 }).der).notAfterMs).toBe(far - 1000);
  });
});

describe('trust', () => {
  const other = makeCa('root', undefined);
  const withoutSign = makeCa('plain', root, { extensions: [caConstraints(undefined), usage(0x80)] });
  const withoutCa = makeCa('plain', root, { extensions: [notCa(), usage(0x04)] });
  const foreign = makeCa('foreign', root, {
    extensions: [caConstraints(undefined), usage(0x04), names(uri('spiffe://other'))],
  });
  const ours = makeCa('ours', root, {
    extensions: [caConstraints(undefined), usage(0x04), names(uri(`spiffe://${TRUST_DOMAIN}`))],
  });
  const pretender: Member = { ...ca1, pair: newPair() };

  test.each<[string, readonly Member[], readonly Member[], string]>([
    ['1 no root', [leaf], [], 'untrusted'],
    ['2 another root of the same name', [leaf], [other], 'untrusted'],
    ['3 both roots of the name', [leaf], [other, root], 'accepted'],
    ['4 self-signed', [makeCa('self', undefined)], [root], 'untrusted'],
    ['5 a node signed it', [makeLeaf({ ...leaf, name: 'node1' }), leaf], [root], 'not-a-ca'],
    ['6 a CA that may not sign', [makeLeaf(withoutSign), withoutSign], [root], 'not-a-ca'],
    ['7 no CA though it may sign', [makeLeaf(withoutCa), withoutCa], [root], 'not-a-ca'],
    ['8 signed by another key under the name', [makeLeaf(pretender), ca1], [root], 'bad-signature'],
    ['9 a CA of another trust domain', [makeLeaf(foreign), foreign], [root], 'wrong-trust-domain'],
    ['10 a CA of ours by name', [makeLeaf(ours), ours], [root], 'accepted'],
  ])('%s', (_, members, roots, expected) => {
    expect(judge(members, roots)).toBe(expected);
  });
});

describe('the name', () => {
  const named = (...all: readonly Uint8Array[]): Member => withLeaf(NOT_CA, SIGNS, names(...all));
  const id = (text: string): Member => named(uri(text));
  const base = `spiffe://${TRUST_DOMAIN}/node/`;

  test.each<[string, Member, string]>([
    ['1 as it should be', id(`${base}node1`), 'accepted'],
    ['2 none', withLeaf(NOT_CA, SIGNS), 'bad-name'],
    ['3 two', named(NODE_URI, uri(`${base}node2`)), 'bad-name'],
    ['4 twice the same', named(NODE_URI, NODE_URI), 'bad-name'],
    ['5 with a DNS name, which gives nothing', named(NODE_URI, dns('node2')), 'accepted'],
    ['6 only a DNS name', named(dns('node1')), 'bad-name'],
    ['7 another scheme', id(`https://${TRUST_DOMAIN}/node/node1`), 'bad-name'],
    ['8 another trust domain', id('spiffe://other/node/node1'), 'wrong-trust-domain'],
    ['9 another path', id(`spiffe://${TRUST_DOMAIN}/ns/node1`), 'bad-name'],
    ['10 deeper', id(`${base}a/b`), 'bad-name'],
    ['11 empty', id(base), 'bad-name'],
    ['12 upper case', id(`${base}Node1`), 'bad-name'],
    ['13 63 characters', id(base + 'a'.repeat(63)), 'accepted'],
    ['14 64 characters', id(base + 'a'.repeat(64)), 'bad-name'],
    ['15 ends with a dot', id(`${base}a.`), 'bad-name'],
    ['16 a query', id(`${base}node1?x`), 'bad-name'],
    ['17 a user in it', id(`spiffe://x@${TRUST_DOMAIN}/node/node1`), 'bad-name'],
    ['18 a line end', id(`${base}node1\n`), 'malformed'],
    ['19 a zero byte', id(`${base}node1\0`), 'malformed'],
    ['20 upper-case trust domain', id('spiffe://LAB.vxseal/node/node1'), 'bad-name'],
  ])('%s', (_, member, expected) => {
    expect(judge([member])).toBe(expected);
  });
});

describe('the node certificate', () => {
  const p384 = newPair('P-384');
  const unknown = hex('060a2b060104018237140201');
  const rsaSignature = hex('300d06092a864886f70d01010b0500');
  const offCurve = Buffer.from(leaf.pair.publicKey.export({ type: 'spki', format: 'der' }));
  offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1;

  test.each<[string, Member, string]>([
    [
      '1 is a CA',
      makeLeaf(root, { extensions: [caConstraints(undefined), usage(0x84), NAMES] }),
      'bad-usage',
    ],
    ['2 may not sign data', withLeaf(NOT_CA, usage(0x04), NAMES), 'bad-usage'],
    ['3 says nothing of usage', withLeaf(NOT_CA, NAMES), 'bad-usage'],
    ['4 says nothing of being a CA', withLeaf(SIGNS, NAMES), 'accepted'],
    [
      '5 an unknown critical extension',
      withLeaf(NOT_CA, SIGNS, NAMES, extension(unknown, true, hex('0500'))),
      'malformed',
    ],
    [
      '6 an unknown extension',
      withLeaf(NOT_CA, SIGNS, NAMES, extension(unknown, false, hex('0500'))),
      'accepted',
    ],
    ['7 an extension twice', withLeaf(NOT_CA, SIGNS, NAMES, NAMES), 'malformed'],
    ['8 no extensions', withLeaf(), 'malformed'],
    ['9 P-384', makeLeaf(root, { pair: p384 }), 'malformed'],
    ['10 a point that is not on the curve', makeLeaf(root, { spki: offCurve }), 'malformed'],
    ['11 an RSA signature by its name', makeLeaf(root, { algorithm: rsaSignature }), 'malformed'],
    [
      '12 inner algorithm differs',
      makeLeaf(root, { innerAlgorithm: hex('300a06082a8648ce3d040303') }),
      'malformed',
    ],
    [
      '13 version 1',
      makeLeaf(root, { version: encode(0xa0, encode(TAG.integer, Uint8Array.of(0))) }),
      'malformed',
    ],
    ['14 serial of 20 bytes', makeLeaf(root, { serial: new Uint8Array(20).fill(0x41) }), 'accepted'],
    ['15 serial of 21 bytes', makeLeaf(root, { serial: new Uint8Array(21).fill(0x41) }), 'malformed'],
    ['16 negative serial', makeLeaf(root, { serial: Uint8Array.of(0x80) }), 'malformed'],
    ['17 serial with a needless zero', makeLeaf(root, { serial: Uint8Array.of(0, 1) }), 'malformed'],
    [
      '18 an address twice',
      withLeaf(NOT_CA, SIGNS, names(NODE_URI, ip('192.0.2.1'), ip('192.0.2.1'))),
      'malformed',
    ],
    [
      '19 an address of 5 bytes',
      withLeaf(NOT_CA, SIGNS, names(NODE_URI, encode(0x87, hex('c000020101')))),
      'malformed',
    ],
    [
      '20 an IPv4-mapped address',
      withLeaf(NOT_CA, SIGNS, names(NODE_URI, encode(0x87, hex('00000000000000000000ffffc0000201')))),
      'malformed',
    ],
    [
      '21 321 names',
      withLeaf(NOT_CA, SIGNS, names(NODE_URI, ...Array.from({ length: 320 }, () => dns('x')))),
      'malformed',
    ],
    [
      '22 320 names',
      withLeaf(NOT_CA, SIGNS, names(NODE_URI, ...Array.from({ length: 319 }, () => dns('x')))),
      'accepted',
    ],
    ['23 a VNI', withLeaf(NOT_CA, SIGNS, names(NODE_URI, dns('vni-7.vxseal.internal'))), 'accepted'],
    ['24 VNI 0', withLeaf(NOT_CA, SIGNS, names(NODE_URI, dns('vni-0.vxseal.internal'))), 'malformed'],
  ])('%s', (_, member, expected) => {
    expect(judge([member])).toBe(expected);
  });

  test('23 bytes behind it', () => {
    expect(judge([{ ...leaf, der: Buffer.concat([leaf.der, Uint8Array.of(0)]) }])).toBe('malformed');
  });
  test('24 times that are none', () => {
    expect(Buffer.from(time(NOW_MS)).toString('latin1')).toContain('260601000000Z');
    const plan = { subject: 'node1', pair: leaf.pair, issuer: { name: 'root', key: root.pair.privateKey } };
    const good = Buffer.from(forge({ ...plan, extensions: leafExtensions() }));
    const at = good.indexOf('260531000000Z');
    for (const wrong of [
      '260532000000Z',
      '261331000000Z',
      '260531240000Z',
      '260531000060Z',
      '26053100000aZ',
    ]) {
      const der = Buffer.from(good);
      der.write(wrong, at, 'latin1');
      expect(judge([{ ...leaf, der }])).toBe('malformed');
    }
  });
  test('25 algorithm identifiers are as the RFC has them', () => {
    expect(Buffer.from(ECDSA_SHA256).toString('hex')).toBe('300a06082a8648ce3d040302');
  });
});

describe('address blocks', () => {
  const own = (value: Uint8Array): Member => withLeaf(NOT_CA, SIGNS, NAMES, value);
  const held = (value: Uint8Array, issuer: Member | undefined = root): Member =>
    makeCa(`held${value.length}`, issuer, { extensions: [caConstraints(undefined), usage(0x04), value] });
  const under = (ca: Member, value: Uint8Array): string =>
    judge([makeLeaf(ca, { extensions: [NOT_CA, SIGNS, NAMES, value] }), ca]);
  const family4 = hex('04020001');
  const list4 = (...items: readonly Uint8Array[]): Uint8Array =>
    rawBlocks(encode(TAG.sequence, encode(TAG.sequence, family4, encode(TAG.sequence, ...items))));

  test.each<[string, Uint8Array, string]>([
    ['1 as it should be', BLOCKS, 'accepted'],
    ['2 not critical', rawBlocks(hex('3000'), false), 'malformed'],
    ['3 empty list of families', rawBlocks(hex('3000')), 'accepted'],
    ['4 empty list of blocks', list4(), 'malformed'],
    ['5 10.1.0.0/24 by hand', list4(hex('0304000a0100')), 'accepted'],
    ['6 unused bits set', list4(hex('0304010a0101')), 'malformed'],
    ['7 33 bits', list4(hex('0306070a01000080')), 'malformed'],
    ['8 a prefix as a range', list4(encode(TAG.sequence, hex('0303000a01'), hex('0303000a01'))), 'malformed'],
    ['9 unsorted', list4(hex('0303000a02'), hex('0303000a00')), 'malformed'],
    ['10 twice', list4(hex('0303000a02'), hex('0303000a02')), 'malformed'],
    ['11 overlapping', list4(hex('0302000a'), hex('0303000a02')), 'malformed'],
    ['12 neighbours not joined', list4(hex('0303000a02'), hex('0303000a03')), 'malformed'],
    [
      '13 a range that ends before it begins',
      list4(encode(TAG.sequence, hex('0303000a03'), hex('0303000a01'))),
      'malformed',
    ],
    ['14 with a SAFI', rawBlocks(hex('300b300904030001013002030000')), 'malformed'],
    ['15 family 3', rawBlocks(hex('300a3008040200033002030000')), 'malformed'],
    ['16 families out of order', rawBlocks(hex('30143008040200020500040200013002030000')), 'malformed'],
    ['17 not DER', rawBlocks(hex('308000')), 'malformed'],
    ['18 bytes behind', rawBlocks(hex('300000')), 'malformed'],
    ['19 inherits from nothing', inherited(4), 'outside-issuer'],
  ])('%s', (_, value, expected) => {
    expect(judge([own(value)])).toBe(expected);
  });

  test.each<[string, Uint8Array, Uint8Array, string]>([
    ['20 equal', blocks('10.0.0.0/8'), blocks('10.0.0.0/8'), 'accepted'],
    ['21 within', blocks('10.0.0.0/8'), blocks('10.255.255.255/32'), 'accepted'],
    ['22 one address more', blocks('10.0.0.0/9'), blocks('10.0.0.0/9', '10.128.0.0/32'), 'outside-issuer'],
    ['23 wider', blocks('10.0.0.0/9'), blocks('10.0.0.0/8'), 'outside-issuer'],
    ['24 the other family', blocks('10.0.0.0/8'), blocks('fd00::/64'), 'outside-issuer'],
    ['25 over a gap', blocks('10.0.0.0/16', '10.2.0.0/16'), blocks('10.0.0.0/14'), 'outside-issuer'],
    [
      '26 both sides of a gap',
      blocks('10.0.0.0/16', '10.2.0.0/16'),
      blocks('10.0.1.0/24', '10.2.1.0/24'),
      'accepted',
    ],
    ['27 inherited', blocks('10.0.0.0/8'), inherited(4), 'accepted'],
    ['28 inherited of the other family', blocks('10.0.0.0/8'), inherited(6), 'outside-issuer'],
    ['29 all of IPv4 is not IPv6', blocks('0.0.0.0/0'), blocks('::/0'), 'outside-issuer'],
  ])('%s', (_, issuer, value, expected) => {
    expect(under(held(issuer), value)).toBe(expected);
  });

  test('30 a CA in between that says nothing does not widen', () => {
    const top = held(blocks('10.0.0.0/8'));
    const silent = makeCa('silent', top);
    const below = (value: Uint8Array): string =>
      judge([makeLeaf(silent, { extensions: [NOT_CA, SIGNS, NAMES, value] }), silent, top]);
    expect(below(blocks('10.1.0.0/24'))).toBe('accepted');
    expect(below(blocks('11.1.0.0/24'))).toBe('outside-issuer');
  });

  test('31 inherited twice, and a node that says nothing owns nothing', () => {
    const top = held(blocks('10.0.0.0/8'));
    const passes = held(inherited(4), top);
    const prefixes = (value: readonly Uint8Array[]): unknown => {
      const member = makeLeaf(passes, { extensions: [NOT_CA, SIGNS, NAMES, ...value] });
      const result = verifyChain([member.der, passes.der, top.der], [parsed(root.der)], NOW_MS, TRUST_DOMAIN);
      return result.ok ? result.value.prefixes : result.reason;
    };
    expect(prefixes([inherited(4)])).toEqual(['10.0.0.0/8']);
    expect(prefixes([])).toEqual([]);
  });

  test('32 a root is held to its own', () => {
    const small = makeCa('small', undefined, {
      extensions: [caConstraints(undefined), usage(0x04), blocks('10.1.0.0/16', 'fd00::/16')],
    });
    expect(judge([makeLeaf(small)], [small])).toBe('accepted');
    const wide = makeLeaf(small, { extensions: [NOT_CA, SIGNS, NAMES, blocks('10.2.0.0/24')] });
    expect(judge([wide], [small])).toBe('outside-issuer');
  });
});

describe('any damage', () => {
  const good = [makeLeaf(ca2), ca2, ca1];
  test('every single flipped bit of a chain is refused, and nothing throws', () => {
    for (const [index, member] of good.entries()) {
      for (let bit = 0; bit < member.der.length * 8; bit++) {
        const der = Uint8Array.from(member.der);
        der[bit >> 3] = (der[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const outcome = judge(good.map((other, at) => (at === index ? { ...other, der } : other)));
        if (outcome === 'accepted') throw new Error(`bit ${bit} of certificate ${index} does not count`);
      }
    }
  });

  test('every truncation is refused', () => {
    for (let length = 0; length < leaf.der.length; length++) {
      expect(judge([{ ...leaf, der: leaf.der.subarray(0, length) }])).toBe('malformed');
    }
  });
});
