// The two machines that are measured, and who runs between them. There are two cables of the same kind, one for
// vxseal's underlay and one for all others, so that no one's hooks or offloads touch another's packets.
// Built from the lab's parts and removed by the lab's teardown. Measures nothing.
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
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
import type { LabLayout, NodeLayout, PodLayout } from '../lab/layout';

export interface Contestant {
  readonly name: string;
  readonly fromNetns: string;
  readonly toNetns: string;
  readonly address: string;
  /** Inner IP packet, bytes. */
  readonly mtuBytes: number;
}

export interface SceneOptions {
  readonly name: string;
  readonly underlayMtuBytes: number;
  /** Of nebula and wireguard-go, those that are installed take part. */
  readonly others: boolean;
  /** The configuration's underlay section, apart from the device, e.g. { tune: 'off' }. */
  readonly underlay: Readonly<Record<string, string>>;
}

const QUEUE_PACKETS = 1000;
const clearAddress = (node: NodeLayout): string => `203.0.113.${node.index}`;
const tc = (netns: string, text: string): string => run(inNetns(netns, ['tc', ...text.split(' ')]));
const installed = (tool: string): boolean => tryRun(['sh', '-c', `command -v ${tool}`]).status === 0;

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
      ...['ip', 'link', 'add', name, 'netns', node.netns, ...queues, 'type', 'veth'],
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

const pairs = (lab: LabLayout): [NodeLayout, NodeLayout][] => {
  const [a, b] = lab.nodes;
  return a === undefined || b === undefined
    ? []
    : [
        [a, b],
        [b, a],
      ];
};

const firstPod = (node: NodeLayout): PodLayout => {
  const [pod] = node.pods;
  if (pod === undefined) throw new Error(`${node.name} has no pod`);
  return pod;
};

/** The kernel's own VXLAN in clear between the first pods, on a pod device of its own. */
function addPlain(lab: LabLayout, number: number, mtuBytes: number, perPacket: boolean): string {
  const device = `plain${number}`;
  for (const [node, peer] of pairs(lab)) {
    const pod = firstPod(node);
    ipBatch(node.netns, [
      `link add ${device} type vxlan id ${number} local ${clearAddress(node)} remote ${clearAddress(peer)} dstport ${4700 + number} dev clear0 noudpcsum`,
      `link set ${device} mtu ${mtuBytes} ${perPacket ? 'gso_max_segs 1' : ''} up`,
      `addr add 10.9${number}.0.${node.index}/24 dev ${device}`,
      `link add ${device}-pod type veth peer name ${device} netns ${pod.netns}`,
      `link set ${device}-pod mtu ${mtuBytes} up`,
      `addr add 10.9${number}.${node.index}.1/24 dev ${device}-pod`,
      `route add 10.9${number}.${peer.index}.0/24 via 10.9${number}.0.${peer.index} dev ${device}`,
    ]);
    if (perPacket)
      run(inNetns(node.netns, ['ethtool', '-K', device, 'tx', 'off', 'tso', 'off', 'gso', 'off']));
    ipBatch(pod.netns, [
      `link set ${device} mtu ${mtuBytes} up`,
      `addr add 10.9${number}.${node.index}.2/24 dev ${device}`,
      `route add 10.9${number}.${peer.index}.0/24 via 10.9${number}.${node.index}.1 dev ${device}`,
    ]);
  }
  return `10.9${number}.2.2`;
}

/** Ends with the namespace: the lab's teardown ends every process in it. */
function startIn(node: NodeLayout, argv: readonly string[], log: string, env: NodeJS.ProcessEnv = {}): void {
  const out = openSync(join(node.dir, log), 'a', 0o600);
  const [file = '', ...args] = inNetns(node.netns, argv);
  spawn(file, args, { detached: true, stdio: ['ignore', out, out], env: { ...process.env, ...env } }).unref();
}

async function addNebula(lab: LabLayout, cipher: string, net: number, mtuBytes: number): Promise<string> {
  const dir = join(lab.dir, `nebula-${cipher}`);
  mkdirSync(dir, { mode: 0o700 });
  const file = (name: string): string => join(dir, name);
  run(['nebula-cert', 'ca', '-name', 'bench', '-out-crt', file('ca.crt'), '-out-key', file('ca.key')]);
  for (const node of lab.nodes) {
    const [crt, key] = [file(`${node.name}.crt`), file(`${node.name}.key`)];
    run([
      ...['nebula-cert', 'sign', '-ca-crt', file('ca.crt'), '-ca-key', file('ca.key'), '-name', node.name],
      ...['-ip', `10.8${net}.0.${node.index}/24`, '-out-crt', crt, '-out-key', key],
    ]);
    const port = 4240 + net;
    const hosts = Object.fromEntries(
      lab.nodes
        .filter((peer) => peer !== node)
        .map((peer) => [`10.8${net}.0.${peer.index}`, [`${clearAddress(peer)}:${port}`]]),
    );
    const any = [{ port: 'any', proto: 'any', host: 'any' }];
    const config = {
      pki: { ca: file('ca.crt'), cert: crt, key },
      static_host_map: hosts,
      lighthouse: { am_lighthouse: true },
      listen: { host: clearAddress(node), port },
      cipher,
      tun: { dev: `neb${net}`, mtu: mtuBytes, tx_queue: 1000 },
      logging: { level: 'warning', format: 'text' },
      firewall: { outbound: any, inbound: any },
    };
    writeFileSync(file(`${node.name}.yaml`), stringify(config), { mode: 0o600 });
    startIn(node, ['nebula', '-config', file(`${node.name}.yaml`)], `nebula-${cipher}.log`);
  }
  return `10.8${net}.0.2`;
}

