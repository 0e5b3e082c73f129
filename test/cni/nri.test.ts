// A containerd with NRI (built by scripts/tools) and an agent that asks it for what CNI does not say: labels of pods that
// come, that were there before, that came while the two were parted. And that no pod ever waits for it.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { PodStatus } from '../../agent/control/status';
import { endAgent, logTail, startAgent, waitAnswering } from '../lab/agents';
import { run, until } from '../lab/command';
import { packageRoot } from '../lab/layout';
import type { Sandbox } from './cri';
import { makeImage } from './image';
import { Relay } from './relay';
import { NEWER_CONTAINERD, Runtime } from './runtime';
import { bridge, conflist, Stage, type StageNode, vxseal } from './stage';

const LIMIT_MS = 120_000;
const LIST = '10-cbr0.conflist';
/** A request of two bytes that are no message, and one that says it is 4 GiB long. */
const UNREADABLE = {
  reason: 'protobuf',
  bytes: Buffer.from('000000010000000c000000020000000101000aff', 'hex'),
};
const OVERSIZE = { reason: 'oversize', bytes: Buffer.from('000000010000000affffffff000000010100', 'hex') };

interface Pod {
  readonly sandbox: Sandbox;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
}

let stage: Stage;
let node: StageNode;
let runtime: Runtime;
let relay: Relay;
let dir = '';
let started = 0;
const running = new Set<Pod>();

beforeAll(async () => {
  dir = mkdtempSync('/run/vxn-');
  stage = await Stage.open(1);
  node = stage.node(1);
  const folder = makeFolder('node1');
  runtime = new Runtime(folder, node.netns, NEWER_CONTAINERD);
  relay = new Relay(join(dir, 'relay.sock'), runtime.nriSocket);
  runtime.install(LIST, conflist('cbr0', [bridge(node), vxseal(node)]));
  await runtime.start();
  runtime.importImage(makeImage(makeFolder('image')));
  await relay.open();
  await restartAgent(() => configure(relay.path));
  await untilInformer({ connected: true });
}, 300_000);

afterAll(async () => {
  await relay?.close();
  await runtime?.close();
  await stage?.close();
  if (dir !== '') rmSync(dir, { recursive: true, force: true });
}, LIMIT_MS);

afterEach(async () => {
  // Whatever a failed test has left between the two.
  await relay.close();
  await relay.open();
  for (const pod of running) await end(pod).catch(() => undefined);
  running.clear();
}, LIMIT_MS);

function makeFolder(name: string): string {
  const path = join(dir, name);
  mkdirSync(path);
  return path;
}

function configure(nriSocket: string): void {
  const { configFile } = node.layout;
  const config = parse(readFileSync(configFile, 'utf8')) as Record<string, unknown>;
  writeFileSync(configFile, stringify({ ...config, cni: { nriSocket } }));
}

/** @param meanwhile while there is no agent */
async function restartAgent(meanwhile: () => unknown): Promise<void> {
  await endAgent(node.layout, 'SIGTERM');
  await meanwhile();
  await waitAnswering(node.layout, startAgent(node.layout));
}

async function start(): Promise<Pod> {
  started += 1;
  const name = `web-${started}`;
  const labels = { app: 'web', number: String(started) };
  const sandbox = await runtime.cri.runSandbox({
    name,
    namespace: 'shop',
    uid: `uid-${started}`,
    labels,
    annotations: { note: `n${started}` },
  });
  runtime.note((await runtime.cri.details(sandbox.id)).netnsPath);
  const pod = { sandbox, name, labels };
  running.add(pod);
  return pod;
}

async function end(pod: Pod): Promise<void> {
  await runtime.cri.stopSandbox(pod.sandbox.id);
  await runtime.cri.removeSandbox(pod.sandbox.id);
  running.delete(pod);
}

const podsOfAgent = async (): Promise<readonly PodStatus[]> => (await node.status()).pods;

/** Of a pod that the agent holds; one that starts answers before it has looked at its pods again. */
function labelsOf(pod: Pod): Promise<PodStatus['labels']> {
  return until(`the agent has pod ${pod.name}`, 30_000, async () => {
    return (await podsOfAgent()).find(({ name }) => name === pod.name)?.labels;
  });
}

const untilLabelled = (...pods: readonly Pod[]): Promise<true> => {
  let last = '';
  return until(
    'labels are told',
    30_000,
    async () => {
      const found = await Promise.all(pods.map(labelsOf));
      last = JSON.stringify(found);
      return found.every((labels, i) => labels.app === 'web' && labels.number === pods[i]?.labels.number)
        ? true
        : undefined;
    },
    () => `${last}\n${logTail(node.layout)}`,
  );
};

async function untilInformer(wanted: { readonly connected: boolean }): Promise<void> {
  let last = '';
  await until(
    `the informer is ${wanted.connected ? '' : 'not '}connected`,
    30_000,
    async () => {
      const { informer } = await node.status();
      last = JSON.stringify(informer);
      return informer.connected === wanted.connected ? true : undefined;
    },
    () => `${last}\n${logTail(node.layout)}`,
  );
}

