// Proofs that traffic does not notice the agent: killed without warning and started again, or changing keys, under
// load no packet is lost and no program is ever detached.
import { endAgent, startAgent, vxsealArgv, waitAllUp, waitAnswering } from '../agents';
import { status } from '../api';
import { attachments, replaced } from '../attachments';
import { start } from '../command';
import { expectNone, type ProofOf } from '../context';
import type { StreamReport } from '../endpoint';
import { unhurried } from '../patience';

const ECHO_PORT = 7027;
const ROTATION_ECHO_PORT = 7028;
const PACKETS_PER_SECOND = unhurried(300);
const EXCHANGES = 20;
/** As many at least: five seconds of it. */
const PACKETS_LEAST = 1500;

export function expectWhole({ sent, lost, firstLost, duplicates }: StreamReport): void {
  if (lost === 0 && duplicates === 0) return;
  throw new Error(`${lost} of ${sent} packets lost (the first is number ${firstLost}), ${duplicates} twice`);
}

export const killedAgent: ProofOf = {
  name: 'an agent killed and started again under traffic loses no packet',
  body: async (context) => {
    const node = context.node(2);
    const [from, to] = [context.endpoint(context.pod(1).netns), context.pod(2)];
    await context.endpoint(to.netns).echo(ECHO_PORT);
    const before = attachments(node);

    await from.startStream(to.address, ECHO_PORT, PACKETS_PER_SECOND);
    if (!(await endAgent(node, 'SIGKILL'))) throw new Error(`the agent of ${node.name} did not run`);
    const dead: string[] = [];
    for (let round = 0; round < EXCHANGES; round++) {
      const bytes = 1 + round * 70;
      if (!(await from.exchange('udp', to.address, ECHO_PORT, context.payload(bytes))))
        dead.push(`${bytes} B`);
    }
    const orphaned = replaced(before, attachments(node));
    await waitAnswering(node, startAgent(node));
    await waitAllUp(context.lab);
    const adopted = replaced(before, attachments(node));
    const stream = await from.stopStream(PACKETS_LEAST);

    expectNone('exchanges failed while the agent was dead', dead);
    expectNone('programs were gone while the agent was dead', orphaned);
    expectNone('programs were detached by the restart', adopted);
    expectWhole(stream);
    const seconds = (stream.ms / 1000).toFixed(1);
    return `0 of ${stream.sent} packets lost in ${seconds} s; all ${before.size} programs stayed attached`;
  },
};

const ROTATIONS = 3;

export const rotatedKeys: ProofOf = {
  name: 'keys that rotate under traffic lose no packet',
  body: async (context) => {
    const [a, b] = [context.node(1), context.node(2)];
    const [from, to] = [context.endpoint(context.pod(1).netns), context.pod(2)];
    await context.endpoint(to.netns).echo(ROTATION_ECHO_PORT);
    const epochs = async (): Promise<number[]> => [
      (await status(a)).node.epoch.number,
      (await status(b)).node.epoch.number,
    ];
    const before = await epochs();
    await from.startStream(to.address, ROTATION_ECHO_PORT, PACKETS_PER_SECOND);
    for (let round = 0; round < ROTATIONS; round++) {
      // Both at once: each must take the other's new key while its own is on the way.
      const outcomes = await Promise.all([a, b].map((node) => start(vxsealArgv(node, ['rotate']))));
      expectNone(
        'nodes refused to rotate',
        outcomes.flatMap(({ status: code, stderr }) => (code === 0 ? [] : [stderr])),
      );
      await waitAllUp(context.lab);
    }
    const stream = await from.stopStream(PACKETS_LEAST);
    const after = await epochs();
    expectWhole(stream);
    const stuck = after.flatMap((epoch, index) =>
      epoch >= (before[index] ?? 0) + ROTATIONS ? [] : [`epoch ${epoch}`],
    );
    expectNone('nodes did not move on', stuck);
    return `0 of ${stream.sent} packets lost over ${ROTATIONS} rotations of both nodes; epochs ${before.join('/')} to ${after.join('/')}`;
  },
};
