// Proofs with a second way out: a node whose default route leads over another NIC than the underlay, as many have.
// Whatever happens to the overlay's device or routes, nothing of the overlay may take it.
import { randomBytes } from 'node:crypto';
import { endAgent, startAgent, waitAllUp, waitAnswering } from '../agents';
import { drops, risen, status } from '../api';
import { inNetns, ipBatch, run, tryRun, until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import type { NodeLayout } from '../layout';
import { frameKind } from '../pcap';
import { sniff } from '../sniffer';
import { leaks } from './reach';

const PORT = 7061;
const WIRE_UPLINK = 'uplink';
const NIC = 'eth1';
const FENCED_MS = 15_000;
const GATEWAY_MAC = '02:1a:b0:0a:00:01';
/** The address of the NIC, its gateway, and somebody out in the world. */
const WORLD = {
  4: { own: '198.51.100.2/24', gateway: '198.51.100.1', far: '203.0.113.9' },
  6: { own: 'fd00:5511::2/64', gateway: 'fd00:5511::1', far: '2001:db8:9::9' },
} as const;

/** Node 1 with a second NIC whose far end is the bridge `uplink`, beside the wire; the default route leads there. */
async function withUplink<T>(context: Context, body: () => Promise<T>): Promise<T> {
  const { family, wireNetns } = context.lab;
  const node = context.node(1);
  const { own, gateway } = WORLD[family];
  try {
    ipBatch(wireNetns, [`link add ${WIRE_UPLINK} type bridge`, `link set ${WIRE_UPLINK} up`]);
    ipBatch(node.netns, [
      `link add ${NIC} type veth peer name ${WIRE_UPLINK}1 netns ${wireNetns}`,
      `addr add ${own} dev ${NIC}${family === 6 ? ' nodad' : ''}`,
      `link set ${NIC} up`,
    ]);
    ipBatch(wireNetns, [`link set ${WIRE_UPLINK}1 master ${WIRE_UPLINK} up`]);
    ipBatch(node.netns, [
      `neigh replace ${gateway} lladdr ${GATEWAY_MAC} dev ${NIC} nud permanent`,
      `route add default via ${gateway} dev ${NIC}`,
    ]);
    await until(`a fence on ${NIC}`, FENCED_MS, async () =>
      (await status(node)).hooks.some(
        ({ program, device, mode }) => program === 'fence' && device === NIC && mode !== '',
      )
        ? true
        : undefined,
    );
    return await body();
  } finally {
    tryRun(['ip', '-n', node.netns, 'link', 'del', NIC]);
    tryRun(['ip', '-n', wireNetns, 'link', 'del', WIRE_UPLINK]);
  }
}

/** A remote pod, one that is gone there and one gone here, and a range that nobody announced. */
function targets(context: Context): string[] {
  const nowhere = context.lab.family === 4 ? '10.244.250.9' : 'fd00:10:244:fa::9';
  return [
    context.pod(2).address,
    goneOf(context, context.node(2)),
    goneOf(context, context.node(1)),
    nowhere,
  ];
}

/** An address of the node's pods that none of them has. */
function goneOf({ lab }: Context, node: NodeLayout): string {
  const prefix = node.prefixes.find((each) => each.includes(':') === (lab.family === 6)) ?? '';
  return prefix.replace(/0\/24$/, '200').replace(/::\/64$/, '::c8');
}

/** From the node and from its pod to everything that could go astray. @returns which the node's kernel took. */
async function sendAll(
  context: Context,
  fromNode = targets(context),
  all = targets(context),
): Promise<string[]> {
  const taken: string[] = [];
  for (const to of all) {
    const node = context.endpoint(context.node(1).netns);
    if (fromNode.includes(to) && (await node.cast(to, PORT, context.payload(200)))) taken.push(to);
    await context.endpoint(context.pod(1).netns).cast(to, PORT, context.payload(200));
  }
  return taken;
}

function onNode(context: Context, ...argv: readonly string[]): void {
  run(inNetns(context.node(1).netns, argv));
}

const flag = (context: Context): string => (context.lab.family === 6 ? '-6' : '-4');

/** Each step with what the node's own kernel may then still take; what it takes must not be seen anywhere. */
async function goAstray(context: Context): Promise<void> {
  const [remote = '', , ...others] = targets(context);
  // Not from the node to a pod that is gone there: the other node's stack would answer with an ICMP error, which goes
  // from host to host, outside the overlay, and quotes the packet.
  const whole = await sendAll(context, [remote, ...others]);
  expectNone(
    'destinations taken by the routes with the overlay whole',
    whole.filter((to) => to !== remote),
  );
  if (!whole.includes(remote)) throw new Error(`${remote} was not to be reached at all`);
  onNode(context, 'ip', 'link', 'del', 'vxseal0');
  expectNone('destinations taken by the routes without the overlay device', await sendAll(context));
  // Also without the routes: the last guard is the fence. Not for our own pods: behind any device may be a bridge that
  // leads to them, so what keeps those in is their route alone.
  onNode(context, 'ip', flag(context), 'route', 'flush', 'proto', '157');
  const ownGone = goneOf(context, context.node(1));
  const remotes = targets(context).filter((to) => to !== ownGone);
  await sendAll(context, remotes, remotes);
}

export const nothingAstray: ProofOf = {
  name: 'a default route over a second NIC takes nothing of the overlay: device deleted, routes gone, pod gone',
  body: (context) =>
    withUplink(context, async () => {
      const [node, wire] = [context.node(1), context.endpoint(context.lab.wireNetns)];
      const before = await drops(node);
      const sniffers = [await sniff(context.lab, wire), await sniff(context.lab, wire, WIRE_UPLINK)];
      const control = randomBytes(64);
      let frames: Buffer[][] = [];
      // Without an agent nothing is repaired: what refuses must stand by itself.
      await endAgent(node, 'SIGKILL');
      try {
        await context.endpoint(node.netns).cast(WORLD[context.lab.family].far, PORT, control);
        await goAstray(context);
        frames = await Promise.all(sniffers.map((sniffer) => sniffer.stop()));
      } finally {
        await waitAnswering(node, startAgent(node));
        await waitAllUp(context.lab);
      }
      const [onWire = [], onUplink = []] = frames;
      if (!onUplink.some((frame) => frame.includes(control))) throw new Error('the second sniffer is blind');
      expectNone('frames in clear on the wire', leaks(onWire, context.marker));
      const astray = onUplink.filter((frame) => !frame.includes(control) && frame.includes(context.marker));
      expectNone('frames in clear over the second NIC', astray.map(frameKind));
      const refused = risen(before, await drops(node)).get('clear_egress') ?? 0;
      if (refused === 0) throw new Error('the fence saw nothing: it was not tried');
      return `${targets(context).length} destinations from node and pod; ${refused} refused by the fence`;
    }),
};
