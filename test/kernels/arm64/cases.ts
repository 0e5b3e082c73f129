// The cipher's cases for a machine in which no Node.js runs: RFC 8439's vectors and node:crypto's answers to seeded
// input, encoded as init.c reads them.
import { createCipheriv, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodePacket, type Request, TAG_AT, TEXT_AT } from '../../bpf/cipher';
import { packageRoot } from '../../lab/layout';

interface Case {
  readonly name: string;
  readonly program: 'seal' | 'open' | 'keystream' | 'poly1305';
  readonly packet: Buffer;
  /** 1: the tag is not that of the text. */
  readonly verdict: 0 | 1;
  readonly at: number;
  readonly expected: Buffer;
}

interface Vectors {
  readonly keystream: { name: string; key: string; nonce: string; counter: number; blocks: string[] }[];
  readonly poly1305: { name: string; key: string; text: string; tag: string }[];
  readonly aead: Record<'name' | 'key' | 'nonce' | 'aad' | 'plaintext' | 'ciphertext' | 'tag', string>[];
}

const NAME_BYTES = 64;
const PROGRAM_BYTES = 16;
/** About every limit of the cipher's runs; a page holds the longest with its request. */
const LENGTHS = [
  0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512, 513, 1408, 1462, 2047, 2048, 2049, 3000,
];
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** Sealed, opened again, and refused with a bit of the text or tag changed. */
function bothWays(name: string, request: Request, plaintext: Buffer, sealed: Buffer): Case[] {
  const bent = Buffer.from(sealed);
  bent.writeUInt8(bent.readUInt8(bent.length >> 1) ^ 0x20, bent.length >> 1);
  const shared = { at: TEXT_AT, verdict: 0 } as const;
  return [
    {
      ...shared,
      name: `${name}, sealed`,
      program: 'seal',
      packet: encodePacket(request, plaintext),
      expected: sealed,
    },
    {
      ...shared,
      name: `${name}, opened`,
      program: 'open',
      packet: encodePacket(request, sealed),
      expected: plaintext,
    },
    {
      ...shared,
      name: `${name}, refused when bent`,
      program: 'open',
      packet: encodePacket(request, bent),
      verdict: 1,
      expected: Buffer.alloc(0),
    },
  ];
}

function fromVectors(): Case[] {
  const file = join(packageRoot(), 'test/vectors/rfc8439.json');
  const vectors = JSON.parse(readFileSync(file, 'utf8')) as Vectors;
  const shared = { verdict: 0 } as const;
  return [
    ...vectors.keystream.map(({ name, key, nonce, counter, blocks }): Case => {
      const packet = encodePacket({ key: hex(key), nonce: hex(nonce), counter }, Buffer.alloc(128));
      return { ...shared, name, program: 'keystream', packet, at: TEXT_AT, expected: hex(blocks.join('')) };
    }),
    ...vectors.poly1305.map(({ name, key, text, tag }): Case => {
      const packet = encodePacket({ key: hex(key) }, hex(text));
      return { ...shared, name, program: 'poly1305', packet, at: TAG_AT, expected: hex(tag) };
    }),
    ...vectors.aead.flatMap(({ name, key, nonce, aad, plaintext, ciphertext, tag }) =>
      bothWays(
        name,
        { key: hex(key), nonce: hex(nonce), aad: hex(aad) },
        hex(plaintext),
        hex(ciphertext + tag),
      ),
    ),
  ];
}

function fromNode(length: number): Case[] {
  const seeded = (what: string, bytes: number): Buffer =>
    createHash('shake256', { outputLength: Math.max(1, bytes) })
      .update(`${what} ${length}`)
      .digest()
      .subarray(0, bytes);
  const aad = seeded('aad', length % 2 === 0 ? 8 : 12);
  const request = { key: seeded('key', 32), nonce: seeded('nonce', 12), aad };
  const plaintext = seeded('text', length);
  const cipher = createCipheriv('chacha20-poly1305', request.key, request.nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: length });
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return bothWays(`${length} bytes`, request, plaintext, sealed);
}

function encode({ name, program, packet, verdict, at, expected }: Case): Buffer {
  const head = Buffer.alloc(NAME_BYTES + PROGRAM_BYTES + 16);
  head.write(name.slice(0, NAME_BYTES - 1).replaceAll('"', "'"), 0, 'latin1');
  head.write(program, NAME_BYTES);
  [packet.length, verdict, at, expected.length].forEach((value, i) => {
    head.writeUInt32LE(value, NAME_BYTES + PROGRAM_BYTES + 4 * i);
  });
  return Buffer.concat([head, packet, expected]);
}

export function cipherCases(): { readonly bytes: Buffer; readonly count: number } {
  const cases = [...fromVectors(), ...LENGTHS.flatMap(fromNode)];
  return { bytes: Buffer.concat(cases.map(encode)), count: cases.length };
}
