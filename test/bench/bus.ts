// scripts/bench bus: how long a change takes from its producer to the eBPF maps of every other node, over a real Kafka
// and real agents. Builds a lab of its own, and in the namespace of its broker one more node that exists as signed
// records only: it announces another prefix each time, and the maps of all agents are watched for it. Removes the lab.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { box } from 'tweetnacl';
import { decodeOverlay, encodeOverlayKey } from '../../agent/abi/codec';
import { SystemClock } from '../../agent/clock';
import { NODES_TOPIC, PODS_TOPIC, SUITE } from '../../agent/core/announcement';
import { type IpAddress, type NodeName, PEER_NONE, type Prefix, type Vni } from '../../agent/core/ids';
import { openCa } from '../../agent/identity/ca';
import { signAnnouncement } from '../../agent/identity/record';
import { type Fd, loadNative, type Native } from '../../agent/kernel/native';
import { Pins } from '../../agent/kernel/pins';
import { KafkaBus } from '../../agent/sources/kafka';
import { QuietLog } from '../fakes/log';
import { inNetns, run } from '../lab/command';
import { bringUp, openLab } from '../lab/lab';
import {
  BROKER_ADDRESS,
  BROKER_PORT,
  ESP_PORT,
  type LabLayout,
  PLAIN_SHAPE,
  packageRoot,
  VNI,
} from '../lab/layout';
import { teardown } from '../lab/teardown';
import { quantile } from './quantile';

const NODES = 3;
const PRODUCER = 'node9' as NodeName;
const PRODUCER_VTEP = '192.0.2.9' as IpAddress;
const RANGE = '10.244.64.0/18' as Prefix;
const RANGE_PREFIXES = 64;
const LEASE_MS = 3600_000;
const LOOK_MS = 1;
const GIVE_UP_MS = 20_000;
/** Between changes, so that each is met by agents at rest. */
const REST_MS = 50;
const WARM_UP = 5;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const prefixOf = (change: number): Prefix => `10.244.${64 + (change % RANGE_PREFIXES)}.0/24` as Prefix;

/** Signs what the producer announces at each change. */
async function makeSigner(lab: LabLayout): Promise<(change: number) => Promise<Uint8Array>> {
  const nowMs = Date.now();
  const issuer = await openCa(lab.caDir, nowMs);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const request = { node: PRODUCER, publicKey, vteps: [PRODUCER_VTEP], prefixes: [RANGE], days: 1 };
  const chain = (await issuer.issue(request)).map(({ der }) => der);
  const epoch = { number: 1, publicKey: box.keyPair().publicKey };
  return (change) =>
    signAnnouncement(
      {
        kind: 'node',
        node: PRODUCER,
        bootId: '00112233445566778899aabbccddeeff',
        generation: 1,
        sequence: change + 1,
        notBeforeMs: nowMs - 1000,
        notAfterMs: nowMs + LEASE_MS,
        agentVersion: '0.1.0',
        vteps: [PRODUCER_VTEP],
        port: ESP_PORT,
        prefixes: [{ vni: VNI as Vni, prefixes: [prefixOf(change)] }],
        suites: [SUITE],
        epoch,
        olderEpochs: [],
      },
      { privateKey, chain },
    );
}

async function connect(): Promise<KafkaBus> {
  const bus = new KafkaBus({
    settings: {
      brokers: [{ host: BROKER_ADDRESS, port: BROKER_PORT }],
      clientId: 'vxseal-bench',
      topicPrefix: '',
      replicationFactor: 0,
      tls: false,
      tlsCa: '',
      tlsCert: '',
      tlsKey: '',
      saslMechanism: 'none',
      saslUsername: '',
      saslPasswordFile: '',
    },
    topics: [NODES_TOPIC, PODS_TOPIC],
    clock: new SystemClock(),
    log: new QuietLog(),
  });
  await bus.start(() => undefined);
  if (!bus.status().connected) throw new Error(`Kafka: ${bus.status().error}`);
  return bus;
}

