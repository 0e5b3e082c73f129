// Forgeries without a key: VXLAN in clear from every side, and overlay addresses outside the tunnel.
import { ipBatch, linkMac, run, tryRun } from '../command';
import type { Context } from '../context';
import { ethernet, udp, vxlan } from '../frames';
import { type NodeLayout, VNI, VXLAN_PORT } from '../layout';
import { type Forgery, SINK_PORT, sendFromWire, strangerOf, victim } from './sink';

const STRANGER_MAC = '02:1a:b0:09:00:01';

/** An inner IP packet as if the pod of node 1 had sent it to the pod of node 2. */
const innerPacket = (context: Context, tag: Buffer): Buffer =>
  udp({ from: context.pod(1).address, to: context.pod(2).address }, SINK_PORT, SINK_PORT, tag);

/** The payload of a UDP datagram that a VXLAN socket would decapsulate, in the clear. */
export const clearVxlan = (context: Context, tag: Buffer): Buffer =>
  vxlan(VNI, ethernet(STRANGER_MAC, linkMac(victim(context).netns, 'vxseal0'), innerPacket(context, tag)));

// ------------------------------------------------------------------------------------------- clear VXLAN

const vxlanFromWire: Forgery = {
  name: "VXLAN in clear from the wire, from a peer's address and from a stranger's",
  reason: 'forged_vxlan',
  at: victim,
  send: (context, tag) => {
    const packet = (from: string): Buffer =>
      udp({ from, to: victim(context).vtep }, 40_000, VXLAN_PORT, clearVxlan(context, tag));
    return sendFromWire(context, context.node(1).mac, [
      packet(context.node(1).vtep),
      packet(strangerOf(victim(context).vtep)),
    ]);
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

const firstNode = (context: Context): NodeLayout => context.node(1);

const vxlanFromPods: readonly Forgery[] = [
  {
    name: 'VXLAN in clear from a pod to its own node',
    reason: 'forged_vxlan',
    at: victim,
    send: castVxlan(
      (context) => context.pod(2).netns,
      (context) => [victim(context).address, victim(context).gateway],
    ),
  },
  {
    name: 'VXLAN from a pod to another node, through the tunnel',
    reason: 'forged_vxlan',
    // An address that is no VTEP is outside the tunnel: there the sender's own node refuses it.
    at: (context) => (victim(context).vteps.includes(victim(context).address) ? victim : firstNode)(context),
    send: castVxlan(
      (context) => context.pod(1).netns,
      (context) => [victim(context).address],
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
      (context) => [victim(context).vtep, '127.0.0.1'],
    ),
  },
  {
    name: 'VXLAN in clear from a process on another node (its own seal refuses it)',
    reason: 'forged_vxlan',
    at: (context) => context.node(1),
    send: castVxlan(
      (context) => context.node(1).netns,
      (context) => [victim(context).vtep],
    ),
  },
];

// ------------------------------------------------------------------------------- behind a bridge of the node

const GUEST_NETWORKS = { 4: ['172.31.9.', 24, ''], 6: ['fd00:172:31:9::', 64, ' nodad'] } as const;
const guestAddress = (context: Context, host: number): string =>
  `${GUEST_NETWORKS[context.lab.family][0]}${host}`;

/** A machine behind an ordinary bridge of node 2, as containers of another runtime are. */
async function withGuest<T>(context: Context, body: (guestNetns: string) => Promise<T>): Promise<T> {
  const { guestNetns, family } = context.lab;
  const [, bits, fresh] = GUEST_NETWORKS[family];
  const node = victim(context);
  run(['ip', 'netns', 'add', guestNetns]);
  try {
    ipBatch(node.netns, [
      'link add br-guest type bridge',
      `addr add ${guestAddress(context, 1)}/${bits} dev br-guest${fresh}`,
      'link set br-guest up',
      `link add guest master br-guest type veth peer name eth0 netns ${guestNetns}`,
      'link set guest up',
    ]);
    ipBatch(guestNetns, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${guestAddress(context, 2)}/${bits} dev eth0${fresh}`,
      `route add default via ${guestAddress(context, 1)}`,
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
          () => [guestAddress(context, 1), victim(context).address],
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
    const from = context.node(1);
    // An address that is no VTEP is not the overlay's: nothing tells it from any other machine's.
    const fromNode = from.vteps.includes(from.address)
      ? [udp({ from: from.address, to }, SINK_PORT, SINK_PORT, tag)]
      : [];
    return sendFromWire(context, from.mac, [innerPacket(context, tag), ...fromNode]);
  },
};

export const spoofingPod: Forgery = {
  name: 'a pod that sends from an address not its own',
  reason: 'spoofed_source',
  at: (context) => context.node(1),
  send: async (context, tag) => {
    const pod = context.pod(1);
    const gatewayMac = linkMac(context.node(1).netns, pod.hostDevice);
    const node = context.node(1);
    const unowned = pod.address.includes(':') ? 'fd00:10:244:fa::9' : '10.244.250.9';
    const sources = [context.pod(2).address, unowned, ...node.vteps.filter((vtep) => vtep === node.address)];
    const frames = sources.map((from) =>
      ethernet(pod.mac, gatewayMac, udp({ from, to: context.pod(2).address }, SINK_PORT, SINK_PORT, tag)),
    );
    await context.endpoint(pod.netns).sendFrames('eth0', frames);
    return frames.length;
  },
};

/** Those that would reach the pod if nothing refused them: what forger.test.ts shows on machines without agents. */
export const PLAIN_FORGERIES: readonly Forgery[] = [
  vxlanFromWire,
  ...vxlanFromPods,
  ...vxlanFromHosts,
  ...fromBridge,
  nakedFromWire,
];
