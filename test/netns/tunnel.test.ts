// Two nodes on one wire, each with the whole kernel room: a probe goes out sealed, is answered by the other node's
// data plane and comes back as an event. No agent, no bus; keys by hand.
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../agent/core/ids';
import { createDatapath } from '../../agent/kernel/datapath';
import type { XdpChoice } from '../../agent/kernel/hooks';
import { type Fd, loadNative } from '../../agent/kernel/native';
import { createNetnsOpener } from '../../agent/kernel/netns';
import type { Datapath, ProbeReply } from '../../agent/ports';
import { createNamespace, createVeth, type Namespace } from './namespace';

const native = loadNative();
const bpfDir = join(__dirname, '../../build/bpf');
const HOST_VNI = 42 as Vni;
const PEER = 1 as PeerNumber;
const ip = (text: string) => text as IpAddress;

interface Node {
  readonly namespace: Namespace;
  readonly netns: Fd;
  readonly datapath: Datapath;
  readonly address: IpAddress;
  readonly mac: string;
  readonly inside: <T>(body: () => T) => T;
}

let bpffs: string;
let nodes: Node[];

beforeEach(() => {
  bpffs = mkdtempSync(join(tmpdir(), 'vxseal-bpffs-'));
  native.mountBpffs(bpffs);
  nodes = [];
});

afterEach(() => {
  for (const { datapath, netns, namespace, inside } of nodes) {
    inside(() => datapath.destroy());
    netns.close();
    namespace.remove();
  }
  execFileSync('umount', [bpffs]);
  rmSync(bpffs, { recursive: true });
});

function createNode(number: number, xdp: XdpChoice): Node {
  const namespace = createNamespace();
  const netns = native.openNetns(namespace.path);
  const datapath = createDatapath(native, { bpfDir, pinDir: join(bpffs, `node${number}`), xdp });
  const node: Node = {
    namespace,
    netns,
    datapath,
    address: ip(`192.0.2.${number}`),
    mac: `02:00:5e:00:53:0${number}`,
    inside: (body) => native.inNetns(netns, body),
  };
  nodes.push(node);
  return node;
}

const keys = (seed: number) => ({
  vni: HOST_VNI,
  peer: PEER,
  spi: (0x1000 + seed) as Spi,
  key: new Uint8Array(32).fill(seed),
  salt: new Uint8Array(4).fill(seed),
});

async function configure(node: Node, other: Node, keyTo: number, keyFrom: number): Promise<void> {
  const { namespace, datapath, inside } = node;
  namespace.run('ip', 'addr', 'add', `${node.address}/24`, 'dev', 'eth0');
  const netns = createNetnsOpener(native).open(namespace.path);
  const netlink = netns.netlink();
  const vxlan = await netlink.ensureVxlan({ name: 'vxseal0', mac: node.mac, port: 4790, mtuBytes: 1408 });
  const underlay = (await netlink.links()).find(({ name }) => name === 'eth0')?.ifindex ?? 0;
  await netlink.raiseVxlan('vxseal0');
  netlink.close();
  netns.close();
  inside(() => datapath.open());
  const settings = {
    hostVni: HOST_VNI,
    vxlanPort: 4790,
    espPort: 4500,
    underlayMtuBytes: 1500,
    vxlanMtuBytes: 1408,
  };
  datapath.configure({ ...settings, mac: node.mac, sharedPort: false }, vxlan.ifindex);
  const identity = '00'.repeat(16);
  datapath.peers.put({ number: PEER, identity, vtep: other.address, local: node.address, mac: other.mac });
  datapath.overlay.put({ vni: HOST_VNI, prefix: `${other.address}/32` as Prefix, peer: PEER, node: true });
  datapath.sas.putRx({ ...keys(keyFrom), source: other.address });
  datapath.sas.putTx({ ...keys(keyTo), limit: 1n << 40n });
  for (const program of ['seal', 'open', 'deliver'] as const)
    inside(() => datapath.attach({ program, ifindex: underlay }));
  for (const program of ['encap', 'admit'] as const)
    inside(() => datapath.attach({ program, ifindex: vxlan.ifindex }));
}

async function connect(xdp: XdpChoice): Promise<[Node, Node]> {
  const [a, b] = [createNode(1, xdp), createNode(2, xdp)];
  createVeth(a.namespace, 'eth0', b.namespace, 'eth0');
  await configure(a, b, 7, 8);
  await configure(b, a, 8, 7);
  // Neighbours by hand: the first probe must not wait for ARP.
  for (const [node, other] of [
    [a, b],
    [b, a],
  ] as const) {
    const mac = JSON.parse(other.namespace.run('ip', '-j', 'link', 'show', 'eth0'))[0].address;
    node.namespace.run('ip', 'neigh', 'replace', other.address, 'lladdr', mac, 'dev', 'eth0');
  }
  return [a, b];
}

