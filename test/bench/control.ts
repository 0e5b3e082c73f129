// scripts/bench control: a real agent in a process of its own, over a real Kafka and the real kernel, in a cluster that
// exists as records only. Measures the time until the bus is read and everything programmed, how long the event loop
// stands still, the agent's own memory, and what one changed record costs. Several builds take turns in one run. Runs
// itself again in a network namespace of its own, which it removes.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { decodeOverlay, encodeOverlayKey } from '../../agent/abi/codec';
import { NODES_TOPIC, PODS_TOPIC } from '../../agent/core/announcement';
import { PEER_NONE, type Vni } from '../../agent/core/ids';
import { POLICIES_TOPIC } from '../../agent/core/policyrecord';
import { type Fd, loadNative, type Native } from '../../agent/kernel/native';
import { createNetlink } from '../../agent/kernel/netlink';
import { Pins } from '../../agent/kernel/pins';
import type { Netlink } from '../../agent/ports';
import { Broker, type Stranger } from '../kafka/broker';
import { inNetns, ipBatch, run, tryRun, until } from '../lab/command';
import { packageRoot, VNI } from '../lab/layout';
import { type ClusterFiles, isPrepared, prefixOf, readCluster, type SavedRecord, vtepOf } from './cluster';
import { quantile } from './quantile';
import { Subject } from './subject';

const CHANGES = 20;
const STEADY_MS = 15_000;
const SETTLE_MS = 2000;
const REST_MS = 300;
const LIMIT_MS = 180_000;
/** For thousands of certificates. */
const PREPARE_LIMIT_MS = 900_000;
const GATEWAY = '100.127.255.254';

interface Figures {
  readonly build: string;
  readonly [name: string]: unknown;
}

const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const megabytes = (bytes: number): number => Math.round(bytes / 1e6);

/** What stands in the kernel, read from outside the agent. */
class Kernel {
  constructor(
    private readonly native: Native,
    private readonly netlink: Netlink,
    private readonly pinDir: string,
  ) {}

  async programmed(nodes: number): Promise<boolean> {
    const map = new Pins(this.native, this.pinDir).openMap('tx_sa');
    if (map === undefined) return false;
    const keyed = this.native.mapEntries(map).length;
    map.close();
    if (keyed < nodes) return false;
    // Routes come last.
    return (await this.netlink.ownRoutes()).filter(({ device }) => device !== undefined).length >= nodes;
  }

  overlay(): Fd {
    const map = new Pins(this.native, this.pinDir).openMap('overlay');
    if (map === undefined) throw new Error('there is no overlay map');
    return map;
  }

  /** Resolves when the node's second prefix is a peer's. */
  async changed(overlay: Fd, index: number): Promise<void> {
    const key = encodeOverlayKey({ vni: VNI as Vni, prefix: prefixOf(index, true) });
    await until(
      `change ${index} arrives`,
      LIMIT_MS,
      () => {
        const value = this.native.mapLookup(overlay, key);
        return value !== undefined && decodeOverlay(key, value).peer !== PEER_NONE ? true : undefined;
      },
      () => '',
      1,
    );
  }
}

/** Few enough at once for one request. */
const WRITTEN_AT_ONCE = 500;

async function writeIn(stranger: Stranger, topic: string, records: readonly SavedRecord[]): Promise<void> {
  for (let at = 0; at < records.length; at += WRITTEN_AT_ONCE)
    await stranger.writeAll(
      topic,
      records.slice(at, at + WRITTEN_AT_ONCE).map(({ key, value }) => ({ key, value })),
    );
}

async function measureOne(
  subject: Subject,
  kernel: Kernel,
  cluster: ClusterFiles,
  bus: { readonly stranger: Stranger; readonly topic: string },
): Promise<Omit<Figures, 'build'>> {
  const nodes = cluster.records.length;
  const begunMs = performance.now();
  subject.start();
  const reach = (what: string, condition: () => Promise<boolean>): Promise<number> =>
    until(
      what,
      LIMIT_MS,
      async () => {
        subject.check();
        return (await condition()) ? performance.now() - begunMs : undefined;
      },
      () => '',
      100,
    );
  const [inSyncMs, programmedMs] = await Promise.all([
    reach('the bus is read', () => subject.inSync()),
    reach('everything is programmed', () => kernel.programmed(nodes)),
  ]);
  const start = await subject.read();
  await sleep(SETTLE_MS);
  await subject.read();
  await sleep(STEADY_MS);
  const steady = await subject.read();
  const times: number[] = [];
  const overlay = kernel.overlay();
  for (const [at, { key, value }] of cluster.changes.entries()) {
    const sinceMs = performance.now();
    const arrived = kernel.changed(overlay, at + 1);
    await bus.stranger.write(bus.topic, key, value);
    await arrived;
    times.push(performance.now() - sinceMs);
    await sleep(REST_MS);
  }
  overlay.close();
  const changing = await subject.read();
  const peakBytes = subject.peakBytes();
  // At the end: an answer with all pods is as large as a good part of what is measured.
  const known = await subject.remotePods();
  if (known !== cluster.pods.length)
    throw new Error(`the agent knows ${known} of ${cluster.pods.length} pods`);
  const steadyShare = steady.cpuMs / steady.sinceMs;
  return {
    nodes,
    pods: cluster.pods.length,
    inSyncMs: Math.round(inSyncMs),
    programmedMs: Math.round(programmedMs),
    startStallsMs: start.stallMs,
    steadyStallsMs: steady.stallMs,
    steadyCpuShare: steadyShare,
    changeP50Ms: Math.round(quantile(times, 0.5)),
    changeMaxMs: Math.round(quantile(times, 1)),
    changeCpuMs: Math.round((changing.cpuMs - steadyShare * changing.sinceMs) / times.length),
    changeStallsMs: changing.stallMs,
    steadyMegabytes: megabytes(changing.residentBytes),
    peakMegabytes: megabytes(peakBytes),
  };
}

