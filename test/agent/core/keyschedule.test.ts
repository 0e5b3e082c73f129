import { createHash, createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scalarMult } from 'tweetnacl';
import { toHex } from '../../../agent/core/crypto';
import type { NodeName, Vni } from '../../../agent/core/ids';
import {
  derivePrk,
  deriveSas,
  type Endpoint,
  encodeInfo,
  saFingerprint,
} from '../../../agent/core/keyschedule';
import { offeredPsk, preSharedKey, suiteOf } from '../../../agent/core/psk';
import { SharedSecrets } from '../../../agent/core/secrets';
import { randomBytes, seeded } from './random';

interface Vector {
  readonly sender: {
    readonly node: string;
    readonly epoch: number;
    readonly secret: string;
    readonly public: string;
  };
  readonly receiver: Vector['sender'];
  readonly prk: string;
  readonly sas: readonly {
    readonly vni: number;
    readonly info: string;
    readonly key: string;
    readonly salt: string;
    readonly spi: string;
    readonly fingerprint: string;
  }[];
}

const { vectors } = JSON.parse(readFileSync(join(__dirname, '../../vectors/keyschedule.json'), 'utf8')) as {
  readonly vectors: readonly Vector[];
};

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));
const endpoint = (node: string, number: number, publicKey: Uint8Array): Endpoint => ({
  node: node as NodeName,
  epoch: { number, publicKey },
});

/** The document's formula with node:crypto alone: nothing of ours but the order of the fields. */
function naive(secret: Uint8Array, theirs: Uint8Array, info: Uint8Array, block: number): Buffer {
  const shared = diffieHellman({
    privateKey: createPrivateKey({
      key: Buffer.concat([hex('302e020100300506032b656e04220420'), secret]),
      format: 'der',
      type: 'pkcs8',
    }),
    publicKey: createPublicKey({
      key: Buffer.concat([hex('302a300506032b656e032100'), theirs]),
      format: 'der',
      type: 'spki',
    }),
  });
  return Buffer.from(hkdfSync('sha256', shared, 'vxseal/1', info, 40 * (block + 1))).subarray(40 * block);
}

describe.each(vectors.map((vector, index) => [index + 1, vector] as const))('vector %i', (_, vector) => {
  const sender = endpoint(vector.sender.node, vector.sender.epoch, hex(vector.sender.public));
  const receiver = endpoint(vector.receiver.node, vector.receiver.epoch, hex(vector.receiver.public));

  test('the public keys belong to the secrets', () => {
    expect(toHex(scalarMult.base(hex(vector.sender.secret)))).toBe(vector.sender.public);
    expect(toHex(scalarMult.base(hex(vector.receiver.secret)))).toBe(vector.receiver.public);
  });

  test('both ends derive it', () => {
    for (const prk of [
      derivePrk(hex(vector.sender.secret), hex(vector.receiver.public)),
      derivePrk(hex(vector.receiver.secret), hex(vector.sender.public)),
    ]) {
      if (!prk.ok) throw new Error(prk.detail);
      expect(toHex(prk.value)).toBe(vector.prk);
      const sas = deriveSas(prk.value, sender, receiver, vector.sas.map((sa) => sa.vni as Vni).reverse());
      expect(
        sas.map((sa) => ({
          vni: sa.vni,
          info: toHex(encodeInfo(sender, receiver, sa.vni)),
          key: toHex(sa.key),
          salt: toHex(sa.salt),
          spi: sa.spi.toString(16).padStart(8, '0'),
          fingerprint: sa.fingerprint,
        })),
      ).toEqual(vector.sas);
    }
  });

  test('node:crypto alone comes to the same', () => {
    for (const sa of vector.sas) {
      const okm = naive(hex(vector.sender.secret), hex(vector.receiver.public), hex(sa.info), 0);
      expect(okm.toString('hex')).toBe(sa.key + sa.salt + sa.spi);
      const print = createHash('sha256').update('vxseal/1 fingerprint').update(okm.subarray(0, 36));
      expect(print.digest('hex').slice(0, 16)).toBe(sa.fingerprint);
    }
  });
});

