// The cipher in eBPF against RFC 8439's own examples, node:crypto, and a naive Poly1305; the outer checksums against a
// naive sum.
import { createCipheriv } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Cipher, MAX_TEXT_BYTES, type Request } from './cipher';

interface Vectors {
  readonly keystream: { name: string; key: string; nonce: string; counter: number; blocks: string[] }[];
  readonly poly1305: { name: string; key: string; text: string; tag: string }[];
  readonly aead: {
    name: string;
    key: string;
    nonce: string;
    aad: string;
    plaintext: string;
    ciphertext: string;
    tag: string;
  }[];
}

const vectors = JSON.parse(
  readFileSync(join(__dirname, '../vectors/rfc8439.json'), 'utf8'),
) as Readonly<Vectors>;
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** Seeded (xorshift32): a failing length fails again. */
class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(65536) >>> 8));
  }
  request(): Required<Pick<Request, 'key' | 'nonce' | 'aad'>> {
    return { key: this.bytes(32), nonce: this.bytes(12), aad: this.bytes(this.below(2) ? 12 : 8) };
  }
}

/** node:crypto's. */
function sealByNode(request: ReturnType<Random['request']>, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', request.key, request.nonce, { authTagLength: 16 });
  cipher.setAAD(request.aad, { plaintextLength: plaintext.length });
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** RFC 8439 §2.5 word for word, over whole blocks. */
function poly1305Naively(key: Buffer, text: Buffer): Buffer {
  const number = (bytes: Buffer): bigint => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const prime = (1n << 130n) - 5n;
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < text.length; at += 16)
    sum = ((sum + number(text.subarray(at, at + 16)) + (1n << 128n)) * r) % prime;
  const tag = (sum + number(key.subarray(16, 32))) & ((1n << 128n) - 1n);
  return hex(tag.toString(16).padStart(32, '0')).reverse();
}

/** RFC 1071 by 16-bit words in network order; result as it lies in the packet, read little-endian. */
function checksumNaively(...parts: Buffer[]): number {
  const bytes = Buffer.concat([...parts, Buffer.alloc(parts.reduce((n, p) => n + p.length, 0) % 2)]);
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += bytes.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  const out = Buffer.alloc(2);
  out.writeUInt16BE(~sum & 0xffff);
  return out.readUInt16LE();
}

let cipher: Cipher;
beforeAll(() => {
  cipher = new Cipher();
});
afterAll(() => cipher.close());

describe('RFC 8439', () => {
  test.each(vectors.keystream)('key stream $name', ({ key, nonce, counter, blocks }) => {
    const request = { key: hex(key), nonce: hex(nonce), counter };
    const { text } = cipher.run('keystream', request, Buffer.alloc(128));
    blocks.forEach((block, i) => {
      expect(text.subarray(64 * i, 64 * i + block.length / 2).toString('hex')).toBe(block);
    });
  });

  test.each(vectors.poly1305)('Poly1305 $name', ({ key, text, tag }) => {
    expect(cipher.run('poly1305', { key: hex(key) }, hex(text)).tag.toString('hex')).toBe(tag);
    expect(poly1305Naively(hex(key), hex(text)).toString('hex')).toBe(tag);
  });

  test.each(vectors.aead)('AEAD $name', ({ key, nonce, aad, plaintext, ciphertext, tag }) => {
    const request = { key: hex(key), nonce: hex(nonce), aad: hex(aad) };
    const sealed = cipher.run('seal', request, hex(plaintext));
    expect(sealed.verdict).toBe(0);
    expect(sealed.text.subarray(0, plaintext.length / 2 + 16).toString('hex')).toBe(ciphertext + tag);
    const opened = cipher.run('open', request, hex(ciphertext + tag));
    expect(opened.verdict).toBe(0);
    expect(opened.text.subarray(0, plaintext.length / 2).toString('hex')).toBe(plaintext);
  });
});

