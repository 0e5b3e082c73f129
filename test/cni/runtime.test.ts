// Two real container runtimes (Debian's containerd, through the CRI) on two nodes of a lab, pods through the chain
// bridge + vxseal from an image made by hand: what holds for their traffic, and what is left when anything ends.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { endAgent, logTail, startAgent, waitAnswering } from '../lab/agents';
import { inNetns, tryRun, until } from '../lab/command';
import { identify, signal } from '../lab/processes';
import { sniff } from '../lab/sniffer';
import { Chain, type Conflist } from './chain';
import type { Sandbox } from './cri';
import { IMAGE, makeImage } from './image';
import { Runtime } from './runtime';
import { bridge, conflist, Stage, type StageNode, vxseal } from './stage';

const PORT = 7000;
const LIMIT_MS = 120_000;

interface Pod {
  readonly node: StageNode;
  readonly runtime: Runtime;
  readonly sandbox: Sandbox;
  readonly name: string;
  readonly ip: string;
  readonly netnsPath: string;
  /** As the lab's workers take it. */
  readonly netns: string;
  readonly pid: number;
}

let stage: Stage;
let dir = '';
let started = 0;
const runtimes: Runtime[] = [];
/** Started and not ended: what a failed test leaves must not fail the next. */
const running = new Set<Pod>();
/** Namespaces in which something answers on PORT. */
const echoing = new Set<string>();

const listOf = (node: StageNode): Conflist => conflist('cbr0', [bridge(node), vxseal(node)]);

beforeAll(async () => {
  dir = mkdtempSync('/run/vxc-');
  stage = await Stage.open(2);
  const archive = makeImage(makeFolder('image'));
  for (const node of stage.nodes) {
    const runtime = new Runtime(makeFolder(`node${node.index}`), node.netns);
    runtimes.push(runtime);
    runtime.install('10-cbr0.conflist', listOf(node));
    await runtime.start();
    runtime.importImage(archive);
  }
}, 300_000);

afterAll(async () => {
  await stage?.context.close();
  for (const runtime of runtimes) await runtime.close();
  await stage?.close();
  if (dir !== '') rmSync(dir, { recursive: true, force: true });
}, LIMIT_MS);

afterEach(async () => {
  for (const pod of running) await end(pod).catch(() => undefined);
  running.clear();
}, LIMIT_MS);

function makeFolder(name: string): string {
  const path = join(dir, name);
  mkdirSync(path);
  return path;
}

/** @param index of the node, from 1. */
function runtimeOf(index: number): Runtime {
  const runtime = runtimes[index - 1];
  if (runtime === undefined) throw new Error(`no runtime ${index}`);
  return runtime;
}

async function start(index: number): Promise<Pod> {
  const [node, runtime] = [stage.node(index), runtimeOf(index)];
  started += 1;
  const name = `web-${started}`;
  const sandbox = await runtime.cri.runSandbox({ name, namespace: 'shop', uid: `uid-${started}` });
  const { pid, netnsPath } = await runtime.cri.details(sandbox.id);
  runtime.note(netnsPath);
  const { ip } = await runtime.cri.status(sandbox.id);
  const pod = { node, runtime, sandbox, name, ip, netnsPath, netns: basename(netnsPath), pid };
  running.add(pod);
  return pod;
}

async function end(pod: Pod): Promise<void> {
  const { runtime, sandbox, netns } = pod;
  await stage.context.drop(netns);
  await runtime.cri.stopSandbox(sandbox.id);
  await runtime.cri.removeSandbox(sandbox.id);
  running.delete(pod);
}

/** Pods, hooks on devices that are no more, and entries of the maps that hold pods. */
async function left(node: StageNode) {
  const { pods, hooks, maps } = await node.status();
  const entries = (name: string): number => maps.find(({ map }) => map === name)?.entries ?? -1;
  const podHooks = hooks.filter(({ program }) => program === 'steer' || program === 'gate');
  return {
    pods: pods.map(({ name }) => name),
    podHooks: podHooks.length,
    missing: hooks.filter(({ mode }) => mode === '').length,
    entries: [entries('pods'), entries('endpoints')],
  };
}
const NOTHING = { pods: [], podHooks: 0, missing: 0, entries: [0, 0] };