async function addWireguard(lab: LabLayout, mtuBytes: number): Promise<string> {
  const device = (node: NodeLayout): string => `${lab.name.slice(0, 10)}-wg${node.index}`;
  const keys = lab.nodes.map(() => run(['wg', 'genkey']).trim());
  for (const node of lab.nodes) {
    startIn(node, ['wireguard-go', '-f', device(node)], 'wireguard.log', { LOG_LEVEL: 'error' });
    await until(`wireguard-go of ${node.name} answers`, 10_000, () =>
      tryRun(inNetns(node.netns, ['wg', 'show', device(node)])).status === 0 ? true : undefined,
    );
    const keyFile = join(node.dir, 'wireguard.key');
    writeFileSync(keyFile, `${keys[node.index - 1]}\n`, { mode: 0o600 });
    run(inNetns(node.netns, ['wg', 'set', device(node), 'listen-port', '51820', 'private-key', keyFile]));
  }
  for (const [node, peer] of pairs(lab)) {
    const publicKey = run(['wg', 'pubkey'], `${keys[peer.index - 1]}\n`).trim();
    run(
      inNetns(node.netns, [
        ...['wg', 'set', device(node), 'peer', publicKey, 'allowed-ips', `10.80.0.${peer.index}/32`],
        ...['endpoint', `${clearAddress(peer)}:51820`],
      ]),
    );
    ipBatch(node.netns, [
      `addr add 10.80.0.${node.index}/24 dev ${device(node)}`,
      `link set ${device(node)} mtu ${mtuBytes} up`,
    ]);
  }
  return '10.80.0.2';
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
  const [first] = lab.nodes;
  if (first === undefined) throw new Error('no node');
  return Number(
    run(['ip', '-n', firstPod(first).netns, '-j', 'link', 'show', 'eth0']).match(/"mtu":(\d+)/)?.[1],
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

/** What was made so far stays on failure: teardown(name) removes it. */
export async function buildScene(options: SceneOptions, say: (text: string) => void): Promise<Contestant[]> {
  const { underlayMtuBytes: mtu } = options;
  const lab = buildMachines(options.name, 2, 1);
  rewire(lab, mtu);
  const [a, b] = lab.nodes;
  if (a === undefined || b === undefined) throw new Error('two nodes are needed');
  const sealedMtu = await startVxseal(lab, options.underlay);
  const podToPod = { fromNetns: firstPod(a).netns, toNetns: firstPod(b).netns };
  const nodeToNode = { fromNetns: a.netns, toNetns: b.netns };
  const contestants: Contestant[] = [
    { name: 'plain, offloads', ...podToPod, address: addPlain(lab, 1, mtu - 50, false), mtuBytes: mtu - 50 },
    {
      name: 'plain, per packet',
      ...podToPod,
      address: addPlain(lab, 2, sealedMtu, true),
      mtuBytes: sealedMtu,
    },
    { name: 'vxseal', ...podToPod, address: firstPod(b).address, mtuBytes: sealedMtu },
  ];
  if (options.others && installed('nebula')) {
    const inner = mtu - 60; // IP 20, UDP 8, header 16, tag 16
    const aes = await addNebula(lab, 'aes', 1, inner);
    const chacha = await addNebula(lab, 'chachapoly', 2, inner);
    contestants.push({ name: 'nebula aes', ...nodeToNode, address: aes, mtuBytes: inner });
    contestants.push({ name: 'nebula chacha', ...nodeToNode, address: chacha, mtuBytes: inner });
  } else if (options.others) say('nebula takes no part (Debian package nebula)');
  if (options.others && installed('wireguard-go') && installed('wg')) {
    const inner = mtu - 80;
    contestants.push({
      name: 'wireguard-go',
      ...nodeToNode,
      address: await addWireguard(lab, inner),
      mtuBytes: inner,
    });
  } else if (options.others)
    say('wireguard-go takes no part (Debian packages wireguard-go, wireguard-tools)');
  for (const contestant of contestants) await waitReachable(contestant);
  return contestants;
}
