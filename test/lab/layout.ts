// The lab as plain values: names, addresses and folders of everything that `up` makes and `down` removes. Pure,
// so that `down` and the proofs agree with `up` without asking a running lab.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { AddressFamily } from '../../agent/core/bytes';
import { innerMtuBytes } from '../../agent/core/mtu';

export const LABS_DIR = '/run/vxseal-lab';
export const NETNS_DIR = '/run/netns';
export const TRUST_DOMAIN = 'lab.vxseal';
export const VNI = 100;
/** The overlay's own VXLAN port: inside the ciphertext, and what a forger of clear VXLAN would try. */
export const VXLAN_PORT = 14789;
export const ESP_PORT = 4500;
export const CLUSTER_PREFIXES: Readonly<Record<AddressFamily, string>> = {
  4: '10.244.0.0/16',
  6: 'fd00:10:244::/48',
};
/** Of the Kafka broker, if there is one: on the wire, and no node's. */
export const BROKER_ADDRESS = '192.0.2.254';
export const BROKER_PORT = 9092;

/** What a lab is made of beside its number of machines. */
export interface LabShape {
  /** Families of the pods' addresses. */
  readonly overlay: readonly AddressFamily[];
  /** Families of the nodes' VTEPs. */
  readonly underlay: readonly AddressFamily[];
  readonly underlayMtuBytes: number;
  /** What the nodes' eth0 is: a NIC, or a device without XDP of its own above one. */
  readonly nic: 'nic' | 'bridge' | 'macvlan';
  /** The agents' underlay.xdp. */
  readonly xdp: 'auto' | 'native' | 'tc';
  /** Devices of nodes and pods checksum, segment and join packets, as most do; false: none does. */
  readonly offloads: boolean;
  /** The last node has an IPv6 VTEP only, whatever the others have. */
  readonly mixed: boolean;
  /** Tenant 1 is in the host's VNI; pods of every further one are in a VNI of their own, at the same addresses. */
  readonly tenants: number;
  /** Agents read NetworkPolicy manifests from the lab's folder of them. */
  readonly policies: boolean;
  readonly bus: 'directory' | 'kafka';
  /** Root filesystem of an image whose agent runs on the nodes; "": the one that is built here. */
  readonly image: string;
  /** Who encrypts on each node; a node without an entry uses the programs. */
  readonly engines: readonly ('bpf' | 'xfrm')[];
}

export const PLAIN_SHAPE: LabShape = {
  overlay: [4],
  underlay: [4],
  underlayMtuBytes: 1500,
  nic: 'nic',
  xdp: 'auto',
  offloads: true,
  mixed: false,
  tenants: 1,
  policies: false,
  bus: 'directory',
  image: '',
  engines: [],
};

export interface PodLayout {
  readonly name: string;
  readonly netns: string;
  readonly node: number;
  readonly vni: number;
  /** From 1. */
  readonly tenant: number;
  /** Of the family the layout is seen in. */
  readonly address: string;
  readonly addresses: readonly string[];
  readonly mac: string;
  /** Host-side device, in the node's namespace. */
  readonly hostDevice: string;
}

export interface NodeLayout {
  readonly name: string;
  readonly index: number;
  readonly netns: string;
  readonly vtep4: string;
  readonly vtep6: string;
  /** Outer addresses that its certificate grants. */
  readonly vteps: readonly string[];
  /** The one of them under which peers of the first family send. */
  readonly vtep: string;
  /** Its address of the family the layout is seen in; inside the overlay for pods only if it is a VTEP. */
  readonly address: string;
  readonly mac: string;
  readonly prefixes: readonly string[];
  /** Address of the host side of each pod's veth. */
  readonly gateway: string;
  readonly gateways: readonly string[];
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly pinDir: string;
  readonly identityDir: string;
  readonly configFile: string;
  readonly socket: string;
  readonly logFile: string;
  readonly pidFile: string;
  /** See LabShape. */
  readonly image: string;
  readonly pods: readonly PodLayout[];
}

export interface LabLayout {
  readonly name: string;
  readonly dir: string;
  readonly wireNetns: string;
  /** A third machine behind a bridge of node 2; made only by the proof that needs it. */
  readonly guestNetns: string;
  readonly bpfDir: string;
  readonly busDir: string;
  readonly caDir: string;
  readonly captureDir: string;
  readonly policyDir: string;
  readonly shape: LabShape;
  /** Family of `address` and `gateway`: one view of a lab of two families. */
  readonly family: AddressFamily;
  /** Largest inner IP packet. */
  readonly overlayMtuBytes: number;
  readonly nodes: readonly NodeLayout[];
}

/** Locally administered; the last three bytes number the device. */
const macOf = (role: number, node: number, pod: number): string =>
  [0x02, 0x1a, 0xb0, role, node, pod].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

const PREFIXES: Readonly<
  Record<AddressFamily, (node: number) => { prefix: string; host: (n: number) => string }>
