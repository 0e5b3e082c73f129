// A pod of mode off on a lab with real agents: it has its network as the other plugins made it, and can pass for no
// other pod, neither towards pods of its node nor through the tunnel, also after a crash of the agent.
import { readFileSync, writeFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { endAgent, START_TIMEOUT_MS, startAgent, waitAnswering } from '../lab/agents';
import { drops, risen, waitUp } from '../lab/api';
import { inNetns, run, until } from '../lab/command';
import { Chain, type Container, type Json } from './chain';
import { bridge, conflist, Stage, type StageNode, vxseal } from './stage';

const PORT = 7000;
const LIMIT_MS = 180_000;
const CASTS = 10;

interface Pod extends Container {
  readonly netns: string;
  readonly chain: Chain;
  readonly result: Json;
  readonly ip: string;
}

let stage: Stage;
let node: StageNode;
let [victim, near, far, impostor]: Pod[] = [];

const there = (pod: Pod | undefined): Pod => {
  if (pod === undefined) throw new Error('no such pod');
  return pod;
};

async function add(at: StageNode, more: object = {}): Promise<Pod> {
  const chain = new Chain(conflist('cbr0', [bridge(at), { ...vxseal(at), ...more }]), at.netns);
  const container = stage.container(at);
  const result = await chain.add(container);
  const ip = String((result.ips as { address: string }[])[0]?.address).split('/')[0] ?? '';
  return { ...container, chain, result, ip };
}

async function restart(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  await endAgent(node.layout, signal);
  await waitAnswering(node.layout, startAgent(node.layout));
  await waitUp(node.layout, ['node2'], START_TIMEOUT_MS);
}

beforeAll(async () => {
  stage = await Stage.open(2);
  node = stage.node(1);
  const { configFile } = node.layout;
  const config = parse(readFileSync(configFile, 'utf8'));
  writeFileSync(configFile, stringify({ ...config, adoption: { allow: ['off'] } }), { mode: 0o600 });
  await restart('SIGTERM');
  victim = await add(node);
  near = await add(node);
  far = await add(stage.node(2));
  impostor = await add(node, { mode: 'off' });
  for (const pod of [near, far]) await stage.context.endpoint(pod.netns).collect(PORT);
}, LIMIT_MS);
afterAll(() => stage?.close(), LIMIT_MS);

/** Datagrams of the pod that is off to each of the two, under that address. @returns how many arrived at each */
async function send(source: string, word: string): Promise<number[]> {
  const from = there(impostor).netns;
  const receivers = [near, far].map(there);
  run(inNetns(from, ['ip', 'address', 'replace', `${source}/32`, 'dev', 'eth0']));
  for (const { ip } of receivers) {
    // To the neighbour on the bridge past the node's routing.
    const way = ip === near?.ip ? [] : ['via', node.gateway];
    run(inNetns(from, ['ip', 'route', 'replace', ip, ...way, 'dev', 'eth0', 'src', source]));
  }
  for (let count = 0; count < CASTS; count++)
    for (const { ip } of receivers)
      await stage.context.endpoint(from).cast(ip, PORT, Buffer.from(`${word} ${count}`));
  return Promise.all(
    receivers.map(async ({ netns }) => {
      const seen = await stage.context.endpoint(netns).collected(PORT);
      return seen.filter((text) => text.startsWith(word)).length;
    }),
  );
}

async function isHeld(word: string): Promise<void> {
  const [{ ip: own }, { ip: other }] = [there(impostor), there(victim)];
  const before = await drops(node.layout);
  await send(other, `forged ${word}`);
  // What was sent before it has arrived, or never will, once this has.
  await until('what it says for itself arrives', 10_000, async () =>
    (await send(own, `own ${word}`)).every((count) => count > 0) ? true : undefined,
  );
  expect(await Promise.all([near, far].map((pod) => heard(there(pod), `forged ${word}`)))).toEqual([0, 0]);
  const refused = risen(before, await drops(node.layout)).get('spoofed_source');
  expect(refused).toBeGreaterThanOrEqual(2 * CASTS);
}

const heard = async ({ netns }: Pod, word: string): Promise<number> =>
  (await stage.context.endpoint(netns).collected(PORT)).filter((text) => text.startsWith(word)).length;

test(
  'it speaks for itself, to its node and through the tunnel, and for nobody else',
  async () => {
    expect((await node.status()).pods.map(({ addresses }) => addresses).sort()).toEqual(
      [[there(victim).ip], [there(near).ip]].sort(),
    );
    await isHeld('at first');
  },
  LIMIT_MS,
);

test(
  'also after the agent was killed; at its end, DEL, it says nothing at all',
  async () => {
    await restart('SIGKILL');
    await isHeld('later');
    const { chain, ...pod } = there(impostor);
    await chain.check(pod, pod.result);
    await chain.call('DEL', { ...vxseal(node), mode: 'off' }, pod, pod.result);
    const before = await drops(node.layout);
    expect(await send(pod.ip, 'at the end')).toEqual([0, 0]);
    expect(risen(before, await drops(node.layout)).get('not_configured')).toBeGreaterThanOrEqual(2 * CASTS);
    await chain.del(pod, pod.result);
  },
  LIMIT_MS,
);
