// Prints what one packet costs in the cipher, by BPF_PROG_TEST_RUN. Medians over rounds that take turns, so that a busy
// moment of the machine meets every column. Run by scripts/bench cipher.
import { join } from 'node:path';
import { Cipher, type CipherProgram } from '../test/bpf/cipher';

const ROUNDS = 51;
const REPEAT = 400;
const LENGTHS = [16, 64, 256, 512, 1024, 1472, 2000, 8192];
const request = { key: Buffer.alloc(32, 7), nonce: Buffer.alloc(12, 7), aad: Buffer.alloc(12, 7) };

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const generated = new Cipher(join(__dirname, '../test/bpf/aead.bpf.o'));
const twin = new Cipher(join(__dirname, '../test/bpf/aead_twin.bpf.o'));
const measure = (cipher: Cipher, program: CipherProgram, text: Buffer): number => {
  const { verdict, durationNs } = cipher.run(program, request, text, REPEAT);
  if (verdict !== 0) throw new Error(`${program} refused ${text.length} bytes`);
  return durationNs;
};

const COLUMNS: readonly (readonly [string, Cipher, CipherProgram])[] = [
  ['copy', generated, 'copy'],
  ['seal', generated, 'seal'],
  ['open', generated, 'open'],
  ['seal in C', twin, 'seal'],
  ['open in C', twin, 'open'],
];
const row = (cells: readonly (string | number)[]): string =>
  cells.map((cell, at) => String(cell).padStart(at === 0 ? 5 : 10)).join('');

console.log(
  'ns a packet; copy: the text into the work space, part of all; in C: the twins of what is generated',
);
console.log(row(['bytes', ...COLUMNS.map(([title]) => title), 'seal Gb/s']));
for (const length of LENGTHS) {
  const plaintext = Buffer.alloc(length, 0x5a);
  const sealed = Buffer.from(generated.run('seal', request, plaintext).text.subarray(0, length + 16));
  const times = COLUMNS.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++)
    COLUMNS.forEach(([, cipher, program], at) => {
      times[at]?.push(measure(cipher, program, program === 'open' ? sealed : plaintext));
    });
  const medians = times.map(median);
  console.log(row([length, ...medians, ((8 * length) / (medians[1] ?? Number.NaN)).toFixed(2)]));
}
for (const [name, cipher] of [
  ['generated', generated],
  ['in C', twin],
] as const)
  console.log(
    `verifier instructions, ${name}: seal ${cipher.verifiedInsns('seal')}, open ${cipher.verifiedInsns('open')}`,
  );
generated.close();
twin.close();
