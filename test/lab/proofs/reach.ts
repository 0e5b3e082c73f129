// Proofs that the overlay carries everything it should, and that the wire shows nothing of it; and the control: the
// same traffic over VXLAN in clear, which the same sniffer must see.
import { formatAddress, hostPrefix, prefixContains } from '../../../agent/core/bytes';
import type { Prefix } from '../../../agent/core/ids';
import { inNetns, start } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import { ipBytes } from '../frames';
import type { NodeLayout, PodLayout } from '../layout';
import { BROKER_ADDRESS, CLUSTER_PREFIXES } from '../layout';
import { patient } from '../patience';
import { frameKind, ipEnds } from '../pcap';
import { sniff } from '../sniffer';
import { addControlPath, controlAddress, removeControlPath } from '../topology';

const ECHO_PORT = 7007;
const CONTROL_ECHO_PORT = 7008;
const UDP_BYTES = 8;
/** Payloads on both sides of a ChaCha20 block, of padding, and up to a full packet; DF is set on all. */
const datagramBytes = ({ lab }: Context): readonly number[] => {
  const full = lab.overlayMtuBytes - (lab.family === 4 ? 20 : 40) - UDP_BYTES;
  return [1, 15, 16, 17, 63, 64, 65, 256, 1000, full - 1, full];
};
const STREAM_BYTES = [1, 1000, 65_536, 500_000];
const KINDS_ALLOWED = new Set(['esp', 'arp', 'nd']);

interface Party {
  readonly name: string;
  readonly netns: string;
  readonly address: string;
}

const podParty = (pod: PodLayout): Party => ({ name: pod.name, netns: pod.netns, address: pod.address });
const nodeParty = (node: NodeLayout): Party => ({
  name: node.name,
  netns: node.netns,
  address: node.address,
});

async function ping(from: Party, to: Party, bytes: number, pattern: string): Promise<boolean> {
  const argv = [
    'ping',
    '-n',
    '-q',
    '-c',
    '1',
    '-W',
    String(patient(2)),
    '-M',
    'do',
    '-s',
    String(bytes),
    '-p',
    pattern,
    to.address,
  ];
  return (await start(inNetns(from.netns, argv))).status === 0;
}

/** Every protocol and size from one party to another. @returns what did not come back the same. */
async function exchangeAll(
  context: Context,
  from: Party,
  to: Party,
): Promise<{ tried: number; failed: string[] }> {
  const failed: string[] = [];
  const source = context.endpoint(from.netns);
  const pattern = context.marker.toString('hex');
  const sizes = datagramBytes(context);
  for (const bytes of sizes) {
    const back = await source.exchange('udp', to.address, ECHO_PORT, context.payload(bytes));
    if (!back) failed.push(`UDP ${bytes} B ${from.name} -> ${to.name}`);
    if (!(await ping(from, to, bytes, pattern))) failed.push(`ICMP ${bytes} B ${from.name} -> ${to.name}`);
  }
  for (const bytes of STREAM_BYTES) {
    const back = await source.exchange('tcp', to.address, ECHO_PORT, context.payload(bytes));
    if (!back) failed.push(`TCP ${bytes} B ${from.name} -> ${to.name}`);
  }
  return { tried: 2 * sizes.length + STREAM_BYTES.length, failed };
}

/** Pod to pod, pod to another node's address, node to another node's pod. */
function pairs(context: Context): [Party, Party][] {
  const { nodes } = context.lab;
  const pods = nodes.flatMap((node) => node.pods.filter((pod) => pod.tenant === 1));
  const found: [Party, Party][] = [];
  for (const from of pods) for (const to of pods) if (from !== to) found.push([podParty(from), podParty(to)]);
  for (const node of nodes) {
    // An address that is no VTEP is outside the overlay.
    if (!node.vteps.includes(node.address)) continue;
    for (const pod of pods.filter((candidate) => candidate.node !== node.index)) {
      found.push([podParty(pod), nodeParty(node)], [nodeParty(node), podParty(pod)]);
    }
  }
  return found;
}

