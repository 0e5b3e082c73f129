// The command behind scripts/lab: builds a lab, proves on it what vxseal promises, leaves it running or removes it.
// Exit code 0 when all held, 1 when something did not, 2 for a wrong command line.
import { spawnSync } from 'node:child_process';
import { agentProcess, endAgent, logTail, startAgent, vxsealArgv, waitAnswering } from './agents';
import { inNetns, tryRun } from './command';
import { Context, type Proof, type ProofOf, prove } from './context';
import { allowKeys, labKeys } from './keys';
import { bringUp, openLab } from './lab';
import { type LabLayout, type LabShape, labLayout, type NodeLayout, seenIn } from './layout';
import { type AgentAction, parseCommand, USAGE, UsageError } from './options';
import { FAMILY_PROOFS, proofsFor, QUICK_PROOFS } from './proofs/all';
import { busOutage } from './proofs/outage';
import { labExists, teardown } from './teardown';

const startedMs = performance.now();
const elapsed = (): string => `[${((performance.now() - startedMs) / 1000).toFixed(1).padStart(5)} s]`;
const say = (message: string): void => console.log(`${elapsed()} ${message}`);

function showProof(proof: Proof): void {
  const lines = proof.detail.split('\n');
  console.log(`${elapsed()} ${proof.ok ? 'ok  ' : 'FAIL'} ${proof.name}`);
  for (const line of lines) if (line !== '') console.log(`                 ${line}`);
}

/** An agent that has ended says why in its log alone, and --once removes that. */
function showEnded(lab: LabLayout): void {
  for (const node of lab.nodes)
    if (agentProcess(node) === undefined)
      console.log(`--- the agent of ${node.name} has ended. Its log:\n${logTail(node)}`);
}

/** @returns how many did not hold. */
async function runProofs(lab: LabLayout, proofs: readonly ProofOf[]): Promise<number> {
  const context = new Context(lab);
  let failed = 0;
  try {
    for (const proof of proofs) {
      const outcome = await prove(context, proof);
      showProof(outcome);
      if (outcome.ok) continue;
      failed++;
      showEnded(lab);
    }
  } finally {
    await context.close();
  }
  return failed;
}

function showStatus(node: NodeLayout): void {
  const { stdout, stderr } = tryRun(vxsealArgv(node, ['status']));
  console.log(`\n$ scripts/lab vxseal ${node.name} status\n${stdout}${stderr}`);
}

/** Ends with the lab removed if the user interrupts. */
function tearDownOnSignal(name: string): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      say(`${signal}: removing lab ${name}`);
      teardown(name);
      process.exit(130);
    });
  }
}

interface Plan {
  readonly name: string;
  readonly nodes: number;
  readonly pods: number;
  readonly shape: LabShape;
  readonly once: boolean;
  readonly keys: boolean;
}

async function up({ name, nodes, pods, shape, once, keys }: Plan): Promise<number> {
  // Before anything is made: an existing lab must survive the refusal.
  if (labExists(name))
    throw new Error(`lab ${name} exists already. Remove it with: scripts/lab down --name ${name}`);
  tearDownOnSignal(name);
  let lab: LabLayout;
  try {
    lab = await bringUp(name, nodes, pods, say, shape);
    if (keys) allowKeys(lab);
  } catch (error) {
    for (const node of labLayout(name, nodes, pods, shape).nodes) {
      console.error(`--- ${node.name}, end of the agent's log\n${logTail(node)}`);
    }
    teardown(name);
    throw error;
  }
  try {
    const quick = nodes >= 2 ? QUICK_PROOFS : [];
    const outage = shape.bus === 'kafka' ? [busOutage] : [];
    const proofs = once ? [...proofsFor(shape), ...outage] : quick;
    let failed = 0;
    let tried = 0;
    for (const family of shape.overlay) {
      if (shape.overlay.length > 1) say(`pods by their IPv${family} addresses:`);
      const again =
        family === shape.overlay[0] ? proofs : proofs.filter((proof) => FAMILY_PROOFS.includes(proof));
      tried += again.length;
      failed += await runProofs(seenIn(lab, family), again);
    }
    const [first] = lab.nodes;
    if (first !== undefined) showStatus(first);
    console.log(`${tried - failed} of ${tried} proofs held`);
    if (!once && first !== undefined) {
      console.log(`The lab is running. Socket of node1: ${first.socket}`);
      console.log(
        `Try:  sudo ./scripts/lab exec pod1-1 -- ping -c 3 ${lab.nodes[1]?.pods[0]?.address ?? first.gateway}`,
      );
      console.log('      sudo ./scripts/lab exec wire -- tcpdump -ni wire -c 10');
      console.log(`End:  sudo ./scripts/lab down${name === 'vxs' ? '' : ` --name ${name}`}`);
    }
    return failed === 0 ? 0 : 1;
  } finally {
    if (once) {
      teardown(name);
      say(`lab ${name} removed`);
    }
  }
}

