// What happens to a node as a machine: its power goes, it boots again, another one takes its place; and what happens to
// its agent as a process: it is stopped and goes on. The network stack of the namespace stands for the kernel's.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  agentProcess,
  attachPod,
  endAgent,
  issueNode,
  startAgent,
  vxsealArgv,
  waitAnswering,
} from '../agents';
import { ipBatch, run, tryRun, until } from '../command';
import type { LabLayout, NodeLayout } from '../layout';
import { signal } from '../processes';

const ATTACH_MS = 15_000;

/** The wire is cut, then all that lives in memory is gone: process, pins, run directory, overlay device, routes. */
export async function powerOff(node: NodeLayout): Promise<void> {
  ipBatch(node.netns, ['link set eth0 down']);
  await endAgent(node, 'SIGKILL');
  rmSync(node.pinDir, { recursive: true, force: true });
  for (const name of readdirSync(node.runDir)) rmSync(join(node.runDir, name), { recursive: true });
  tryRun(['ip', '-n', node.netns, 'link', 'del', 'vxseal0']);
}

/** Network first, then the agent, then the pods, as a machine boots. @param program of another build */
export async function powerOn(node: NodeLayout, program?: string): Promise<void> {
  ipBatch(node.netns, ['link set eth0 up', `addr replace ${node.vtep6}/64 dev eth0 nodad`]);
  await waitAnswering(node, startAgent(node, program));
  for (const pod of node.pods) {
    let refused = '';
    // A runtime tries again too while the agent says that it is not ready yet.
    await until(
      `${pod.name} is attached`,
      ATTACH_MS,
      async () => {
        const outcome = await attachPod(node, pod);
        refused = outcome.stderr || outcome.stdout;
        return outcome.status === 0 ? true : undefined;
      },
      () => refused,
    );
  }
}

/** Another machine under the same name and address: no disk of the old one, a key and a certificate of its own. */
export function replaceDisk(lab: LabLayout, node: NodeLayout): void {
  for (const name of readdirSync(node.stateDir)) rmSync(join(node.stateDir, name), { recursive: true });
  for (const name of readdirSync(node.identityDir)) rmSync(join(node.identityDir, name));
  issueNode(lab, node);
}

export function freeze(node: NodeLayout): void {
  signalAgent(node, 'SIGSTOP');
}

export function thaw(node: NodeLayout): void {
  signalAgent(node, 'SIGCONT');
}

/** Answers once the new epoch is published. */
export function rotate(node: NodeLayout): void {
  run(vxsealArgv(node, ['rotate']));
}

function signalAgent(node: NodeLayout, name: NodeJS.Signals): void {
  const id = agentProcess(node);
  if (id === undefined || !signal(id, name)) throw new Error(`the agent of ${node.name} does not run`);
}
