// A lab with real agents in a test machine: the proofs that do not measure speed, which an emulated processor cannot
// have. Prints one line of JSON. Run by main.ts in a test machine.
import { PLAIN_SHAPE } from '../lab/layout';
import { clearIsSeen, reachUnseen } from '../lab/proofs/reach';
import { killedAgent, rotatedKeys } from '../lab/proofs/restart';
import { proveOnLab } from './labproofs';

async function main(): Promise<void> {
  const proofs = [reachUnseen, clearIsSeen, rotatedKeys, killedAgent];
  console.log(JSON.stringify(await proveOnLab('kernel', PLAIN_SHAPE, proofs)));
}

void main();
