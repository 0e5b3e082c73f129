// The command behind scripts/test-kernels: boots each kernel, runs the steps in it, prints the table. Exit code 0 when
// everything held, 1 when something did not, 2 for a wrong command line.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Proof } from '../lab/context';
import { packageRoot } from '../lab/layout';
import { tryArm64 } from './arm64/machine';
import { insnsTable, supportDocument } from './document';
import { CASES } from './interop/plan';
import { interop } from './interop/run';
import { Wire } from './interop/wire';
import type { Loads } from './loads';
import { Machine } from './machine';
import { DEFAULT_KERNELS, type Kernel, provideKernels } from './packages';
import { failuresOf, type KernelResult, summary, totals } from './report';
import { keep, kept } from './results';
import type { Suite } from './suite';

const STEPS = ['loads', 'suite', 'inside', 'across', 'engine', 'lab'] as const;
type Step = (typeof STEPS)[number];
const USAGE = `usage: scripts/test-kernels [--steps ${STEPS.join(',')}] [--tests PATTERN,…] [--slice] [--docs] [--jobs N] [6.1|6.12|newest|arm64|RELEASE]...`;
const SUITE_FOLDERS = ['test/bpf/', 'test/netns/', 'test/native/'];
/** What is tried on every change: what another kernel can break, in minutes. */
const SLICE_STEPS: readonly Step[] = ['loads', 'suite', 'inside'];
const SLICE_FOLDERS = ['test/bpf/vectors', 'test/native/prog'];
const SLICE_SUITE_TIMEOUT_MS = 300_000;
const ARM64 = 'arm64';
const STEP_TIMEOUT_MS = 600_000;
/** An emulated processor takes many times what a real one does; so do the waits of labs and tests. */
const [SUITE_TIMEOUT_MS, LAB_TIMEOUT_MS] = [3_600_000, 1_800_000];
const PATIENCE = 10;
const TAP = 'machine';

class UsageError extends Error {}

interface Options {
  readonly names: readonly string[];
  readonly steps: ReadonlySet<Step>;
  readonly jobs: number;
  readonly slice: boolean;
  /** Jest's patterns, of the files that the suite is of. */
  readonly tests: readonly string[];
  /** Write docs/kernel-support.md from what the last runs found; boots nothing. */
  readonly docs: boolean;
}

/** What a signal must not leave behind. */
const leftovers = new Set<() => void>();
function tidyOnSignal(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      for (const remove of leftovers) remove();
      process.exit(130);
    });
  }
}

const startedMs = performance.now();
const say = (text: string): void =>
  console.log(`[${((performance.now() - startedMs) / 1000).toFixed(0).padStart(4)} s] ${text}`);

function parseArguments(argv: readonly string[]): Options {
  const options = { names: [] as string[], jobs: 1, slice: false, docs: false };
  let steps: ReadonlySet<Step> | undefined;
  let tests: readonly string[] | undefined;
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--docs') options.docs = true;
    else if (word === '--slice') options.slice = true;
    else if (word === '--jobs') options.jobs = Number(rest.shift());
    else if (word === '--tests') tests = (rest.shift() ?? '').split(',').filter((text) => text !== '');
    else if (word === '--steps') steps = new Set((rest.shift() ?? '').split(',').map(toStep));
    else if (/^(\d+\.\d+\S*|newest|arm64)$/.test(word)) options.names.push(word);
    else throw new UsageError(`unknown argument ${word}`);
  }
  if (!Number.isInteger(options.jobs) || options.jobs < 1) throw new UsageError('--jobs: a number from 1 on');
  if (tests?.length === 0) throw new UsageError('--tests: patterns of files, test/bpf/ for one');
  return {
    ...options,
    tests: tests ?? (options.slice ? SLICE_FOLDERS : SUITE_FOLDERS),
    steps: steps ?? new Set(options.slice ? SLICE_STEPS : STEPS),
    names: options.names.length > 0 ? options.names : [...DEFAULT_KERNELS, ARM64],
  };
}

function toStep(text: string): Step {
  const step = STEPS.find((candidate) => candidate === text);
  if (step === undefined) throw new UsageError(`--steps ${text}: some of ${STEPS.join(', ')}`);
  return step;
}

/** A program of build/test/kernels in the machine; its last line is JSON. Throws with what it said instead. */
async function inside<T>(
  machine: Machine,
  program: string,
  args: readonly string[] = [],
  timeoutMs = STEP_TIMEOUT_MS,
): Promise<T> {
  const path = join(packageRoot(), 'build/test/kernels', program);
  const { status, stdout, stderr } = await machine.run(
    ['env', `LAB_PATIENCE=${PATIENCE}`, process.execPath, path, ...args],
    timeoutMs,
  );
  try {
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T;
  } catch (cause) {
    throw new Error(`${program}: exit code ${status}: ${stderr.trim().slice(-2000)}`, { cause });
  }
}

