// What happens to the lab in a soak, one thing after the other. Each event says which node may lose packets (only one
// that is off), and returns when the lab is whole again: every peer up, under the newest keys.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { endAgent, nextCa, renewNode, startAgent, waitAllUp, waitAnswering } from '../agents';
import { status } from '../api';
import { killBroker, startBroker } from '../broker';
import { until } from '../command';
import type { LabLayout, NodeLayout } from '../layout';
import { freeze, powerOff, powerOn, replaceDisk, rotate, thaw } from './machine';

/** Longer than two agents that restarted at once wait for each other's proof (docs/keys.md §4, R4). */
const STEADY_TIMEOUT_MS = 150_000;
const DOWN_MS = 2000;

export interface SoakEvent {
  readonly name: string;
  /** Index of the node that is off meanwhile: only flows from and to it may lose. */
  readonly off?: number;
  /** @returns a clause for the report */
  readonly run: (lab: SoakLab) => Promise<string>;
}

export interface SoakLab {
  readonly layout: LabLayout;
  /** From 1. */
  readonly node: (index: number) => NodeLayout;
}

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export const EVENTS: readonly SoakEvent[] = [
  { name: 'nothing', run: async () => '' },
  ...[1, 2, 3].map((index) => ({
    name: `rotation of node${index}`,
    run: async (lab: SoakLab): Promise<string> => {
      rotate(lab.node(index));
      return `epoch ${await epochOf(lab.node(index))}`;
    },
  })),
  { name: 'agent of node1 restarts', run: restart(1) },
  { name: 'agent of node3 restarts', run: restart(3) },
  {
    name: 'agent of node2 is killed',
    run: async (lab) => {
      await endAgent(lab.node(2), 'SIGKILL');
      await wait(DOWN_MS);
      await waitAnswering(lab.node(2), startAgent(lab.node(2)));
      return `${DOWN_MS} ms without it`;
    },
  },
  {
    name: 'agent of node3 hangs over two rotations',
    run: async (lab) => {
      freeze(lab.node(3));
      for (const index of [1, 2, 1, 2]) rotate(lab.node(index));
      await wait(DOWN_MS);
      const { laggards } = (await status(lab.node(1))).node.epoch;
      thaw(lab.node(3));
      if (!laggards.includes('node3'))
        throw new Error(`node1 names as laggards: ${laggards.join() || 'none'}`);
      return 'named as laggard meanwhile';
    },
  },
  {
    name: 'the bus is gone',
    run: async ({ layout, node }) => {
      takeBus(layout);
      try {
        await until('node1 misses the bus', STEADY_TIMEOUT_MS, async () =>
          (await status(node(1))).bus.connected ? undefined : true,
        );
        await wait(DOWN_MS);
      } finally {
        giveBus(layout);
      }
      await until('node1 has the bus again', STEADY_TIMEOUT_MS, async () =>
        (await status(node(1))).bus.connected ? true : undefined,
      );
      return '';
    },
  },
  {
    name: 'certificate of node2 is renewed',
    run: async (lab) => {
      const before = await epochOf(lab.node(2));
      renewNode(lab.layout.caDir, lab.node(2));
      return `epoch ${await epochAfter(lab.node(2), before)}, without a restart`;
    },
  },
  { name: 'the root is replaced', run: rollOver },
  {
    name: 'node3 reboots',
    off: 3,
    run: async (lab) => {
      await powerOff(lab.node(3));
      await wait(DOWN_MS);
      await powerOn(lab.node(3));
      return `${DOWN_MS} ms off`;
    },
  },
  {
    name: 'another machine takes the place of node3',
    off: 3,
    run: async (lab) => {
      await powerOff(lab.node(3));
      replaceDisk(lab.layout, lab.node(3));
      await wait(DOWN_MS);
      await powerOn(lab.node(3));
      return 'same name and address, empty disk, new certificate';
    },
  },
];

