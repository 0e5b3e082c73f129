// The loads that are put on a path, each for a bounded time: TCP streams, UDP datagrams, request and response. One
// function a load; knows nothing of who is measured.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { inNetns, run, start, until } from '../lab/command';
import { packageRoot } from '../lab/layout';

export interface Path {
  readonly fromNetns: string;
  readonly toNetns: string;
  readonly address: string;
}

/** Median-able figures by name. */
export type Figures = Readonly<Record<string, number>>;

const IPERF_PORT = 5201;
const ASK_PORT = 5301;
const ASK_BYTES = 1;
/** Of the answering end. */
const ASK_CORE = 1;

interface IperfSum {
  readonly bits_per_second?: number;
  readonly retransmits?: number;
  readonly packets?: number;
  readonly lost_packets?: number;
  readonly seconds?: number;
}

async function iperf(
  path: Path,
  seconds: number,
  args: readonly string[],
): Promise<Record<string, IperfSum>> {
  const argv = ['iperf3', '-c', path.address, '-p', String(IPERF_PORT), '-t', String(seconds), '-J', ...args];
  // A server of its own for each test: one that still closes the last test, or fell over it, spoils the next.
  const stop = await serve(
    path.toNetns,
    ['iperf3', '-s', '-1', '-p', String(IPERF_PORT), '--forceflush'],
    /listening/,
  );
  try {
    const outcome = await start(inNetns(path.fromNetns, argv), (seconds + 15) * 1000);
    const report = JSON.parse(outcome.stdout || '{}') as { error?: string; end?: Record<string, IperfSum> };
    if (report.end === undefined || report.error !== undefined)
      throw new Error(`iperf3 to ${path.address}: ${report.error ?? outcome.stderr}`);
    return report.end;
  } finally {
    await stop();
  }
}

/** CPU seconds of the whole machine, everything but idle and waiting for disks. */
function busySeconds(): number {
  const [, user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = (
    readFileSync('/proc/stat', 'utf8').split('\n', 1)[0] ?? ''
  )
    .split(/ +/)
    .map(Number);
  return (user + nice + system + irq + softirq) / 100;
}

export async function tcpStreams(path: Path, streams: number, seconds: number): Promise<Figures> {
  const before = busySeconds();
  const end = await iperf(path, seconds, ['-P', String(streams)]);
  const cpu = busySeconds() - before;
  const gbps = (end.sum_received?.bits_per_second ?? 0) / 1e9;
  const gigabits = gbps * (end.sum_received?.seconds ?? seconds);
  return {
    gbps,
    retransmits: end.sum_sent?.retransmits ?? 0,
    cpuSecondsPerGbit: gigabits > 0 ? cpu / gigabits : Number.NaN,
  };
}

/** As many datagrams as one sender can make; counted where they arrive. */
export async function udpFlood(path: Path, bytes: number, seconds: number): Promise<Figures> {
  const { sum } = await iperf(path, seconds, ['-u', '-b', '0', '-l', String(bytes)]);
  const [packets, lost] = [sum?.packets ?? 0, sum?.lost_packets ?? 0];
  return {
    receivedPps: (packets - lost) / (sum?.seconds ?? seconds),
    lossRatio: packets > 0 ? lost / packets : 0,
  };
}

const askProgram = (): string => join(packageRoot(), 'build/test/bench/rr');

/** Compiles the request-and-response program when its source is newer. */
export function buildAskProgram(): void {
  const source = join(packageRoot(), 'test/bench/rr.c');
  const program = askProgram();
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return;
  mkdirSync(dirname(program), { recursive: true });
  run(['cc', '-O2', '-Wall', '-o', program, source]);
}

const onCore = (core: number): string[] => ['taskset', '-c', String(core)];

/**
 * Both ends keep to a core, because where the scheduler puts them decides the figure: `apart` as two machines would,
 * with the waking of an idle core in it; together, where nothing but the packets' way is left.
 */
export async function ask(path: Path, seconds: number, apart: boolean): Promise<Figures> {
  const argv = ['ask', path.address, String(ASK_PORT), String(ASK_BYTES), String(seconds * 1000)];
  const client = [...onCore(apart ? ASK_CORE - 1 : ASK_CORE), askProgram(), ...argv];
  const outcome = await start(inNetns(path.fromNetns, client), (seconds + 15) * 1000);
  if (outcome.status !== 0) throw new Error(`request to ${path.address}: ${outcome.stderr}`);
  const { p50Us, p99Us } = JSON.parse(outcome.stdout) as { p50Us: number; p99Us: number };
  return { p50Us, p99Us };
}

/** Runs a server until the returned function is called. */
async function serve(netns: string, argv: readonly string[], ready: RegExp): Promise<() => Promise<void>> {
  const [file = '', ...args] = inNetns(netns, argv);
  const server = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((resolve) => server.on('close', resolve));
  let said = '';
  for (const stream of [server.stdout, server.stderr])
    stream.on('data', (chunk) => {
      said += chunk;
    });
  await until(`${argv[0]} listens`, 10_000, () => (ready.test(said) ? true : undefined));
  return async () => {
    server.kill('SIGKILL');
    await ended;
  };
}

/** What answers ask() in each of the namespaces. */
export async function startServers(netnses: readonly string[]): Promise<() => Promise<void>> {
  const stops: (() => Promise<void>)[] = [];
  for (const netns of new Set(netnses)) {
    const answering = [...onCore(ASK_CORE), askProgram(), 'serve', String(ASK_PORT), String(ASK_BYTES)];
    stops.push(await serve(netns, answering, /listening/));
  }
  return async () => {
    for (const stop of stops) await stop();
  };
}