/** The agent notices by itself what it was not told: at its next pass. */
const untilLeft = (node: StageNode, wanted: Awaited<ReturnType<typeof left>>): Promise<true> => {
  let last = '';
  return until(
    `node ${node.index} holds ${JSON.stringify(wanted)}`,
    20_000,
    async () => {
      last = JSON.stringify(await left(node).catch(String));
      return last === JSON.stringify(wanted) ? true : undefined;
    },
    () => last,
  );
};

async function restartAgent({ layout }: StageNode): Promise<void> {
  await waitAnswering(layout, startAgent(layout));
}

const holds = (pod: Pod) => ({ pods: [pod.name], podHooks: 2, missing: 0, entries: [1, 1] });

async function reaches(from: Pod, to: Pod): Promise<void> {
  const { context } = stage;
  if (!echoing.has(to.netns)) await context.endpoint(to.netns).echo(PORT);
  echoing.add(to.netns);
  expect(await context.endpoint(from.netns).exchange('tcp', to.ip, PORT, context.payload(50_000))).toBe(true);
}

test(
  'pods of two runtimes reach each other from their images, and the wire shows none of it',
  async () => {
    const [a, b] = [await start(1), await start(2)];
    const { context } = stage;
    const marker = context.marker.toString('hex');
    const wire = context.endpoint(stage.lab.wireNetns);
    const sniffer = await sniff(stage.lab, wire);
    const server = await b.runtime.cri.runContainer(b.sandbox, 'server', IMAGE, [
      '/bin/sh',
      '-c',
      'while true; do nc -l -p 8000 -e cat; done',
    ]);
    // What a container says in its first moment, before anything was tried.
    const client = await a.runtime.cri.runContainer(a.sandbox, 'client', IMAGE, [
      '/bin/sh',
      '-c',
      `while true; do echo ${marker} | nc -u -w 1 ${b.ip} 9000; done`,
    ]);
    const talk = await until('the container answers', 20_000, async () => {
      const said = await a.runtime.cri.exec(client, [
        'sh',
        '-c',
        `(for i in $(echo 1 2 3 4 5 6 7 8); do echo ${marker}; done; sleep 1) | nc -w 2 ${b.ip} 8000`,
      ]);
      return said.out.includes(marker) ? said : undefined;
    });
    expect(talk.out.match(new RegExp(marker, 'g'))).toHaveLength(8);
    expect(
      (await a.runtime.cri.exec(client, ['ping', '-c', '2', '-W', '2', '-p', marker.slice(0, 2), b.ip])).code,
    ).toBe(0);
    await reaches(a, b);
    await reaches(b, a);
    const inTunnel = await sniffer.stop();
    expect(inTunnel.filter((frame) => frame.includes(marker) || frame.includes(context.marker))).toEqual([]);
    expect(inTunnel.length).toBeGreaterThan(100);

    // Control: between the nodes themselves, outside the overlay, the same sniffer sees the marker.
    const control = await sniff(stage.lab, wire);
    const [node1, node2] = [a.node.layout, b.node.layout];
    await context.endpoint(node2.netns).echo(PORT);
    await context.endpoint(node1.netns).exchange('udp', node2.vtep4, PORT, context.payload(500));
    expect((await control.stop()).filter((frame) => frame.includes(context.marker)).length).toBeGreaterThan(
      1,
    );

    expect((await b.runtime.cri.exec(server, ['true'])).code).toBe(0);
    expect((await stage.node(1).status()).pods).toMatchObject([
      { name: a.name, namespace: 'shop', addresses: [a.ip], mtuBytes: 1408, ready: true },
    ]);
    await Promise.all([end(a), end(b)]);
    await untilLeft(a.node, NOTHING);
    await untilLeft(b.node, NOTHING);
  },
  LIMIT_MS,
);