/** The broker is killed, or the folder is moved away. */
function takeBus(layout: LabLayout): void {
  if (layout.shape.bus === 'kafka') killBroker(layout);
  else renameSync(layout.busDir, `${layout.busDir}-away`);
}

function giveBus(layout: LabLayout): void {
  if (layout.shape.bus === 'kafka') startBroker(layout);
  else renameSync(`${layout.busDir}-away`, layout.busDir);
}

function restart(index: number): SoakEvent['run'] {
  return async (lab) => {
    const node = lab.node(index);
    await endAgent(node, 'SIGTERM');
    await waitAnswering(node, startAgent(node));
    return `epoch ${await epochOf(node)}`;
  };
}

const epochOf = async (node: NodeLayout): Promise<number> => (await status(node)).node.epoch.number;

function epochAfter(node: NodeLayout, before: number): Promise<number> {
  return until(`${node.name} begins a new epoch`, STEADY_TIMEOUT_MS, async () => {
    const { number, published } = (await status(node)).node.epoch;
    return number > before && published ? number : undefined;
  });
}

/** Both roots everywhere, then certificates of the new CA everywhere, then the new root alone (docs/keys.md §1). */
async function rollOver({ layout }: SoakLab): Promise<string> {
  const next = nextCa(layout);
  const [first, second] = [layout.caDir, next].map((dir) => readFileSync(join(dir, 'roots.crt'), 'utf8'));
  const rootsOf = (node: NodeLayout): string => join(node.identityDir, 'roots.crt');
  const putRoots = async (text: string): Promise<void> => {
    for (const node of layout.nodes) {
      const unfinished = `${rootsOf(node)}.new`;
      writeFileSync(unfinished, text);
      renameSync(unfinished, rootsOf(node));
    }
    await wait(LOOK_MS);
  };
  await putRoots(`${first}${second}`);
  const epochs = new Map<NodeLayout, number>();
  for (const node of layout.nodes) epochs.set(node, await epochOf(node));
  for (const node of layout.nodes) renewNode(next, node);
  for (const [node, before] of epochs) await epochAfter(node, before);
  await waitSteady(layout);
  await putRoots(second ?? '');
  // From here on the new CA is the lab's: a machine that comes later gets its certificate there.
  renameSync(layout.caDir, `${layout.caDir}-old`);
  renameSync(next, layout.caDir);
  return 'two roots, new certificates, new root alone';
}

/** Longer than the agent's interval between looks at its files. */
const LOOK_MS = 6000;

/** Every node ready, every peer up and under the newest keys of both. */
export async function waitSteady(layout: LabLayout): Promise<void> {
  await waitAllUp(layout, STEADY_TIMEOUT_MS);
  let rotating = '';
  await until(
    'every peer is under the newest keys',
    STEADY_TIMEOUT_MS,
    async () => {
      const lagging: string[] = [];
      for (const node of layout.nodes)
        for (const peer of (await status(node)).peers)
          if (peer.rotating || peer.state !== 'up') lagging.push(`${node.name}: ${peer.node}: ${peer.why}`);
      rotating = lagging.join('; ');
      return lagging.length === 0 ? true : undefined;
    },
    () => rotating,
    200,
  );
}

/**
 * Adds to sections of each agent's configuration, and has it read them. Without threads for NAPI: with them packets
 * wait for a thread that competes with whatever else the machine does, and a soak would measure that.
 */
export async function configure(
  layout: LabLayout,
  sections: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
): Promise<void> {
  for (const node of layout.nodes) {
    const config = parse(readFileSync(node.configFile, 'utf8')) as Record<string, object | undefined>;
    for (const [section, values] of Object.entries({ underlay: { tune: 'off' }, ...sections }))
      config[section] = { ...config[section], ...values };
    writeFileSync(node.configFile, stringify(config), { mode: 0o600 });
    await endAgent(node, 'SIGTERM');
    await waitAnswering(node, startAgent(node));
    // One after the other: two that restart at once stay under the keys of their former processes for minutes.
    await waitSteady(layout);
  }
}