async function reachAll(context: Context): Promise<{ pairs: number; tried: number; failed: string[] }> {
  const parties = context.lab.nodes.flatMap((node) => [nodeParty(node), ...node.pods.map(podParty)]);
  for (const party of parties) await context.endpoint(party.netns).echo(ECHO_PORT);
  const results = { pairs: 0, tried: 0, failed: [] as string[] };
  for (const [from, to] of pairs(context)) {
    const { tried, failed } = await exchangeAll(context, from, to);
    results.pairs++;
    results.tried += tried;
    results.failed.push(...failed);
  }
  return results;
}

function podSource(frame: Buffer): string | undefined {
  const from = ipEnds(frame)?.from;
  if (from === undefined) return undefined;
  const mapped = Buffer.concat([
    Buffer.from('00000000000000000000ffff', 'hex').subarray(0, 16 - from.length),
    from,
  ]);
  const address = formatAddress(mapped);
  const clusters = Object.values(CLUSTER_PREFIXES) as Prefix[];
  return clusters.some((cluster) => prefixContains(cluster, hostPrefix(address))) ? address : undefined;
}

/** Nodes and broker talk outside the overlay, or nothing could start; what they say is signed, and public. */
export function isBusTraffic(frame: Buffer): boolean {
  const ends = ipEnds(frame);
  const broker = ipBytes(BROKER_ADDRESS);
  return (
    frameKind(frame) === 'tcp' && ends !== undefined && (ends.from.equals(broker) || ends.to.equals(broker))
  );
}

/** What a sniffer could hold against us: anything but ESP and neighbour discovery, pod addresses, the marker. */
export function leaks(frames: readonly Buffer[], marker: Buffer): string[] {
  return frames.flatMap((frame) => {
    const kind = frameKind(frame);
    if (frame.includes(marker)) return [`marker in a ${kind} frame of ${frame.length} B`];
    const pod = podSource(frame);
    if (pod !== undefined) return [`${kind} from pod ${pod}`];
    return KINDS_ALLOWED.has(kind) || isBusTraffic(frame) ? [] : [`${kind} frame of ${frame.length} B`];
  });
}

/** Both at once: everything arrives, and the sniffer that watched all of it saw nothing but ESP. */
export const reachUnseen: ProofOf = {
  name: 'pods and nodes reach each other; the wire shows ESP only',
  body: async (context) => {
    const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
    const reached = await reachAll(context);
    const frames = await sniffer.stop();
    expectNone(`of ${reached.tried} exchanges failed`, reached.failed);
    expectNone('frames in clear', leaks(frames, context.marker));
    const sealed = frames.filter((frame) => frameKind(frame) === 'esp').length;
    // Each exchange between nodes is at least a packet each way.
    if (sealed < reached.tried) throw new Error(`only ${sealed} ESP frames for ${reached.tried} exchanges`);
    return `${reached.pairs} pairs, ${reached.tried} exchanges (TCP, UDP, ICMP, 1 B to ${context.lab.overlayMtuBytes} B packets, DF); ${sealed} ESP frames, 0 in clear`;
  },
};

/** Without this, a blind sniffer would prove encryption. */
export const clearIsSeen: ProofOf = {
  name: 'control: without encryption the same sniffer sees the marker',
  body: async (context) => {
    const [a, b] = [context.node(1), context.node(2)];
    addControlPath(a, b);
    try {
      const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
      await context.endpoint(context.pod(2).netns).echo(CONTROL_ECHO_PORT);
      const source = context.endpoint(context.pod(1).netns);
      const failed: string[] = [];
      for (const protocol of ['udp', 'tcp'] as const) {
        const back = await source.exchange(
          protocol,
          controlAddress(b),
          CONTROL_ECHO_PORT,
          context.payload(1000),
        );
        if (!back) failed.push(protocol);
      }
      const frames = await sniffer.stop();
      expectNone('protocols do not pass the control path', failed);
      const seen = frames.filter((frame) => frame.includes(context.marker)).length;
      // Two datagrams, and the stream each way.
      if (seen < 4) throw new Error(`the marker was seen in ${seen} frames, expected 4 or more`);
      const found = leaks(frames, context.marker).length;
      return `marker seen in ${seen} frames, ${found} frames would have failed the proof above`;
    } finally {
      removeControlPath(a, b);
    }
  },
};