async function tryKernel(kernel: Kernel, { steps, slice, tests }: Options): Promise<KernelResult> {
  const errors: string[] = [];
  const wire = new Wire();
  let machine: Machine | undefined;
  let kill = (): void => undefined;
  const remove = (): void => {
    kill();
    wire.close();
  };
  leftovers.add(remove);
  async function step<T>(name: Step, body: (on: Machine) => Promise<T>): Promise<T | undefined> {
    if (machine === undefined || !steps.has(name)) return undefined;
    try {
      const value = await body(machine);
      say(`${kernel.release}: ${name} done`);
      return value;
    } catch (cause) {
      errors.push(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
      say(`${kernel.release}: ${name} broke off`);
      return undefined;
    }
  }
  try {
    wire.addTap(TAP);
    machine = await Machine.boot(kernel, { netns: wire.netns.name, tap: TAP }, (end) => {
      kill = end;
    });
    say(`${kernel.release}: booted`);
    // Before loads: that step moves the machine's device into a namespace which it removes.
    const interopAcross = await step('across', (on) =>
      interop(wire, TAP, (argv, timeoutMs) => on.run(argv, timeoutMs), CASES),
    );
    const interopInside = await step('inside', (on) =>
      inside<Proof[]>(on, 'interop/local.js', slice ? ['udp'] : []),
    );
    const engines = await step('engine', async (on) => [
      ...(await inside<Proof[]>(on, 'engine/local.js', [], LAB_TIMEOUT_MS)),
      ...(await inside<Proof[]>(on, 'engine/agents.js', [], LAB_TIMEOUT_MS)),
    ]);
    const limitMs = slice ? SLICE_SUITE_TIMEOUT_MS : SUITE_TIMEOUT_MS;
    const suite = await step('suite', (on) =>
      inside<Suite>(on, 'suite.js', [String(limitMs), ...tests], limitMs),
    );
    const lab = await step('lab', (on) => inside<Proof[]>(on, 'lab.js', [], LAB_TIMEOUT_MS));
    const loads = await step('loads', (on) => inside<Loads>(on, 'loads.js', [kernel.release]));
    return { release: kernel.release, loads, suite, interopInside, interopAcross, engines, lab, errors };
  } catch (cause) {
    errors.push(cause instanceof Error ? cause.message : String(cause));
    const none = { loads: undefined, suite: undefined, interopInside: undefined };
    return {
      release: kernel.release,
      ...none,
      interopAcross: undefined,
      engines: undefined,
      lab: undefined,
      errors,
    };
  } finally {
    leftovers.delete(remove);
    await machine?.close();
    wire.close();
  }
}

/** Its columns are those of the others: the cipher's cases stand where the suite does. */
async function tryOtherProcessor(): Promise<KernelResult> {
  const none = { interopInside: undefined, interopAcross: undefined, engines: undefined, lab: undefined };
  try {
    const { release, programs, passed, failed } = await tryArm64();
    say(`${release}: done`);
    const suite = { cipher: { passed, failed, skipped: [], seconds: 0 } };
    return { ...none, release, loads: { release, programs, attempts: [], checks: [] }, suite, errors: [] };
  } catch (cause) {
    const errors = [cause instanceof Error ? cause.message : String(cause)];
    return { ...none, release: ARM64, loads: undefined, suite: undefined, errors };
  }
}

/** As many machines at once as are asked for. */
async function tryKernels(kernels: readonly Kernel[], options: Options): Promise<KernelResult[]> {
  const results = new Map<string, KernelResult>();
  const queue = [...kernels];
  const work = async (): Promise<void> => {
    for (let kernel = queue.shift(); kernel !== undefined; kernel = queue.shift()) {
      const result = await tryKernel(kernel, options);
      keep(result); // at once: another kernel may not get to its end
      results.set(kernel.release, result);
    }
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return kernels.flatMap(({ release }) => results.get(release) ?? []);
}

function print(results: readonly KernelResult[]): void {
  for (const result of results) {
    const slowest = Object.entries(result.suite ?? {}).sort(([, a], [, b]) => b.seconds - a.seconds);
    if (slowest.length > 0)
      console.log(
        `${result.release}: ${slowest.map(([file, { seconds }]) => `${file} ${seconds} s`).join(', ')}`,
      );
    for (const proof of [
      ...(result.interopInside ?? []),
      ...(result.interopAcross ?? []),
      ...(result.engines ?? []),
      ...(result.lab ?? []),
    ])
      if (proof.ok) console.log(`ok on ${result.release}: ${proof.name}: ${proof.detail}`);
    for (const name of totals(result.suite).skipped) console.log(`skipped on ${result.release}: ${name}`);
    for (const failure of failuresOf(result)) console.log(`FAIL on ${result.release}: ${failure}`);
  }
  if (results.some(({ loads }) => loads !== undefined)) console.log(`\n${insnsTable(results)}`);
  console.log(`\n${summary(results)}`);
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseArguments(argv);
  if (options.docs) {
    writeFileSync(join(packageRoot(), 'docs/kernel-support.md'), supportDocument(kept()));
    return 0;
  }
  if (process.getuid?.() !== 0)
    throw new Error('test machines need network namespaces: run it as root (sudo)');
  tidyOnSignal();
  const kernels = provideKernels(options.names.filter((name) => name !== ARM64));
  say(`kernels: ${kernels.map(({ release }) => release).join(', ') || ARM64}`);
  const asked = options.names.filter((name) => name !== ARM64 && name !== 'newest');
  if (options.names.includes('newest') && kernels.length <= asked.length)
    console.log(`skipped: a kernel newer than ${kernels.at(-1)?.release}, apt offers none`);
  const results = await tryKernels(kernels, options);
  if (options.names.includes(ARM64)) {
    const result = await tryOtherProcessor();
    if (result.loads !== undefined) keep(result);
    results.push(result);
  }
  print(results);
  return results.every((result) => failuresOf(result).length === 0) ? 0 : 1;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`test-kernels: ${error instanceof Error ? error.message : String(error)}`);
    if (error instanceof UsageError) console.error(USAGE);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
