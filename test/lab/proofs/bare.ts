// Proofs where a packet begins with its IP header: on devices without a link layer, as VPNs and IP tunnels are, and behind
// a generic XDP program of somebody else's, whose copy of the packet has lost the length of its Ethernet header.
import { status } from '../api';
import { inNetns, ipBatch, linkMac, run, tryRun, until } from '../command';
import type { Context } from '../context';
import { ethernet, udp } from '../frames';
import type { NodeLayout } from '../layout';
import { foreignXdp } from '../staging';
import { type Forgery, SINK_PORT, victim } from './sink';

const TUNNEL = 'gpe0';
const TUNNEL_PORT = 4790;
const LINK = 'guest';
const NETWORKS = { 4: ['172.31.8.', 24, 32, ''], 6: ['fd00:172:31:8::', 64, 128, ' nodad'] } as const;
const HOOKED_MS = 15_000;

const address = ({ lab }: Context, host: number): string => `${NETWORKS[lab.family][0]}${host}`;

async function hooked(node: NodeLayout, device: string): Promise<void> {
  await until(`guard and fence on ${device}`, HOOKED_MS, async () => {
    const { hooks } = await status(node);
    const there = hooks.filter((hook) => hook.device === device && hook.mode !== '');
    return ['guard', 'fence'].every((program) => there.some((hook) => hook.program === program))
      ? true
      : undefined;
  });
}

/** A machine at a cable of its own to the node, and an IP tunnel between the two: VXLAN-GPE, which carries bare IP. */
async function withNeighbour(
  context: Context,
  node: NodeLayout,
  body: (netns: string) => Promise<number>,
): Promise<number> {
  const { guestNetns, family } = context.lab;
  const [, bits, , fresh] = NETWORKS[family];
  const tunnel = [
    `link add ${TUNNEL} type vxlan dstport ${TUNNEL_PORT} gpe external`,
    `link set ${TUNNEL} up`,
  ];
  run(['ip', 'netns', 'add', guestNetns]);
  try {
    ipBatch(node.netns, [
      `link add ${LINK} type veth peer name eth0 netns ${guestNetns}`,
      `addr add ${address(context, 1)}/${bits} dev ${LINK}${fresh}`,
      `link set ${LINK} up`,
      ...tunnel,
    ]);
    ipBatch(guestNetns, [
      'link set lo up',
      'link set eth0 up',
      `addr add ${address(context, 2)}/${bits} dev eth0${fresh}`,
      ...tunnel,
    ]);
    await hooked(node, LINK);
    await hooked(node, TUNNEL);
    return await body(guestNetns);
  } finally {
    await context.drop(guestNetns);
    for (const device of [LINK, TUNNEL]) tryRun(['ip', '-n', node.netns, 'link', 'del', device]);
    run(['ip', 'netns', 'del', guestNetns]);
  }
}

/** A route to one address through the tunnel to the machine with that number. */
function routeThrough(context: Context, netns: string, to: string, end: number, more = ''): void {
  const [, , all] = NETWORKS[context.lab.family];
  const family = context.lab.family === 6 ? 'ip6' : 'ip';
  const encap = `encap ${family} id 7 dst ${address(context, end)}`;
  ipBatch(netns, [`route add ${to}/${all} ${encap} dev ${TUNNEL} ${more}`]);
}

const overTunnelIn: Forgery = {
  name: "naked packets with a remote pod's address over a device without a link layer, to the node",
  reason: 'naked_inner',
  at: victim,
  send: (context, tag) =>
    withNeighbour(context, victim(context), async (guest) => {
      const [, , all, fresh] = NETWORKS[context.lab.family];
      const from = context.pod(1).address;
      const to = victim(context).address;
      ipBatch(guest, [`addr add ${from}/${all} dev lo${fresh}`]);
      routeThrough(context, guest, to, 1, `src ${from}`);
      await context.endpoint(guest).cast(to, SINK_PORT, tag);
      return 1;
    }),
};

const overTunnelOut: Forgery = {
  name: "a node's packets to a remote pod that a route leads over a device without a link layer",
  reason: 'clear_egress',
  at: (context) => context.node(1),
  send: (context, tag) =>
    withNeighbour(context, context.node(1), async () => {
      const { netns } = context.node(1);
      routeThrough(context, netns, context.pod(2).address, 2);
      await context.endpoint(netns).cast(context.pod(2).address, SINK_PORT, tag);
      return 1;
    }),
};

const behindGenericXdp: Forgery = {
  name: "a naked packet with a remote pod's address behind a generic XDP program of somebody else's",
  reason: 'naked_inner',
  at: victim,
  send: (context, tag) =>
    withNeighbour(context, victim(context), async (guest) => {
      const { netns } = victim(context);
      const object = foreignXdp(victim(context), 'xdp.frags');
      run(inNetns(netns, ['ip', 'link', 'set', LINK, 'xdpgeneric', 'obj', object, 'sec', 'xdp.frags']));
      const packet = udp(
        { from: context.pod(1).address, to: address(context, 1) },
        SINK_PORT,
        SINK_PORT,
        tag,
      );
      await context
        .endpoint(guest)
        .sendFrames('eth0', [ethernet(linkMac(guest, 'eth0'), linkMac(netns, LINK), packet)]);
      return 1;
    }),
};

export const BARE_FORGERIES: readonly Forgery[] = [overTunnelIn, overTunnelOut, behindGenericXdp];
