// Proofs about packet size: a pod that sends too much is told so, and TCP works even when it is not told.
import { inNetns, ipBatch, run, tryRun } from '../command';
import { expectNone, type ProofOf } from '../context';
import type { LabLayout, PodLayout } from '../layout';

const ECHO_PORT = 7017;
const headerBytes = ({ family }: LabLayout): number => (family === 4 ? 20 : 40) + 8;

async function withLargePods<T>(
  lab: LabLayout,
  pods: readonly PodLayout[],
  body: () => Promise<T>,
): Promise<T> {
  const setMtu = (mtuBytes: number): void => {
    for (const pod of pods) ipBatch(pod.netns, [`link set eth0 mtu ${mtuBytes}`, 'route flush cache']);
    // IPv6 keeps what it was told in a route of its own.
    for (const pod of pods) run(['ip', '-n', pod.netns, '-6', 'route', 'flush', 'cache']);
  };
  setMtu(lab.shape.underlayMtuBytes);
  try {
    return await body();
  } finally {
    setMtu(lab.overlayMtuBytes);
  }
}

export const attachLowersMtu: ProofOf = {
  name: 'attaching a pod lowers its MTU to what the tunnel carries',
  body: async ({ lab }) => {
    const pods = lab.nodes.flatMap((node) => node.pods);
    const wrong = pods.flatMap((pod) => {
      const [link] = JSON.parse(run(['ip', '-n', pod.netns, '-j', 'link', 'show', 'dev', 'eth0'])) as {
        mtu: number;
      }[];
      return link?.mtu === lab.overlayMtuBytes ? [] : [`${pod.name}: ${link?.mtu ?? 'no eth0'}`];
    });
    expectNone(`pods have another MTU than ${lab.overlayMtuBytes}`, wrong);
    return `${pods.length} pods at ${lab.overlayMtuBytes} B`;
  },
};

/** RFC 1191 §3, RFC 8201 §3: the next hop's MTU is in the message, and it is the largest that passes. */
export const tooBigIsTold: ProofOf = {
  name: 'a packet larger than the tunnel is answered with "fragmentation needed"',
  body: async (context) => {
    const [from, to] = [context.pod(1), context.pod(2)];
    const most = context.lab.overlayMtuBytes;
    return await withLargePods(context.lab, [from], async () => {
      const ping = (packetBytes: number): string => {
        const bytes = String(packetBytes - headerBytes(context.lab));
        return tryRun(
          inNetns(from.netns, ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', bytes, to.address]),
        ).stdout;
      };
      const told = /(?:Frag needed and DF set \(mtu = |Packet too big: mtu=)(\d+)/.exec(ping(most + 1))?.[1];
      if (told !== String(most)) {
        throw new Error(`a packet of ${most + 1} B was answered with MTU ${told ?? '(no answer)'}`);
      }
      if (!ping(most).includes('1 received')) throw new Error(`${most} B does not pass`);
      return `${most} B passes, ${most + 1} B is told MTU ${told}`;
    });
  },
};

const FILTER = 'vxseal-lab-filter';

/** Without the clamp of the MSS such a connection opens and then hangs at the first full segment. */
export const tcpWithoutIcmp: ProofOf = {
  name: 'TCP passes between pods of too large an MTU with ICMP filtered',
  body: async (context) => {
    const pods = [context.pod(1), context.pod(2)];
    const [from, to] = [context.pod(1), context.pod(2)];
    const bytes = 300_000;
    return await withLargePods(context.lab, pods, async () => {
      for (const pod of pods) {
        const rules = `table inet ${FILTER} { chain in { type filter hook input priority 0; icmp type destination-unreachable counter drop; icmpv6 type packet-too-big counter drop; }; }`;
        run(inNetns(pod.netns, ['nft', '-f', '-']), rules);
      }
      try {
        await context.endpoint(to.netns).echo(ECHO_PORT);
        const passed = await context
          .endpoint(from.netns)
          .exchange('tcp', to.address, ECHO_PORT, context.payload(bytes), 10_000);
        if (!passed) throw new Error(`${bytes} B did not come back within 10 s`);
      } finally {
        for (const pod of pods) tryRun(inNetns(pod.netns, ['nft', 'delete', 'table', 'inet', FILTER]));
      }
      return `${bytes} B there and back`;
    });
  },
};
