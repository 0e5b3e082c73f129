// Proofs that tenants do not see each other (every tenant's pods have the same addresses): each pod reaches its own
// tenant's, and what was sent in one tenant arrives there once and nowhere else.
import { drops, risen } from '../api';
import { linkMac, until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import { ethernet, ipPacket } from '../frames';
import { type PodLayout, seenIn } from '../layout';

const SINK_PORT = 7047;
const ECHO_PORT = 7048;
const NODE_ECHO_PORT = 7049;
const NODE_SINK_PORT = 7050;
const SETTLE_TIMEOUT_MS = 5000;
const ROUNDS = 20;
const ICMPV6 = 58;
/** RFC 4861 §4.3 */
const NEIGHBOUR_SOLICITATION = 135;

const podsOf = ({ lab }: Context): PodLayout[] => lab.nodes.flatMap((node) => node.pods);

interface Expected {
  readonly text: string;
  readonly to: PodLayout;
}

/** Every ordered pair of pods of one tenant, on the same node too. */
function pairsWithin(pods: readonly PodLayout[]): [PodLayout, PodLayout][] {
  return pods.flatMap((from) =>
    pods
      .filter((to) => to !== from && to.tenant === from.tenant)
      .map((to): [PodLayout, PodLayout] => [from, to]),
  );
}

export const tenantsApart: ProofOf = {
  name: 'tenants with the same addresses reach their own and nobody else',
  body: async (context) => {
    const pods = podsOf(context);
    if (context.lab.shape.tenants < 2) throw new Error('this proof needs two tenants: --tenants 2');
    for (const pod of pods) {
      await context.endpoint(pod.netns).collect(SINK_PORT);
      await context.endpoint(pod.netns).echo(ECHO_PORT);
    }
    const sent: Expected[] = [];
    const failed: string[] = [];
    for (const [from, to] of pairsWithin(pods)) {
      const source = context.endpoint(from.netns);
      for (let round = 0; round < ROUNDS; round++) {
        const text = `tenant ${from.tenant} from ${from.name} to ${to.name} round ${round} `;
        await source.cast(to.address, SINK_PORT, Buffer.from(text.padEnd(60 + round * 40, '.')));
        sent.push({ text, to });
      }
      if (!(await source.exchange('tcp', to.address, ECHO_PORT, context.payload(50_000))))
        failed.push(`TCP ${from.name} -> ${to.name}`);
    }
    const arrived = await collectAll(context, pods, sent.length, SINK_PORT);
    const crossed: string[] = [];
    for (const { pod, text } of arrived) {
      if (!text.startsWith(`tenant ${pod.tenant} `) || !text.includes(` to ${pod.name} `))
        crossed.push(`${pod.name} got: ${text.trim()}`);
    }
    const missing = sent.filter(
      ({ text, to }) => arrived.filter((one) => one.pod === to && one.text.startsWith(text)).length !== 1,
    );
    expectNone('exchanges failed', failed);
    expectNone('datagrams crossed', crossed);
    expectNone(
      'datagrams did not arrive once',
      missing.map(({ text }) => text.trim()),
    );
    return `${context.lab.shape.tenants} tenants, ${pods.length} pods: ${sent.length} datagrams each arrived once, 0 crossed`;
  },
};

/** Waits for as many as were sent; what is missing or too much is for the caller to see. */
async function collectAll(
  context: Context,
  pods: readonly PodLayout[],
  wanted: number,
  port: number,
): Promise<{ pod: PodLayout; text: string }[]> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    const arrived: { pod: PodLayout; text: string }[] = [];
    for (const pod of pods)
      for (const text of await context.endpoint(pod.netns).collected(port)) arrived.push({ pod, text });
    if (arrived.length >= wanted || performance.now() > deadline) return arrived;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Drops of all nodes by reason. */
async function dropsOfAll({ lab }: Context): Promise<ReadonlyMap<string, number>> {
  const sum = new Map<string, number>();
  for (const node of lab.nodes)
    for (const [reason, count] of await drops(node)) sum.set(reason, (sum.get(reason) ?? 0) + count);
  return sum;
}

/** What arrives of a datagram from every node to every address of a pod: at the host's tenant only. */
async function sentByNodes(context: Context): Promise<void> {
  const pods = podsOf(context);
  for (const pod of pods) await context.endpoint(pod.netns).collect(NODE_SINK_PORT);
  const hosts = pods.filter((pod) => pod.tenant === 1);
  for (const node of context.lab.nodes)
    for (const { address, name } of hosts)
      await context
        .endpoint(node.netns)
        .cast(address, NODE_SINK_PORT, Buffer.from(`from ${node.name} to ${name}.`));
  const sent = context.lab.nodes.length * hosts.length;
  const arrived = await collectAll(context, pods, sent, NODE_SINK_PORT);
  const wrong = arrived.filter(({ pod, text }) => !text.endsWith(` to ${pod.name}.`));
  expectNone(
    'datagrams of nodes came to another tenant',
    wrong.map(({ pod, text }) => `${pod.name} got: ${text}`),
  );
  if (arrived.length !== sent) throw new Error(`of ${sent} datagrams of nodes ${arrived.length} arrived`);
}

/** A tenant's pod has nothing to say to nodes, and nodes nothing to it. */
export const tenantsShut: ProofOf = {
  name: "a tenant's pod reaches no node, and no node reaches it",
  body: async (context) => {
    const { nodes } = context.lab;
    const tenants = podsOf(context).filter((pod) => pod.tenant > 1);
    if (tenants.length === 0) throw new Error('this proof needs two tenants: --tenants 2');
    const answers: string[] = [];
    for (const node of nodes) await context.endpoint(node.netns).echo(NODE_ECHO_PORT);
    const before = await dropsOfAll(context);
    for (const pod of tenants) {
      const source = context.endpoint(pod.netns);
      for (const node of nodes) {
        for (const to of [node.address, node.gateway])
          if (await source.exchange('udp', to, NODE_ECHO_PORT, context.payload(40), 200))
            answers.push(`${pod.name} got an answer from ${to}`);
      }
    }
    const grown = risen(before, await dropsOfAll(context));
    expectNone('answers', answers);
    // Nodes and its own gateway are refused where it stands, other gateways at the end of its own tunnel.
    const wanted = { tenant: nodes.length + 1, inner_destination: nodes.length - 1 };
    for (const [reason, each] of Object.entries(wanted))
      if ((grown.get(reason) ?? 0) < each * tenants.length)
        throw new Error(`${reason} rose by ${grown.get(reason) ?? 0}, not by ${each * tenants.length}`);
    await sentByNodes(context);
    return `${tenants.length} pods asked ${nodes.length} nodes and were asked by them: no answer, tenant +${grown.get('tenant')}`;
  },
};

/**
 * Neighbour discovery is all that its node takes from a tenant's pod, and the node's routing would carry it on. In IPv4
 * there is none, whatever the protocol's number says; in IPv6 nobody lets out what was forwarded.
 */
export const tenantsSilent: ProofOf = {
  name: "a tenant's pod gets nothing out as neighbour discovery",
  body: async (context) => {
    const before = await dropsOfAll(context);
    const sent = { tenant: 0, router: 0 };
    for (const family of context.lab.shape.overlay) {
      const { nodes } = seenIn(context.lab, family);
      for (const [index, node] of nodes.entries()) {
        const to = nodes[(index + 1) % nodes.length]?.address ?? '';
        for (const pod of node.pods.filter(({ tenant }) => tenant > 1)) {
          const message = Buffer.concat([Buffer.from([NEIGHBOUR_SOLICITATION]), context.payload(60)]);
          const packet = ipPacket({ from: pod.address, to }, message, ICMPV6);
          const gatewayMac = linkMac(node.netns, pod.hostDevice);
          await context.endpoint(pod.netns).sendFrames('eth0', [ethernet(pod.mac, gatewayMac, packet)]);
          sent[family === 4 ? 'tenant' : 'router'] += 1;
        }
      }
    }
    if (sent.tenant + sent.router === 0) throw new Error('this proof needs two tenants: --tenants 2');
    const grown = await until('every one of them is counted', SETTLE_TIMEOUT_MS, async () => {
      const now = risen(before, await dropsOfAll(context));
      return Object.entries(sent).every(([reason, count]) => (now.get(reason) ?? 0) >= count)
        ? now
        : undefined;
    });
    return `${sent.tenant} over IPv4, ${sent.router} over IPv6: tenant +${grown.get('tenant') ?? 0}, router +${grown.get('router') ?? 0}`;
  },
};
