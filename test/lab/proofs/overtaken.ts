// Proofs against another user of the same hooks and against the moment in which the device is made anew: what stands
// in front of ours is overtaken, and a device without its hooks takes nothing in.
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { loadNative } from '../../../agent/kernel/native';
import { drops, risen, status } from '../api';
import { inNetns, run, tryRun, until } from '../command';
import { expectNone, type ProofOf } from '../context';
import { NETNS_DIR, type NodeLayout, packageRoot, VXLAN_PORT } from '../layout';
import { sniff } from '../sniffer';
import { clearVxlan } from './clear';
import { leaks } from './reach';
import { honestDatagram, listen, received, victim } from './sink';

const ECHO_PORT = 7071;
const OVERTAKEN_MS = 15_000;
const REPAIR_MS = 15_000;
const DELETIONS = 5;

/** Puts a program that accepts everything in front of seal. @returns its id, and how to take it away. */
function putInFront(node: NodeLayout): {
  readonly id: number;
  readonly order: () => number[];
  remove(): void;
} {
  const native = loadNative();
  const loaded = native.loadObject(join(packageRoot(), 'build/test/bpf/accept.bpf.o'), {});
  const program = loaded.programs.accept?.fd;
  if (program === undefined) throw new Error('accept is missing');
  const netns = native.openNetns(join(NETNS_DIR, node.netns));
  const [eth0] = JSON.parse(run(inNetns(node.netns, ['ip', '-j', 'link', 'show', 'eth0']))) as {
    ifindex: number;
  }[];
  const ifindex = eth0?.ifindex ?? 0;
  const link = native.inNetns(netns, () => native.attachTcx(program, ifindex, 'egress'));
  return {
    id: native.programInfo(program).id,
    order: () => native.inNetns(netns, () => native.queryTcx(ifindex, 'egress')),
    remove: () => {
      for (const fd of [link, program, netns]) fd.close();
    },
  };
}

export const overtaken: ProofOf = {
  name: "somebody else's program in front of seal is told and overtaken; behind it nothing leaves in clear",
  body: async (context) => {
    const node = context.node(1);
    await context.endpoint(context.pod(2).netns).echo(ECHO_PORT);
    const foreign = putInFront(node);
    try {
      let told = false;
      await until(
        'seal is in front again, and it was told',
        OVERTAKEN_MS,
        async () => {
          const { problems } = await status(node);
          told ||= problems.some(
            ({ object, reason }) => object === 'order of seal on eth0' && reason.includes(`${foreign.id}`),
          );
          return told && foreign.order()[0] !== foreign.id ? true : undefined;
        },
        () => `told: ${told}, order ${foreign.order()}, foreign ${foreign.id}`,
      );
      if (!foreign.order().includes(foreign.id)) throw new Error('the other program was removed');
      const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
      const source = context.endpoint(context.pod(1).netns);
      const answered = await source.exchange(
        'tcp',
        context.pod(2).address,
        ECHO_PORT,
        context.payload(20_000),
      );
      const frames = await sniffer.stop();
      expectNone('exchanges failed', answered ? [] : ['TCP']);
      expectNone('frames in clear', leaks(frames, context.marker));
      return `program ${foreign.id} told and overtaken; ${frames.length} frames, 0 in clear`;
    } finally {
      foreign.remove();
    }
  },
};

export const madeAnew: ProofOf = {
  name: 'while the overlay device is made anew it takes in no forged VXLAN',
  body: async (context) => {
    const node = victim(context);
    const pod = context.endpoint(context.pod(2).netns);
    await listen(context);
    const tag = randomBytes(40);
    // Before it goes: the MAC address is in the frame.
    const forged = clearVxlan(context, tag);
    const before = await drops(node);
    let sent = 0;
    for (let round = 0; round < DELETIONS; round++) {
      run(inNetns(node.netns, ['ip', 'link', 'del', 'vxseal0']));
      await until(
        'the device is up and attached again',
        REPAIR_MS,
        async () => {
          for (let burst = 0; burst < 20; burst++)
            if (await pod.cast(node.gateway, VXLAN_PORT, forged)) sent++;
          const link = tryRun(['ip', '-n', node.netns, '-j', 'link', 'show', 'dev', 'vxseal0']);
          if (link.status !== 0) return undefined;
          const [{ ifindex, flags }] = JSON.parse(link.stdout) as [{ ifindex: number; flags: string[] }];
          const { hooks } = await status(node);
          const admits = hooks.some((hook) => hook.program === 'admit' && hook.ifindex === ifindex);
          return flags.includes('UP') && admits ? true : undefined;
        },
        () => '',
        1,
      );
    }
    await honestDatagram(context);
    const arrived = (await received(context)).filter((payload) => payload.includes(tag.toString('latin1')));
    expectNone('forgeries arrived', arrived.length === 0 ? [] : [`${arrived.length} of ${sent}`]);
    const refused = risen(before, await drops(node)).get('forged_vxlan') ?? 0;
    if (refused === 0) throw new Error('none was refused as forged: none was tried');
    return `${DELETIONS} deletions, ${sent} sent meanwhile, 0 arrived, forged_vxlan +${refused}`;
  },
};