describe('against twins', () => {
  test('ChaCha20: random keys, and a counter that wraps', () => {
    const random = new Random(0x8439);
    for (const counter of [0, 1, 2, 3, 255, 256, 65535, 0x7fffffff, 0xfffffffe]) {
      const [key, nonce, text] = [random.bytes(32), random.bytes(12), random.bytes(128)];
      const iv = Buffer.alloc(16);
      iv.writeUInt32LE(counter);
      nonce.copy(iv, 4);
      const expected = createCipheriv('chacha20', key, iv).update(text);
      const found = cipher.run('keystream', { key, nonce, counter }, text).text.subarray(0, 128);
      expect([counter, found.toString('hex')]).toEqual([counter, expected.toString('hex')]);
    }
  });

  test('ChaCha20: the generated rounds and the C twin, one and two blocks at the end', () => {
    const twin = new Cipher(join(__dirname, '../../build/test/bpf/aead_twin.bpf.o'));
    const random = new Random(0x7539);
    for (let length = 0; length <= 5 * 64; length++) {
      const [request, plaintext] = [random.request(), random.bytes(length)];
      const [made, expected] = [cipher, twin].map((one) =>
        one
          .run('seal', request, plaintext)
          .text.subarray(0, length + 16)
          .toString('hex'),
      );
      expect([length, made]).toEqual([length, expected]);
    }
    twin.close();
  });

  test('Poly1305: extreme and random keys and texts, 0 to 32 blocks', () => {
    const random = new Random(0x1305);
    const fill = (length: number): Buffer =>
      [Buffer.alloc(length, 0xff), Buffer.alloc(length), random.bytes(length)][random.below(3)] ??
      Buffer.alloc(0);
    for (let i = 0; i < 1500; i++) {
      const key = fill(32);
      const text = Buffer.concat(Array.from({ length: i % 33 }, () => fill(16)));
      const tag = cipher.run('poly1305', { key }, text).tag.toString('hex');
      expect([i, tag]).toEqual([i, poly1305Naively(key, text).toString('hex')]);
    }
  });

  test('AEAD: every length to 2048, and lengths about every limit above, both ways', () => {
    const random = new Random(0xaead);
    const lengths = [...Array(2049).keys()];
    for (let base = 2048; base <= MAX_TEXT_BYTES; base += 512)
      lengths.push(...[-17, -16, -1, 0, 1, 63, 64, 65, random.below(512)].map((d) => base + d));
    for (const length of lengths.filter((n) => n <= MAX_TEXT_BYTES)) {
      const request = random.request();
      const plaintext = length % 5 === 4 ? Buffer.alloc(length, 0xff) : random.bytes(length);
      const expected = sealByNode(request, plaintext);
      const sealed = cipher.run('seal', request, plaintext);
      if (sealed.verdict !== 0 || !sealed.text.subarray(0, length + 16).equals(expected))
        throw new Error(`seal differs at ${length} bytes, verdict ${sealed.verdict}`);
      const opened = cipher.run('open', request, expected);
      if (opened.verdict !== 0 || !opened.text.subarray(0, length).equals(plaintext))
        throw new Error(`open differs at ${length} bytes, verdict ${opened.verdict}`);
    }
  });
});

describe('what must be refused', () => {
  test.each([8, 12])('every flipped bit, %i bytes of associated data', (aadBytes) => {
    const random = new Random(aadBytes);
    for (const length of [0, 1, 15, 16, 64, 65, 129]) {
      const request = { ...random.request(), aad: random.bytes(aadBytes) };
      const sealed = sealByNode(request, random.bytes(length));
      expect(cipher.run('open', request, sealed).verdict).toBe(0); // control
      const accepted: string[] = [];
      const flipEach = (name: string, bytes: Buffer): void => {
        for (let bit = 0; bit < 8 * bytes.length; bit++) {
          const at = bit >> 3;
          bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (bit & 7)), at);
          if (cipher.run('open', request, sealed).verdict !== 1) accepted.push(`${name} bit ${bit}`);
          bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (bit & 7)), at);
        }
      };
      flipEach('sealed text', sealed);
      flipEach('associated data', request.aad);
      flipEach('salt and IV', request.nonce);
      flipEach('key', request.key);
      expect([length, accepted]).toEqual([length, []]);
    }
  });

  test('a shorter or longer text, and associated data of the other length', () => {
    const random = new Random(3);
    const request = { ...random.request(), aad: Buffer.from('0000100000000001', 'hex') };
    const sealed = sealByNode(request, Buffer.alloc(100));
    for (const text of [sealed.subarray(0, -1), sealed.subarray(1), Buffer.concat([sealed, Buffer.alloc(1)])])
      expect(cipher.run('open', request, text).verdict).toBe(1);
    // The same bytes once padded: only the authenticated length tells them apart.
    const longer = { ...request, aad: Buffer.concat([request.aad, Buffer.alloc(4)]) };
    expect(cipher.run('open', longer, sealed).verdict).toBe(1);
  });

  test('a refused text is not decrypted', () => {
    const random = new Random(4);
    const request = random.request();
    const plaintext = random.bytes(1472);
    const sealed = sealByNode(request, plaintext);
    sealed.writeUInt8(sealed.readUInt8(1472) ^ 1, 1472);
    const opened = cipher.run('open', request, sealed);
    expect(opened.verdict).toBe(1);
    expect(opened.text.subarray(0, 1472).equals(sealed.subarray(0, 1472))).toBe(true);
  });

  test.each([
    { length: MAX_TEXT_BYTES, verdict: 0 },
    { length: MAX_TEXT_BYTES + 1, verdict: 1 },
    { length: MAX_TEXT_BYTES + 16, verdict: 1 },
  ])('sealing $length bytes: $verdict', ({ length, verdict }) => {
    const random = new Random(5);
    const plaintext = random.bytes(length);
    const sealed = cipher.run('seal', random.request(), plaintext);
    expect(sealed.verdict).toBe(verdict);
    expect(sealed.text.subarray(0, length).equals(plaintext)).toBe(verdict === 1);
  });

  test('opening less than a tag', () => {
    const random = new Random(6);
    for (let length = 0; length < 16; length++)
      expect(cipher.run('open', random.request(), random.bytes(length)).verdict).toBe(1);
  });
});

