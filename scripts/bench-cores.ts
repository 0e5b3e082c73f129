// Prints what seal and open cost when several cores do it at once, under one SA and under one SA for each core, and how
// far one SA for all of them reaches: up to the machine's cores measured, beyond them simulated. Run by scripts/bench
// cores.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { seeded } from '../test/agent/core/random';
import { quantile } from '../test/bench/quantile';
import { World } from '../test/bpf/world';
import {
  type CoreJob,
  type CoreResult,
  LOCAL,
  MTU_BYTES,
  NODE,
  PACKETS,
  REMOTE,
  remoteNode,
  VNI,
} from './bench-core';

const ROUNDS = 31;
/** What so many go through at once lies within the replay window, in whatever order they come to it. */
const MOST_CORES = Math.floor(4096 / PACKETS);
/** A cache line that goes from one socket to another. */
const DEAR_NS = 100;
const SIMULATED_PACKETS = 100_000;
const KINDS = ['seal', 'open'] as const;
type Kind = (typeof KINDS)[number];
type Sharing = 'one SA' | 'an SA each';
const SHARINGS: readonly Sharing[] = ['one SA', 'an SA each'];

const counts = [1, 2, 4, 8, 16, 32, 64];
const measurable = counts.filter((cores) => cores <= Math.min(cpus().length, MOST_CORES));

/** The sender's tables and the receiver's, with as many SAs between the two as there are cores. */
function makeWorlds(sas: number): { readonly sender: World; readonly receiver: World } {
  const sender = new World('test/bpf/stamped');
  const receiver = new World('bpf/open');
  for (const [world, mine] of [
    [sender, 0],
    [receiver, 1],
  ] as const) {
    world.configure();
    world.own(VNI, LOCAL, mine);
  }
  receiver.peer(1, NODE, remoteNode(0));
  for (let sa = 0; sa < sas; sa++) {
    // To the sender each SA is a peer with a prefix of its own, to the receiver they all are the one sender's.
    sender.own(VNI, REMOTE(sa), sa + 1);
    sender.peer(sa + 1, remoteNode(sa), NODE);
    receiver.own(VNI, REMOTE(sa), 0);
  }
  return { sender, receiver };
}

/** New SAs, so that numbers begin anew. */
function rekey({ sender, receiver }: ReturnType<typeof makeWorlds>, sas: number): void {
  for (let sa = 0; sa < sas; sa++) {
    sender.txSa(VNI, sa + 1, { spi: 0x1000 + sa });
    receiver.rxSa(VNI, 1, NODE, { spi: 0x1000 + sa });
  }
}

class Core {
  readonly #process;

  constructor(
    private readonly cpu: number,
    sender: string,
    receiver: string,
  ) {
    this.#process = fork(join(__dirname, 'bench-core.js'), [sender, receiver]);
  }

  async prepare(job: CoreJob): Promise<void> {
    await this.#ask({ ...job, cpu: this.cpu });
  }