test(
  'a pod that starts has its labels, in the API and in `vxseal pods --json`',
  async () => {
    const pod = await start();
    await untilLabelled(pod);
    const cli = join(packageRoot(), 'build/agent/cli/vxseal.js');
    const said = run([process.execPath, cli, 'pods', '--json', '--socket', node.socket]);
    expect(JSON.parse(said)).toMatchObject({ pods: [{ name: pod.name, labels: pod.labels, ready: true }] });
    const saved = readFileSync(join(node.layout.runDir, 'pods.json'), 'utf8');
    expect(JSON.parse(saved)).toMatchObject({
      pods: [{ runtime: { uid: `uid-${started}`, annotations: { note: `n${started}` } } }],
    });
    await end(pod);
    expect(await podsOfAgent()).toEqual([]);
  },
  LIMIT_MS,
);

test(
  'an agent that starts later is told what is there',
  async () => {
    await restartAgent(() => configure(''));
    const pods = [await start(), await start()];
    expect((await podsOfAgent()).map(({ labels }) => labels)).toEqual([{}, {}]);
    await restartAgent(() => configure(relay.path));
    await untilLabelled(...pods);
    // What was told once stands while nobody tells it again.
    await relay.close();
    await restartAgent(() => undefined);
    await untilLabelled(...pods);
    expect((await node.status()).informer).toMatchObject({ connected: false, refused: [] });
    await relay.open();
    await untilInformer({ connected: true });
  },
  LIMIT_MS,
);

test(
  'parted from the runtime pods come as ever, and their labels with the next connection',
  async () => {
    await relay.close();
    await untilInformer({ connected: false });
    const pod = await start();
    expect(await labelsOf(pod)).toEqual({});
    const { informer, readiness } = await node.status();
    expect(informer.reason).not.toBe('');
    expect(readiness.ready).toBe(true);
    await relay.open();
    await untilLabelled(pod);
  },
  LIMIT_MS,
);

test(
  'the runtime ends, or is killed, and starts: the agent finds back, and old and new pods have their labels',
  async () => {
    const pods = [await start()];
    await untilLabelled(...pods);
    for (const how of ['SIGTERM', 'SIGKILL'] as const) {
      await runtime.end(how);
      await untilInformer({ connected: false });
      await runtime.start();
      await untilInformer({ connected: true });
      pods.push(await start());
      await untilLabelled(...pods);
    }
  },
  LIMIT_MS,
);

test(
  'garbage in the place of the runtime is counted, and costs no pod anything',
  async () => {
    const before = relay.connections;
    for (const garbage of [UNREADABLE, OVERSIZE]) {
      await relay.close();
      await relay.open(garbage.bytes);
      await until(`${garbage.reason} is counted`, 30_000, async () => {
        const { refused } = (await node.status()).informer;
        return refused.some(({ reason, count }) => reason === garbage.reason && count > 1) ? true : undefined;
      });
    }
    expect(relay.connections - before).toBeGreaterThanOrEqual(4);
    const pod = await start();
    expect(await labelsOf(pod)).toEqual({});
    await relay.close();
    await relay.open();
    await untilLabelled(pod);
    expect(logTail(node.layout, 200)).not.toContain('"level":"error"');
  },
  LIMIT_MS,
);

test(
  'a drop-in beside the list is taken by a runtime that runs, and so is its removal',
  async () => {
    runtime.install(LIST, conflist('cbr0', [bridge(node)]));
    const list = readFileSync(join(runtime.confDir, LIST), 'utf8');
    const cli = join(packageRoot(), 'build/agent/cli/vxseal.js');
    const cni = (...args: string[]) =>
      run([process.execPath, cli, 'cni', ...args, '--dir', runtime.confDir, '--socket', node.socket]);
    const untilPlugins = (...wanted: string[]): Promise<true> => {
      let last: string[] = [];
      return until(
        `the runtime has read ${wanted.join(', ')}`,
        10_000,
        async () => {
          last = await runtime.cri.plugins();
          return last.join() === wanted.join() ? true : undefined;
        },
        () => last.join(),
      );
    };
    await untilPlugins('bridge');
    // Control: without us the runtime's pods are none of ours.
    const without = await start();
    expect(await podsOfAgent()).toEqual([]);
    cni('install', '--drop-in', '--bin-dir', runtime.binDir);
    expect(readFileSync(join(runtime.confDir, LIST), 'utf8')).toBe(list);
    await untilPlugins('bridge', 'vxseal');
    const pod = await start();
    expect((await podsOfAgent()).map(({ name }) => name)).toEqual([pod.name]);
    await untilLabelled(pod);
    await Promise.all([end(pod), end(without)]);
    expect(await podsOfAgent()).toEqual([]);
    cni('remove');
    await untilPlugins('bridge');
    const after = await start();
    expect(await podsOfAgent()).toEqual([]);
    await end(after);
  },
  LIMIT_MS,
);
