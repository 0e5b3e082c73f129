// The agents of a lab: certificates, configuration, and the life of each process. The agent is the real one, in a
// process of its own that outlives the lab's command.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { status, waitUp } from './api';
import { inNetns, type Outcome, run, start, until } from './command';
import {
  BROKER_ADDRESS,
  BROKER_PORT,
  CLUSTER_PREFIXES,
  ESP_PORT,
  type LabLayout,
  type NodeLayout,
  type PodLayout,
  packageRoot,
  TRUST_DOMAIN,
  VNI,
  VXLAN_PORT,
  vnisOf,
} from './layout';
import { identify, isAlive, type ProcessId, signal, waitGone } from './processes';

const STOP_TIMEOUT_MS = 15_000;
export const START_TIMEOUT_MS = 60_000;

const cli = (): string => join(packageRoot(), 'build/agent/cli/vxseal.js');

/** `vxseal ARGS…` against that node's agent. */
export function vxsealArgv(node: NodeLayout, args: readonly string[]): string[] {
  const socket = args.includes('--socket') ? [] : ['--socket', node.socket];
  return inNetns(node.netns, [process.execPath, cli(), ...args, ...socket]);
}

const ca = (...args: string[]): string => run([process.execPath, cli(), 'ca', ...args]);

/** A CA for the lab, and per node a key and a certificate. */
export function issueIdentities(lab: LabLayout): void {
  ca('init', '--dir', lab.caDir, '--trust-domain', TRUST_DOMAIN);
  for (const node of lab.nodes) issueNode(lab, node);
}

/** A key and a certificate that grants the node's addresses and its pods' prefixes. */
export function issueNode(lab: LabLayout, node: NodeLayout): void {
  const grant = [
    ...node.vteps.flatMap((vtep) => ['--vtep', vtep]),
    ...node.prefixes.flatMap((prefix) => ['--prefix', prefix]),
    ...(lab.shape.tenants > 1 ? vnisOf(lab.shape).flatMap((vni) => ['--vni', String(vni)]) : []),
  ];
  ca('issue', '--dir', lab.caDir, '--node', node.name, ...grant, '--out', node.identityDir);
}

/** Who may sign policy of the lab's VNIs. @returns the folder of key and certificate */
export function issueAuthor(lab: LabLayout, name: string): string {
  const dir = join(lab.dir, `author-${name}`);
  ca('issue', '--dir', lab.caDir, '--policy-author', name, '--out', dir);
  return dir;
}

/** `vxseal policy apply | withdraw` on the bus of the lab, with that node's configuration. */
export function signPolicy(node: NodeLayout, authorDir: string, args: readonly string[]): string {
  const common = ['--identity', authorDir, '--config', node.configFile];
  return run(inNetns(node.netns, [process.execPath, cli(), 'policy', ...args, ...common]));
}

/** Another CA of the same trust domain, for a roll-over. @returns its folder */
export function nextCa(lab: LabLayout): string {
  const dir = `${lab.caDir}-next`;
  ca('init', '--dir', dir, '--trust-domain', TRUST_DOMAIN);
  return dir;
}

/** @param caDir of the CA that signs; the agent reads the new certificate by itself */
export function renewNode(caDir: string, node: NodeLayout): void {
  ca('renew', '--dir', caDir, '--out', node.identityDir);
}

export function writeConfig(lab: LabLayout, node: NodeLayout): void {
  const engine = lab.shape.engines[node.index - 1];
  const cluster = lab.shape.overlay.map((family) => CLUSTER_PREFIXES[family]);
  const config = {
    nodeName: node.name,
    runDir: node.runDir,
    stateDir: node.stateDir,
    pinDir: node.pinDir,
    identity: {
      trustDomain: TRUST_DOMAIN,
      key: join(node.identityDir, 'node.key'),
      chain: join(node.identityDir, 'node.crt'),
      roots: join(node.identityDir, 'roots.crt'),
    },
    bus: { type: lab.shape.bus, path: lab.busDir },
    kafka: { brokers: [`${BROKER_ADDRESS}:${BROKER_PORT}`] },
    underlay: {
      devices: ['eth0'],
      espPort: ESP_PORT,
      xdp: lab.shape.xdp,
      tune: lab.shape.offloads ? 'auto' : 'off', // it would switch GRO on
    },
    overlay: {
      // Versions before do not know the key.
      ...(engine === undefined ? {} : { engine }),
      vni: VNI,
      port: VXLAN_PORT,
      prefixes: vnisOf(lab.shape).map((vni) => ({ vni, prefixes: node.prefixes })),
      protectedPrefixes: vnisOf(lab.shape).map((vni) => ({ vni, prefixes: cluster })),
    },
    probes: { intervalMs: 1000 },
    ...(lab.shape.policies ? { policies: { path: lab.policyDir }, reconcileIntervalMs: 300 } : {}),
  };
  writeFileSync(node.configFile, stringify(config), { mode: 0o600 });
}