describe('SPIs', () => {
  const prk = new Uint8Array(32).fill(7);
  const [a, b] = [endpoint('a', 1, new Uint8Array(32).fill(1)), endpoint('b', 2, new Uint8Array(32).fill(2))];

  /** An HKDF whose SPIs are small numbers, so that they collide: the rule alone, without 2^32 trials. */
  function spisOf(vnis: readonly number[], blocks: (vni: number, block: number) => number): number[] {
    const taken = new Set<number>();
    return vnis.map((vni) => {
      for (let block = 0; ; block++) {
        const spi = blocks(vni, block);
        if (spi < 256 || taken.has(spi)) continue;
        taken.add(spi);
        return spi;
      }
    });
  }

  test('a reserved or taken SPI moves on by a whole block', () => {
    jest.isolateModules(() => {
      const spi = (vni: number, block: number): number =>
        [
          [100, 255, 256],
          [256, 255, 300],
          [300, 256, 301],
        ][vni - 1]?.[block] ?? 0;
      jest.doMock('../../../agent/core/crypto', () => ({
        ...jest.requireActual('../../../agent/core/crypto'),
        hkdfExpand: (_: Uint8Array, info: Uint8Array, length: number) => {
          const vni = Buffer.from(info).readUInt32BE(info.length - 17 - 2 - 4);
          const okm = Buffer.alloc(length);
          for (let block = 0; block < length / 40; block++) {
            okm.fill(16 * vni + block, 40 * block, 40 * block + 36);
            okm.writeUInt32BE(spi(vni, block), 40 * block + 36);
          }
          return okm;
        },
      }));
      const { deriveSas: derive } = require('../../../agent/core/keyschedule');
      const sas: ReturnType<typeof deriveSas> = derive(prk, a, b, [3, 1, 2, 1]);
      expect(sas.map((sa) => sa.vni)).toEqual([1, 2, 3]);
      expect(sas.map((sa) => sa.spi)).toEqual(spisOf([1, 2, 3], spi));
      expect(sas.map((sa) => sa.spi)).toEqual([256, 300, 301]);
      expect(sas.map((sa) => sa.key[0])).toEqual([0x12, 0x22, 0x32]);
      expect(sas.map((sa) => sa.salt[3])).toEqual([0x12, 0x22, 0x32]);
      jest.dontMock('../../../agent/core/crypto');
    });
  });
});

test('every part of the context changes the keys', () => {
  const prk = new Uint8Array(32).fill(9);
  const key = (n: number): Uint8Array => new Uint8Array(32).fill(n);
  const contexts: [Endpoint, Endpoint, number][] = [
    [endpoint('a', 1, key(1)), endpoint('b', 2, key(2)), 5],
    [endpoint('b', 2, key(2)), endpoint('a', 1, key(1)), 5],
    [endpoint('ab', 1, key(1)), endpoint('b', 2, key(2)), 5],
    [endpoint('a', 3, key(1)), endpoint('b', 2, key(2)), 5],
    [endpoint('a', 1, key(3)), endpoint('b', 2, key(2)), 5],
    [endpoint('a', 1, key(1)), endpoint('c', 2, key(2)), 5],
    [endpoint('a', 1, key(1)), endpoint('b', 3, key(2)), 5],
    [endpoint('a', 1, key(1)), endpoint('b', 2, key(3)), 5],
    [endpoint('a', 1, key(1)), endpoint('b', 2, key(2)), 6],
    [endpoint('a', 2 ** 32 + 1, key(1)), endpoint('b', 2, key(2)), 5],
  ];
  const prints = contexts.map(([from, to, vni]) => deriveSas(prk, from, to, [vni as Vni])[0]?.fingerprint);
  expect(new Set(prints).size).toBe(contexts.length);
});

