// Labs with real agents in a test machine in which the kernel's own IPsec is the engine of one node, and of both. Prints
// one line of JSON. Run by main.ts in a test machine; the kernel must have IPsec.
import type { Vni } from '../../../agent/core/ids';
import { markOf } from '../../../agent/kernel/xfrm/marks';
import { status } from '../../lab/api';
import { inNetns, run } from '../../lab/command';
import type { Proof, ProofOf } from '../../lab/context';
import { type LabShape, PLAIN_SHAPE, VNI, VXLAN_PORT } from '../../lab/layout';
import { clearVxlan } from '../../lab/proofs/clear';
import { FORGERIES, refused } from '../../lab/proofs/forged';
import { clearIsSeen, reachUnseen } from '../../lab/proofs/reach';
import { killedAgent, rotatedKeys } from '../../lab/proofs/restart';
import { type Forgery, victim } from '../../lab/proofs/sink';
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

const FORGER = 'inet vxseal-forger';

/** As a process may that can set marks (SO_MARK) and write raw packets: on the loopback the kernel asks no policy. */
const markedVxlan: Forgery = {
  name: "VXLAN in clear over the loopback, from a peer's address and with the mark of what was opened",
  reason: 'forged_vxlan',
  at: victim,
  send: async (context, tag) => {
    const { netns, vtep } = victim(context);
    const rule = `udp dport ${VXLAN_PORT} oifname lo ip saddr set ${context.node(1).vtep} meta mark set ${markOf(VNI as Vni)}`;
    const chain = `chain out {\n type filter hook output priority 0\n ${rule}\n }`;
    run(inNetns(netns, ['nft', '-f', '-']), `table ${FORGER} {\n ${chain}\n}\n`);
    try {
      await context.endpoint(netns).cast(vtep, VXLAN_PORT, clearVxlan(context, tag));
    } finally {
      run(inNetns(netns, ['nft', 'delete', 'table', ...FORGER.split(' ')]));
    }
    return 1;
  },
};
const PROOFS: readonly ProofOf[] = [
  named,
  reachUnseen,
  clearIsSeen,
  rotatedKeys,
  killedAgent,
  ...FORGERIES,
  refused(markedVxlan),
];

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