// clang once turned the comparison of tags into one that left at the first word that differed. A branch on two
// registers is how that looks. Allowed: the end of a Poly1305 run, whether a last block is left of a text, and the
// kernel's own inlined bpf_loop, twice.
test.each(['seal', 'open'] as const)('%s compares no two values but counts of blocks', (program) => {
  const branches: string[] = [];
  let inside = '';
  const listing = cipher.listing(program).split('\n');
  for (const line of listing) {
    inside = /^int (\w+)\(.*\):/.exec(line)?.[1] ?? inside;
    if (/ if [rw]\d+ \S+ [rw]\d+ goto/.test(line)) branches.push(inside);
  }
  expect(listing.filter((line) => line.includes(' if ')).length).toBeGreaterThan(10); // the listing is one
  expect(branches.sort()).toEqual(['aead_mac', program, program, 'poly1305_run'].sort());
});

test('what the caller keeps before the associated data is left alone', () => {
  const random = new Random(7);
  const before = cipher.run('copy', random.request(), random.bytes(32)).headroom.toString('hex');
  const request = random.request();
  cipher.run('seal', request, random.bytes(300));
  expect(cipher.run('open', request, sealByNode(request, random.bytes(300))).headroom.toString('hex')).toBe(
    before,
  );
});

describe('checksums', () => {
  const key = Buffer.alloc(32);

  test('IPv4 header: random, all zeros, all ones', () => {
    const random = new Random(0x0791);
    for (const header of [
      Buffer.alloc(20),
      Buffer.alloc(20, 0xff),
      ...Array.from({ length: 200 }, () => random.bytes(20)),
    ])
      expect(cipher.run('ipv4', { key }, header).verdict).toBe(checksumNaively(header));
  });

  /** Random addresses and ports before the payload, and the checksum they must get. */
  const udp6 = (random: Random, payload: Buffer): { headers: Buffer; expected: number } => {
    const headers = random.bytes(48);
    headers.writeUInt16BE(8 + payload.length, 44);
    headers.writeUInt16BE(0, 46);
    const pseudo = Buffer.alloc(8);
    pseudo.writeUInt32BE(8 + payload.length, 0);
    pseudo.writeUInt8(17, 7);
    const sum = checksumNaively(headers.subarray(8, 40), pseudo, headers.subarray(40), payload);
    return { headers, expected: sum === 0 ? 0xffff : sum };
  };

  test('UDP over IPv6: lengths about every chunk and odd tail, to 9727 bytes', () => {
    const random = new Random(0x8200);
    const lengths = [...Array(70).keys(), 9248, 9727];
    for (let base = 512; base <= 9216; base += 512)
      lengths.push(...[-4, -1, 0, 1, 2, 3, 4].map((d) => base + d));
    for (const length of lengths) {
      const payload = length % 3 ? random.bytes(length) : Buffer.alloc(length, 0xff);
      const { headers, expected } = udp6(random, payload);
      const found = cipher.run('udp6', { key }, Buffer.concat([headers, payload])).verdict;
      expect([length, found]).toEqual([length, expected]);
    }
  });

  test('UDP over IPv6: a sum that would be zero is sent as all ones', () => {
    const random = new Random(8);
    const payload = Buffer.alloc(16);
    const { headers, expected } = udp6(random, payload);
    payload.writeUInt16LE(expected, 0); // the payload now makes up what was missing
    expect(cipher.run('udp6', { key }, Buffer.concat([headers, payload])).verdict).toBe(0xffff);
  });
});