function shrinkUnderlay({ datapath, namespace }: Node): void {
  const settings = datapath.settings();
  if (settings === undefined) throw new Error('not configured');
  const { ifindex } = JSON.parse(namespace.run('ip', '-j', 'link', 'show', 'vxseal0'))[0];
  datapath.configure({ ...settings, underlayMtuBytes: 1499 }, ifindex);
}

function removePeers({ datapath }: Node): void {
  for (const entry of datapath.peers.list()) datapath.peers.remove(entry);
}

function nextReply({ datapath }: Node): Promise<ProbeReply> {
  const signal = new PassThrough({ objectMode: true });
  datapath.onProbeReply((reply) => signal.write(reply));
  return once(signal, 'data').then(([reply]) => reply);
}

// 1422: the largest inner frame, 1408 bytes of IP and the Ethernet header.
describe.each<XdpChoice>(['native', 'tc'])('open by %s', (xdp) => {
  test.each([60, 61, 1421, 1422])('a probe of %i bytes comes back', async (bytes) => {
    const [a, b] = await connect(xdp);
    const reply = nextReply(a);
    a.inside(() => a.datapath.sendProbe(PEER, 0x1122334455667788n, bytes));
    const { peer, id, sentNs, receivedNs, bytes: received } = await reply;
    expect({ peer, id, received }).toEqual({ peer: PEER, id: 0x1122334455667788n, received: bytes });
    expect(receivedNs > sentNs).toBe(true);
    for (const node of [a, b]) {
      expect(node.datapath.peerTraffic()).toEqual([
        {
          peer: PEER,
          sealedPackets: 1n,
          sealedBytes: BigInt(bytes),
          openedPackets: 1n,
          openedBytes: BigInt(bytes),
        },
      ]);
      expect(node.datapath.sas.listTx()[0]).toMatchObject({ sequence: 1n });
      const [rx] = node.datapath.sas.listRx();
      expect(rx).toMatchObject({ top: 1n, packets: 1n });
      expect(rx?.lastOpenedNs).toBeGreaterThan(0n);
      expect(node.datapath.dropCounts()).toEqual([]);
    }
  });

  test('the counter goes on over a restart of both', async () => {
    const [a] = await connect(xdp);
    const first = nextReply(a);
    a.inside(() => a.datapath.sendProbe(PEER, 1n, 60));
    await first;
    for (const node of nodes) {
      node.datapath.close();
      node.inside(() => node.datapath.open());
    }
    const second = nextReply(a);
    a.inside(() => a.datapath.sendProbe(PEER, 2n, 60));
    expect((await second).id).toBe(2n);
    expect(a.datapath.sas.listTx()[0]).toMatchObject({ sequence: 2n });
  });
});

test.each<[string, string, (a: Node) => void, number]>([
  ['without an SA', 'no_sa', (a) => a.datapath.sas.removeTx(HOST_VNI, PEER), 60],
  ['too big for the underlay', 'too_big', shrinkUnderlay, 1422],
  ['to a peer that is not there', 'no_peer', removePeers, 60],
])('a probe %s is dropped with its reason, not an error', async (_what, reason, prepare, bytes) => {
  const [a, b] = await connect('native');
  prepare(a);
  a.inside(() => a.datapath.sendProbe(PEER, 1n, bytes));
  expect(a.datapath.dropCounts()).toEqual([
    expect.objectContaining({ reason, direction: 'egress', packets: 1n }),
  ]);
  expect(b.datapath.peerTraffic()).toEqual([expect.objectContaining({ openedPackets: 0n })]);
});

test('a wrong key is counted at the receiver', async () => {
  const [a, b] = await connect('native');
  const goodSa = { ...keys(7), limit: 1n << 40n };
  a.datapath.sas.putTx({ ...goodSa, key: new Uint8Array(32).fill(99) });
  a.inside(() => a.datapath.sendProbe(PEER, 1n, 60));
  // The same way, right behind it: once this one is answered, the first has been judged.
  a.datapath.sas.putTx(goodSa);
  const reply = nextReply(a);
  a.inside(() => a.datapath.sendProbe(PEER, 2n, 60));
  await reply;
  expect(b.datapath.dropCounts()).toEqual([
    expect.objectContaining({ reason: 'bad_icv', direction: 'ingress', peer: PEER, packets: 1n }),
  ]);
});
