// An upgrade, and back, of a node under traffic: its machine boots with another build, whose programs and maps are
// pinned; then this build's agent takes over, then that one again, then this one. Both builds must have one layout of
// the maps; of another layout the agent says so and does not start (kernel/datapath.ts).
import { join } from 'node:path';
import { endAgent, startAgent, waitAnswering } from '../agents';
import { attachments, replaced } from '../attachments';
import type { LabLayout, NodeLayout } from '../layout';
import { configure, type SoakEvent, waitSteady } from './events';
import { powerOff, powerOn } from './machine';

/** @param build folder of the other build. The first of the nodes has it when this returns. */
export async function upgradeEvents(layout: LabLayout, build: string): Promise<readonly SoakEvent[]> {
  const program = join(build, 'build/agent/cli/vxseal.js');
  const [node] = layout.nodes;
  if (node === undefined) throw new Error('a lab without nodes');
  await configure(layout, {});
  await powerOff(node);
  await powerOn(node, program);
  await waitSteady(layout);
  return [
    { name: 'upgrade to this build', run: () => replace(node, undefined) },
    { name: 'back to the other build', run: () => replace(node, program) },
    { name: 'upgrade again', run: () => replace(node, undefined) },
  ];
}

/** No program may leave its device on the way: links are updated, not made anew. */
async function replace(node: NodeLayout, program: string | undefined): Promise<string> {
  const before = attachments(node);
  await endAgent(node, 'SIGTERM');
  await waitAnswering(node, startAgent(node, program));
  const gone = replaced(before, attachments(node));
  if (gone.length > 0) throw new Error(`taken off their devices: ${gone.join(', ')}`);
  return `all ${before.size} programs stayed attached`;
}
