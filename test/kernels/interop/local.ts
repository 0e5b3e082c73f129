// Both ends on one kernel, in namespaces: our older paths (clsact) against that kernel's IPsec. Prints one line of
// JSON. Run by main.ts in a test machine; the kernel must have IPsec. An argument names the only encapsulation.

import type { Proof } from '../../lab/context';
import { createNamespace } from '../../netns/namespace';
import { CASES } from './plan';
import { interop, runnerIn } from './run';
import { Wire } from './wire';

async function main(): Promise<void> {
  const wire = new Wire();
  const foreign = createNamespace();
  let proofs: Proof[];
  try {
    wire.addVeth('foreign', foreign);
    const cases = CASES.filter(({ encapsulation }) => encapsulation === (process.argv[2] ?? encapsulation));
    proofs = await interop(wire, 'foreign', runnerIn(foreign.name), cases);
  } catch (cause) {
    proofs = [
      { name: 'interop', ok: false, detail: cause instanceof Error ? `${cause.stack}` : String(cause) },
    ];
  } finally {
    foreign.remove();
    wire.close();
  }
  console.log(JSON.stringify(proofs));
}

void main();