  async go(): Promise<CoreResult> {
    return (await this.#ask('go')) as CoreResult;
  }

  end(): void {
    if (this.#process.connected) this.#process.disconnect();
  }

  async #ask(message: 'go' | (CoreJob & { readonly cpu: number })): Promise<unknown> {
    const ended = new AbortController();
    const exit = once(this.#process, 'exit', ended).then(() => {
      throw new Error(`the process of core ${this.cpu} ended`);
    });
    exit.catch(() => undefined); // it is still alive
    this.#process.send(message);
    try {
      const [answer] = (await Promise.race([once(this.#process, 'message', ended), exit])) as unknown[];
      return answer;
    } finally {
      ended.abort();
    }
  }
}

const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Packets a second of so many cores, of which each holds what is shared for `sharedNs` of every packet. */
function simulate(cores: number, samplesNs: readonly number[], sharedNs: number): number {
  const random = seeded(cores);
  const readyNs = new Float64Array(cores);
  let [freeNs, endNs] = [0, 0];
  for (let packet = 0; packet < SIMULATED_PACKETS; packet++) {
    let next = 0;
    for (let core = 1; core < cores; core++) if ((readyNs[core] ?? 0) < (readyNs[next] ?? 0)) next = core;
    const heldNs = cores === 1 ? 0 : sharedNs;
    const beginNs = heldNs === 0 ? (readyNs[next] ?? 0) : Math.max(readyNs[next] ?? 0, freeNs);
    freeNs = beginNs + heldNs;
    const ownNs = samplesNs[Math.floor(random() * samplesNs.length)] ?? 0;
    readyNs[next] = freeNs + ownNs;
    endNs = Math.max(endNs, readyNs[next] ?? 0);
  }
  return (SIMULATED_PACKETS * 1e9) / endNs;
}

const gbps = (packetsPerSecond: number): string => ((packetsPerSecond * MTU_BYTES * 8) / 1e9).toFixed(2);
const row = (cells: readonly (string | number)[]): void =>
  console.log(cells.map((cell, at) => String(cell).padStart(at === 0 ? 6 : 18)).join(''));

async function measure(
  cores: readonly Core[],
  worlds: ReturnType<typeof makeWorlds>,
): Promise<Map<string, number[]>> {
  const samples = new Map<string, number[]>();
  for (let round = 0; round < ROUNDS; round++)
    for (const kind of KINDS)
      for (const count of measurable)
        for (const sharing of SHARINGS) {
          rekey(worlds, cores.length);
          const busy = cores.slice(0, count);
          for (const [at, core] of busy.entries())
            await core.prepare({ kind, sa: sharing === 'one SA' ? 0 : at });
          const results = await Promise.all(busy.map((core) => core.go()));
          const key = `${kind} ${count} ${sharing}`;
          const durationsNs = results.flatMap((result) => result.durationsNs);
          samples.set(key, [...(samples.get(key) ?? []), ...durationsNs]);
        }
  return samples;
}

async function main(): Promise<void> {
  const most = measurable.at(-1) ?? 1;
  const worlds = makeWorlds(most);
  const { sender, receiver } = worlds;
  const cores = Array.from({ length: most }, (_, cpu) => new Core(cpu, sender.pinRoot, receiver.pinRoot));
  try {
    print(await measure(cores, worlds), most);
  } finally {
    for (const core of cores) core.end();
    sender.close();
    receiver.close();
  }
}

function print(samples: ReadonlyMap<string, number[]>, most: number): void {
  const of = (kind: Kind, count: number, sharing: Sharing): number[] =>
    samples.get(`${kind} ${count} ${sharing}`) ?? [];
  console.log(`ns a packet of ${MTU_BYTES} bytes, medians, each of so many cores at work at once`);
  const columns = KINDS.flatMap((kind) => SHARINGS.map((sharing) => [kind, sharing] as const));
  row(['cores', ...columns.map(([kind, sharing]) => `${kind}, ${sharing}`)]);
  for (const count of measurable)
    row([count, ...columns.map(([kind, sharing]) => median(of(kind, count, sharing)))]);
  if (most > 1) printReach(most, of);
}

/** What all cores together do under one SA, with the measured price of sharing it and with a dear one. */
function printReach(most: number, of: (kind: Kind, count: number, sharing: Sharing) => number[]): void {
  console.log(
    `\nGb/s of all cores together, simulated with the packets measured on ${most} cores, if a core that takes`,
  );
  console.log(`the SA over from another holds up all others for as long as measured, or for ${DEAR_NS} ns`);
  row(['cores', ...KINDS.flatMap((kind) => [`${kind}, each`, 'one, measured', `one, ${DEAR_NS} ns`])]);
  const prices = KINDS.map((kind) => {
    const each = of(kind, most, 'an SA each');
    return { each, sharedNs: Math.max(0, median(of(kind, most, 'one SA')) - median(each)) };
  });
  for (const count of counts)
    row([
      count,
      ...prices.flatMap(({ each, sharedNs }) =>
        [0, sharedNs, DEAR_NS].map((price) => gbps(simulate(count, each, price))),
      ),
    ]);
}

void main();
