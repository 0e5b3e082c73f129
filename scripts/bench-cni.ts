// What our plugin adds to the start of a pod: the bare chain against the chain with it, in turn, on a lab of two nodes
// with real agents, whose run directory is a tmpfs, as /run is. Prints medians and spreads; asserts nothing.
import { Chain, type Conflist } from '../test/cni/chain';
import { bridge, conflist, Stage, type StageNode, vxseal } from '../test/cni/stage';
import { endAgent, startAgent, waitAllUp } from '../test/lab/agents';
import { run } from '../test/lab/command';

const ROUNDS = 60;
const WARM_UP_ROUNDS = 5;
const AT_ONCE = 50;

interface Times {
  readonly addMs: number[];
  readonly delMs: number[];
  /** Of them, our plugin's call alone: its process, and the agent's answer. */
  readonly ownAddMs: number[];
  readonly ownDelMs: number[];
  /** Our plugin's process alone: a call that the agent is not asked. */
  readonly processMs: number[];
}

const noTimes = (): Times => ({ addMs: [], delMs: [], ownAddMs: [], ownDelMs: [], processMs: [] });

async function timed<T>(into: number[], call: () => Promise<T>): Promise<T> {
  const begunMs = performance.now();
  const result = await call();
  into.push(performance.now() - begunMs);
  return result;
}

async function round(stage: Stage, node: StageNode, list: Conflist, times: Times): Promise<void> {
  const chain = new Chain(list, node.netns);
  const container = stage.container(node);
  let result: Awaited<ReturnType<Chain['call']>>;
  await timed(times.addMs, async () => {
    for (const plugin of list.plugins) {
      const own = plugin.type === 'vxseal' ? times.ownAddMs : [];
      result = await timed(own, () => chain.call('ADD', plugin, container, result));
    }
  });
  await timed(times.delMs, async () => {
    for (const plugin of [...list.plugins].reverse()) {
      const own = plugin.type === 'vxseal' ? times.ownDelMs : [];
      await timed(own, () => chain.call('DEL', plugin, container, result));
    }
  });
  await timed(times.processMs, () => chain.call('VERSION', vxseal(node), undefined));
  await stage.remove(container);
}

/** Where /run is a disk, what is written there with fsync would be measured instead. It goes with the lab. */
async function runInMemory(stage: Stage, node: StageNode): Promise<void> {
  const { runDir } = node.layout;
  await endAgent(node.layout, 'SIGTERM');
  run(['mount', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', runDir]);
  startAgent(node.layout);
  await waitAllUp(stage.lab);
}

const quantile = (values: readonly number[], part: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * part))] ??
  Number.NaN;

function line(name: string, values: readonly number[]): string {
  const [least, median, most] = [0.05, 0.5, 0.95].map((part) =>
    quantile(values, part).toFixed(1).padStart(6),
  );
  return `${name.padEnd(34)} ${median} ms  (5 % ${least}, 95 % ${most})`;
}

async function atOnce(stage: Stage, node: StageNode, list: Conflist): Promise<void> {
  const chain = new Chain(list, node.netns);
  const containers = Array.from({ length: AT_ONCE }, () => stage.container(node));
  const begunMs = performance.now();
  const adds = await Promise.allSettled(containers.map((container) => chain.add(container)));
  const tookMs = performance.now() - begunMs;
  const added = adds.filter(({ status }) => status === 'fulfilled').length;
  console.log(`${AT_ONCE} at once, ${list.name}: ${added} within ${(tookMs / 1000).toFixed(1)} s`);
}

async function measure(stage: Stage, node: StageNode): Promise<void> {
  const bare = conflist('bare', [bridge(node)]);
  const ours = conflist('ours', [bridge(node), vxseal(node)]);
  const without = noTimes();
  const with_ = noTimes();
  for (let count = 0; count < WARM_UP_ROUNDS + ROUNDS; count++) {
    const counts = count >= WARM_UP_ROUNDS;
    await round(stage, node, bare, counts ? without : noTimes());
    await round(stage, node, ours, counts ? with_ : noTimes());
  }
  console.log(line('ADD bridge', without.addMs));
  console.log(line('ADD bridge + vxseal', with_.addMs));
  console.log(line('  of it vxseal', with_.ownAddMs));
  console.log(line('DEL bridge', without.delMs));
  console.log(line('DEL bridge + vxseal', with_.delMs));
  console.log(line('  of it vxseal', with_.ownDelMs));
  console.log(line("our plugin's process alone", with_.processMs));
  for (const [verb, times, bareTimes] of [
    ['ADD', with_.addMs, without.addMs],
    ['DEL', with_.delMs, without.delMs],
  ] as const) {
    const added = quantile(times, 0.5) - quantile(bareTimes, 0.5);
    console.log(`${verb} adds ${added.toFixed(1)} ms at the median of ${ROUNDS} rounds`);
  }
  await atOnce(stage, node, bare);
  await atOnce(stage, node, ours);
}

async function main(): Promise<void> {
  const stage = await Stage.open(2);
  try {
    const node = stage.node(1);
    await runInMemory(stage, node);
    await measure(stage, node);
  } finally {
    await stage.close();
  }
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
