// Proof that traffic does not need the agent: killed without warning and started again under load, no packet is lost
// and no program is ever detached.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../../agent/kernel/native';
import { endAgent, startAgent, waitAllUp, waitAnswering } from '../agents';
import { expectNone, type ProofOf } from '../context';
import type { NodeLayout } from '../layout';

const ECHO_PORT = 7027;
const PACKETS_PER_SECOND = 300;
const EXCHANGES = 20;

/** Pinned links that hold a device: "steer-7" -> link id. A detached link has ifindex 0. */
export function attachedLinks(node: NodeLayout): ReadonlyMap<string, number> {
  const native = loadNative();
  const dir = join(node.pinDir, 'links');
  const links = new Map<string, number>();
  for (const name of readdirSync(dir)) {
    const link = native.openPinned(join(dir, name));
    const info = native.linkInfo(link);
    link.close();
    if (info.ifindex !== 0) links.set(name, info.id);
  }
  return links;
}

/** Links of `before` that `now` lacks or has as another link: taken off and put on again, with a gap. */
function lost(before: ReadonlyMap<string, number>, now: ReadonlyMap<string, number>): string[] {
  return [...before].flatMap(([name, id]) => (now.get(name) === id ? [] : [name]));
}

export const killedAgent: ProofOf = {
  name: 'an agent killed and started again under traffic loses no packet',
  body: async (context) => {
    const node = context.node(2);
    const [from, to] = [context.endpoint(context.pod(1).netns), context.pod(2)];
    await context.endpoint(to.netns).echo(ECHO_PORT);
    const before = attachedLinks(node);
    if (before.size === 0) throw new Error(`${node.name} has no program attached`);

    await from.startStream(to.address, ECHO_PORT, PACKETS_PER_SECOND);
    if (!(await endAgent(node, 'SIGKILL'))) throw new Error(`the agent of ${node.name} did not run`);
    const dead: string[] = [];
    for (let round = 0; round < EXCHANGES; round++) {
      const bytes = 1 + round * 70;
      if (!(await from.exchange('udp', to.address, ECHO_PORT, context.payload(bytes))))
        dead.push(`${bytes} B`);
    }
    const orphaned = lost(before, attachedLinks(node));
    await waitAnswering(node, startAgent(node));
    await waitAllUp(context.lab);
    const adopted = lost(before, attachedLinks(node));
    const stream = await from.stopStream();

    expectNone('exchanges failed while the agent was dead', dead);
    expectNone('programs were gone while the agent was dead', orphaned);
    expectNone('programs were detached by the restart', adopted);
    if (stream.lost > 0 || stream.duplicates > 0) {
      throw new Error(
        `${stream.lost} of ${stream.sent} lost (first: ${stream.firstLost}), ${stream.duplicates} twice`,
      );
    }
    const seconds = (stream.ms / 1000).toFixed(1);
    return `0 of ${stream.sent} packets lost in ${seconds} s; all ${before.size} programs stayed attached`;
  },
};
