// Two nodes of ours on one wire of this kernel, each with its engine: what a proof needs of them.
import { parseOuter } from '../../bpf/esp-decoder';
import { inNetns, type Outcome, run, start } from '../../lab/command';
import { type NodeChoice, OUR_END, OurNode } from '../interop/ours';
import { type Case, FOREIGN, type Keys, newKeys, OURS, VXLAN_PORT } from '../interop/plan';
import { moved, ping } from '../interop/run';
import { Wire } from '../interop/wire';

const ETHERNET_BYTES = 14;
const PROTOCOL_UDP = 17;

export type Choice = Pick<NodeChoice, 'engine' | 'xdp' | 'hostVni'>;

export class Scene {
  readonly wire = new Wire();
  readonly a: OurNode;
  readonly b: OurNode;
  keys: Keys = newKeys(1);

  constructor(
    readonly chosen: Case,
    a: Choice,
    b: Choice,
  ) {
    this.a = new OurNode(this.wire.netns, { ...OUR_END, ...a });
    this.b = new OurNode(this.wire.netns, { own: FOREIGN, other: OURS, port: 'theirs', ...b });
  }

  async open(): Promise<void> {
    await this.a.open();
    await this.b.open();
    this.rebuild();
  }

  /** Fresh keys, and everything that belongs to a tunnel anew. */
  rebuild(): void {
    this.keys = newKeys(1);
    for (const node of [this.a, this.b]) node.build(this.chosen, this.keys);
  }

  /** From the pod of `from` to the other's. */
  ping(from: OurNode, bytes = 56, inner: 4 | 6 = 4, ...more: readonly string[]): Promise<Outcome> {
    return start(inNetns(from.pod.name, [...ping(from.choice.other.inner[inner], bytes), ...more]));
  }

  /** The other node. */
  other(node: OurNode): OurNode {
    return node === this.a ? this.b : this.a;
  }

  /** A sealed packet from that node. */
  sealed(from: OurNode, inner: 4 | 6 = 4, ...more: readonly string[]): Promise<Buffer> {
    const filter = `udp dst port 4500 and src host ${from.choice.own.vtep[this.chosen.family]}`;
    return this.wire.capture(filter, () => this.ping(from, 56, inner, ...more));
  }

  /** VXLAN in clear that passes the wire meanwhile. */
  clear(provoke: () => Promise<unknown>): Promise<Buffer[]> {
    return this.wire.watch(`udp port ${VXLAN_PORT}`, provoke);
  }

  close(): void {
    this.a.close();
    this.b.close();
    this.wire.close();
  }
}

/** The sealed packet as it was before: the same outer addresses, and UDP as it is inside. */
export function unsealed(frame: Buffer, payload: Buffer): Buffer {
  const { family } = parseOuter(frame);
  const header = Buffer.from(frame.subarray(0, ETHERNET_BYTES + (family === 4 ? 20 : 40)));
  if (family === 4) {
    header.writeUInt16BE(20 + payload.length, ETHERNET_BYTES + 2);
    header.writeUInt8(PROTOCOL_UDP, ETHERNET_BYTES + 9);
    header.writeUInt16BE(0, ETHERNET_BYTES + 10);
    header.writeUInt16BE(headerChecksum(header.subarray(ETHERNET_BYTES)), ETHERNET_BYTES + 10);
  } else {
    header.writeUInt16BE(payload.length, ETHERNET_BYTES + 4);
    header.writeUInt8(PROTOCOL_UDP, ETHERNET_BYTES + 6);
  }
  return Buffer.concat([header, payload]);
}

/** RFC 791 §3.1. */
function headerChecksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** Of /proc/net/xfrm_stat in the node: "XfrmInTmplMismatch" -> packets. */
export function xfrmCounters(node: OurNode): ReadonlyMap<string, number> {
  const text = run(inNetns(node.node.name, ['cat', '/proc/net/xfrm_stat']));
  return new Map(
    [...text.matchAll(/^(\w+)\s+(\d+)$/gm)].map(([, name, count]) => [name ?? '', Number(count)]),
  );
}

/** What pods say of themselves on their link. */
const OWN_TALK = 'our multicast';

/** Exactly these counters of the node moved: "our replay +1", "XfrmInTmplMismatch +1". Throws else. */
export async function expectMoved(
  node: OurNode,
  what: string,
  expected: readonly string[],
  body: () => Promise<unknown>,
): Promise<void> {
  const read = () => new Map([...xfrmCounters(node), ...node.drops()].filter(([name]) => name !== OWN_TALK));
  const before = read();
  await body();
  const found = moved(before, read());
  if ([...found].sort().join() !== [...expected].sort().join())
    throw new Error(
      `${what}: counted ${found.join(', ') || 'nothing'}, expected ${expected.join(', ') || 'nothing'}`,
    );
}

export function expectOk(what: string, { status, stdout, stderr }: Outcome): void {
  if (status !== 0) throw new Error(`${what}: ${stdout}${stderr}`);
}
