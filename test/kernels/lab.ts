// A lab of two nodes with real agents in a test machine: the proofs that do not measure speed, which an emulated
// processor cannot have. Prints one line of JSON. Run by main.ts in a test machine.
import { Context, type Proof, prove } from '../lab/context';
import { bringUp } from '../lab/lab';
import { clearIsSeen, reachUnseen } from '../lab/proofs/reach';
import { killedAgent, rotatedKeys } from '../lab/proofs/restart';
import { teardown } from '../lab/teardown';

const NAME = 'kernel';

async function main(): Promise<void> {
  const proofs: Proof[] = [];
  try {
    const context = new Context(await bringUp(NAME, 2, 1, () => undefined));
    try {
      for (const proof of [reachUnseen, clearIsSeen, rotatedKeys, killedAgent])
        proofs.push(await prove(context, proof));
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
