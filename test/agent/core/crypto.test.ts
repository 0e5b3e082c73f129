import { createHmac, hkdfSync } from 'node:crypto';
import { scalarMult } from 'tweetnacl';
import { hkdfExpand, hkdfExtract, sha256, toHex, x25519 } from '../../../agent/core/crypto';
import { randomBytes, seeded } from './random';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));

test('X25519 agrees with tweetnacl, from both ends', () => {
  const random = seeded(1);
  for (let i = 0; i < 100; i++) {
    const [a, b] = [randomBytes(32, random), randomBytes(32, random)];
    const [aPublic, bPublic] = [scalarMult.base(a), scalarMult.base(b)];
    const theirs = scalarMult(a, bPublic);
    expect(x25519(a, bPublic)).toEqual({ ok: true, value: theirs });
    expect(x25519(b, aPublic)).toEqual({ ok: true, value: theirs });
  }
});

test('a public key with its unused bit set is the one without it (RFC 7748 §5)', () => {
  const random = seeded(4);
  const [secret, plain] = [randomBytes(32, random), scalarMult.base(randomBytes(32, random))];
  const marked = Uint8Array.from(plain);
  marked[31] = (marked[31] ?? 0) | 0x80;
  expect(x25519(secret, marked)).toEqual({ ok: true, value: scalarMult(secret, plain) });
});

test('a secret that was overwritten in its place is another secret', () => {
  const random = seeded(5);
  const [secret, other, point] = [1, 2, 3].map(() => randomBytes(32, random)) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  expect(x25519(secret, point)).toEqual({ ok: true, value: scalarMult(secret, point) });
  secret.set(other);
  expect(x25519(secret, point)).toEqual({ ok: true, value: scalarMult(other, point) });
});

test('keys of another length are a bug', () => {
  expect(() => x25519(new Uint8Array(31), new Uint8Array(32))).toThrow(RangeError);
  expect(() => x25519(new Uint8Array(32), new Uint8Array(33))).toThrow(RangeError);
});

test('points of low order are refused (RFC 7748 §6.1)', () => {
  const points = [
    '00'.repeat(32),
    `01${'00'.repeat(31)}`,
    `ec${'ff'.repeat(30)}7f`,
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  ];
  const random = seeded(2);
  for (const point of points) {
    expect(x25519(randomBytes(32, random), hex(point))).toMatchObject({ ok: false, reason: 'low-order' });
  }
});

test('HKDF agrees with node:crypto at every length, and longer outputs begin with shorter ones', () => {
  const random = seeded(3);
  const [salt, ikm, info] = [randomBytes(8, random), randomBytes(32, random), randomBytes(90, random)];
  const prk = hkdfExtract(salt, ikm);
  expect(toHex(prk)).toBe(createHmac('sha256', salt).update(ikm).digest('hex'));
  const longest = hkdfExpand(prk, info, 8160);
  for (const length of [0, 1, 31, 32, 33, 40, 63, 64, 65, 80, 8159, 8160]) {
    const okm = hkdfExpand(prk, info, length);
    expect(toHex(okm)).toBe(Buffer.from(hkdfSync('sha256', ikm, salt, info, length)).toString('hex'));
    expect(toHex(okm)).toBe(toHex(longest.subarray(0, length)));
  }
  expect(() => hkdfExpand(prk, info, 8161)).toThrow(RangeError);
});

test('RFC 5869 test case 1', () => {
  const prk = hkdfExtract(hex('000102030405060708090a0b0c'), hex('0b'.repeat(22)));
  expect(toHex(prk)).toBe('077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5');
  expect(toHex(hkdfExpand(prk, hex('f0f1f2f3f4f5f6f7f8f9'), 42))).toBe(
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  );
});

test('SHA-256 of parts is that of their concatenation', () => {
  expect(toHex(sha256('ab', Uint8Array.of(0x63)))).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
});
