// The two machines that are measured, and who runs between them. There are two cables of the same kind, one for
// vxseal's underlay and one for all others, so that no one's hooks or offloads touch another's packets.
// Built from the lab's parts and removed by the lab's teardown. Measures nothing.
import { readFileSync, writeFileSync } from 'node:fs';
import {
  attachPods,
  issueIdentities,
  startAgent,
  waitAllUp,
  waitAnswering,
  writeConfig,
} from '../lab/agents';
import { inNetns, ipBatch, run, tryRun, until } from '../lab/command';
import { buildMachines } from '../lab/lab';
import { type LabLayout, type NodeLayout, PLAIN_SHAPE } from '../lab/layout';
import { labExists, teardown } from '../lab/teardown';
import {
  addOthers,
  addPlains,
  type Contestant,
  clearAddress,
  ESP_NEEDS,
  ends,
  firstPod,
  hasEsp,
  pairs,
} from './others';

export interface SceneOptions {
  readonly name: string;
  readonly underlayMtuBytes: number;
  /** Of those that are to be had. */
  readonly wants: (name: string) => boolean;
  /** The configuration's underlay section, apart from the device, e.g. { tune: 'off' }. */
  readonly underlay: Readonly<Record<string, string>>;
}

const QUEUE_PACKETS = 1000;
const tc = (netns: string, text: string): string => run(inNetns(netns, ['tc', ...text.split(' ')]));

/**
 * A cable from each node to a switch of two ports that hands on a copy of every packet. So a packet is done for its
 * sender where it left the sender's machine, as with a network card: between the ends of one veth it would be done
 * only in the receiver's hands, and the sender's next packets would be made (and sealed) on the receiver's core.
 */
function addCable(
  lab: LabLayout,
  name: string,
  mtuBytes: number,
  addresses: (node: NodeLayout) => string[],
): void {
  const port = (node: NodeLayout): string => `${name}-${node.index}`;
  const queues = ['numtxqueues', '2', 'numrxqueues', '2'];
  for (const node of lab.nodes) {
    run([
      // From within: older kernels want the name free in the namespace that asks, too.
      ...['ip', '-n', node.netns, 'link', 'add', name, ...queues, 'type', 'veth'],
      ...['peer', 'name', port(node), 'netns', lab.wireNetns, ...queues],
    ]);
    ipBatch(lab.wireNetns, [`link set ${port(node)} mtu ${mtuBytes} up`]);
    ipBatch(node.netns, [
      `link set ${name} mtu ${mtuBytes} up`,
      ...addresses(node).map((address) => `addr add ${address} dev ${name}`),
    ]);
    // Without a queueing discipline the ring of a veth overflows under bursts; a real device has both.
    tc(node.netns, `qdisc replace dev ${name} root pfifo limit ${QUEUE_PACKETS}`);
  }
  for (const [from, to] of pairs(lab)) {
    tc(lab.wireNetns, `qdisc replace dev ${port(to)} root pfifo limit ${QUEUE_PACKETS}`);
    tc(lab.wireNetns, `qdisc add dev ${port(from)} clsact`);
    const all = `filter add dev ${port(from)} ingress u32 match u32 0 0`;
    tc(lab.wireNetns, `${all} action mirred egress mirror dev ${port(to)}`);
  }
}

/** The lab's wire is a bridge with a sniffer's place in it; here every hop costs. */
function rewire(lab: LabLayout, mtuBytes: number): void {
  for (const node of lab.nodes) ipBatch(node.netns, ['link del eth0']);
  addCable(lab, 'eth0', mtuBytes, (node) => [`${node.vtep4}/24`]);
  for (const node of lab.nodes) {
    // veth never completes a checksum; with tx off it behaves like a real device.
    run(inNetns(node.netns, ['ethtool', '-K', 'eth0', 'tx', 'off', 'gro', 'on']));
    for (const pod of node.pods) {
      ipBatch(node.netns, [`link set ${pod.hostDevice} mtu ${mtuBytes}`]);
      ipBatch(pod.netns, [`link set eth0 mtu ${mtuBytes}`]);
    }
  }
  addCable(lab, 'clear0', mtuBytes, (node) => [`${clearAddress(node)}/24`]);
}

async function startVxseal(lab: LabLayout, underlay: Readonly<Record<string, string>>): Promise<number> {
  issueIdentities(lab);
  for (const node of lab.nodes) {
    writeConfig(lab, node);
    if (Object.keys(underlay).length > 0) addUnderlaySettings(node, underlay);
  }
  for (const [node, id] of lab.nodes.map((node) => [node, startAgent(node)] as const))
    await waitAnswering(node, id);
  await waitAllUp(lab);
  await attachPods(lab);
  return Number(
    run(['ip', '-n', firstPod(ends(lab)[0]).netns, '-j', 'link', 'show', 'eth0']).match(/"mtu":(\d+)/)?.[1],
  );
}

function addUnderlaySettings(node: NodeLayout, settings: Readonly<Record<string, string>>): void {
  const lines = Object.entries(settings).map(([key, value]) => `  ${key}: ${value}\n`);
  const before = readFileSync(node.configFile, 'utf8');
  writeFileSync(node.configFile, before.replace(/^underlay:\n/m, `underlay:\n${lines.join('')}`), {
    mode: 0o600,
  });
}

/** Waits until every contestant's path carries a packet. */
async function waitReachable(contestant: Contestant): Promise<void> {
  const ping = inNetns(contestant.fromNetns, ['ping', '-c', '1', '-W', '1', contestant.address]);
  await until(`${contestant.name} reaches ${contestant.address}`, 20_000, () =>
    tryRun(ping).status === 0 ? true : undefined,
  );
}

/** Of a lab of two: its pods, and the MTU that the agents gave them. */
async function addVxseal(lab: LabLayout, name: string, options: SceneOptions): Promise<Contestant> {
  rewire(lab, options.underlayMtuBytes);
  const mtuBytes = await startVxseal(lab, options.underlay);
  const [a, b] = ends(lab);
  const [from, to] = [firstPod(a), firstPod(b)];
  return { name, fromNetns: from.netns, toNetns: to.netns, address: to.address, mtuBytes };
}

const OTHER_ENGINE = 'vxseal xfrm';
/** The lab of that engine, beside the other: an agent has one. */
const xfrmLab = (name: string): string => `${name}-x`;

/** What was made so far stays on failure: removeScene() removes it. */
export async function buildScene(options: SceneOptions, say: (text: string) => void): Promise<Contestant[]> {
  const lab = buildMachines(options.name, 2, 1);
  const vxseal = await addVxseal(lab, 'vxseal', options);
  const contestants = [...addPlains(lab, options.underlayMtuBytes, vxseal.mtuBytes), vxseal];
  if (options.wants(OTHER_ENGINE) && !hasEsp(lab)) say(`${OTHER_ENGINE} takes no part (${ESP_NEEDS})`);
  else if (options.wants(OTHER_ENGINE)) {
    const other = buildMachines(xfrmLab(options.name), 2, 1, { ...PLAIN_SHAPE, engines: ['xfrm', 'xfrm'] });
    contestants.push(await addVxseal(other, OTHER_ENGINE, options));
  }
  contestants.push(...(await addOthers(lab, options.underlayMtuBytes, options.wants, say)));
  const wanted = contestants.filter(({ name }) => options.wants(name));
  for (const contestant of wanted) await waitReachable(contestant);
  return wanted;
}

export const sceneExists = (name: string): boolean => labExists(name) || labExists(xfrmLab(name));

export function removeScene(name: string): void {
  teardown(name);
  teardown(xfrmLab(name));
}
