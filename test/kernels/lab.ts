// A lab of two nodes with real agents in a test machine: the proofs that do not measure speed, which an emulated
// processor cannot have. Prints one line of JSON. Run by main.ts in a test machine.
import { Context, type Proof, type ProofOf, prove } from '../lab/context';
import { bringUp } from '../lab/lab';
import { clearIsSeen, reachUnseen } from '../lab/proofs/reach';
import { killedAgent, rotatedKeys } from '../lab/proofs/restart';
import { grown, overflow, readCounters } from '../lab/soak/counters';
import { teardown } from '../lab/teardown';

const NAME = 'kernel';
const ATTEMPTS = 3;

/**
 * An emulated processor may stand still for half a minute while the other sends; what queues have no room for is lost,
 * whatever is tried. A proof that failed while they counted such packets is tried again; without that, it failed.
 */
async function proveWithRoom(context: Context, proof: ProofOf): Promise<Proof> {
  const full: string[] = [];
  for (;;) {
    const before = await readCounters(context.lab);
    const outcome = await prove(context, proof);
    const after = await readCounters(context.lab);
    const again = full.length > 0 ? `; attempt ${full.length + 1}, before it: ${full.join('; ')}` : '';
    if (outcome.ok) return { ...outcome, detail: `${outcome.detail}${again}` };
    const counted = `${outcome.detail} (counted: ${grown(before, after)})`;
    if (overflow(before, after) === 0 || full.push(counted) === ATTEMPTS)
      return { ...outcome, detail: `${counted}${again}` };
  }
}

async function main(): Promise<void> {
  const proofs: Proof[] = [];
  try {
    const context = new Context(await bringUp(NAME, 2, 1, () => undefined));
    try {
      for (const proof of [reachUnseen, clearIsSeen, rotatedKeys, killedAgent])
        proofs.push(await proveWithRoom(context, proof));
    } finally {
      await context.close();
    }
  } catch (cause) {
    proofs.push({ name: 'the lab comes up', ok: false, detail: String(cause) });
  } finally {
    teardown(NAME);
  }
  console.log(JSON.stringify(proofs));
}

void main();
