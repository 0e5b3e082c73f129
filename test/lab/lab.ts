// A lab from nothing to running: topology, identities, agents, pods. What `up` and the tests share.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  attachPods,
  issueIdentities,
  START_TIMEOUT_MS,
  startAgent,
  waitAllUp,
  waitAnswering,
  writeConfig,
} from './agents';
import { startBroker } from './broker';
import { LABS_DIR, type LabLayout, type LabShape, labLayout, PLAIN_SHAPE } from './layout';
import { labExists } from './teardown';
import { buildTopology } from './topology';

export type Progress = (message: string) => void;

interface Saved {
  readonly nodes: number;
  readonly pods: number;
  readonly shape: LabShape;
}

const savedFile = (name: string): string => join(LABS_DIR, name, 'lab.json');

/** Takes the name; of two at once only one succeeds. */
function claim(name: string, saved: Saved): void {
  const taken = `lab ${name} exists already. Remove it with: scripts/lab down --name ${name}`;
  if (labExists(name)) throw new Error(taken);
  mkdirSync(LABS_DIR, { recursive: true, mode: 0o755 });
  try {
    mkdirSync(join(LABS_DIR, name), { mode: 0o700 });
  } catch (cause) {
    throw new Error(taken, { cause });
  }
  writeFileSync(savedFile(name), `${JSON.stringify(saved)}\n`);
}

/** Layout of a lab that is there. Throws when it is not. */
export function openLab(name: string): LabLayout {
  if (!existsSync(savedFile(name)))
    throw new Error(`there is no lab ${name}. Make it with: scripts/lab up --name ${name}`);
  const { nodes, pods, shape } = JSON.parse(readFileSync(savedFile(name), 'utf8')) as Saved;
  return labLayout(name, nodes, pods, shape);
}

/** Takes the name, then builds machines without agents. Throws, and leaves what it made, on failure. */
export function buildMachines(
  name: string,
  nodes: number,
  pods: number,
  shape: LabShape = PLAIN_SHAPE,
): LabLayout {
  claim(name, { nodes, pods, shape });
  const lab = labLayout(name, nodes, pods, shape);
  buildTopology(lab);
  return lab;
}

/** Starts everything; returns once every node is ready and every peer is up. Tears nothing down on failure. */
export async function bringUp(
  name: string,
  nodes: number,
  pods: number,
  progress: Progress,
  shape: LabShape = PLAIN_SHAPE,
): Promise<LabLayout> {
  const lab = buildMachines(name, nodes, pods, shape);
  const each = `${pods} pod${pods === 1 ? '' : 's'} each${shape.tenants > 1 ? ` of ${shape.tenants} tenants` : ''}`;
  progress(`${nodes} nodes on one wire, ${each}`);
  if (shape.bus === 'kafka') {
    startBroker(lab);
    progress('Kafka on the wire');
  }
  issueIdentities(lab);
  progress('certificate authority and node certificates');
  for (const node of lab.nodes) writeConfig(lab, node);
  const agents = lab.nodes.map((node) => [node, startAgent(node)] as const);
  for (const [node, id] of agents) await waitAnswering(node, id);
  progress('agents answer');
  await waitAllUp(lab, START_TIMEOUT_MS);
  progress('every tunnel is up');
  await attachPods(lab);
  progress('pods attached');
  return lab;
}
