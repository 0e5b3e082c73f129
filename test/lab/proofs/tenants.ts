// Proofs that tenants do not see each other (every tenant's pods have the same addresses): each pod reaches its own
// tenant's, and what was sent in one tenant arrives there once and nowhere else.
import { type Context, expectNone, type ProofOf } from '../context';
import type { PodLayout } from '../layout';

const SINK_PORT = 7047;
const ECHO_PORT = 7048;
const NODE_ECHO_PORT = 7049;
const SETTLE_TIMEOUT_MS = 5000;
const ROUNDS = 20;

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
    if (context.lab.shape.tenants < 2) return 'one tenant only: nothing to keep apart (--tenants 2)';
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
    const arrived = await collectAll(context, pods, sent.length);
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
): Promise<{ pod: PodLayout; text: string }[]> {
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  for (;;) {
    const arrived: { pod: PodLayout; text: string }[] = [];
    for (const pod of pods)
      for (const text of await context.endpoint(pod.netns).collected(SINK_PORT)) arrived.push({ pod, text });
    if (arrived.length >= wanted || performance.now() > deadline) return arrived;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A tenant's pod has nothing to say to nodes, to other tenants' addresses, or to the world. */
export const tenantsShut: ProofOf = {
  name: "a tenant's pod reaches no node, and no node reaches it",
  body: async (context) => {
    const tenants = podsOf(context).filter((pod) => pod.tenant > 1);
    const answers: string[] = [];
    for (const node of context.lab.nodes) await context.endpoint(node.netns).echo(NODE_ECHO_PORT);
    for (const pod of tenants) {
      const source = context.endpoint(pod.netns);
      for (const node of context.lab.nodes) {
        for (const to of [node.address, node.gateway])
          if (await source.exchange('udp', to, NODE_ECHO_PORT, context.payload(40), 200))
            answers.push(`${pod.name} got an answer from ${to}`);
      }
    }
    expectNone('answers', answers);
    return `${tenants.length} pods asked ${context.lab.nodes.length} nodes, no answer`;
  },
};