> = {
  4: (node) => ({ prefix: `10.244.${node}.0/24`, host: (n) => `10.244.${node}.${n}` }),
  6: (node) => {
    const net = `fd00:10:244:${node.toString(16)}`;
    return { prefix: `${net}::/64`, host: (n) => `${net}::${n.toString(16)}` };
  },
};

function podLayout(view: View, node: number, pod: number, tenant: number): PodLayout {
  const { lab, shape, family } = view;
  const name = tenant === 1 ? `pod${node}-${pod}` : `pod${node}-${pod}.t${tenant}`;
  const at = (each: AddressFamily): string => PREFIXES[each](node).host(pod + 1);
  return {
    name,
    netns: `${lab}-${name}`,
    node,
    vni: VNI + tenant - 1,
    tenant,
    address: at(family),
    addresses: shape.overlay.map(at),
    mac: macOf(1 + tenant, node, pod),
    hostDevice: name,
  };
}

interface View {
  readonly lab: string;
  readonly shape: LabShape;
  readonly family: AddressFamily;
}

function nodeLayout(view: View, index: number, counts: { nodes: number; pods: number }): NodeLayout {
  const { lab, shape, family } = view;
  const dir = join(LABS_DIR, lab, `node${index}`);
  const runDir = join(dir, 'run');
  const outer: Readonly<Record<AddressFamily, string>> = {
    4: `192.0.2.${index}`,
    6: `fd00:c0de::${index.toString(16)}`,
  };
  const underlay = shape.mixed && index === counts.nodes ? ([6] as const) : shape.underlay;
  const tenants = Array.from({ length: shape.tenants }, (_, tenant) => tenant + 1);
  return {
    name: `node${index}`,
    index,
    netns: `${lab}-node${index}`,
    vtep4: outer[4],
    vtep6: outer[6],
    vteps: underlay.map((each) => outer[each]),
    vtep: outer[underlay[0] ?? 4],
    address: outer[family],
    mac: macOf(1, index, 0),
    prefixes: shape.overlay.map((each) => PREFIXES[each](index).prefix),
    gateway: PREFIXES[family](index).host(1),
    gateways: shape.overlay.map((each) => PREFIXES[each](index).host(1)),
    dir,
    runDir,
    stateDir: join(dir, 'state'),
    pinDir: join(LABS_DIR, lab, 'bpf', `node${index}`),
    identityDir: join(dir, 'identity'),
    configFile: join(dir, 'config.yaml'),
    socket: join(runDir, 'agent.sock'),
    logFile: join(dir, 'agent.log'),
    pidFile: join(dir, 'agent.pid'),
    image: shape.image,
    pods: tenants.flatMap((tenant) =>
      Array.from({ length: counts.pods }, (_, pod) => podLayout(view, index, pod + 1, tenant)),
    ),
  };
}

/** @param nodes 1 to 200. @param pods on each node and for each tenant, 1 to 200. */
export function labLayout(
  name: string,
  nodes: number,
  pods: number,
  shape: LabShape = PLAIN_SHAPE,
  family: AddressFamily = shape.overlay[0] ?? 4,
): LabLayout {
  const dir = join(LABS_DIR, name);
  const view = { lab: name, shape, family };
  return {
    name,
    dir,
    wireNetns: `${name}-wire`,
    guestNetns: `${name}-guest`,
    bpfDir: join(dir, 'bpf'),
    busDir: join(dir, 'bus'),
    caDir: join(dir, 'ca'),
    captureDir: join(dir, 'capture'),
    policyDir: join(dir, 'policies'),
    shape,
    family,
    overlayMtuBytes: innerMtuBytes(shape.underlayMtuBytes, shape.mixed || shape.underlay.includes(6) ? 6 : 4),
    nodes: Array.from({ length: nodes }, (_, node) => nodeLayout(view, node + 1, { nodes, pods })),
  };
}

/** The hosts' VNI, and one of each further tenant. */
export const vnisOf = ({ tenants }: LabShape): number[] =>
  Array.from({ length: tenants }, (_, tenant) => VNI + tenant);

/** The same lab with `address` and `gateway` of that family. */
export function seenIn(lab: LabLayout, family: AddressFamily): LabLayout {
  const { name, nodes, shape } = lab;
  return labLayout(name, nodes.length, (nodes[0]?.pods.length ?? 0) / shape.tenants, shape, family);
}

/** True for a namespace that a lab of this name may have made. */
export function isLabNetns(lab: string, netns: string): boolean {
  return (
    netns.startsWith(`${lab}-`) &&
    /^(wire|guest|node\d+|pod\d+-\d+(\.t\d+)?)$/.test(netns.slice(lab.length + 1))
  );
}

/** The folder of package.json: the same from the sources and from build/. */
export function packageRoot(from = __dirname): string {
  let folder = from;
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json above ${from}`);
    folder = parent;
  }
  return folder;
}