test('with a pre-shared key: the vector of docs/keys.md, and nothing in common with the keys without it', () => {
  const [vector] = vectors;
  if (vector === undefined) throw new Error('no vector');
  const psk = createHash('sha256').update('vxseal test vector psk').digest();
  const [secret, theirs] = [hex(vector.sender.secret), hex(vector.receiver.public)];
  const sender = endpoint(vector.sender.node, vector.sender.epoch, hex(vector.sender.public));
  const receiver = endpoint(vector.receiver.node, vector.receiver.epoch, theirs);
  const prk = derivePrk(secret, theirs, psk);
  const other = derivePrk(hex(vector.receiver.secret), hex(vector.sender.public), psk);
  const plain = derivePrk(secret, theirs);
  if (!prk.ok || !other.ok || !plain.ok) throw new Error('refused');
  expect(toHex(prk.value)).toBe('ee3531d336f6e64c19a25b3ea5727c05118307b6c5e14356ac0750c746c9ef63');
  expect(other.value).toEqual(prk.value);
  expect(plain.value).not.toEqual(prk.value);
  const [sa] = deriveSas(prk.value, sender, receiver, [42 as Vni]);
  expect(
    sa && { key: toHex(sa.key), salt: toHex(sa.salt), spi: sa.spi, fingerprint: sa.fingerprint },
  ).toEqual({
    key: '46a665930251d18858008927643dcb6e7d208cc8bf45eb7540ba4b8929b79078',
    salt: 'ae91f3b7',
    spi: 0xfc643879,
    fingerprint: '70be271274afcca3',
  });
  expect(preSharedKey(psk).id).toBe('2e13e19a');
});

test.each([
  ['1 none', ['chacha20-poly1305'], ''],
  ['2 one', ['chacha20-poly1305+psk.2e13e19a'], '2e13e19a'],
  ['3 behind a suite we do not know', ['x', 'chacha20-poly1305'], ''],
  ['4 not ours', ['aes-gcm'], undefined],
  ['5 nothing', [], undefined],
  ['6 an id too short', ['chacha20-poly1305+psk.2e13e19'], undefined],
  ['7 in capitals', ['chacha20-poly1305+psk.2E13E19A'], undefined],
] as const)('offered: %s', (_, suites, id) => {
  expect(offeredPsk(suites)).toBe(id);
  if (id !== undefined) expect(offeredPsk([suiteOf(id)])).toBe(id);
});

describe('SharedSecrets', () => {
  const random = seeded(5);
  const [ours, theirs] = [randomBytes(32, random), randomBytes(32, random)];
  const a = {
    node: 'a' as NodeName,
    epoch: { number: 1, publicKey: scalarMult.base(ours), secretKey: ours },
  };
  const b = {
    node: 'b' as NodeName,
    epoch: { number: 4, publicKey: scalarMult.base(theirs), secretKey: theirs },
  };
  const vnis = [5, 2] as Vni[];

  test('what one sends the other receives', () => {
    const [left, right] = [new SharedSecrets(), new SharedSecrets()];
    expect(left.tx(a, b, vnis)).toEqual(right.rx(b, a, vnis));
    expect(left.rx(a, b, vnis)).toEqual(right.tx(b, a, vnis));
    expect(left.tx(a, b, vnis)).not.toEqual(left.rx(a, b, vnis));
    expect(left.tx(a, b, vnis)).toEqual(left.tx(a, b, vnis));
  });

  test('retain() never touches a key that was given out', () => {
    const secrets = new SharedSecrets();
    const [before] = secrets.tx(a, b, vnis);
    const copy = Uint8Array.from(before?.key ?? []);
    secrets.retain([], []);
    expect(before?.key).toEqual(copy);
    expect(saFingerprint(copy, before?.salt ?? copy)).toBe(before?.fingerprint);
    expect(secrets.tx(a, b, vnis)[0]?.key).toEqual(copy);
  });

  test('a key of low order gives nothing', () => {
    const zero = { ...b, epoch: { number: 4, publicKey: new Uint8Array(32) } };
    expect(new SharedSecrets().tx(a, zero, vnis)).toEqual([]);
  });
});