function findNode(lab: LabLayout, target: string): NodeLayout {
  const node = lab.nodes.find((candidate) => candidate.name === target);
  if (node === undefined)
    throw new Error(`no ${target} in lab ${lab.name}; it has ${lab.nodes.map((n) => n.name).join(', ')}`);
  return node;
}

function findNetns(lab: LabLayout, target: string): string {
  if (target === 'wire') return lab.wireNetns;
  const machines = lab.nodes.flatMap((node) => [node, ...node.pods]);
  const found = machines.find((machine) => machine.name === target);
  if (found === undefined)
    throw new Error(
      `no ${target} in lab ${lab.name}; it has wire, ${machines.map((m) => m.name).join(', ')}`,
    );
  return found.netns;
}

function addresses(lab: LabLayout, target: string): string[] {
  const pod = lab.nodes.flatMap((node) => node.pods).find((candidate) => candidate.name === target);
  if (pod !== undefined) return [...pod.addresses];
  const node = findNode(lab, target);
  return [node.vtep4, node.vtep6];
}

/** In the foreground, with our terminal. */
function handOver(argv: readonly string[]): number {
  const [file = '', ...args] = argv;
  const done = spawnSync(file, args, { stdio: 'inherit' });
  if (done.error !== undefined) throw done.error;
  return done.status ?? 1;
}

async function agent(node: NodeLayout, action: AgentAction): Promise<number> {
  if (action === 'stop' || action === 'restart') await endAgent(node, 'SIGTERM');
  if (action === 'kill') await endAgent(node, 'SIGKILL');
  if (action === 'start' || action === 'restart') await waitAnswering(node, startAgent(node));
  console.log(`${node.name}: ${agentProcess(node) === undefined ? 'agent is down' : 'agent is up'}`);
  return 0;
}

async function main(argv: readonly string[]): Promise<number> {
  const command = parseCommand(argv);
  if (process.getuid?.() !== 0) throw new Error('the lab makes network namespaces: run it as root (sudo)');
  if (command.verb === 'up') return await up(command);
  if (command.verb === 'down') {
    say(teardown(command.name) ? `lab ${command.name} removed` : `there is no lab ${command.name}`);
    return 0;
  }
  const lab = openLab(command.name);
  switch (command.verb) {
    case 'exec':
      return handOver(inNetns(findNetns(lab, command.target), command.argv));
    case 'vxseal':
      return handOver(vxsealArgv(findNode(lab, command.target), command.argv));
    case 'keys':
      console.log(labKeys(lab).join('\n'));
      return 0;
    case 'addr':
      console.log(addresses(lab, command.target).join('\n'));
      return 0;
    case 'agent':
      return await agent(findNode(lab, command.target), command.action);
  }
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`lab: ${error instanceof Error ? error.message : String(error)}`);
    if (error instanceof UsageError) console.error(USAGE);
    process.exit(error instanceof UsageError ? 2 : 1);
  },
);
