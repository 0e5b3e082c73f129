// The bus goes away under traffic, an agent starts while it is gone, and it comes back: no packet notices.
import { endAgent, startAgent, waitAllUp, waitAnswering } from '../agents';
import { status } from '../api';
import { killBroker, startBroker } from '../broker';
import { until } from '../command';
import { expectNone, type ProofOf } from '../context';
import { expectWhole } from './restart';

const ECHO_PORT = 7029;
const PACKETS_PER_SECOND = 300;
const PACKETS_LEAST = 1500;
/** A connection that ends is noticed at once. */
const NOTICE_MS = 15_000;
const KNOW_MS = 30_000;

/** Only for a lab on Kafka. */
export const busOutage: ProofOf = {
  name: 'Kafka killed under traffic, an agent started meanwhile: no packet is lost and all peers are kept',
  body: async (context) => {
    const { lab } = context;
    const node = context.node(2);
    const [from, to] = [context.endpoint(context.pod(1).netns), context.pod(2)];
    await context.endpoint(to.netns).echo(ECHO_PORT);
    await from.startStream(to.address, ECHO_PORT, PACKETS_PER_SECOND);
    killBroker(lab);
    for (const each of lab.nodes)
      await until(`${each.name} tells that the bus is gone`, NOTICE_MS, async () =>
        (await status(each)).bus.connected ? undefined : true,
      );
    await endAgent(node, 'SIGKILL');
    await waitAnswering(node, startAgent(node));
    const others = lab.nodes.length - 1;
    const known = await until(`${node.name} knows its peers without the bus`, KNOW_MS, async () => {
      // The socket's file outlives a killed agent.
      const now = await status(node).catch(() => undefined);
      if (now === undefined) return undefined;
      const { peers, bus } = now;
      const up = peers.filter((peer) => peer.state === 'up');
      return up.length === others ? { staleMs: bus.stalenessMs, connected: bus.connected } : undefined;
    });
    if (known.connected) throw new Error('the bus was back before the proof was done');
    startBroker(lab);
    await waitAllUp(lab);
    const stream = await from.stopStream(PACKETS_LEAST);
    expectWhole(stream);
    const lost = (await Promise.all(lab.nodes.map((each) => status(each)))).filter(({ bus }) => !bus.inSync);
    expectNone(
      'nodes are not in sync',
      lost.map((each) => each.node.name),
    );
    return `0 of ${stream.sent} packets lost in ${(stream.ms / 1000).toFixed(1)} s; ${others} peers up without the bus, ${known.staleMs} ms old`;
  },
};
