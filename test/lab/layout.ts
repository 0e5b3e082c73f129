// The lab as plain values: names, addresses and folders of everything that `up` makes and `down` removes. Pure,
// so that `down` and the proofs agree with `up` without asking a running lab.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

export const LABS_DIR = '/run/vxseal-lab';
export const NETNS_DIR = '/run/netns';
export const TRUST_DOMAIN = 'lab.vxseal';
export const VNI = 100;
/** The overlay's own VXLAN port: inside the ciphertext, and what a forger of clear VXLAN would try. */
export const VXLAN_PORT = 14789;
export const ESP_PORT = 4500;
export const CLUSTER_PREFIX = '10.244.0.0/16';
export const UNDERLAY_MTU_BYTES = 1500;
/** Inner IP packet at a 1500-byte IPv4 underlay: docs/wire-format.md. */
export const OVERLAY_MTU_BYTES = 1408;

export interface PodLayout {
  readonly name: string;
  readonly netns: string;
  readonly node: number;
  readonly address: string;
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
  readonly mac: string;
  readonly prefix: string;
  /** Address of the host side of each pod's veth. */
  readonly gateway: string;
  readonly dir: string;
  readonly runDir: string;
  readonly stateDir: string;
  readonly pinDir: string;
  readonly identityDir: string;
  readonly configFile: string;
  readonly socket: string;
  readonly logFile: string;
  readonly pidFile: string;
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
  readonly nodes: readonly NodeLayout[];
}

/** Locally administered; the last three bytes number the device. */
const macOf = (role: number, node: number, pod: number): string =>
  [0x02, 0x1a, 0xb0, role, node, pod].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

const podLayout = (lab: string, node: number, pod: number): PodLayout => ({
  name: `pod${node}-${pod}`,
  netns: `${lab}-pod${node}-${pod}`,
  node,
  address: `10.244.${node}.${pod + 1}`,
  mac: macOf(2, node, pod),
  hostDevice: `pod${node}-${pod}`,
});

function nodeLayout(lab: string, index: number, podCount: number): NodeLayout {
  const dir = join(LABS_DIR, lab, `node${index}`);
  const runDir = join(dir, 'run');
  return {
    name: `node${index}`,
    index,
    netns: `${lab}-node${index}`,
    vtep4: `192.0.2.${index}`,
    vtep6: `fd00:c0de::${index.toString(16)}`,
    mac: macOf(1, index, 0),
    prefix: `10.244.${index}.0/24`,
    gateway: `10.244.${index}.1`,
    dir,
    runDir,
    stateDir: join(dir, 'state'),
    pinDir: join(LABS_DIR, lab, 'bpf', `node${index}`),
    identityDir: join(dir, 'identity'),
    configFile: join(dir, 'config.yaml'),
    socket: join(runDir, 'agent.sock'),
    logFile: join(dir, 'agent.log'),
    pidFile: join(dir, 'agent.pid'),
    pods: Array.from({ length: podCount }, (_, pod) => podLayout(lab, index, pod + 1)),
  };
}

/** @param nodes 1 to 200. @param pods on each node, 1 to 200. */
export function labLayout(name: string, nodes: number, pods: number): LabLayout {
  const dir = join(LABS_DIR, name);
  return {
    name,
    dir,
    wireNetns: `${name}-wire`,
    guestNetns: `${name}-guest`,
    bpfDir: join(dir, 'bpf'),
    busDir: join(dir, 'bus'),
    caDir: join(dir, 'ca'),
    captureDir: join(dir, 'capture'),
    nodes: Array.from({ length: nodes }, (_, node) => nodeLayout(name, node + 1, pods)),
  };
}

/** True for a namespace that a lab of this name may have made. */
export function isLabNetns(lab: string, netns: string): boolean {
  return netns.startsWith(`${lab}-`) && /^(wire|guest|node\d+|pod\d+-\d+)$/.test(netns.slice(lab.length + 1));
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
