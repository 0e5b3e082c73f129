// Those who run beside vxseal between the same two machines, on the cable that it does not use: plain VXLAN, nebula,
// WireGuard in the kernel and in a process of its own, VXLAN in the kernel's IPsec. Each takes part where it is to be had.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { inNetns, ipBatch, run, tryRun, until } from '../lab/command';
import type { LabLayout, NodeLayout, PodLayout } from '../lab/layout';

/** Name, what it needs, whether that is here, MTU inside, and what makes it and returns the address to reach. */
type Other = readonly [string, string, () => boolean, number, () => Promise<string>];

export interface Contestant {
  readonly name: string;
  readonly fromNetns: string;
  readonly toNetns: string;
  readonly address: string;
  /** Inner IP packet, bytes. */
  readonly mtuBytes: number;
}

export const clearAddress = (node: NodeLayout): string => `203.0.113.${node.index}`;
const installed = (tool: string): boolean => tryRun(['sh', '-c', `command -v ${tool}`]).status === 0;

export function ends(lab: LabLayout): [NodeLayout, NodeLayout] {
  const [a, b] = lab.nodes;
  if (a === undefined || b === undefined) throw new Error('two nodes are needed');
  return [a, b];
}

/** Each node and its peer, both ways round. */
export function pairs(lab: LabLayout): [NodeLayout, NodeLayout][] {
  const [a, b] = ends(lab);
  return [
    [a, b],
    [b, a],
  ];
}

export const firstPod = (node: NodeLayout): PodLayout => {
  const [pod] = node.pods;
  if (pod === undefined) throw new Error(`${node.name} has no pod`);
  return pod;
};

const plainPort = (number: number): number => 4700 + number;