const preparedDir = (nodes: number): string => join(packageRoot(), `build/bench/cluster-${nodes}`);

/** Issuing thousands of certificates takes minutes: what a former run has made serves again. */
function prepare(nodes: number): void {
  const target = preparedDir(nodes);
  if (isPrepared(target, nodes, CHANGES)) return;
  const maker = join(__dirname, 'cluster.js');
  run([process.execPath, maker, target, String(nodes), String(CHANGES)], '', PREPARE_LIMIT_MS);
}

/** In the namespace: everything measured, as JSON in a file. */
async function measure(dir: string, nodes: number, builds: readonly string[]): Promise<void> {
  const cluster = readCluster(preparedDir(nodes));
  cpSync(join(preparedDir(nodes), 'own'), join(dir, 'own'), { recursive: true });
  const native = loadNative();
  const netlink = createNetlink(native);
  const broker = new Broker();
  const results: Figures[] = [];
  try {
    await broker.start();
    for (const [turn, installation] of builds.entries()) {
      const stranger = broker.stranger();
      // The topics of the turn before hold its changes.
      const topic = `t${turn}.${NODES_TOPIC}`;
      const podsTopic = `t${turn}.${PODS_TOPIC}`;
      for (const name of [topic, podsTopic, `t${turn}.${POLICIES_TOPIC}`])
        await stranger.createTopic(name, 1, { 'max.message.bytes': '65536' });
      await writeIn(stranger, topic, cluster.records);
      await writeIn(stranger, podsTopic, cluster.pods);
      const pinDir = join(dir, 'pins', `turn${turn}`);
      const subject = new Subject({ dir, installation, pinDir });
      subject.configure(broker.port, `t${turn}.`);
      try {
        const kernel = new Kernel(native, netlink, pinDir);
        results.push({
          build: installation,
          ...(await measureOne(subject, kernel, cluster, { stranger, topic })),
        });
      } finally {
        await subject.end();
        await stranger.close();
      }
    }
  } finally {
    netlink.close();
    await broker.dispose();
  }
  writeFileSync(join(dir, 'result.json'), JSON.stringify(results));
}

function show(result: Figures): void {
  for (const [name, value] of Object.entries(result)) {
    const text =
      typeof value === 'object' && value !== null
        ? Object.entries(value)
            .map(([part, ms]) => `${part} ${Number(ms).toFixed(1)}`)
            .join(', ')
        : typeof value === 'number' && !Number.isInteger(value)
          ? value.toFixed(3)
          : String(value);
    console.log(`${name.padEnd(18)} ${text}`);
  }
  console.log();
}

function main(nodes: number, builds: readonly string[]): void {
  prepare(nodes);
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-bench-'));
  const netns = `vxbench-control-${process.pid}`;
  try {
    mkdirSync(join(dir, 'pins'));
    run(['mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', join(dir, 'pins')]);
    run(['ip', 'netns', 'add', netns]);
    // Peers are behind a router, as they are in a cluster of that size.
    ipBatch(netns, [
      'link set lo up',
      'link add eth0 type veth peer name wire0',
      'link set wire0 up',
      'link set eth0 up',
      `addr add ${vtepOf(0)}/32 dev eth0`,
      `route add 100.64.0.0/10 via ${GATEWAY} dev eth0 onlink`,
      `neigh add ${GATEWAY} lladdr 02:00:00:00:00:01 dev eth0 nud permanent`,
    ]);
    const inside = ['--inside', dir, String(nodes), ...builds];
    const outcome = tryRun(inNetns(netns, [process.execPath, __filename, ...inside]), '', 480_000);
    process.stderr.write(outcome.stderr);
    if (outcome.status !== 0) throw new Error(`the measurement ended with ${outcome.status}`);
    const text = readFileSync(join(dir, 'result.json'), 'utf8');
    const json = join(packageRoot(), `build/bench/control-${nodes}.json`);
    mkdirSync(dirname(json), { recursive: true });
    writeFileSync(json, `${text}\n`);
    for (const result of JSON.parse(text) as Figures[]) show(result);
  } finally {
    tryRun(['ip', 'netns', 'del', netns]);
    tryRun(['umount', '-l', join(dir, 'pins')]);
    rmSync(dir, { recursive: true, force: true });
  }
}

const USAGE = `usage: scripts/bench control [NODES, default 5000] [--prepare] [--beside FOLDER]...
  --prepare         only make the records, which later runs use
  --beside FOLDER   another installation, built, measured before this one in the same run`;

function parse(argv: readonly string[]): { nodes: number; builds: string[]; only: boolean } {
  const rest = [...argv];
  const nodes = /^[1-9]\d{0,3}$/.test(rest[0] ?? '') ? Number(rest.shift()) : 5000;
  const only = rest[0] === '--prepare';
  if (only) rest.shift();
  const builds: string[] = [];
  for (let option = rest.shift(); option !== undefined; option = rest.shift()) {
    const value = rest.shift();
    if (value === undefined) throw new Error(USAGE);
    if (option !== '--beside') throw new Error(USAGE);
    builds.push(resolve(value));
  }
  return { nodes, builds: [...builds, packageRoot()], only };
}

const [first = '', ...rest] = process.argv.slice(2);
if (first === '--inside') {
  const [dir = '', nodes = '', ...builds] = rest;
  measure(dir, Number(nodes), builds).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
} else {
  try {
    const { nodes, builds, only } = parse(process.argv.slice(2));
    if (only) prepare(nodes);
    else main(nodes, builds);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
