// scripts/bench control: one real control room, with the real kernel under it, in a cluster that exists as records
// only. Measures the time until everything is programmed, the memory, how long the event loop stands still, and what
// one changed record costs. Runs itself again in a network namespace of its own, which it removes.
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { box } from 'tweetnacl';
import { SystemClock } from '../../agent/clock';
import { ControlRoom } from '../../agent/control/room';
import { NODES_TOPIC, type NodeAnnouncement, SUITE } from '../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import { initCa, openCa } from '../../agent/identity/ca';
import { issueLeaf, leafPaths } from '../../agent/identity/leaf';
import { loadIdentity } from '../../agent/identity/local';
import { signAnnouncement } from '../../agent/identity/record';
import { createDatapath } from '../../agent/kernel/datapath';
import { loadNative } from '../../agent/kernel/native';
import { createNetlink } from '../../agent/kernel/netlink';
import { createNetnsOpener } from '../../agent/kernel/netns';
import type { BusRecord, Datapath } from '../../agent/ports';
import { CniSource } from '../../agent/sources/cni';
import { NO_INFORMER } from '../../agent/sources/nri';
import { FakeBus, MemoryTopics } from '../fakes/bus';
import { MemoryCheckpoint, MemoryEpochFile } from '../fakes/checkpoint';
import { QuietLog } from '../fakes/log';
import { MemoryPolicyStore, plainPolicyRecords } from '../fakes/policies';
import { inNetns, ipBatch, run, tryRun } from '../lab/command';
import { packageRoot, TRUST_DOMAIN } from '../lab/layout';

const VNI = 100 as Vni;
const OWN = 'node0' as NodeName;
const LEASE_MS = 3600_000;
const LOOP_RESOLUTION_MS = 2;
const RECONCILE_MS = 5000;
const PROBE_MS = 10_000;
const CHANGES = 10;
const STEADY_MS = 15_000;

const vtepOf = (index: number): IpAddress => `100.64.${index >> 8}.${index & 255}` as IpAddress;
const prefixOf = (index: number, second = 0): Prefix =>
  `10.${((index >> 8) & 63) + 64 * second}.${index & 255}.0/24` as Prefix;

interface Cluster {
  readonly records: BusRecord[];
  /** The same node's next record, with one more prefix. */
  changed(index: number): Promise<BusRecord>;
}

/** Signed records of `nodes` nodes, each with a certificate of its own. */
async function makeCluster(caDir: string, nodes: number, nowMs: number): Promise<Cluster> {
  const issuer = await openCa(caDir, nowMs);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const epochs = new Map<number, Uint8Array>();
  const record = async (index: number, sequence: number, second: boolean): Promise<BusRecord> => {
    const node = `node${index}` as NodeName;
    const prefixes = second ? [prefixOf(index), prefixOf(index, 1)] : [prefixOf(index)];
    const granted = [prefixOf(index), prefixOf(index, 1)];
    const chain = await issuer.issue({
      node,
      publicKey,
      vteps: [vtepOf(index)],
      prefixes: granted,
      days: 30,
    });
    const key = epochs.get(index) ?? box.keyPair().publicKey;
    epochs.set(index, key);
    const announcement: NodeAnnouncement = {
      kind: 'node',
      node,
      bootId: '00112233445566778899aabbccddeeff',
      generation: 1,
      sequence,
      notBeforeMs: nowMs - 1000,
      notAfterMs: nowMs + LEASE_MS,
      agentVersion: '0.1.0',
      vteps: [vtepOf(index)],
      port: 4500,
      prefixes: [{ vni: VNI, prefixes }],
      suites: [SUITE],
      epoch: { number: 1, publicKey: key },
      olderEpochs: [],
    };
    const value = await signAnnouncement(announcement, { privateKey, chain: chain.map(({ der }) => der) });
    return { topic: NODES_TOPIC, key: node, value };
  };
  const records: BusRecord[] = [];
  for (let index = 1; index <= nodes; index++) records.push(await record(index, 1, false));
  return { records, changed: (index) => record(index, 2, true) };
}

/** How long the event loop stood still, milliseconds. */
class Stalls {
  private readonly histogram = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor() {
    this.histogram.enable();
  }

  /** Since the last call. */
  take(): { readonly p50: number; readonly p99: number; readonly max: number } {
    const ms = (ns: number): number => Math.max(0, ns / 1e6 - LOOP_RESOLUTION_MS);
    const { histogram } = this;
    const taken = {
      p50: ms(histogram.percentile(50)),
      p99: ms(histogram.percentile(99)),
      max: ms(histogram.max),
    };
    histogram.reset();
    return taken;
  }
}

