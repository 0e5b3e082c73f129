// The records of a cluster that exists as records only, made in a process of its own: issuing thousands of certificates
// leaves garbage that nobody is to measure. Writes them to files, which serve later runs too while their leases last;
// knows nothing of buses and agents.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { box } from 'tweetnacl';
import {
  type NodeAnnouncement,
  podKey,
  SUITE,
  type UnverifiedAnnouncement,
} from '../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import { type Issuer, initCa, openCa } from '../../agent/identity/ca';
import { issueLeaf } from '../../agent/identity/leaf';
import { signAnnouncement } from '../../agent/identity/record';
import { ESP_PORT, TRUST_DOMAIN, VNI } from '../lab/layout';

export const OWN = 'node0' as NodeName;
const LEASE_MS = 20 * 3600_000;
/** A lease that is nearer to its end might end in a run. */
const LEAST_LEASE_MS = 3600_000;

export const vtepOf = (index: number): IpAddress => `100.64.${index >> 8}.${index & 255}` as IpAddress;
/** @param second the prefix that a change adds */
export const prefixOf = (index: number, second = false): Prefix =>
  `10.${(index >> 8) + (second ? 64 : 0)}.${index & 255}.0/24` as Prefix;

export interface SavedRecord {
  readonly key: string;
  readonly value: Uint8Array;
}

const PODS_OF_NODE = 10;

/** The first records of all nodes, those of their pods, and the next ones of the first few nodes. */
export interface ClusterFiles {
  readonly records: readonly SavedRecord[];
  readonly pods: readonly SavedRecord[];
  readonly changes: readonly SavedRecord[];
}

const fileOf = (dir: string): string => join(dir, 'records.json');
const stampOf = (dir: string): string => join(dir, 'made.json');

/** Whether the folder holds such a cluster whose leases last for another run. */
export function isPrepared(dir: string, nodes: number, changes: number): boolean {
  try {
    const made = JSON.parse(readFileSync(stampOf(dir), 'utf8')) as Record<string, unknown>;
    const fits = made.nodes === nodes && made.changes === changes && made.podsOfNode === PODS_OF_NODE;
    return fits && Number(made.leasesEndMs) > Date.now() + LEAST_LEASE_MS;
  } catch {
    return false;
  }
}

export function readCluster(dir: string): ClusterFiles {
  const read = ([key, value]: [string, string]): SavedRecord => ({
    key,
    value: Buffer.from(value, 'base64'),
  });
  const saved = JSON.parse(readFileSync(fileOf(dir), 'utf8')) as Record<string, [string, string][]>;
  const all = (name: string): SavedRecord[] => (saved[name] ?? []).map(read);
  return { records: all('records'), pods: all('pods'), changes: all('changes') };
}

class Maker {
  private readonly keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  constructor(
    private readonly issuer: Issuer,
    private readonly nowMs: number,
  ) {}

  /** Of the node the first record and perhaps a next one, which has one more prefix; and those of its pods. */
  async node(index: number, withNext: boolean): Promise<{ own: Uint8Array[]; pods: [string, Uint8Array][] }> {
    const node = `node${index}` as NodeName;
    const vteps = [vtepOf(index)];
    const granted = [prefixOf(index), prefixOf(index, true)];
    const { publicKey, privateKey } = this.keys;
    const certificates = await this.issuer.issue({ node, publicKey, vteps, prefixes: granted, days: 30 });
    const chain = certificates.map(({ der }) => der);
    const epoch = { number: 1, publicKey: box.keyPair().publicKey };
    const announce = (sequence: number, prefixes: readonly Prefix[]): NodeAnnouncement => ({
      kind: 'node',
      node,
      bootId: '00112233445566778899aabbccddeeff',
      generation: 1,
      sequence,
      notBeforeMs: this.nowMs - 1000,
      notAfterMs: this.nowMs + LEASE_MS,
      agentVersion: '0.1.0',
      vteps,
      port: ESP_PORT,
      prefixes: [{ vni: VNI as Vni, prefixes }],
      suites: [SUITE],
      epoch,
      olderEpochs: [],
    });
    const wanted = [announce(1, granted.slice(0, 1)), ...(withNext ? [announce(2, granted)] : [])];
    const sign = (record: UnverifiedAnnouncement): Promise<Uint8Array> =>
      signAnnouncement(record, { privateKey, chain });
    const pods: [string, Uint8Array][] = [];
    for (let pod = 0; pod < PODS_OF_NODE; pod++) {
      const address = prefixOf(index).replace('0/24', String(pod + 2)) as IpAddress;
      const content = { vni: VNI as Vni, address, uid: '', namespace: 'bench', name: `pod${index}-${pod}` };
      const order = { generation: 1, sequence: pod + 1 };
      const lease = { notBeforeMs: this.nowMs - 1000, notAfterMs: this.nowMs + LEASE_MS };
      const labels = { app: `app${pod}` };
      const value = await sign({
        kind: 'pod',
        node,
        ...content,
        ...order,
        ...lease,
        labels,
        ports: [],
        mtuBytes: 1408,
      });
      pods.push([podKey(content), value]);
    }
    return { own: await Promise.all(wanted.map(sign)), pods };
  }
}

const base64 = (value: Uint8Array): string => Buffer.from(value).toString('base64');

/** A CA, our own node's key and certificate, and everybody else's records; whole or not there. */
async function make(target: string, nodes: number, changes: number): Promise<void> {
  const nowMs = Date.now();
  const dir = `${target}.${process.pid}`;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const caDir = join(dir, 'ca');
  await initCa(caDir, { trustDomain: TRUST_DOMAIN, days: 365, prefixes: [], parent: undefined }, nowMs);
  const issuer = await openCa(caDir, nowMs);
  const own = { node: OWN, vteps: [vtepOf(0)], prefixes: [prefixOf(0)], days: 30 };
  await issueLeaf(join(dir, 'own'), issuer, own);
  const maker = new Maker(issuer, nowMs);
  const records: [string, string][] = [];
  const pods: [string, string][] = [];
  const next: [string, string][] = [];
  for (let index = 1; index <= nodes; index++) {
    const made = await maker.node(index, index <= changes);
    const values = made.own.map(base64);
    pods.push(...made.pods.map(([key, value]): [string, string] => [key, base64(value)]));
    records.push([`node${index}`, values[0] ?? '']);
    if (values[1] !== undefined) next.push([`node${index}`, values[1]]);
  }
  writeFileSync(fileOf(dir), JSON.stringify({ records, pods, changes: next }));
  const made = { nodes, changes, podsOfNode: PODS_OF_NODE, leasesEndMs: nowMs + LEASE_MS };
  writeFileSync(stampOf(dir), JSON.stringify(made));
  rmSync(target, { recursive: true, force: true });
  renameSync(dir, target);
}

if (require.main === module) {
  const [dir = '', nodes = '', changes = ''] = process.argv.slice(2);
  make(dir, Number(nodes), Number(changes)).catch((error: unknown) => {
    console.error(error);
    process.exitCode = 1;
  });
}
