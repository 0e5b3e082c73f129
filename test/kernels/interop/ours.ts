// Our end: a node with a pod in namespaces of this kernel, the real programs and maps behind the Datapath port. No
// agent and no bus: keys are installed by hand, in the order in which rotation would. Two of them make a network of
// our own, for what the engines have in common.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { encodeTxKey, encodeTxSa } from '../../../agent/abi/codec';
import { PEER_LOCAL, type Prefix, type Vni } from '../../../agent/core/ids';
import type { DerivedSa } from '../../../agent/core/keyschedule';
import { createDatapath } from '../../../agent/kernel/datapath';
import type { EngineName } from '../../../agent/kernel/engine';
import type { XdpChoice } from '../../../agent/kernel/hooks';
import { type Fd, loadNative, type Native } from '../../../agent/kernel/native';
import { createNetnsOpener } from '../../../agent/kernel/netns';
import type { AttachedHook, Datapath } from '../../../agent/ports';
import { packageRoot } from '../../lab/layout';
import { createNamespace, type Namespace } from '../../netns/namespace';
import {
  type Case,
  caseMtuBytes,
  ESP_PORT,
  FOREIGN,
  FOREIGN_PEER,
  type Keys,
  OURS,
  type Side,
  TUNNEL_VNI,
  UNDERLAY_MTU_BYTES,
  VXLAN_PORT,
} from './plan';

const SA_F_RAW = 2;
const TX_FLAGS_AT = 40;
/** Refusals that would mean that the two kernels disagree about the wire. */
const WIRE_REASONS = [
  'malformed',
  'unknown_spi',
  'replay',
  'bad_icv',
  'bad_trailer',
  'not_vxlan',
  'wrong_vni',
];

interface LinkRow {
  readonly ifindex: number;
  readonly address: string;
}

export interface NodeChoice {
  readonly xdp: XdpChoice;
  readonly engine: EngineName;
  readonly own: Side;
  readonly other: Side;
  /** Of the wire. */
  readonly port: string;
  /** Of the node's own stack; the pods are in TUNNEL_VNI. */
  readonly hostVni: Vni;
}

export const OUR_END: NodeChoice = {
  xdp: 'auto',
  engine: 'bpf',
  own: OURS,
  other: FOREIGN,
  port: 'ours',
  hostVni: TUNNEL_VNI,
};

export class OurNode {
  readonly pod: Namespace = createNamespace();
  readonly node: Namespace = createNamespace();
  private readonly native: Native = loadNative();
  private readonly bpffs = mkdtempSync(join(tmpdir(), 'vxseal-interop-'));
  private readonly netns: Fd;
  private readonly datapath: Datapath;
  private vxlanIfindex = 0;

  /** @param wire namespace in which the port becomes the node's other end */
  constructor(
    wire: Namespace,
    readonly choice: NodeChoice = OUR_END,
  ) {
    this.native.mountBpffs(this.bpffs);
    this.netns = this.native.openNetns(this.node.path);
    const bpfDir = join(packageRoot(), 'build/bpf');
    const { xdp, engine } = choice;
    this.datapath = createDatapath(this.native, { bpfDir, pinDir: join(this.bpffs, 'pins'), xdp, engine });
    this.buildNamespaces(wire);
  }

  /** Attaches everything. @returns the hooks, with the path that this kernel took. */
  async open(): Promise<AttachedHook[]> {
    const { own, other, engine } = this.choice;
    const opener = createNetnsOpener(this.native).open(this.node.path);
    const netlink = opener.netlink();
    try {
      const plain = { name: 'vxseal0', mac: own.mac, port: VXLAN_PORT, mtuBytes: 1408 };
      const spec = engine === 'xfrm' ? { ...plain, receives: true as const } : plain;
      this.vxlanIfindex = (await netlink.ensureVxlan(spec)).ifindex;
      await netlink.raiseVxlan(spec.name);
      for (const family of [4, 6] as const)
        await netlink.putRoute({ prefix: other.prefix[family] as Prefix, device: spec.name });
    } finally {
      netlink.close();
      opener.close();
    }
    const [underlay, host] = [this.link(this.node, 'eth0'), this.link(this.node, 'pod')];
    const inside = this.link(this.pod, 'eth0');
    return this.native.inNetns(this.netns, () => {
      this.datapath.open();
      this.datapath.pods.put({
        ifindex: host.ifindex,
        vni: TUNNEL_VNI,
        mac: inside.address,
        hostMac: host.address,
        addresses: [own.inner[4], own.inner[6]],
      });
      const at = { underlay: underlay.ifindex, vxlan: this.vxlanIfindex, host: host.ifindex };
      return [
        this.datapath.attach({ program: 'seal', ifindex: at.underlay }),
        this.datapath.attach({ program: 'open', ifindex: at.underlay }),
        this.datapath.attach({ program: 'deliver', ifindex: at.underlay }),
        this.datapath.attach({ program: 'encap', ifindex: at.vxlan }),
        this.datapath.attach({ program: 'admit', ifindex: at.vxlan }),
        this.datapath.attach({ program: 'steer', ifindex: at.host }),
        this.datapath.attach({ program: 'gate', ifindex: at.host }),
      ];
    });
  }