/** Tells what is written into the data plane, as it is written. */
function watched(datapath: Datapath, wrote: (what: string) => void): Datapath {
  const sas = datapath.sas;
  const putTx = sas.putTx.bind(sas);
  sas.putTx = (sa) => {
    putTx(sa);
    wrote('tx');
  };
  const { overlay } = datapath;
  const put = overlay.put.bind(overlay);
  overlay.put = (entry) => {
    put(entry);
    wrote(`overlay ${entry.prefix}`);
  };
  return datapath;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const megabytes = (bytes: number): number => Math.round(bytes / 1e6);

/** In the namespace: everything measured, as JSON on standard output. */
async function measure(nodes: number, dir: string): Promise<void> {
  const clock = new SystemClock();
  const caDir = join(dir, 'ca');
  await initCa(
    caDir,
    { trustDomain: TRUST_DOMAIN, days: 365, prefixes: [], parent: undefined },
    clock.nowMs(),
  );
  const own = { node: OWN, vteps: [vtepOf(0)], prefixes: [prefixOf(0)], days: 30 };
  await issueLeaf(join(dir, 'own'), await openCa(caDir, clock.nowMs()), own);
  const cluster = await makeCluster(caDir, nodes, clock.nowMs());
  const files = leafPaths(join(dir, 'own'));
  const identity = await loadIdentity({ trustDomain: TRUST_DOMAIN, ...files, revoked: join(dir, 'none') });
  const topics = new MemoryTopics();
  for (const record of cluster.records) topics.write(record);

  const native = loadNative();
  const options = {
    bpfDir: join(packageRoot(), 'build/bpf'),
    pinDir: join(dir, 'pins'),
    xdp: 'auto' as const,
  };
  const datapath = createDatapath(native, options);
  datapath.open();
  let tx = 0;
  let waitFor = '';
  let arrived: () => void = () => {};
  watched(datapath, (what) => {
    if (what === 'tx') tx += 1;
    if (what === waitFor) arrived();
  });
  const reach = (what: string): Promise<void> => {
    waitFor = what;
    return new Promise((resolve) => {
      arrived = resolve;
    });
  };
  const netlink = createNetlink(native);
  const log = new QuietLog();
  const passes: number[] = [];
  const measures = {
    reconciled: (ms: number) => void passes.push(ms),
    drifted: () => {},
    rotated: () => {},
    answeredCni: () => {},
  };
  const room = new ControlRoom(
    {
      node: OWN,
      version: '0.1.0',
      bootId: 'boot',
      busType: 'memory',
      overlay: {
        node: OWN,
        hostVni: VNI,
        device: 'vxseal0',
        vxlanPort: 14789,
        espPort: 4500,
        sharedPort: false,
        mtuBytes: 0,
        prefixes: [{ vni: VNI, prefixes: [prefixOf(0)] }],
        protectedPrefixes: [{ vni: VNI, prefixes: ['10.0.0.0/8' as Prefix] }],
        pools: [],
      },
      underlayDevices: ['eth0'],
      vteps: [],
      packetLimit: 1n << 40n,
      timing: {
        idleMs: 60_000,
        hardLimitMs: 3600_000,
        stalemateMs: 20_000,
        rotateMs: 24 * 3600_000,
        silentMs: 24 * 3600_000,
      },
      probes: { intervalMs: PROBE_MS, timeoutMs: 30_000 },
      reconcileIntervalMs: RECONCILE_MS,
      leaseMs: LEASE_MS,
    },
    {
      clock,
      log,
      measures,
      netlink,
      opener: createNetnsOpener(native),
      datapath,
      tuner: { tune: () => {}, undo: () => {} },
      bus: new FakeBus(topics, () => clock.nowMs()),
      announcer: { announce: async () => {} },
      podAnnouncer: { announce: async () => {} },
      psk: undefined,
      watchOwn: () => {},
      verify: (record, nowMs) => identity.verify(record, nowMs, VNI),
      policyRecords: plainPolicyRecords(new MemoryPolicyStore()),
      remember: async () => {},
      highest: new Map(),
      rememberPods: async () => {},
      highestOfPods: new Map(),
      cni: (pods) => new CniSource(pods, { log, clock, measures }),
      informer: NO_INFORMER,
      identity: () => identity,
      adopted: { former: [], save: async () => undefined },
      checkpoint: new MemoryCheckpoint(),
      epochFile: new MemoryEpochFile(),
      randomSecret: () => new Uint8Array(randomBytes(32)),
    },
  );
  const stalls = new Stalls();
  const begunMs = performance.now();
  let peakBytes = 0;
  const memory = setInterval(() => {
    peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
  }, 50);
  await room.start();
  while (tx < nodes) {
    if (performance.now() - begunMs > 300_000) throw new Error(`${tx} of ${nodes} peers after 300 s`);
    await sleep(20);
  }
  // Routes come behind keys in the same pass.
  while ((await netlink.ownRoutes()).filter(({ device }) => device !== undefined).length < nodes)
    await sleep(50);
  const programmedMs = performance.now() - begunMs;
  const startStalls = stalls.take();
  await sleep(2000);
  stalls.take();
  passes.length = 0;
  const cpu = process.cpuUsage();
  await sleep(STEADY_MS);
  const steadyCpu = process.cpuUsage(cpu);
  const steadyStalls = stalls.take();
  const steadyPasses = [...passes];

  const changes: { ms: number; cpuMs: number }[] = [];
  for (let index = 1; index <= CHANGES; index++) {
    const record = await cluster.changed(index);
    const before = process.cpuUsage();
    const sinceMs = performance.now();
    const written = reach(`overlay ${prefixOf(index, 1)}`);
    topics.write(record);
    await written;
    const ms = performance.now() - sinceMs;
    await sleep(300);
    const spent = process.cpuUsage(before);
    changes.push({ ms, cpuMs: (spent.user + spent.system) / 1000 });
  }
  const changeStalls = stalls.take();
  clearInterval(memory);
  const rssBytes = process.memoryUsage.rss();
  await room.stop();
  netlink.close();
  datapath.destroy();
  const middle = (values: readonly number[]): number =>
    [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
  const result = {
    nodes,
    programmedMs: Math.round(programmedMs),
    peakMegabytes: megabytes(peakBytes),
    steadyMegabytes: megabytes(rssBytes),
    startStallsMs: startStalls,
    steadyStallsMs: steadyStalls,
    steadyCpuShare: (steadyCpu.user + steadyCpu.system) / 1000 / STEADY_MS,
    passMs: Math.round(middle(steadyPasses)),
    changeMs: Math.round(middle(changes.map((change) => change.ms))),
    changeCpuMs: Math.round(middle(changes.map((change) => change.cpuMs))),
    changeStallsMs: changeStalls,
  };
  writeFileSync(join(dir, 'result.json'), JSON.stringify(result));
}

function show(result: Record<string, unknown>): void {
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
}

function main(nodes: number): void {
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-bench-'));
  const netns = `vxbench-control-${process.pid}`;
  try {
    mkdirSync(join(dir, 'pins'));
    run(['mount', '-t', 'bpf', '-o', 'mode=0700', 'bpf', join(dir, 'pins')]);
    run(['ip', 'netns', 'add', netns]);
    ipBatch(netns, [
      'link set lo up',
      'link add eth0 type veth peer name wire0',
      'link set wire0 up',
      'link set eth0 up',
      `addr add ${vtepOf(0)}/10 dev eth0`,
    ]);
    const argv = inNetns(netns, [process.execPath, __filename, '--inside', String(nodes), dir]);
    const outcome = tryRun(argv, '', 600_000);
    process.stderr.write(outcome.stderr);
    if (outcome.status !== 0) throw new Error(`the measurement ended with ${outcome.status}`);
    const result = require(join(dir, 'result.json')) as Record<string, unknown>;
    const json = join(packageRoot(), `build/bench/control-${nodes}.json`);
    mkdirSync(dirname(json), { recursive: true });
    writeFileSync(json, `${JSON.stringify(result, null, 1)}\n`);
    show(result);
  } finally {
    tryRun(['ip', 'netns', 'del', netns]);
    tryRun(['umount', '-l', join(dir, 'pins')]);
    rmSync(dir, { recursive: true, force: true });
  }
}

const [first = '5000', ...rest] = process.argv.slice(2);
if (first === '--inside') {
  const [nodes = '', dir = ''] = rest;
  measure(Number(nodes), dir).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
} else if (/^[1-9]\d{0,4}$/.test(first)) {
  main(Number(first));
} else {
  console.error('usage: scripts/bench control [NODES, default 5000]');
  process.exit(2);
}
