// Engine xfrm when parts of it are taken away behind its back: each line of defence is tried with the ones before it
// gone, and the wire is watched. The last step takes them all: the watcher must see what was kept in until then.
import { openEsp, parseOuter } from '../../bpf/esp-decoder';
import { inNetns, run } from '../../lab/command';
import type { OurNode } from '../interop/ours';
import { espKeys } from '../interop/run';
import type { EngineProof } from './proofs';
import { expectMoved, expectOk, unsealed, xfrmCounters } from './scene';

const ip = (node: OurNode, line: string): string => run(inNetns(node.node.name, ['ip', ...line.split(' ')]));

function hookAt(
  node: OurNode,
  program: 'open' | 'seal',
): { readonly program: typeof program; readonly ifindex: number } {
  const [{ ifindex }] = JSON.parse(ip(node, '-j link show dev eth0')) as [{ ifindex: number }];
  return { program, ifindex };
}

const takenIn: EngineProof = {
  name: 'VXLAN in clear is not taken in without `open`, and not without policies either',
  body: async (scene) => {
    const victim = scene.b;
    const frame = await scene.sealed(scene.a);
    const { payload } = openEsp(parseOuter(frame).esp, espKeys(scene.a.outgoing(scene.keys)));
    const forgery = unsealed(frame, payload);
    const send = async () => scene.wire.send(victim.choice.port, forgery);
    victim.inside((datapath) => datapath.detach(hookAt(victim, 'open')));
    await expectMoved(victim, 'without open', ['XfrmInTmplMismatch +1', 'our forged_vxlan +1'], send);
    ip(victim, 'xfrm policy flush');
    await expectMoved(victim, 'without policies', ['our forged_vxlan +1'], send);
    victim.inside((datapath) => {
      if (datapath.settings() !== undefined) throw new Error('the lack of the policies is not seen');
    });
    victim.inside((datapath) => datapath.attach(hookAt(victim, 'open')));
    scene.rebuild();
    expectOk('after the repair', await scene.ping(scene.a));
    return 'refused by the policy, then by admit; repaired';
  },
};

const letOut: EngineProof = {
  name: 'nothing leaves in clear without states, nor without policies; the watcher sees it without `seal`',
  body: async (scene) => {
    const sender = scene.b;
    const lost = async () => {
      if ((await scene.ping(sender)).status === 0) throw new Error('a ping came back');
    };
    const quiet = async (what: string): Promise<void> => {
      const frames = await scene.clear(lost);
      if (frames.length > 0) throw new Error(`${what}: ${frames.length} frames in clear`);
    };
    ip(sender, 'xfrm state flush');
    const before = xfrmCounters(sender).get('XfrmOutNoStates') ?? 0;
    await quiet('without states');
    const stopped = (xfrmCounters(sender).get('XfrmOutNoStates') ?? 0) - before;
    if (stopped < 1) throw new Error('no packet was stopped for want of a state');
    ip(sender, 'xfrm policy flush');
    const dropped = sender.drops().get('our no_sa') ?? 0;
    await quiet('without policies');
    const sealed = (sender.drops().get('our no_sa') ?? 0) - dropped;
    if (sealed < 1) throw new Error('seal stopped nothing');
    sender.inside((datapath) => datapath.detach(hookAt(sender, 'seal')));
    const seen = (await scene.clear(lost)).length;
    if (seen < 1) throw new Error('control: the watcher sees nothing at all');
    sender.inside((datapath) => datapath.attach(hookAt(sender, 'seal')));
    scene.rebuild();
    expectOk('after the repair', await scene.ping(sender));
    return `stopped by the kernel ${stopped}, by seal ${sealed}; control: ${seen} seen`;
  },
};

/** For a scene whose second node has engine xfrm. */
export const CLOSED_PROOFS: readonly EngineProof[] = [takenIn, letOut];
