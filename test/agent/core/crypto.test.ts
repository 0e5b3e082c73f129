import { createHmac, createPrivateKey, createPublicKey, diffieHellman, hkdfSync } from 'node:crypto';
import { scalarMult } from 'tweetnacl';
import { hkdfExpand, hkdfExtract, sha256, toHex, x25519 } from '../../../agent/core/crypto';
import { randomBytes, seeded } from './random';

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'));

/** X25519 keys as node:crypto takes them: RFC 8410 DER around 32 bytes. */
const privateKey = (secret: Uint8Array) =>
  createPrivateKey({
    key: Buffer.concat([hex('302e020100300506032b656e04220420'), secret]),
    format: 'der',
    type: 'pkcs8',
  });
const publicKey = (key: Uint8Array) =>
  createPublicKey({
    key: Buffer.concat([hex('302a300506032b656e032100'), key]),
    format: 'der',
    type: 'spki',
  });

test('X25519 agrees with node:crypto, from both ends', () => {
  const random = seeded(1);
  for (let i = 0; i < 100; i++) {
    const [a, b] = [randomBytes(32, random), randomBytes(32, random)];
    const [aPublic, bPublic] = [scalarMult.base(a), scalarMult.base(b)];
    const theirs = diffieHellman({ privateKey: privateKey(a), publicKey: publicKey(bPublic) });
    expect(x25519(a, bPublic)).toEqual({ ok: true, value: Uint8Array.from(theirs) });
    expect(x25519(b, aPublic)).toEqual({ ok: true, value: Uint8Array.from(theirs) });
  }
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
