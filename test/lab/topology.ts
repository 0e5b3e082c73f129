// Builds the machines of a lab: namespaces, the underlay bridge, veths, addresses, routes. Leaves the agents, their
// keys and everything of the overlay to others.
import { mkdirSync } from 'node:fs';
import { inNetns, ipBatch, run } from './command';
import type { LabLayout, NodeLayout, PodLayout } from './layout';

/** Of a node whose eth0 stands above it. */
const NIC = 'nic0';
const BELOW_MAC = '02:1a:b0:0b:00:01';

function addNetns(name: string): void {
  run(['ip', 'netns', 'add', name]);
  ipBatch(name, ['link set lo up']);
}

/** Written through /proc/sys, which follows the namespace of the process that opens it. */
function setSysctls(netns: string, settings: Readonly<Record<string, string>>): void {
  run(inNetns(netns, ['sysctl', '-q', ...Object.entries(settings).map(([key, value]) => `${key}=${value}`)]));
}

function addWire(lab: LabLayout): void {
  addNetns(lab.wireNetns);
  // The wire is a cable, not a host: no IPv6 of its own.
  setSysctls(lab.wireNetns, {
    'net.ipv6.conf.all.disable_ipv6': '1',
    'net.ipv6.conf.default.disable_ipv6': '1',
  });
  ipBatch(lab.wireNetns, [
    `link add wire type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    `link set wire mtu ${lab.shape.underlayMtuBytes} up`,
  ]);
}

/** Commands that make eth0 a device above the node's NIC, where it is not the NIC itself. */
function aboveNic({ shape }: LabLayout, { mac }: NodeLayout): string[] {
  const up = `link set ${NIC} up`;
  if (shape.nic === 'macvlan')
    return [
      up,
      `link set ${NIC} address ${BELOW_MAC}`,
      `link add link ${NIC} name eth0 address ${mac} type macvlan mode bridge`,
    ];
  if (shape.nic === 'nic') return [];
  return [up, `link add eth0 address ${mac} type bridge`, `link set ${NIC} master eth0`];
}

function addNode(lab: LabLayout, node: NodeLayout): void {
  const nic = lab.shape.nic === 'nic' ? 'eth0' : NIC;
  const mtuBytes = lab.shape.underlayMtuBytes;
  addNetns(node.netns);
  setSysctls(node.netns, {
    'net.ipv4.ip_forward': '1',
    'net.ipv6.conf.all.forwarding': '1',
    'net.ipv4.conf.all.rp_filter': '0',
    'net.ipv4.conf.default.rp_filter': '0',
  });
  ipBatch(node.netns, [
    `link add ${nic} address ${node.mac} mtu ${mtuBytes} type veth peer name ${node.name} netns ${lab.wireNetns}`,
    ...aboveNic(lab, node),
    `addr add ${node.vtep4}/24 dev eth0`,
    `addr add ${node.vtep6}/64 dev eth0 nodad`,
    `link set eth0 up`,
  ]);
  ipBatch(lab.wireNetns, [`link set ${node.name} mtu ${mtuBytes} master wire up`]);
  // veth never completes a checksum; with tx off it behaves like a real device. GRO lets decrypted packets of one
  // XDP round go on together. Without a queueing discipline the ring of the veth overflows.
  run(inNetns(node.netns, ['ethtool', '-K', nic, 'tx', 'off', 'gro', 'on']));
  if (!lab.shape.offloads) offloadNothing(node.netns, nic);
  run(inNetns(node.netns, ['tc', 'qdisc', 'replace', 'dev', nic, 'root', 'pfifo', 'limit', '1000']));
}

function offloadNothing(netns: string, device: string): void {
  const features = ['rx', 'tx', 'sg', 'tso', 'gso', 'gro'];
  run(inNetns(netns, ['ethtool', '-K', device, ...features.flatMap((feature) => [feature, 'off'])]));
}

/** A pod as the CNI plugin "ptp" makes it: one veth, the default route through the node's end of it. */
function addPod(lab: LabLayout, node: NodeLayout, pod: PodLayout): void {
  addNetns(pod.netns);
  ipBatch(node.netns, [
    `link add ${pod.hostDevice} type veth peer name eth0 address ${pod.mac} netns ${pod.netns}`,
    `link set ${pod.hostDevice} mtu ${lab.shape.underlayMtuBytes} up`,
  ]);
  ipBatch(pod.netns, [`link set eth0 mtu ${lab.shape.underlayMtuBytes} up`]);
  if (!lab.shape.offloads) {
    offloadNothing(node.netns, pod.hostDevice);
    offloadNothing(pod.netns, 'eth0');
  }
  for (const [index, address] of pod.addresses.entries()) addPodAddress(node, pod, address, index);
}

function addPodAddress(node: NodeLayout, pod: PodLayout, address: string, index: number): void {
  const gateway = node.gateways[index] ?? '';
  const [all, subnet, fresh] = address.includes(':') ? [128, 64, ' nodad'] : [32, 24, ''];
  ipBatch(node.netns, [
    `addr add ${gateway}/${all} dev ${pod.hostDevice}${fresh}`,
    // Addresses of a tenant's own VNI mean nothing in the node's routing: another tenant has the same.
    ...(pod.tenant > 1 ? [] : [`route add ${address}/${all} dev ${pod.hostDevice} src ${gateway}`]),
  ]);
  ipBatch(pod.netns, [
    `addr add ${address}/${subnet} dev eth0 noprefixroute${fresh}`,
    `route add ${gateway}/${all} dev eth0 scope link src ${address}`,
    `route add default via ${gateway} dev eth0 src ${address}`,
  ]);
}

/** Makes every machine of the lab and a bpffs of its own. Throws CommandError; what was made so far stays. */
export function buildTopology(lab: LabLayout): void {
  for (const folder of [lab.bpfDir, lab.busDir, lab.captureDir, lab.policyDir])
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  run(['mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', lab.bpfDir]);
  addWire(lab);
  for (const node of lab.nodes) {
    for (const folder of [node.runDir, node.stateDir, node.identityDir]) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    }
    addNode(lab, node);
    for (const pod of node.pods) addPod(lab, node, pod);
  }
}

const CONTROL_PORT = 4789;
const CONTROL_VNI = 99;
/** Same inner size as the overlay, so that a packet of one compares with a packet of the other. */
const CONTROL_MTU_BYTES = 1408;

export const controlAddress = (node: NodeLayout): string => `10.99.${node.index}.2`;

/**
 * The control of the leak and speed proofs: the kernel's own VXLAN in clear beside the overlay, per packet (no
 * segmentation offload), between the first pods of two nodes, on devices, port, VNI and addresses of its own.
 */
export function addControlPath(a: NodeLayout, b: NodeLayout): void {
  for (const [node, peer] of [
    [a, b],
    [b, a],
  ] as const) {
    const pod = node.pods[0];
    if (pod === undefined) throw new Error(`${node.name} has no pod for the control path`);
    ipBatch(node.netns, [
      `link add plain type vxlan id ${CONTROL_VNI} local ${node.vtep4} remote ${peer.vtep4} dstport ${CONTROL_PORT} dev eth0 noudpcsum`,
      `link set plain mtu ${CONTROL_MTU_BYTES} gso_max_segs 1 up`,
      `addr add 10.98.0.${node.index}/24 dev plain`,
      `link add plain-pod type veth peer name plain0 netns ${pod.netns}`,
      `link set plain-pod mtu ${CONTROL_MTU_BYTES} up`,
      `addr add 10.99.${node.index}.1/24 dev plain-pod`,
      `route add 10.99.${peer.index}.0/24 via 10.98.0.${peer.index} dev plain`,
    ]);
    run(inNetns(node.netns, ['ethtool', '-K', 'plain', 'tx', 'off', 'tso', 'off', 'gso', 'off']));
    ipBatch(pod.netns, [
      `link set plain0 mtu ${CONTROL_MTU_BYTES} up`,
      `addr add ${controlAddress(node)}/24 dev plain0`,
      `route add 10.99.${peer.index}.0/24 via 10.99.${node.index}.1 dev plain0`,
    ]);
  }
}

export function removeControlPath(a: NodeLayout, b: NodeLayout): void {
  for (const node of [a, b]) ipBatch(node.netns, ['link del plain', 'link del plain-pod']);
}