test(
  'a packet of the full MTU passes, one byte more does not leave the pod',
  async () => {
    const [a, b] = [await start(1), await start(2)];
    const { context } = stage;
    await context.endpoint(b.netns).echo(PORT);
    const from = context.endpoint(a.netns);
    for (const bytes of [1, 1000, 1379, 1380])
      expect({ bytes, ok: await from.exchange('udp', b.ip, PORT, context.payload(bytes)) }).toEqual({
        bytes,
        ok: true,
      });
    const ping = (bytes: number) =>
      tryRun(inNetns(a.netns, ['ping', '-M', 'do', '-c', '1', '-W', '2', '-s', String(bytes), b.ip]));
    expect(ping(1380).stdout).toContain('1 received');
    expect(ping(1381).stderr + ping(1381).stdout).toContain('mtu=1408');
    await Promise.all([end(a), end(b)]);
  },
  LIMIT_MS,
);

test(
  'the runtime is killed and started: pods live on, then go without a trace',
  async () => {
    const [a, b] = [await start(1), await start(2)];
    await reaches(a, b);
    await a.runtime.end('SIGKILL');
    await reaches(b, a);
    await a.runtime.start();
    await untilLeft(a.node, holds(a));
    expect((await a.runtime.cri.status(a.sandbox.id)).ready).toBe(true);
    await reaches(a, b);
    await Promise.all([end(a), end(b)]);
    await untilLeft(a.node, NOTHING);
    await untilLeft(b.node, NOTHING);
  },
  LIMIT_MS,
);

test(
  "a pod's process is killed: its end by the runtime leaves nothing",
  async () => {
    const a = await start(1);
    const process = identify(a.pid);
    if (process === undefined) throw new Error('the pod has no process');
    signal(process, 'SIGKILL');
    await until('the runtime notices', 20_000, async () =>
      (await a.runtime.cri.status(a.sandbox.id)).ready ? undefined : true,
    );
    await end(a);
    await untilLeft(a.node, NOTHING);
  },
  LIMIT_MS,
);

test(
  'pods end and begin while the agent is down',
  async () => {
    const [a, b, kept] = [await start(1), await start(2), await start(2)];
    const { context } = stage;
    await endAgent(a.node.layout, 'SIGKILL');
    // Programs go on without it.
    await reaches(a, b);
    await reaches(b, a);
    const refused = runtimeOf(1).cri.runSandbox({ name: 'early', namespace: 'shop', uid: 'early' });
    await expect(refused).rejects.toThrow(/vxseal agent at .* cannot be reached/);
    await end(a);
    await restartAgent(a.node);
    await untilLeft(a.node, NOTHING);

    await endAgent(b.node.layout, 'SIGTERM');
    await end(b);
    await restartAgent(b.node);
    await untilLeft(b.node, holds(kept));
    const again = await start(1);
    await until('peers are back', 30_000, async () =>
      (await again.node.status()).peers.every(({ state }) => state === 'up') ? true : undefined,
    );
    await reaches(again, kept);
    expect(context.lab.nodes.map((node) => logTail(node, 200)).join()).not.toContain('"level":"error"');
    await Promise.all([end(again), end(kept)]);
    await untilLeft(a.node, NOTHING);
    await untilLeft(b.node, NOTHING);
  },
  LIMIT_MS,
);

test(
  'CHECK and GC know the pods of the runtime',
  async () => {
    const [a, gone] = [await start(1), await start(1)];
    const chain = new Chain(listOf(a.node), a.node.netns);
    const plugin = vxseal(a.node);
    const call = (command: string, pod: Pod, more = {}) =>
      chain.call(command, plugin, { id: pod.sandbox.id, netnsPath: pod.netnsPath }, { ips: [] }, more);
    await call('CHECK', a);
    await call('CHECK', gone);
    const attachments = [{ containerID: a.sandbox.id, ifname: 'eth0' }];
    await call('GC', a, { 'cni.dev/valid-attachments': attachments });
    await call('CHECK', a);
    await expect(call('CHECK', gone)).rejects.toMatchObject({ code: 3 });
    await untilLeft(a.node, holds(a));
    await Promise.all([end(a), end(gone)]);
    await untilLeft(a.node, NOTHING);
  },
  LIMIT_MS,
);
