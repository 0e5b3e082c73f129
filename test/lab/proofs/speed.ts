// Measures pod-to-pod throughput beside the kernel's VXLAN in clear, interleaved on the same machine, and holds it
// against what the cipher alone allows: what is lost beyond the cipher is ours.
import { spawn } from 'node:child_process';
import { inNetns, start, until } from '../command';
import type { Context, ProofOf } from '../context';
import { addControlPath, controlAddress, removeControlPath } from '../topology';
import { measureCipher } from './cipher';

const ATTEMPTS = 3;
const ROUNDS = 3;
const SECONDS = 2;
const PORT = 5201;
/** Achieved part of what is possible with this cipher on this machine: 0.75 to 0.8 on two idle cores. */
const LEAST_RATIO = 0.5;

export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new Error('no values');
  return middle;
};

/** One TCP stream; bits per second as the receiver saw them. */
async function throughput(fromNetns: string, to: string): Promise<number> {
  const argv = ['iperf3', '-c', to, '-p', String(PORT), '-t', String(SECONDS), '-J'];
  const outcome = await start(inNetns(fromNetns, argv), 30_000);
  const report = JSON.parse(outcome.stdout || '{}') as {
    error?: string;
    end?: { sum_received?: { bits_per_second?: number } };
  };
  const rate = report.end?.sum_received?.bits_per_second;
  if (rate === undefined || rate === 0) throw new Error(`iperf3 to ${to}: ${report.error ?? outcome.stderr}`);
  return rate;
}

async function withServer<T>(netns: string, body: () => Promise<T>): Promise<T> {
  const [file = '', ...args] = inNetns(netns, ['iperf3', '-s', '-p', String(PORT), '--forceflush']);
  const server = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => server.on('close', resolve));
  let said = '';
  server.stdout.on('data', (chunk) => {
    said += chunk;
  });
  try {
    await until('iperf3 listens', 10_000, () => (said.includes('Server listening') ? true : undefined));
    return await body();
  } finally {
    server.kill('SIGKILL');
    await ended;
  }
}

interface Measured {
  readonly plain: number;
  readonly sealed: number;
  readonly sealNs: number;
  readonly openNs: number;
}

/** Medians of rounds that take turns, so that a busy moment of the machine meets all of them. */
async function interleaved(context: Context): Promise<Measured> {
  const [a, b] = [context.node(1), context.node(2)];
  const [from, to] = [context.pod(1), context.pod(2)];
  const rounds: Measured[] = [];
  addControlPath(a, b);
  try {
    await withServer(to.netns, async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const plain = await throughput(from.netns, controlAddress(b));
        const sealed = await throughput(from.netns, to.address);
        rounds.push({ plain, sealed, ...measureCipher(context.lab.overlayMtuBytes) });
      }
    });
  } finally {
    removeControlPath(a, b);
  }
  const middle = (of: keyof Measured): number => median(rounds.map((round) => round[of]));
  return {
    plain: middle('plain'),
    sealed: middle('sealed'),
    sealNs: middle('sealNs'),
    openNs: middle('openNs'),
  };
}

function judge(
  { lab }: Context,
  { plain, sealed, sealNs, openNs }: Measured,
): {
  readonly ratio: number;
  readonly detail: string;
} {
  const packetBits = lab.overlayMtuBytes * 8;
  // Both ends run on this machine's cores, and one stream's packets are sealed and opened one after another.
  const possible = packetBits / (packetBits / plain + (sealNs + openNs) / 1e9);
  const ratio = sealed / possible;
  const gigabits = (rate: number): string => `${(rate / 1e9).toFixed(2)} Gb/s`;
  const detail = `${gigabits(sealed)} pod to pod; in clear ${gigabits(plain)}; cipher ${sealNs} + ${openNs} ns a packet allows ${gigabits(possible)}; ratio ${ratio.toFixed(2)}`;
  return { ratio, detail };
}

export const speed: ProofOf = {
  name: 'throughput is what the cipher allows',
  body: async (context) => {
    // Whatever else the machine does can only lower the ratio: a low one is measured again.
    let best = judge(context, await interleaved(context));
    for (let again = 1; again < ATTEMPTS && best.ratio < LEAST_RATIO; again++) {
      const next = judge(context, await interleaved(context));
      if (next.ratio > best.ratio) best = next;
    }
    if (best.ratio < LEAST_RATIO) throw new Error(`${best.detail}, expected ${LEAST_RATIO} or more`);
    return best.detail;
  },
};
