// scripts/bench throughput: every contestant under every load, in turns, so that a busy moment of the machine meets
// all of them; medians as a table and every single figure as JSON. docs/performance.md says how to read it.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { dirname, join } from 'node:path';
import { packageRoot } from '../lab/layout';
import { measureCipher } from '../lab/proofs/cipher';
import { ask, buildAskProgram, type Figures, startServers, tcpStreams, udpFlood } from './load';
import type { Contestant } from './others';
import { buildScene, removeScene, sceneExists } from './scene';

interface Load {
  readonly name: string;
  /** Of the figures, the one that the table shows, and its decimals. */
  readonly shows: readonly (readonly [string, string, number])[];
  readonly quick: boolean;
  readonly run: (contestant: Contestant, seconds: number) => Promise<Figures>;
}

const tcp = (streams: number, quick: boolean): Load => ({
  name: `tcp ${streams}`,
  shows: [
    ['gbps', `${streams} TCP Gb/s`, 2],
    ...(streams === 1 ? ([['cpuSecondsPerGbit', 'CPU s/Gbit', 2]] as const) : []),
  ],
  quick,
  run: (contestant, seconds) => tcpStreams(contestant, streams, seconds),
});
const udp = (bytes: number): Load => ({
  name: `udp ${bytes}`,
  shows: [['receivedPps', `UDP ${bytes} B pps`, 0]],
  quick: bytes === 64,
  run: (contestant, seconds) => udpFlood(contestant, bytes, seconds),
});
const asking = (apart: boolean): Load => ({
  name: apart ? 'ask apart' : 'ask together',
  shows: [
    ['p50Us', `ask ${apart ? 'apart' : 'together'} p50 µs`, 1],
    ['p99Us', 'p99', 1],
  ],
  quick: apart,
  run: (contestant, seconds) => ask(contestant, seconds, apart),
});
const LOADS: readonly Load[] = [
  tcp(1, true),
  tcp(4, true),
  tcp(8, false),
  udp(64),
  udp(512),
  udp(1400),
  asking(true),
  asking(false),
];

interface Options {
  readonly name: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly seconds: number;
  readonly mtuBytes: number;
  readonly only: readonly string[];
  readonly underlay: Readonly<Record<string, string>>;
  readonly json: string;
}

const USAGE = `usage: scripts/bench throughput [--quick] [--rounds 5] [--seconds 3] [--mtu 1500] [--only vxseal,plain] [--underlay tune=off] [--json FILE] [--name vxbench]`;

function parseOptions(argv: readonly string[]): Options {
  const given = new Map<string, string>();
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [flag = '', inline] = word.split(/=(.*)/s, 2);
    if (flag === '--quick') given.set(flag, 'yes');
    else if (/^--(rounds|seconds|mtu|only|underlay|json|name)$/.test(flag)) {
      const value = inline ?? rest.shift();
      if (value === undefined) throw new Error(`${flag}: a value is missing\n${USAGE}`);
      given.set(flag, value);
    } else throw new Error(`unknown ${flag}\n${USAGE}`);
  }
  const quick = given.has('--quick');
  const number = (flag: string, otherwise: number): number => {
    const value = Number(given.get(flag) ?? otherwise);
    if (!Number.isInteger(value) || value < 1) throw new Error(`${flag}: a whole number above 0\n${USAGE}`);
    return value;
  };
  const mtuBytes = number('--mtu', 1500);
  const list = (flag: string): string[] => (given.get(flag) ?? '').split(',').filter((text) => text !== '');
  return {
    name: given.get('--name') ?? 'vxbench',
    quick,
    rounds: number('--rounds', quick ? 3 : 5),
    seconds: number('--seconds', quick ? 1 : 3),
    mtuBytes,
    only: list('--only'),
    underlay: Object.fromEntries(list('--underlay').map((pair) => pair.split('=', 2))) as Record<
      string,
      string
    >,
    json: given.get('--json') ?? join(packageRoot(), `build/bench/throughput-${mtuBytes}.json`),
  };
}

const median = (values: readonly number[]): number => {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
};

interface Measured {
  readonly contestant: string;
  readonly load: string;
  readonly figures: Figures;
}

