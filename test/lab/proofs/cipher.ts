// What the cipher alone costs on this machine, measured on the test programs that hold nothing but the cipher.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { Cipher } from '../../bpf/cipher';
import { packageRoot } from '../layout';

export interface CipherCost {
  /** Sealing a full packet, nanoseconds. */
  readonly sealNs: number;
  readonly openNs: number;
}

/** UDP, VXLAN and Ethernet around the largest inner packet, and the ESP trailer. */
const AROUND_BYTES = 8 + 8 + 14 + 2;
const RUNS = 5;
const REPEAT = 1000;

/** @param innerMtuBytes by default of a 1500-byte IPv4 underlay. Medians of several runs. Needs CAP_BPF and a built tree. */
export function measureCipher(innerMtuBytes = 1408): CipherCost {
  const textBytes = innerMtuBytes + AROUND_BYTES;
  const cipher = new Cipher(join(packageRoot(), 'build/test/bpf/aead.bpf.o'));
  try {
    const request = { key: randomBytes(32), nonce: randomBytes(12), aad: randomBytes(12) };
    const clear = randomBytes(textBytes);
    const sealed = cipher.run('seal', request, clear).text.subarray(0, textBytes + 16);
    const copy = Buffer.from(sealed);
    const measure = (program: 'seal' | 'open', text: Buffer): number => {
      const runs = Array.from({ length: RUNS }, () => cipher.run(program, request, text, REPEAT));
      if (runs.some(({ verdict }) => verdict !== 0))
        throw new Error(`the cipher refused to ${program} its own text`);
      const times = runs.map(({ durationNs }) => durationNs).sort((a, b) => a - b);
      return times[times.length >> 1] ?? Number.NaN;
    };
    return { sealNs: measure('seal', clear), openNs: measure('open', copy) };
  } finally {
    cipher.close();
  }
}
