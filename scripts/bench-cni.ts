// What our plugin adds to the start of a pod: the bare chain against the chain with it, in turn, on a lab of two nodes
// with real agents. Prints medians and spreads; asserts nothing.
import { Chain, type Conflist } from '../test/cni/chain';
import { bridge, conflist, Stage, type StageNode, vxseal } from '../test/cni/stage';

const ROUNDS = 60;
const WARM_UP_ROUNDS = 5;
const AT_ONCE = 50;

interface Times {
  readonly addMs: number[];
  readonly delMs: number[];
}

async function round(stage: Stage, node: StageNode, list: Conflist, times: Times): Promise<void> {
  const chain = new Chain(list, node.netns);
  const container = stage.container(node);
  const begunMs = performance.now();
  const result = await chain.add(container);
  const addedMs = performance.now();
  times.addMs.push(addedMs - begunMs);
  await chain.del(container, result);
  times.delMs.push(performance.now() - addedMs);
  await stage.remove(container);
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

async function main(): Promise<void> {
  const stage = await Stage.open(2);
  try {
    const node = stage.node(1);
    const bare = conflist('bare', [bridge(node)]);
    const ours = conflist('ours', [bridge(node), vxseal(node)]);
    const without: Times = { addMs: [], delMs: [] };
    const with_: Times = { addMs: [], delMs: [] };
    for (let count = 0; count < WARM_UP_ROUNDS + ROUNDS; count++) {
      const counts = count >= WARM_UP_ROUNDS;
      await round(stage, node, bare, counts ? without : { addMs: [], delMs: [] });
      await round(stage, node, ours, counts ? with_ : { addMs: [], delMs: [] });
    }
    console.log(line('ADD bridge', without.addMs));
    console.log(line('ADD bridge + vxseal', with_.addMs));
    console.log(line('DEL bridge', without.delMs));
    console.log(line('DEL bridge + vxseal', with_.delMs));
    const added = quantile(with_.addMs, 0.5) - quantile(without.addMs, 0.5);
    console.log(`ADD adds ${added.toFixed(1)} ms at the median of ${ROUNDS} rounds`);
    const begunMs = performance.now();
    const chain = new Chain(ours, node.netns);
    const containers = Array.from({ length: AT_ONCE }, () => stage.container(node));
    const adds = await Promise.allSettled(containers.map((container) => chain.add(container)));
    const keyed = adds.filter(({ status }) => status === 'fulfilled').length;
    console.log(
      `${AT_ONCE} at once: ${keyed} keyed within ${((performance.now() - begunMs) / 1000).toFixed(1)} s`,
    );
  } finally {
    await stage.close();
  }
}

void main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