/** The node's agent, if it runs. */
export function agentProcess(node: NodeLayout): ProcessId | undefined {
  if (!existsSync(node.pidFile)) return undefined;
  const [pid = '', startTicks = ''] = readFileSync(node.pidFile, 'utf8').trim().split(' ');
  const id = { pid: Number(pid), startTicks };
  return isAlive(id) ? id : undefined;
}

/** A machine has a /sys of its own; a namespace has the one of who made it, with devices of the same names. */
const withOwnSys = (argv: readonly string[]): string[] => {
  const script = 'mount -t sysfs sysfs /sys && exec "$@"';
  return ['unshare', '--mount', '--propagation=slave', '--', 'sh', '-c', script, 'sh', ...argv];
};

/**
 * The agent of an image, with what the chart gives its container: these rights, a read-only root and /proc/sys, and the
 * host's network settings beside it. A container runtime is not in it.
 */
const inImage = (root: string, args: readonly string[]): string[] => {
  const script = `set -e; root=$1; shift
    mount -t sysfs sysfs /sys
    mkdir -p "$root/host/proc/sys/net"
    mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
    for each in dev proc run sys; do mount --rbind /$each "$root/$each"; done
    mount --bind /proc/sys/net "$root/host/proc/sys/net"
    mount --bind /proc/sys "$root/proc/sys" && mount -o remount,bind,ro "$root/proc/sys"
    exec chroot "$root" setpriv --bounding-set -all,+net_admin,+net_raw,+bpf,+perfmon,+sys_admin "$@"`;
  return ['unshare', '--mount', '--propagation=slave', '--', 'sh', '-c', script, 'sh', root, ...args];
};

/**
 * Starts the agent and returns at once. nsenter replaces itself, so the pid is the agent's own.
 * @param program of another build, for an upgrade @param environment beside our own
 */
export function startAgent(
  node: NodeLayout,
  program = cli(),
  environment: Readonly<Record<string, string>> = {},
): ProcessId {
  if (agentProcess(node) !== undefined) throw new Error(`the agent of ${node.name} runs already`);
  const log = openSync(node.logFile, 'a', 0o600);
  try {
    const command = ['agent', '--config', node.configFile];
    const agent =
      node.image === ''
        ? withOwnSys([process.execPath, program, ...command])
        : inImage(node.image, ['vxseal', ...command]);
    const [file = '', ...args] = inNetns(node.netns, agent);
    const env = { ...process.env, ...environment };
    const child = spawn(file, args, { detached: true, stdio: ['ignore', log, log], cwd: '/', env });
    child.unref();
    const id = child.pid === undefined ? undefined : identify(child.pid);
    if (id === undefined) throw new Error(`the agent of ${node.name} did not start: ${file}`);
    writeFileSync(node.pidFile, `${id.pid} ${id.startTicks}\n`, { mode: 0o600 });
    return id;
  } finally {
    closeSync(log);
  }
}

/** @param name SIGTERM ends it in order, SIGKILL is the crash. False if it did not run. */
export async function endAgent(node: NodeLayout, name: 'SIGTERM' | 'SIGKILL'): Promise<boolean> {
  const id = agentProcess(node);
  if (id === undefined) return false;
  signal(id, name);
  await waitGone(id, STOP_TIMEOUT_MS);
  return true;
}

/** Last lines of the agent's log, for an error message. */
export function logTail(node: NodeLayout, lines = 15): string {
  if (!existsSync(node.logFile)) return '(no log)';
  return readFileSync(node.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}

/** Waits until the agent answers; its end is noticed at once. */
export async function waitAnswering(node: NodeLayout, id: ProcessId): Promise<void> {
  await until(`the agent of ${node.name} answers`, START_TIMEOUT_MS, () => {
    if (!isAlive(id)) throw new Error(`the agent of ${node.name} ended. Its log:\n${logTail(node)}`);
    return answers(node);
  });
}

/** The socket of an agent that was killed is there still, and nobody answers at it. */
const answers = (node: NodeLayout): Promise<true | undefined> =>
  status(node).then(
    (now) => (now.node === undefined ? undefined : true),
    () => undefined,
  );

export function attachPod(node: NodeLayout, pod: PodLayout): Promise<Outcome> {
  const netns = join('/run/netns', pod.netns);
  return start(
    vxsealArgv(node, [
      'pods',
      'attach',
      '--netns',
      netns,
      '--name',
      pod.name,
      '--namespace',
      'lab',
      '--vni',
      String(pod.vni),
    ]),
  );
}

export async function attachPods(lab: LabLayout): Promise<void> {
  for (const node of lab.nodes) {
    for (const pod of node.pods) {
      const outcome = await attachPod(node, pod);
      if (outcome.status !== 0)
        throw new Error(`${pod.name} cannot be attached: ${outcome.stderr || outcome.stdout}`);
    }
  }
}

export async function waitAllUp(lab: LabLayout, timeoutMs = START_TIMEOUT_MS): Promise<void> {
  for (const node of lab.nodes) {
    const peers = lab.nodes.filter((peer) => peer !== node).map((peer) => peer.name);
    await waitUp(node, peers, timeoutMs);
  }
}
