// The command behind scripts/test-kernels: boots each kernel, runs the steps in it, prints the table. Exit code 0 when
// everything held, 1 when something did not, 2 for a wrong command line.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Proof } from '../lab/context';
import { packageRoot } from '../lab/layout';
import { interop } from './interop/run';
import { Wire } from './interop/wire';
import type { Loads } from './loads';
import { Machine } from './machine';
import { DEFAULT_KERNELS, type Kernel, provideKernels } from './packages';
import { failuresOf, insnsTable, type KernelResult, summary, supportDocument } from './report';
import type { Suite } from './suite';

const STEPS = ['loads', 'suite', 'inside', 'across', 'lab'] as const;
type Step = (typeof STEPS)[number];
const USAGE = `usage: scripts/test-kernels [--steps ${STEPS.join(',')}] [--jobs N] [--write] [6.1|6.12|newest|RELEASE]...`;
const SUITE_FOLDERS = ['test/bpf/', 'test/netns/', 'test/native/'];
const STEP_TIMEOUT_MS = 600_000;
const TAP = 'machine';

class UsageError extends Error {}

interface Options {
  readonly names: readonly string[];
  readonly steps: ReadonlySet<Step>;
  readonly jobs: number;
  /** Into docs/kernel-support.md. */
  readonly write: boolean;
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
  const options = { names: [] as string[], steps: new Set<Step>(STEPS), jobs: 1, write: false };
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--write') options.write = true;
    else if (word === '--jobs') options.jobs = Number(rest.shift());
    else if (word === '--steps') options.steps = new Set((rest.shift() ?? '').split(',').map(toStep));
    else if (/^(\d+\.\d+\S*|newest)$/.test(word)) options.names.push(word);
    else throw new UsageError(`unknown argument ${word}`);
  }
  if (!Number.isInteger(options.jobs) || options.jobs < 1) throw new UsageError('--jobs: a number from 1 on');
  return { ...options, names: options.names.length > 0 ? options.names : DEFAULT_KERNELS };
}

function toStep(text: string): Step {
  const step = STEPS.find((candidate) => candidate === text);
  if (step === undefined) throw new UsageError(`--steps ${text}: some of ${STEPS.join(', ')}`);
  return step;
}

/** A program of build/test/kernels in the machine; its last line is JSON. Throws with what it said instead. */
async function inside<T>(machine: Machine, program: string, ...args: string[]): Promise<T> {
  const path = join(packageRoot(), 'build/test/kernels', program);
  const { status, stdout, stderr } = await machine.run([process.execPath, path, ...args], STEP_TIMEOUT_MS);
  try {
    return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '') as T;
  } catch (cause) {
    throw new Error(`${program}: exit code ${status}: ${stderr.trim().slice(-2000)}`, { cause });
  }
}

async function tryKernel(kernel: Kernel, steps: ReadonlySet<Step>): Promise<KernelResult> {
  const errors: string[] = [];
  const wire = new Wire();
  let machine: Machine | undefined;
  const remove = (): void => {
    machine?.kill();
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
    machine = await Machine.boot(kernel, { netns: wire.netns.name, tap: TAP });
    say(`${kernel.release}: booted`);
    // Before loads: that step moves the machine's device into a namespace which it removes.
    const interopAcross = await step('across', (on) =>
      interop(wire, TAP, (argv, timeoutMs) => on.run(argv, timeoutMs)),
    );
    const interopInside = await step('inside', (on) => inside<Proof[]>(on, 'interop/local.js'));
    const suite = await step('suite', (on) => inside<Suite>(on, 'suite.js', ...SUITE_FOLDERS));
    const lab = await step('lab', (on) => inside<Proof[]>(on, 'lab.js'));
    const loads = await step('loads', (on) => inside<Loads>(on, 'loads.js', kernel.release));
    return { release: kernel.release, loads, suite, interopInside, interopAcross, lab, errors };
  } catch (cause) {
    errors.push(cause instanceof Error ? cause.message : String(cause));
    const none = { loads: undefined, suite: undefined, interopInside: undefined };
    return { release: kernel.release, ...none, interopAcross: undefined, lab: undefined, errors };
  } finally {
    leftovers.delete(remove);
    await machine?.close();
    wire.close();
  }
}

/** As many machines at once as are asked for. */
async function tryKernels(kernels: readonly Kernel[], { steps, jobs }: Options): Promise<KernelResult[]> {
  const results = new Map<string, KernelResult>();
  const queue = [...kernels];
  const work = async (): Promise<void> => {
    for (let kernel = queue.shift(); kernel !== undefined; kernel = queue.shift())
      results.set(kernel.release, await tryKernel(kernel, steps));
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return kernels.flatMap(({ release }) => results.get(release) ?? []);
}

async function main(argv: readonly string[]): Promise<number> {
  const options = parseArguments(argv);
  if (process.getuid?.() !== 0)
    throw new Error('test machines need network namespaces: run it as root (sudo)');
  tidyOnSignal();
  const kernels = provideKernels(options.names);
  say(`kernels: ${kernels.map(({ release }) => release).join(', ')}`);
  const results = await tryKernels(kernels, options);
  for (const result of results) {
    for (const name of result.suite?.skipped ?? []) console.log(`skipped on ${result.release}: ${name}`);
    for (const failure of failuresOf(result)) console.log(`FAIL on ${result.release}: ${failure}`);
  }
  if (results.some(({ loads }) => loads !== undefined)) console.log(`\n${insnsTable(results)}`);
  console.log(`\n${summary(results)}`);
  if (options.write) writeFileSync(join(packageRoot(), 'docs/kernel-support.md'), supportDocument(results));
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
