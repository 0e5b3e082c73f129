// Proofs that forged input is refused, each with its reason: clear VXLAN from every side, altered ESP, overlay
// addresses outside the tunnel. A forgery counts as refused when nothing reached the victim's socket, the counter of
// exactly that reason rose by what was sent, and an honest datagram sent afterwards arrived.
import { createCipheriv, randomBytes } from 'node:crypto';
import { drops, risen } from '../api';
import { ipBatch, run, tryRun, until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import { type Ends, esp, ethernet, ipv4, udp, vxlan } from '../frames';
import { ESP_PORT, type NodeLayout, VNI, VXLAN_PORT } from '../layout';
import { frameKind, ipv4Destination, ipv4Source } from '../pcap';
import { sniff } from '../sniffer';

const SINK_PORT = 7037;
const SETTLE_TIMEOUT_MS = 10_000;
const STRANGER = '192.0.2.200';
const STRANGER_MAC = '02:1a:b0:09:00:01';
const UDP_PROTOCOL = 17;

export interface Forgery {
  readonly name: string;
  /** Label of the counter that must rise. */
  readonly reason: string;
  /** Where it must rise. */
  readonly at: (context: Context) => NodeLayout;
  /** Sends the forgeries with `tag` as their payload; returns how many. */
  readonly send: (context: Context, tag: Buffer) => Promise<number>;
}

const linkMac = (netns: string, device: string): string => {
  const [link] = JSON.parse(run(['ip', '-n', netns, '-j', 'link', 'show', 'dev', device])) as {
    address: string;
  }[];
  if (link === undefined) throw new Error(`no device ${device} in ${netns}`);
  return link.address;
};

const victim = (context: Context): NodeLayout => context.node(2);

/** An inner IP packet as if the pod of node 1 had sent it to the pod of node 2. */
const innerPacket = (context: Context, tag: Buffer): Buffer =>
  udp({ from: context.pod(1).address, to: context.pod(2).address }, SINK_PORT, SINK_PORT, tag);

/** The payload of a UDP datagram that a VXLAN socket would decapsulate, in the clear. */
const clearVxlan = (context: Context, tag: Buffer): Buffer =>
  vxlan(VNI, ethernet(STRANGER_MAC, linkMac(victim(context).netns, 'vxseal0'), innerPacket(context, tag)));

/** Puts IP packets on node 2's cable, as the wire would. */
async function sendFromWire(
  context: Context,
  sourceMac: string,
  packets: readonly Buffer[],
): Promise<number> {
  const node = victim(context);
  const frames = packets.map((packet) => ethernet(sourceMac, node.mac, packet));
  await context.endpoint(context.lab.wireNetns).sendFrames(node.name, frames);
  return frames.length;
}

// ------------------------------------------------------------------------------------------- clear VXLAN

const vxlanFromWire: Forgery = {
  name: "VXLAN in clear from the wire, from a peer's address and from a stranger's",
  reason: 'forged_vxlan',
  at: victim,
  send: (context, tag) => {
    const packet = (from: string): Buffer =>
      udp({ from, to: victim(context).vtep4 }, 40_000, VXLAN_PORT, clearVxlan(context, tag));
    return sendFromWire(context, context.node(1).mac, [packet(context.node(1).vtep4), packet(STRANGER)]);
  },
};

const castVxlan =
  (netns: (context: Context) => string, to: (context: Context) => readonly string[]) =>
  async (context: Context, tag: Buffer): Promise<number> => {
    const targets = to(context);
    for (const target of targets)
      await context.endpoint(netns(context)).cast(target, VXLAN_PORT, clearVxlan(context, tag));
    return targets.length;
  };

const vxlanFromPods: readonly Forgery[] = [
  {
    name: 'VXLAN in clear from a pod to its own node',
    reason: 'forged_vxlan',
    at: victim,
    send: castVxlan(
      (context) => context.pod(2).netns,
      (context) => [victim(context).vtep4, victim(context).gateway],
    ),
  },
  {
    name: 'VXLAN from a pod to another node, through the tunnel',
    reason: 'forged_vxlan',
    at: victim,
    send: castVxlan(
      (context) => context.pod(1).netns,
      (context) => [victim(context).vtep4],
    ),
  },
];

const vxlanFromHosts: readonly Forgery[] = [
  {
    name: 'VXLAN in clear from a process on the node itself',
    reason: 'forged_vxlan',
    at: victim,
    send: castVxlan(
      (context) => victim(context).netns,
      (context) => [victim(context).vtep4, '127.0.0.1'],
    ),
  },
  {
    name: 'VXLAN in clear from a process on another node (its own seal refuses it)',
    reason: 'forged_vxlan',
    at: (context) => context.node(1),
    send: castVxlan(
      (context) => context.node(1).netns,
      (context) => [victim(context).vtep4],
    ),
  },
];

// ------------------------------------------------------------------------------- behind a bridge of the node

const GUEST_NETWORK = '172.31.9';

/** A machine behind an ordinary bridge of node 2, as containers of another runtime are. */
async function withGuest<T>(context: Context, body: (guestNetns: string) => Promise<T>): Promise<T> {
  const { guestNetns } = context.lab;
  const node = victim(context);
  run(['ip', 'netns', 'add', guestNetns]);
  try {
    ipBatch(node.netns, [
      'link add br-guest type bridge',
      `addr add ${GUEST_NETWORK}.1/24 dev br-guest`,
      'link set br-guest up',
      `link add guest master br-guest type veth peer name eth0 netns ${guestNetns}`,
      'link set guest up',
    ]);
    ipBatch(guestNetns, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${GUEST_NETWORK}.2/24 dev eth0`,
      `route add default via ${GUEST_NETWORK}.1`,
    ]);
    return await body(guestNetns);
  } finally {
    await context.drop(guestNetns);
    tryRun(['ip', '-n', node.netns, 'link', 'del', 'guest']);
    tryRun(['ip', '-n', node.netns, 'link', 'del', 'br-guest']);
    run(['ip', 'netns', 'del', guestNetns]);
  }
}

const fromBridge: readonly Forgery[] = [
  {
    name: 'VXLAN in clear from behind a bridge of the node',
    reason: 'forged_vxlan',
    at: victim,
    send: (context, tag) =>
      withGuest(context, (guest) =>
        castVxlan(
          () => guest,
          () => [`${GUEST_NETWORK}.1`, victim(context).vtep4],
        )(context, tag),
      ),
  },
  {
    name: "a naked packet with a remote pod's address from behind a bridge of the node",
    reason: 'naked_inner',
    at: victim,
    send: (context, tag) =>
      withGuest(context, async (guest) => {
        const bridgeMac = linkMac(victim(context).netns, 'br-guest');
        const frame = ethernet(linkMac(guest, 'eth0'), bridgeMac, innerPacket(context, tag));
        await context.endpoint(guest).sendFrames('eth0', [frame]);
        return 1;
      }),
  },
];

// ------------------------------------------------------------------------------- overlay addresses outside

const nakedFromWire: Forgery = {
  name: "naked packets from the wire, from a remote pod's and a peer node's address to a pod",
  reason: 'naked_inner',
  at: victim,
  send: (context, tag) => {
    const to = context.pod(2).address;
    const fromNode = udp({ from: context.node(1).vtep4, to }, SINK_PORT, SINK_PORT, tag);
    return sendFromWire(context, context.node(1).mac, [innerPacket(context, tag), fromNode]);
  },
};

const spoofingPod: Forgery = {
  name: 'a pod that sends from an address not its own',
  reason: 'spoofed_source',
  at: (context) => context.node(1),
  send: async (context, tag) => {
    const pod = context.pod(1);
    const gatewayMac = linkMac(context.node(1).netns, pod.hostDevice);
    const sources = [context.pod(2).address, context.node(1).vtep4, '10.244.250.9'];
    const frames = sources.map((from) =>
      ethernet(pod.mac, gatewayMac, udp({ from, to: context.pod(2).address }, SINK_PORT, SINK_PORT, tag)),
    );
    await context.endpoint(pod.netns).sendFrames('eth0', frames);
    return frames.length;
  },
};

// ------------------------------------------------------------------------------------------- altered ESP

const ESP_AT = 14 + 20 + 8;
const IV_AT = ESP_AT + 8;
const TEXT_AT = IV_AT + 8;
const ICV_BYTES = 16;
/** Beyond everything that was sent, so that the replay window does not answer in place of the cipher. */
const SEQUENCE_AHEAD = 100_000;

/** Every ESP frame of one honest datagram from node 1 to node 2 (and of the probes meanwhile). */
async function captureEsp(context: Context, tag: Buffer): Promise<Buffer[]> {
  const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
  await context.endpoint(context.pod(1).netns).cast(context.pod(2).address, SINK_PORT, tag);
  await arrival(context, tag);
  const [from, to] = [context.node(1).vtep4, victim(context).vtep4];
  const frames = (await sniffer.stop()).filter(
    (frame) => frameKind(frame) === 'esp' && ipv4Source(frame) === from && ipv4Destination(frame) === to,
  );
  if (frames.length === 0) throw new Error('the capture holds no ESP from node1 to node2');
  return frames;
}

interface Sample {
  readonly ends: Ends;
  readonly spi: number;
  readonly sequence: number;
  /** IV, ciphertext and ICV. */
  readonly rest: Buffer;
}

async function sampleEsp(context: Context): Promise<Sample> {
  const frame = (await captureEsp(context, randomBytes(200))).at(-1);
  if (frame === undefined) throw new Error('no sample');
  return {
    ends: { from: context.node(1).vtep4, to: victim(context).vtep4 },
    spi: frame.readUInt32BE(ESP_AT),
    sequence: frame.readUInt32BE(ESP_AT + 4) + SEQUENCE_AHEAD,
    rest: Buffer.from(frame.subarray(IV_AT)),
  };
}

const espPacket = ({ ends, spi, sequence, rest }: Sample): Buffer =>
  udp(ends, 40_001, ESP_PORT, esp(spi, sequence, rest));

/** Altered copies of an honest packet, from the right address, ahead of the replay window. */
const alteredEsp =
  (alter: (sample: Sample) => readonly Buffer[]): Forgery['send'] =>
  async (context) =>
    sendFromWire(context, context.node(1).mac, alter(await sampleEsp(context)));

function flipBit(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

/** RFC 7634 §2: right in every respect but the key. */
function sealedUnderWrongKey(sample: Sample): Buffer {
  const iv = sample.rest.subarray(0, 8);
  const nonce = Buffer.concat([randomBytes(4), iv]);
  const cipher = createCipheriv('chacha20-poly1305', randomBytes(32), nonce, { authTagLength: ICV_BYTES });
  const text = sample.rest.subarray(TEXT_AT - IV_AT, sample.rest.length - ICV_BYTES);
  return Buffer.concat([iv, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

/** IP and UDP lengths that contradict each other. */
function contradictory(sample: Sample): Buffer {
  const packet = espPacket(sample);
  const datagram = Buffer.from(packet.subarray(20));
  datagram.writeUInt16BE(datagram.length - 8, 4);
  return ipv4(sample.ends, datagram, UDP_PROTOCOL);
}

const alteredEspForgeries: readonly Forgery[] = [
  {
    name: 'ESP with a flipped bit in IV, ciphertext or ICV',
    reason: 'bad_icv',
    at: victim,
    send: alteredEsp((sample) => {
      const bits = sample.rest.length * 8;
      const flips = Array.from({ length: 64 }, (_, index) => Math.floor((index * (bits - 1)) / 63));
      return flips.map((bit, index) =>
        espPacket({ ...sample, sequence: sample.sequence + index, rest: flipBit(sample.rest, bit) }),
      );
    }),
  },
  {
    name: 'ESP with another sequence number, cut at its end, or sealed under another key',
    reason: 'bad_icv',
    at: victim,
    send: alteredEsp((sample) => [
      espPacket(sample),
      espPacket({ ...sample, rest: sample.rest.subarray(0, sample.rest.length - 4) }),
      espPacket({ ...sample, rest: sealedUnderWrongKey(sample) }),
    ]),
  },
  {
    name: 'ESP too short, or with lengths that contradict each other',
    reason: 'malformed',
    at: victim,
    send: alteredEsp((sample) => [
      espPacket({ ...sample, rest: Buffer.alloc(0) }),
      espPacket({ ...sample, rest: sample.rest.subarray(0, 8 + ICV_BYTES) }),
      espPacket({ ...sample, rest: sample.rest.subarray(0, sample.rest.length - 1) }),
      contradictory(sample),
    ]),
  },
  {
    name: 'ESP under an SPI that nobody agreed on',
    reason: 'unknown_spi',
    at: victim,
    send: alteredEsp((sample) => [espPacket({ ...sample, spi: (sample.spi ^ 0x5a5a_5a5a) >>> 0 })]),
  },
  {
    name: 'ESP of a peer from another address',
    reason: 'unknown_spi',
    at: victim,
    send: alteredEsp((sample) => [espPacket({ ...sample, ends: { ...sample.ends, from: STRANGER } })]),
  },
];

const replayed: Forgery = {
  name: 'a replayed capture',
  reason: 'replay',
  at: victim,
  send: async (context) => {
    const tag = randomBytes(200);
    const frames = await captureEsp(context, tag);
    const sent = await sendFromWire(
      context,
      context.node(1).mac,
      frames.map((frame) => frame.subarray(14)),
    );
    await honestDatagram(context);
    const copies = (await received(context)).filter((payload) => payload === tag.toString('latin1')).length;
    if (copies !== 1) throw new Error(`the datagram arrived ${copies} times`);
    return sent;
  },
};

// ---------------------------------------------------------------------------------------------- the proof

/** Payloads (latin1) that reached the victim's pod or node. */
export async function received(context: Context): Promise<string[]> {
  const pod = await context.endpoint(context.pod(2).netns).collected(SINK_PORT);
  return [...pod, ...(await context.endpoint(victim(context).netns).collected(SINK_PORT))];
}

async function arrival(context: Context, tag: Buffer): Promise<void> {
  const payload = tag.toString('latin1');
  await until('an honest datagram arrives', SETTLE_TIMEOUT_MS, async () =>
    (await received(context)).includes(payload) ? true : undefined,
  );
}

/** Through the tunnel and behind everything sent before: the positive control of each "nothing arrived". */
async function honestDatagram(context: Context): Promise<void> {
  const tag = randomBytes(100);
  await context.endpoint(context.pod(1).netns).cast(context.pod(2).address, SINK_PORT, tag);
  await arrival(context, tag);
}

const listening = new WeakSet<Context>();

export async function listen(context: Context): Promise<void> {
  if (listening.has(context)) return;
  listening.add(context);
  await context.endpoint(context.pod(2).netns).collect(SINK_PORT);
  await context.endpoint(victim(context).netns).collect(SINK_PORT);
}

const refused = (forgery: Forgery): ProofOf => ({
  name: `forged: ${forgery.name}`,
  body: async (context) => {
    await listen(context);
    await honestDatagram(context);
    const at = forgery.at(context);
    const before = await drops(at);
    const tag = Buffer.concat([Buffer.from('forged-'), randomBytes(40)]);
    const sent = await forgery.send(context, tag);
    let seen = 0;
    await until(
      `${forgery.reason} rises by ${sent} on ${at.name}`,
      SETTLE_TIMEOUT_MS,
      async () => {
        seen = risen(before, await drops(at)).get(forgery.reason) ?? 0;
        return seen >= sent ? true : undefined;
      },
      () => `It rose by ${seen}.`,
    );
    await honestDatagram(context);
    const arrived = (await received(context)).filter((payload) => payload.includes(tag.toString('latin1')));
    expectNone(
      `of ${sent} forgeries arrived`,
      arrived.map((payload) => `${payload.length} B`),
    );
    return `${sent} sent, 0 arrived, ${forgery.reason} +${seen}`;
  },
});

/** Those that would reach the pod if nothing refused them: what forger.test.ts shows on machines without agents. */
export const PLAIN_FORGERIES: readonly Forgery[] = [
  vxlanFromWire,
  ...vxlanFromPods,
  ...vxlanFromHosts,
  ...fromBridge,
  nakedFromWire,
];

export const FORGERIES: readonly ProofOf[] = [
  ...PLAIN_FORGERIES,
  spoofingPod,
  ...alteredEspForgeries,
  replayed,
].map(refused);
