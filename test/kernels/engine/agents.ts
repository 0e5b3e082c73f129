// Labs with real agents in a test machine in which the kernel's own IPsec is the engine of one node, and of both. Prints
// one line of JSON. Run by main.ts in a test machine; the kernel must have IPsec.
import { status } from '../../lab/api';
import type { Proof, ProofOf } from '../../lab/context';
import { type LabShape, PLAIN_SHAPE } from '../../lab/layout';
import { FORGERIES } from '../../lab/proofs/forged';
import { clearIsSeen, reachUnseen } from '../../lab/proofs/reach';
import { killedAgent, rotatedKeys } from '../../lab/proofs/restart';
import { proveOnLab } from '../labproofs';

const SHAPES: readonly LabShape[] = [
  { ...PLAIN_SHAPE, engines: ['bpf', 'xfrm'] },
  { ...PLAIN_SHAPE, engines: ['xfrm', 'xfrm'] },
];

const named: ProofOf = {
  name: 'each agent says whose cipher it uses',
  body: async ({ lab }) => {
    const said = await Promise.all(lab.nodes.map(async (node) => (await status(node)).node.engine));
    if (said.join() !== lab.shape.engines.join()) throw new Error(`they say ${said.join(' and ')}`);
    return said.join(' and ');
  },
};
const PROOFS: readonly ProofOf[] = [named, reachUnseen, clearIsSeen, rotatedKeys, killedAgent, ...FORGERIES];

async function main(): Promise<void> {
  const proofs: Proof[] = [];
  for (const shape of SHAPES) {
    const proven = await proveOnLab('engine', shape, PROOFS);
    const pair = `agents of engines ${shape.engines.join(' and ')}`;
    proofs.push(...proven.map((proof) => ({ ...proof, name: `${pair}: ${proof.name}` })));
  }
  console.log(JSON.stringify(proofs));
}

void main();
