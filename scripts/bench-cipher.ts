// Prints what one packet costs in the cipher, by BPF_PROG_TEST_RUN. Medians over rounds that take turns, so that a busy
// moment of the machine meets every column. Run by scripts/bench cipher.
import { join } from 'node:path';
import { Cipher, type CipherProgram } from '../test/bpf/cipher';

const ROUNDS = 51;
const REPEAT = 400;
const LENGTHS = [16, 64, 256, 512, 1024, 1472, 2000, 8192];
const request = { key: Buffer.alloc(32, 7), nonce: Buffer.alloc(12, 7), aad: Buffer.alloc(12, 7) };

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const cipher = new Cipher(join(__dirname, '../test/bpf/aead.bpf.o'));
const measure = (program: CipherProgram, text: Buffer): number => {
  const { verdict, durationNs } = cipher.run(program, request, text, REPEAT);
  if (verdict !== 0) throw new Error(`${program} refused ${text.length} bytes`);
  return durationNs;
};

console.log(
  'bytes   copy   seal   open ns   seal Gb/s   (copy: the text into the work space, part of all three)',
);
for (const length of LENGTHS) {
  const plaintext = Buffer.alloc(length, 0x5a);
  const sealed = Buffer.from(cipher.run('seal', request, plaintext).text.subarray(0, length + 16));
  const times: Record<'copy' | 'seal' | 'open', number[]> = { copy: [], seal: [], open: [] };
  for (let round = 0; round < ROUNDS; round++) {
    times.copy.push(measure('copy', plaintext));
    times.seal.push(measure('seal', plaintext));
    times.open.push(measure('open', sealed));
  }
  const [copy, seal, open] = [median(times.copy), median(times.seal), median(times.open)];
  const columns = [length, copy, seal, open].map((n, i) => String(n).padStart(i === 0 ? 5 : 7));
  console.log(`${columns.join('')}      ${((8 * length) / seal).toFixed(2).padStart(9)}`);
}
console.log(
  `verifier instructions: seal ${cipher.verifiedInsns('seal')}, open ${cipher.verifiedInsns('open')}`,
);
cipher.close();