async function measure(
  contestants: readonly Contestant[],
  loads: readonly Load[],
  { rounds, seconds }: Options,
): Promise<{ readonly measured: Measured[]; readonly cipher: Figures }> {
  const measured: Measured[] = [];
  const ciphers: { sealNs: number; openNs: number }[] = [];
  const stop = await startServers(contestants.map((contestant) => contestant.toNetns));
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const load of loads) {
        for (const contestant of contestants) {
          const figures = await load.run(contestant, seconds);
          measured.push({ contestant: contestant.name, load: load.name, figures });
        }
      }
      ciphers.push(measureCipher());
      console.error(`round ${round} of ${rounds}`);
    }
  } finally {
    await stop();
  }
  const middle = (of: 'sealNs' | 'openNs'): number => median(ciphers.map((cipher) => cipher[of]));
  return { measured, cipher: { sealNs: middle('sealNs'), openNs: middle('openNs') } };
}

function table(
  contestants: readonly Contestant[],
  loads: readonly Load[],
  measured: readonly Measured[],
): string {
  const columns = loads.flatMap((load) =>
    load.shows.map(([figure, title, digits]) => ({ load, figure, title, digits })),
  );
  const rows = contestants.map((contestant) => [
    contestant.name,
    String(contestant.mtuBytes),
    ...columns.map(({ load, figure, digits }) => {
      const own = measured.filter((one) => one.contestant === contestant.name && one.load === load.name);
      return median(own.map((one) => one.figures[figure] ?? Number.NaN)).toFixed(digits);
    }),
  ]);
  const lines = [['', 'MTU', ...columns.map((column) => column.title)], ...rows];
  const widths = (lines[0] ?? []).map((_, at) => Math.max(...lines.map((line) => (line[at] ?? '').length)));
  return lines
    .map((line) =>
      line
        .map((cell, at) => (at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0)))
        .join('  '),
    )
    .join('\n');
}

/** What two cores could carry if nothing but the cipher cost anything beyond VXLAN in clear, packet by packet. */
function ceiling(
  contestants: readonly Contestant[],
  measured: readonly Measured[],
  cipher: Figures,
): string[] {
  const of = (contestant: string, load: string): number =>
    median(
      measured
        .filter((one) => one.contestant === contestant && one.load === load)
        .map((one) => one.figures.gbps ?? Number.NaN),
    );
  const mtu = contestants.find((contestant) => contestant.name === 'vxseal')?.mtuBytes ?? 0;
  const cores = Math.min(cpus().length, 2);
  const cipherSeconds = ((cipher.sealNs ?? 0) + (cipher.openNs ?? 0)) / 1e9 / cores;
  const lines = [`cipher by test-run: seal ${cipher.sealNs} ns, open ${cipher.openNs} ns (packet of 1408 B)`];
  if (mtu !== 1408) return lines;
  for (const load of ['tcp 1', 'tcp 4', 'tcp 8']) {
    const [plain, sealed] = [of('plain, per packet', load), of('vxseal', load)];
    if (Number.isNaN(plain) || Number.isNaN(sealed)) continue;
    const possible = (mtu * 8) / 1e9 / ((mtu * 8) / 1e9 / plain + cipherSeconds);
    lines.push(
      `${load}: the cipher on ${cores} cores leaves ${possible.toFixed(2)} Gb/s; vxseal reaches ${((100 * sealed) / possible).toFixed(0)} %`,
    );
  }
  return lines;
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  if (sceneExists(options.name))
    throw new Error(`${options.name} is there already: scripts/lab down --name ${options.name}`);
  buildAskProgram();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.once(signal, () => {
      removeScene(options.name);
      process.exit(130);
    });
  const wanted = (name: string): boolean =>
    options.only.length === 0 || options.only.some((prefix) => name.startsWith(prefix));
  try {
    const scene = {
      name: options.name,
      underlayMtuBytes: options.mtuBytes,
      wants: wanted,
      underlay: options.underlay,
    };
    const contestants = await buildScene(scene, (text) => console.error(text));
    const loads = LOADS.filter((load) => load.quick || !options.quick);
    const { measured, cipher } = await measure(contestants, loads, options);
    const model = /model name\s*:\s*(.*)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown';
    const machine = { kernel: release(), cores: cpus().length, model };
    const { rounds, seconds, mtuBytes, underlay } = options;
    mkdirSync(dirname(options.json), { recursive: true });
    writeFileSync(
      options.json,
      `${JSON.stringify({ machine, rounds, seconds, mtuBytes, underlay, cipher, contestants, measured }, null, 1)}\n`,
    );
    console.log(
      `${machine.kernel}, ${machine.cores} cores, ${model}; underlay MTU ${mtuBytes}; medians of ${rounds} rounds of ${seconds} s`,
    );
    console.log(table(contestants, loads, measured));
    for (const line of ceiling(contestants, measured, cipher)) console.log(line);
    console.log(`every figure: ${options.json}`);
  } finally {
    removeScene(options.name);
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(`bench: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  },
);
