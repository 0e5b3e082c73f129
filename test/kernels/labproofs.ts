// A lab of two nodes with real agents in a test machine, and what is proven on it. Owns the patience with an emulated
// processor; leaves no lab behind.
import { Context, type Proof, type ProofOf, prove } from '../lab/context';
import { bringUp } from '../lab/lab';
import type { LabShape } from '../lab/layout';
import { grown, overflow, readCounters } from '../lab/soak/counters';
import { teardown } from '../lab/teardown';

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

/** Every proof on a lab made for them. That it comes up is one more. */
export async function proveOnLab(
  name: string,
  shape: LabShape,
  proofs: readonly ProofOf[],
): Promise<Proof[]> {
  const proven: Proof[] = [];
  try {
    const context = new Context(await bringUp(name, 2, 1, () => undefined, shape));
    try {
      for (const proof of proofs) {
        const outcome = await proveWithRoom(context, proof);
        proven.push(outcome);
        // Of a run that is cut off this is all that is known.
        console.error(`${outcome.ok ? 'ok' : 'FAIL'} ${outcome.name}`);
      }
    } finally {
      await context.close();
    }
  } catch (cause) {
    proven.push({ name: 'the lab comes up', ok: false, detail: String(cause) });
  } finally {
    teardown(name);
  }
  return proven;
}