  /** A tunnel anew, under `keys` both ways. */
  build(chosen: Case, keys: Keys): void {
    const mtuBytes = caseMtuBytes(chosen);
    this.node.run('ip', 'link', 'set', 'vxseal0', 'mtu', String(mtuBytes));
    this.pod.run('ip', 'link', 'set', 'eth0', 'mtu', String(mtuBytes));
    this.inside(({ overlay, peers, sas }) => {
      for (const sa of sas.listRx()) sas.removeRx(sa.spi, sa.source);
      for (const sa of sas.listTx()) sas.removeTx(sa.vni, sa.peer);
      for (const peer of peers.list()) peers.remove(peer);
      const { own, other, hostVni } = this.choice;
      const settings = { hostVni, vxlanPort: VXLAN_PORT, espPort: ESP_PORT, mac: own.mac };
      const sizes = { underlayMtuBytes: UNDERLAY_MTU_BYTES, vxlanMtuBytes: mtuBytes };
      this.datapath.configure({ ...settings, ...sizes, sharedPort: false }, this.vxlanIfindex);
      const identity = '00'.repeat(16);
      const ends = { vtep: other.vtep[chosen.family], local: own.vtep[chosen.family] };
      peers.put({ number: FOREIGN_PEER, identity, mac: other.mac, ...ends });
      for (const inner of [4, 6] as const) {
        const entry = { vni: TUNNEL_VNI, node: false };
        overlay.put({ ...entry, prefix: own.prefix[inner] as Prefix, peer: PEER_LOCAL });
        overlay.put({ ...entry, prefix: other.prefix[inner] as Prefix, peer: FOREIGN_PEER });
      }
    });
    this.receiveUnder(chosen, keys);
    this.sendUnder(chosen, keys);
  }

  receiveUnder({ family }: Case, keys: Keys): void {
    const source = this.choice.other.vtep[family];
    this.inside(({ sas }) => sas.putRx({ ...this.incoming(keys), peer: FOREIGN_PEER, source }));
  }

  sendUnder({ encapsulation }: Case, keys: Keys): void {
    const sa = { ...this.outgoing(keys), peer: FOREIGN_PEER, limit: 1n << 40n };
    if (encapsulation === 'udp') {
      this.inside(({ sas }) => sas.putTx(sa));
      return;
    }
    // The agent has no setting for raw ESP yet, the programs have: the flag goes in with the SA, in one write, since
    // a second one would start the counter again.
    const value = encodeTxSa(sa);
    value.writeUInt32LE(value.readUInt32LE(TX_FLAGS_AT) | SA_F_RAW, TX_FLAGS_AT);
    const map = this.native.openPinned(join(this.bpffs, 'pins/maps/tx_sa'));
    this.native.mapUpdate(map, encodeTxKey(TUNNEL_VNI, FOREIGN_PEER), value);
    map.close();
  }

  forget({ family }: Case, keys: Keys): void {
    this.inside(({ sas }) => sas.removeRx(this.incoming(keys).spi, this.choice.other.vtep[family]));
  }

  /** Packets authenticated under the SA. */
  received(keys: Keys): bigint {
    const { spi } = this.incoming(keys);
    return this.inside(({ sas }) => sas.listRx().find((sa) => sa.spi === spi)?.packets ?? 0n);
  }

  /** "our replay" -> packets, of every reason. */
  drops(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { reason, packets } of this.inside((datapath) => datapath.dropCounts()))
      counts.set(`our ${reason}`, (counts.get(`our ${reason}`) ?? 0) + Number(packets));
    return counts;
  }

  /** "replay" -> packets, of the reasons that concern the wire. */
  refusals(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>();
    for (const { reason, packets } of this.inside((datapath) => datapath.dropCounts())) {
      if (WIRE_REASONS.includes(reason)) counts.set(reason, (counts.get(reason) ?? 0) + Number(packets));
    }
    return counts;
  }

  /** The data plane, where its devices are. */
  inside<T>(body: (datapath: Datapath) => T): T {
    return this.native.inNetns(this.netns, () => body(this.datapath));
  }

  outgoing({ toForeign, toOurs }: Keys): DerivedSa {
    return this.choice.own === OURS ? toForeign : toOurs;
  }

  incoming({ toForeign, toOurs }: Keys): DerivedSa {
    return this.choice.own === OURS ? toOurs : toForeign;
  }

  close(): void {
    this.inside((datapath) => datapath.destroy());
    this.netns.close();
    this.pod.remove();
    this.node.remove();
    execFileSync('umount', [this.bpffs]);
    rmSync(this.bpffs, { recursive: true });
  }

  private link(where: Namespace, device: string): LinkRow {
    return JSON.parse(where.run('ip', '-j', 'link', 'show', 'dev', device))[0] as LinkRow;
  }

  private buildNamespaces(wire: Namespace): void {
    const { node, pod } = this;
    const { own, port } = this.choice;
    const ip = (where: Namespace, line: string) => where.run('ip', ...line.split(' '));
    node.run('sysctl', '-q', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    node.run('sysctl', '-q', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.default.rp_filter=0');
    ip(wire, `link add ${port} type veth peer name eth0 netns ${node.name}`);
    ip(wire, `link set ${port} master wire up`);
    ip(node, `addr add ${own.vtep[4]}/24 dev eth0`);
    ip(node, `addr add ${own.vtep[6]}/64 dev eth0 nodad`);
    ip(node, 'link set eth0 up');
    node.run('ethtool', '-K', 'eth0', 'tx', 'off', 'gro', 'on');
    ip(node, `link add pod type veth peer name eth0 netns ${pod.name}`);
    ip(node, 'link set pod up');
    ip(pod, 'link set eth0 up');
    for (const [family, gateway, all, net] of [
      [4, own.gateway[4], 32, 24],
      [6, own.gateway[6], 128, 64],
    ] as const) {
      const [address, nodad] = [own.inner[family], family === 6 ? ' nodad' : ''];
      ip(node, `addr add ${gateway}/${all} dev pod${nodad}`);
      ip(node, `route add ${address}/${all} dev pod`);
      ip(pod, `addr add ${address}/${net} dev eth0${nodad}`);
      ip(pod, `route add default via ${gateway} dev eth0`);
    }
  }
}