/** The kernel's own VXLAN in clear between the first pods, on a pod device of its own. */
function addPlain(lab: LabLayout, number: number, mtuBytes: number, perPacket: boolean): string {
  const device = `plain${number}`;
  for (const [node, peer] of pairs(lab)) {
    const pod = firstPod(node);
    ipBatch(node.netns, [
      `link add ${device} type vxlan id ${number} local ${clearAddress(node)} remote ${clearAddress(peer)} dstport ${plainPort(number)} dev clear0 noudpcsum`,
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

/** A device of the kernel's, or of wireguard-go. */
async function addWireguard(
  lab: LabLayout,
  net: number,
  mtuBytes: number,
  inKernel: boolean,
): Promise<string> {
  const device = (node: NodeLayout): string => `${lab.name.slice(0, 9)}-wg${net}${node.index}`;
  const keys = lab.nodes.map(() => run(['wg', 'genkey']).trim());
  for (const node of lab.nodes) {
    if (inKernel) ipBatch(node.netns, [`link add ${device(node)} type wireguard`]);
    else startIn(node, ['wireguard-go', '-f', device(node)], 'wireguard.log', { LOG_LEVEL: 'error' });
    await until(`WireGuard of ${node.name} answers`, 10_000, () =>
      tryRun(inNetns(node.netns, ['wg', 'show', device(node)])).status === 0 ? true : undefined,
    );
    const keyFile = join(node.dir, 'wireguard.key');
    writeFileSync(keyFile, `${keys[node.index - 1]}\n`, { mode: 0o600 });
    const settings = ['listen-port', String(51820 + net), 'private-key', keyFile];
    run(inNetns(node.netns, ['wg', 'set', device(node), ...settings]));
  }
  for (const [node, peer] of pairs(lab)) {
    const publicKey = run(['wg', 'pubkey'], `${keys[peer.index - 1]}\n`).trim();
    run(
      inNetns(node.netns, [
        ...['wg', 'set', device(node), 'peer', publicKey, 'allowed-ips', `10.8${net}.0.${peer.index}/32`],
        ...['endpoint', `${clearAddress(peer)}:${51820 + net}`],
      ]),
    );
    ipBatch(node.netns, [
      `addr add 10.8${net}.0.${node.index}/24 dev ${device(node)}`,
      `link set ${device(node)} mtu ${mtuBytes} up`,
    ]);
  }
  return `10.8${net}.0.2`;
}

export const ESP_NEEDS = 'modules xfrm_user, esp4, chacha20poly1305';
const ESP_CIPHER = 'rfc7539esp(chacha20,poly1305)';
const espState = (from: string, to: string, key: Buffer): string[] => [
  ...[
    'ip',
    'xfrm',
    'state',
    'add',
    'src',
    from,
    'dst',
    to,
    'proto',
    'esp',
    'spi',
    '0x1000',
    'mode',
    'transport',
  ],
  ...['replay-window', '32', 'aead', ESP_CIPHER, `0x${key.toString('hex')}`, '128'],
];

/** The kernel's IPsec has the cipher, found by trying. */
export function hasEsp(lab: LabLayout): boolean {
  const [{ netns }] = ends(lab);
  const [nobody, key] = ['192.0.0.8', randomBytes(36)];
  if (tryRun(inNetns(netns, espState(nobody, nobody, key))).status !== 0) return false;
  run(inNetns(netns, ['ip', 'xfrm', 'state', 'delete', 'dst', nobody, 'proto', 'esp', 'spi', '0x1000']));
  return true;
}

const VXLAN_IN_XFRM = 'VXLAN in xfrm';

/** Plain VXLAN, and the kernel's IPsec around it, in transport mode. */
async function addIpsec(lab: LabLayout, number: number, mtuBytes: number): Promise<string> {
  const keys = new Map(lab.nodes.map((node) => [node, randomBytes(36)]));
  for (const [node, peer] of pairs(lab)) {
    const [own, other] = [clearAddress(node), clearAddress(peer)];
    for (const [from, to, sender, direction] of [
      [own, other, node, 'out'],
      [other, own, peer, 'in'],
    ] as const) {
      run(inNetns(node.netns, espState(from, to, keys.get(sender) ?? randomBytes(36))));
      run(
        inNetns(node.netns, [
          ...['ip', 'xfrm', 'policy', 'add', 'src', from, 'dst', to, 'proto', 'udp'],
          ...['dport', String(plainPort(number)), 'dir', direction],
          ...['tmpl', 'src', from, 'dst', to, 'proto', 'esp', 'mode', 'transport'],
        ]),
      );
    }
  }
  return addPlain(lab, number, mtuBytes, false);
}

/** In clear: with offloads, and packet by packet as an overlay that seals must go. */
export function addPlains(lab: LabLayout, underlayMtuBytes: number, sealedMtuBytes: number): Contestant[] {
  const whole = underlayMtuBytes - 50; // IP 20, UDP 8, VXLAN 8, Ethernet 14
  const plain = { ...podToPod(lab), name: 'plain, offloads', mtuBytes: whole };
  const perPacket = { ...podToPod(lab), name: 'plain, per packet', mtuBytes: sealedMtuBytes };
  return [
    { ...plain, address: addPlain(lab, 1, whole, false) },
    { ...perPacket, address: addPlain(lab, 2, sealedMtuBytes, true) },
  ];
}

/** Of those that are wanted, the ones that are to be had; which are not is said. */
export async function addOthers(
  lab: LabLayout,
  underlayMtuBytes: number,
  wants: (name: string) => boolean,
  say: (text: string) => void,
): Promise<Contestant[]> {
  const [forNebula, forWireguard] = [underlayMtuBytes - 60, underlayMtuBytes - 80]; // headers and tag of each
  const forEsp = underlayMtuBytes - 88; // as plain, and of ESP at most 38
  const others: readonly Other[] = [
    ['nebula aes', 'Debian package nebula', hasNebula, forNebula, () => addNebula(lab, 'aes', 1, forNebula)],
    [
      'nebula chacha',
      'Debian package nebula',
      hasNebula,
      forNebula,
      () => addNebula(lab, 'chachapoly', 2, forNebula),
    ],
    [
      'wireguard-go',
      'Debian packages wireguard-go, wireguard-tools',
      () => installed('wireguard-go') && installed('wg'),
      forWireguard,
      () => addWireguard(lab, 0, forWireguard, false),
    ],
    [
      'WireGuard',
      'module wireguard, Debian package wireguard-tools',
      () => installed('wg') && kernelHasWireguard(lab),
      forWireguard,
      () => addWireguard(lab, 3, forWireguard, true),
    ],
    [VXLAN_IN_XFRM, ESP_NEEDS, () => hasEsp(lab), forEsp, () => addIpsec(lab, 3, forEsp)],
  ];
  const contestants: Contestant[] = [];
  for (const [name, needs, isHere, mtuBytes, add] of others) {
    if (!wants(name)) continue;
    if (!isHere()) say(`${name} takes no part (${needs})`);
    else {
      const path = name === VXLAN_IN_XFRM ? podToPod(lab) : nodeToNode(lab);
      contestants.push({ name, ...path, address: await add(), mtuBytes });
    }
  }
  return contestants;
}

const hasNebula = (): boolean => installed('nebula');

function podToPod(lab: LabLayout): Pick<Contestant, 'fromNetns' | 'toNetns'> {
  const [a, b] = ends(lab);
  return { fromNetns: firstPod(a).netns, toNetns: firstPod(b).netns };
}

function nodeToNode(lab: LabLayout): Pick<Contestant, 'fromNetns' | 'toNetns'> {
  const [a, b] = ends(lab);
  return { fromNetns: a.netns, toNetns: b.netns };
}

function kernelHasWireguard(lab: LabLayout): boolean {
  const ip = ['ip', '-n', ends(lab)[0].netns, 'link'];
  if (tryRun([...ip, 'add', 'wg-try', 'type', 'wireguard']).status !== 0) return false;
  run([...ip, 'del', 'wg-try']);
  return true;
}
