// Proofs on machines that are short of memory or whose clock is set: the data plane goes on without its agent, and the
// agent says what is wrong and goes on by itself when it is over. Disks: disk.ts.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endAgent, startAgent, waitAllUp, waitAnswering } from '../agents';
import { status } from '../api';
import { attachments, replaced } from '../attachments';
import { until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import { type NodeLayout, packageRoot } from '../layout';
import { type ProcessId, waitGone } from '../processes';
import { DISK_FAULTS } from './disk';
import { underTraffic } from './undertraffic';
import { WALL_CLOCK_FILE } from './wallclock';

const RECOVERY_MS = 60_000;
const TELL_MS = 20_000;
const DAY_MS = 86_400_000;
/** Node.js alone needs more. */
const TOO_LITTLE_BYTES = 24 << 20;

/** A control group for memory, of version 1 or 2, whichever is mounted. */
class MemoryGroup {
  private readonly v1 = existsSync('/sys/fs/cgroup/memory');
  private readonly dir: string;

  constructor(name: string, limitBytes: number) {
    this.dir = join('/sys/fs/cgroup', this.v1 ? 'memory' : '', name);
    mkdirSync(this.dir);
    this.write(this.v1 ? 'memory.limit_in_bytes' : 'memory.max', limitBytes);
  }

  add({ pid }: ProcessId): void {
    this.write('cgroup.procs', pid);
  }

  /** Processes that the kernel ended for want of memory. */
  killed(): number {
    const text = readFileSync(join(this.dir, this.v1 ? 'memory.oom_control' : 'memory.events'), 'utf8');
    return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
  }

  remove(): void {
    rmdirSync(this.dir);
  }

  private write(file: string, value: number): void {
    writeFileSync(join(this.dir, file), `${value}\n`);
  }
}

const MEMORY_ROUNDS = 3;

const outOfMemory: ProofOf = {
  name: 'the kernel ends the agent for want of memory, again and again',
  body: async (context) => {
    const node = context.node(2);
    const before = attachments(node);
    const group = new MemoryGroup(`${context.lab.name}-memory`, TOO_LITTLE_BYTES);
    let killed = 0;
    try {
      const sent = await underTraffic(context, async () => {
        await endAgent(node, 'SIGKILL');
        for (let round = 0; round < MEMORY_ROUNDS; round++) {
          const id = startAgent(node);
          group.add(id);
          await waitGone(id, TELL_MS);
        }
        killed = group.killed();
        await waitAnswering(node, startAgent(node));
        await waitAllUp(context.lab, RECOVERY_MS);
      });
      if (killed < MEMORY_ROUNDS) throw new Error(`only ${killed} of ${MEMORY_ROUNDS} agents ended by it`);
      expectNone('programs were detached', replaced(before, attachments(node)));
      return `ended ${killed} times; 0 of ${sent} packets lost, all ${before.size} programs stayed attached`;
    } finally {
      group.remove();
    }
  },
};

const clockFile = (node: NodeLayout): string => join(node.dir, 'wall-clock');
const setAhead = (node: NodeLayout, ms: number): void => writeFileSync(clockFile(node), String(ms));

async function startWithClock(node: NodeLayout): Promise<void> {
  setAhead(node, 0);
  await endAgent(node, 'SIGTERM');
  const id = startAgent(node, undefined, {
    NODE_OPTIONS: `--require ${join(packageRoot(), 'build/test/lab/faults/wallclock.js')}`,
    [WALL_CLOCK_FILE]: clockFile(node),
  });
  await waitAnswering(node, id);
}

const clockProblem = async (node: NodeLayout) =>
  (await status(node)).problems.find(({ object }) => object === 'clock');

/** There and back again: both are told, and peers believe the node throughout. */
async function jump(context: Context, node: NodeLayout, ms: number): Promise<string> {
  setAhead(node, ms);
  const { reason, remedy } = await until('the clock is told', TELL_MS, () => clockProblem(node));
  if (remedy === '') throw new Error(`no remedy for: ${reason}`);
  await waitAllUp(context.lab, RECOVERY_MS);
  setAhead(node, 0);
  await until('the clock is right again', TELL_MS, async () =>
    (await clockProblem(node)) === undefined ? true : undefined,
  );
  await waitAllUp(context.lab, RECOVERY_MS);
  return reason;
}

const clockIsSet: ProofOf = {
  name: "a node's clock is set a day ahead, and a day back",
  body: async (context) => {
    const node = context.node(2);
    await startWithClock(node);
    await waitAllUp(context.lab, RECOVERY_MS);
    try {
      const told: string[] = [];
      const sent = await underTraffic(context, async () => {
        for (const ms of [DAY_MS, -DAY_MS]) told.push(await jump(context, node, ms));
      });
      return `told: ${told.join('; ')}; peers up, 0 of ${sent} packets lost`;
    } finally {
      await endAgent(node, 'SIGTERM');
      await waitAnswering(node, startAgent(node));
      await waitAllUp(context.lab, RECOVERY_MS);
    }
  },
};

export const MACHINE_FAULTS: readonly ProofOf[] = [...DISK_FAULTS, outOfMemory, clockIsSet];
