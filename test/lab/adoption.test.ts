// A cluster on its way into the overlay: node 3 has no agent at first. What a permissive pod says to it goes in clear,
// counted; a strict pod's is dropped; once node 3 announces itself everything is ESP, and whatever becomes of node 3's
// keys and records afterwards, nothing is in clear again.
import { randomBytes } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { NODES_TOPIC } from '../../agent/core/announcement';
import {
  attachPod,
  endAgent,
  issueIdentities,
  logTail,
  START_TIMEOUT_MS,
  startAgent,
  vxsealArgv,
  waitAnswering,
  writeConfig,
} from './agents';
import { drops, risen, status, waitUp } from './api';
import { ipBatch, start, until } from './command';
import { Context } from './context';
import { buildMachines } from './lab';
import type { LabLayout, NodeLayout, PodLayout } from './layout';
import { sniff } from './sniffer';
import { teardown } from './teardown';

const NAME = `a${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 180_000;
const PORT = 7400;
const SHORT_MS = 700;
const ROUNDS = 5;

let lab: LabLayout;
let context: Context;
let [one, two, three]: NodeLayout[] = [];
let permissive: PodLayout;
let strict: PodLayout;

const podOf = (node: NodeLayout, index: number): PodLayout => {
  const pod = node.pods[index];
  if (pod === undefined) throw new Error(`no pod ${index + 1} on ${node.name}`);
  return pod;
};
const nodeAt = (index: number): NodeLayout => context.node(index);

function configure(node: NodeLayout): void {
  writeConfig(lab, node);
  const config = parse(readFileSync(node.configFile, 'utf8'));
  config.identity.revoked = join(node.identityDir, 'revoked');
  // Not on node 3 itself: its own range is never in clear.
  if (node !== context.node(3))
    config.adoption = { permissivePrefixes: context.node(3).prefixes, allow: ['permissive'] };
  writeFileSync(node.configFile, stringify(config), { mode: 0o600 });
}

async function run(node: NodeLayout): Promise<void> {
  await waitAnswering(node, startAgent(node));
}

async function attach(node: NodeLayout, pod: PodLayout, mode: string): Promise<void> {
  const argv = ['pods', 'attach', '--netns', join('/run/netns', pod.netns), '--name', pod.name];
  const outcome = await start(vxsealArgv(node, [...argv, '--mode', mode]));
  if (outcome.status !== 0) throw new Error(`${pod.name}: ${outcome.stderr}`);
}

/** Node 3's network as it was before: plain routes both ways, behind those that an agent makes. */
function addPlainRoutes(): void {
  for (const other of [one, two] as NodeLayout[]) {
    ipBatch(other.netns, [`route add ${three?.prefixes[0]} via ${three?.vtep4} dev eth0 metric 500`]);
    ipBatch(three?.netns ?? '', [`route add ${other.prefixes[0]} via ${other.vtep4} dev eth0 metric 500`]);
  }
}

beforeAll(async () => {
  lab = buildMachines(NAME, 3, 2);
  context = new Context(lab);
  [one, two, three] = lab.nodes as [NodeLayout, NodeLayout, NodeLayout];
  [permissive, strict] = [podOf(nodeAt(1), 0), podOf(nodeAt(1), 1)];
  issueIdentities(lab);
  for (const node of lab.nodes) configure(node);
  addPlainRoutes();
  try {
    for (const node of [nodeAt(1), nodeAt(2)]) await run(node);
    await waitUp(nodeAt(1), ['node2'], START_TIMEOUT_MS);
    await waitUp(nodeAt(2), ['node1'], START_TIMEOUT_MS);
  } catch (error) {
    throw new Error([nodeAt(1), nodeAt(2)].map((node) => logTail(node)).join('\n'), { cause: error });
  }
  await attach(nodeAt(1), permissive, 'permissive');
  await attach(nodeAt(1), strict, 'strict');
  expect((await attachPod(nodeAt(2), podOf(nodeAt(2), 0))).status).toBe(0);
  for (const node of lab.nodes) await context.endpoint(podOf(node, 0).netns).echo(PORT);
  for (const pod of [permissive, strict]) await context.endpoint(pod.netns).collect(PORT + 1);
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

interface Seen {
  readonly answered: number;
  /** Frames on the wire with the marker of this run in them. */
  readonly inClear: number;
  readonly esp: number;
  readonly dropped: ReadonlyMap<string, number>;
  readonly sent: number;
  readonly received: number;
}

const ESP_PORT_AT = 36;

/** Datagrams to a pod's echo, and everything that this left behind: on the wire, in counters, in answers. */
async function talk(from: PodLayout, to: PodLayout): Promise<Seen> {
  const [before, counted] = [await drops(nodeAt(1)), (await status(nodeAt(1))).adoption];
  const marker = randomBytes(16);
  const sniffer = await sniff(lab, context.endpoint(lab.wireNetns));
  let answered = 0;
  for (let round = 0; round < ROUNDS; round++)
    if (await context.endpoint(from.netns).exchange('udp', to.address, PORT, marker, SHORT_MS)) answered += 1;
  const frames = await sniffer.stop();
  const after = (await status(nodeAt(1))).adoption;
  return {
    answered,
    inClear: frames.filter((frame) => frame.includes(marker)).length,
    esp: frames.filter((frame) => frame.length > ESP_PORT_AT + 2 && frame.readUInt16BE(ESP_PORT_AT) === 4500)
      .length,
    dropped: risen(before, await drops(nodeAt(1))),
    sent: after.sent.packets - counted.sent.packets,
    received: after.received.packets - counted.received.packets,
  };
}

/** Node 3 may still send under keys that are gone here: that is refused besides. */
function expectRefused({ answered, inClear, sent, received, dropped }: Seen): void {
  expect({ answered, inClear, sent, received }).toEqual({ answered: 0, inClear: 0, sent: 0, received: 0 });
  expect(dropped.get('no_peer')).toBe(ROUNDS);
}

test(
  '1 node 3 without an agent: in clear for the permissive pod, counted and shown',
  async () => {
    const to = podOf(nodeAt(3), 0);
    await until('the prefix is open', 20_000, async () =>
      (await talk(permissive, to)).answered === ROUNDS ? true : undefined,
    );
    const seen = await talk(permissive, to);
    expect(seen).toMatchObject({ answered: ROUNDS, inClear: 2 * ROUNDS, sent: ROUNDS, received: ROUNDS });
    expect(seen.dropped.size).toBe(0);
    const shown = await start(vxsealArgv(nodeAt(1), ['status']));
    expect(shown.stdout).toMatch(
      /adoption +1 pod permissive towards 10\.244\.3\.0\/24; in clear: \d+ packets/,
    );
    const pods = await start(vxsealArgv(nodeAt(1), ['pods', 'list']));
    expect(pods.stdout).toMatch(/pod1-1 +ready +permissive/);
    expect(pods.stdout).toMatch(/pod1-2 +ready +strict/);
  },
  TIMEOUT_MS,
);

test(
  '2 the same pod and node 2: ESP only',
  async () => {
    const seen = await talk(permissive, podOf(nodeAt(2), 0));
    expect(seen).toMatchObject({ answered: ROUNDS, inClear: 0, sent: 0, received: 0 });
    expect(seen.esp).toBeGreaterThanOrEqual(2 * ROUNDS);
  },
  TIMEOUT_MS,
);

test(
  '3 a strict pod and node 3: dropped, both ways, each by its reason',
  async () => {
    const remote = podOf(nodeAt(3), 0);
    expectRefused(await talk(strict, remote));
    const before = await drops(nodeAt(1));
    const [open, shut] = [Buffer.from('for the permissive'), Buffer.from('for the strict')];
    await context.endpoint(remote.netns).cast(strict.address, PORT + 1, shut);
    await context.endpoint(remote.netns).cast(permissive.address, PORT + 1, open);
    await until('the later one arrives', 5000, async () =>
      (await context.endpoint(permissive.netns).collected(PORT + 1)).includes(open.toString())
        ? true
        : undefined,
    );
    expect(await context.endpoint(strict.netns).collected(PORT + 1)).toEqual([]);
    expect(risen(before, await drops(nodeAt(1)))).toEqual(new Map([['naked_inner', 1]]));
  },
  TIMEOUT_MS,
);

test(
  '4 node 3 joins: both pods reach it through the tunnel, without a change anywhere else',
  async () => {
    await run(nodeAt(3));
    await waitUp(nodeAt(1), ['node2', 'node3'], START_TIMEOUT_MS);
    await waitUp(nodeAt(3), ['node1', 'node2'], START_TIMEOUT_MS);
    expect((await attachPod(nodeAt(3), podOf(nodeAt(3), 0))).status).toBe(0);
    for (const pod of [permissive, strict]) {
      const seen = await talk(pod, podOf(nodeAt(3), 0));
      expect(seen).toMatchObject({ answered: ROUNDS, inClear: 0, sent: 0, received: 0 });
      expect(seen.esp).toBeGreaterThanOrEqual(2 * ROUNDS);
    }
  },
  TIMEOUT_MS,
);

test(
  '5 node 3’s keys go away: dropped, not in clear',
  async () => {
    writeFileSync(join(nodeAt(1).identityDir, 'revoked'), 'node node3\n');
    await until('node 3 is revoked on node 1', 90_000, async () => {
      const peer = (await status(nodeAt(1))).peers.find(({ node }) => node === 'node3');
      return peer?.state === 'up' ? undefined : true;
    });
    expectRefused(await talk(permissive, podOf(nodeAt(3), 0)));
  },
  TIMEOUT_MS,
);

test(
  '6 node 3’s records are gone as well, and the agent starts anew: still dropped',
  async () => {
    await endAgent(nodeAt(3), 'SIGTERM');
    await endAgent(nodeAt(1), 'SIGKILL');
    rmSync(join(nodeAt(1).identityDir, 'revoked'));
    rmSync(join(nodeAt(1).stateDir, 'topology'), { recursive: true, force: true });
    rmSync(join(lab.busDir, NODES_TOPIC, 'node3'));
    await run(nodeAt(1));
    await waitUp(nodeAt(1), ['node2'], START_TIMEOUT_MS);
    const now = await status(nodeAt(1));
    expect(now.peers.map(({ node }) => node)).toEqual(['node2']);
    expect(now.adoption).toMatchObject({ permissivePods: 1, adoptedPrefixes: nodeAt(3).prefixes });
    expectRefused(await talk(permissive, podOf(nodeAt(3), 0)));
  },
  TIMEOUT_MS,
);