/** @returns when each of the maps first held the prefix, in the order of the maps */
async function seen(native: Native, maps: readonly Fd[], prefix: Prefix): Promise<number[]> {
  const key = encodeOverlayKey({ vni: VNI as Vni, prefix });
  const at: (number | undefined)[] = maps.map(() => undefined);
  const deadline = performance.now() + GIVE_UP_MS;
  for (;;) {
    for (const [index, map] of maps.entries()) {
      // The longest match answers: until the change is there, the cluster's range, which is nobody's.
      const value = at[index] === undefined ? native.mapLookup(map, key) : undefined;
      if (value !== undefined && decodeOverlay(key, value).peer !== PEER_NONE) at[index] = performance.now();
    }
    if (at.every((ms) => ms !== undefined)) return at as number[];
    if (performance.now() > deadline) throw new Error(`${prefix} did not reach every node`);
    await sleep(LOOK_MS);
  }
}

/** In the broker's namespace. */
async function measure(name: string, changes: number): Promise<void> {
  const lab = openLab(name);
  const native = loadNative();
  const maps = lab.nodes.map((node) => {
    const map = new Pins(native, node.pinDir).openMap('overlay');
    if (map === undefined) throw new Error(`${node.name} has no overlay map`);
    return map;
  });
  const sign = await makeSigner(lab);
  const bus = await connect();
  const results: { readonly ackedMs: number; readonly mapsMs: readonly number[] }[] = [];
  for (let change = 0; change < WARM_UP + changes; change++) {
    const value = await sign(change);
    const begunMs = performance.now();
    const written = seen(native, maps, prefixOf(change));
    await bus.publish(NODES_TOPIC, PRODUCER, value);
    const ackedMs = performance.now() - begunMs;
    const mapsMs = (await written).map((ms) => ms - begunMs);
    if (change >= WARM_UP) results.push({ ackedMs, mapsMs });
    await sleep(REST_MS);
  }
  await bus.stop();
  for (const map of maps) map.close();
  writeFileSync(join(lab.dir, 'bus.json'), JSON.stringify(results));
}

function show(name: string, values: readonly number[]): void {
  const text = [0.5, 0.9, 0.99, 1].map((part) => quantile(values, part).toFixed(1).padStart(7));
  console.log(`${name.padEnd(34)} ${text.join(' ')}`);
}

async function main(changes: number): Promise<void> {
  const name = `bb${process.pid}`;
  try {
    await bringUp(name, NODES, 1, () => undefined, { ...PLAIN_SHAPE, bus: 'kafka' });
    const lab = openLab(name);
    const argv = [process.execPath, __filename, '--inside', name, String(changes)];
    run(inNetns(lab.wireNetns, argv), '', 480_000);
    const results = JSON.parse(readFileSync(join(lab.dir, 'bus.json'), 'utf8')) as {
      readonly ackedMs: number;
      readonly mapsMs: readonly number[];
    }[];
    const json = join(packageRoot(), 'build/bench/bus.json');
    mkdirSync(dirname(json), { recursive: true });
    writeFileSync(json, `${JSON.stringify(results, null, 1)}\n`);
    console.log(`${results.length} changes, ${NODES} agents, milliseconds   p50     p90     p99     max`);
    show(
      'produce to acknowledged',
      results.map(({ ackedMs }) => ackedMs),
    );
    show(
      'produce to the first map',
      results.map(({ mapsMs }) => Math.min(...mapsMs)),
    );
    show(
      "produce to every node's map",
      results.map(({ mapsMs }) => Math.max(...mapsMs)),
    );
  } finally {
    teardown(name);
  }
}

const [first = '200', ...rest] = process.argv.slice(2);
const work =
  first === '--inside'
    ? measure(rest[0] ?? '', Number(rest[1])).then(() => process.exit(0))
    : /^[1-9]\d{0,3}$/.test(first)
      ? main(Number(first))
      : Promise.reject(new Error('usage: scripts/bench bus [CHANGES, default 200]'));
work.catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
