// Proofs on a host that works against us: other rules, other programs, our device changed or gone. What is broken is
// repaired within seconds and nothing is seen in clear meanwhile.
import { drops, risen } from '../api';
import { inNetns, run, until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import type { NodeLayout } from '../layout';
import { frameKind } from '../pcap';
import { sniff } from '../sniffer';
import { leaks } from './reach';

const ECHO_PORT = 7041;
const SERVICE_ECHO_PORT = 7042;
const SERVICE_PORT = 80;
/** A ClusterIP: in no overlay prefix, known to the nodes' NAT only. */
const SERVICE = { 4: '10.96.0.10', 6: 'fd00:96::10' } as const;
const OVERLAY_DEVICE = 'vxseal0';
const UNDERLAY_DEVICE = 'eth0';
const REPAIR_MS = 5000;
/** The kernel needs a moment of its own after a link comes back (ARP, duplicate address detection). */
const LINK_UP_MS = 10_000;

function onNode(node: NodeLayout, ...argv: readonly string[]): void {
  run(inNetns(node.netns, argv));
}

/** Reverse path filtering and NAT rules, as strict distributions and kube-proxy set them. */
function strictFilter(node: NodeLayout, value: 0 | 1): void {
  onNode(node, 'sh', '-c', `for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo ${value} > $f; done`);
}

const familyOf = (context: Context): 4 | 6 => (context.pod(2).address.includes(':') ? 6 : 4);

function serviceRules(context: Context): string {
  const family = familyOf(context);
  const [ip, service] = family === 4 ? ['ip', SERVICE[4]] : ['ip6', SERVICE[6]];
  const target = family === 4 ? context.pod(2).address : `[${context.pod(2).address}]`;
  const rule = `${ip} daddr ${service} tcp dport ${SERVICE_PORT} dnat to ${target}:${SERVICE_ECHO_PORT}`;
  return `table ${ip} vxseal_lab_service {
    chain pre {
      type nat hook prerouting priority -100
      ${rule}
    }
    chain out {
      type nat hook output priority -100
      ${rule}
    }
  }`;
}

/** The service's address needs a route before NAT sees the packet; nobody answers there. */
function routeToService(context: Context, node: NodeLayout): void {
  const service = familyOf(context) === 4 ? SERVICE[4] : SERVICE[6];
  onNode(node, 'ip', 'route', 'replace', service, 'dev', UNDERLAY_DEVICE);
}

export const serviceAddress: ProofOf = {
  name: 'a service address (DNAT) in front of a remote pod works from pod and node, with rp_filter 1, unseen',
  body: async (context) => {
    const [a, b] = [context.node(1), context.node(2)];
    const service = familyOf(context) === 4 ? SERVICE[4] : SERVICE[6];
    await context.endpoint(context.pod(2).netns).echo(SERVICE_ECHO_PORT);
    run(inNetns(a.netns, ['nft', '-f', '-']), serviceRules(context));
    routeToService(context, a);
    strictFilter(a, 1);
    strictFilter(b, 1);
    try {
      const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
      const failed: string[] = [];
      const from = { pod: context.pod(1).netns, node: a.netns };
      for (const [who, netns] of Object.entries(from)) {
        const answered = () =>
          context.endpoint(netns).exchange('tcp', service, SERVICE_PORT, context.payload(20_000));
        // The device's filter is put back to loose by the next pass.
        const works = await until(`${who} reaches the service`, REPAIR_MS, async () =>
          (await answered()) ? true : undefined,
        ).catch(() => false);
        if (!works) failed.push(who);
      }
      const frames = await sniffer.stop();
      expectNone('did not reach the service', failed);
      expectNone('frames in clear', leaks(frames, context.marker));
      const sealed = frames.filter((frame) => frameKind(frame) === 'esp').length;
      return `from pod and node, ${sealed} ESP frames, 0 in clear`;
    } finally {
      onNode(a, 'nft', 'flush', 'ruleset');
      onNode(a, 'ip', 'route', 'del', service, 'dev', UNDERLAY_DEVICE);
      strictFilter(a, 0);
      strictFilter(b, 0);
    }
  },
};

interface Harm {
  readonly name: string;
  readonly limitMs: number;
  readonly argv: readonly (readonly string[])[];
}

const HARMS: readonly Harm[] = [
  { name: 'nft flush ruleset', limitMs: REPAIR_MS, argv: [['nft', 'flush', 'ruleset']] },
  { name: 'device deleted', limitMs: REPAIR_MS, argv: [['ip', 'link', 'del', OVERLAY_DEVICE]] },
  { name: 'device down', limitMs: REPAIR_MS, argv: [['ip', 'link', 'set', OVERLAY_DEVICE, 'down']] },
  {
    name: 'MAC changed',
    limitMs: REPAIR_MS,
    argv: [['ip', 'link', 'set', OVERLAY_DEVICE, 'address', '02:00:00:00:be:ef']],
  },
  {
    name: 'super-packets allowed',
    limitMs: REPAIR_MS,
    argv: [
      ['ip', 'link', 'set', OVERLAY_DEVICE, 'gso_max_segs', '64'],
      ['ethtool', '-K', OVERLAY_DEVICE, 'tx', 'on', 'tso', 'on', 'gso', 'on'],
    ],
  },
  {
    name: 'routes deleted',
    limitMs: REPAIR_MS,
    argv: [['ip', 'route', 'flush', 'proto', '157']],
  },
  {
    name: 'underlay flap',
    limitMs: LINK_UP_MS,
    argv: [
      ['ip', 'link', 'set', UNDERLAY_DEVICE, 'down'],
      ['ip', 'link', 'set', UNDERLAY_DEVICE, 'up'],
    ],
  },
];

/** Pod to pod through steer and node to pod through the host's routes: both must work again. */
async function whole(context: Context): Promise<boolean> {
  const to = context.pod(2).address;
  const ways = [context.pod(1).netns, context.node(1).netns].map((netns) =>
    context.endpoint(netns).exchange('tcp', to, ECHO_PORT, context.payload(3000)),
  );
  return (await Promise.all(ways)).every((answered) => answered);
}

export const hostileHost: ProofOf = {
  name: 'what a hostile host breaks is repaired, and nothing is seen in clear meanwhile',
  body: async (context) => {
    const node = context.node(1);
    await context.endpoint(context.pod(2).netns).echo(ECHO_PORT);
    const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
    const before = await drops(node);
    const broken: string[] = [];
    for (const harm of HARMS) {
      for (const argv of harm.argv) onNode(node, ...argv);
      const repaired = await until(`repair of: ${harm.name}`, harm.limitMs, async () =>
        (await whole(context)) ? true : undefined,
      ).catch(() => false);
      if (!repaired) broken.push(`${harm.name} (${harm.limitMs / 1000} s)`);
    }
    const frames = await sniffer.stop();
    expectNone('not repaired in time', broken);
    expectNone('frames in clear', leaks(frames, context.marker));
    // Super-packets have a reason of their own, and none of these harms is a fault inside.
    const inside = risen(before, await drops(node)).get('internal') ?? 0;
    expectNone('packets dropped for no better reason', inside === 0 ? [] : [`internal +${inside}`]);
    return `${HARMS.length} kinds: ${HARMS.map(({ name }) => name).join(', ')}; ${frames.length} frames, 0 in clear`;
  },
};
