// A service that one tenant shares with another, on real packets: nothing before it is configured and nothing before a
// policy names the clients; then the named addresses only, in one direction only, within a node and across nodes, in both
// families, under the serving tenant's keys. All tenants' pods have the same addresses beside those of their own.
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import {
  issueNode,
  logTail,
  START_TIMEOUT_MS,
  startAgent,
  vxsealArgv,
  waitAllUp,
  waitAnswering,
  writeConfig,
} from './agents';
import { drops, policies, risen, status } from './api';
import { inNetns, ipBatch, run, start, tryRun, until } from './command';
import { Context } from './context';
import { buildMachines } from './lab';
import {
  CLUSTER_PREFIXES,
  type LabLayout,
  type NodeLayout,
  PLAIN_SHAPE,
  type PodLayout,
  packageRoot,
  TRUST_DOMAIN,
} from './layout';
import { restart } from './staging';
import { teardown } from './teardown';

const NAME = `w${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 240_000;
const SHORT_MS = 700;
const PORT = 7500;
const OTHER_PORT = 7501;
const SINK_PORT = 7502;
const [CLIENTS, SERVERS] = [101, 102];
/** Addresses that are unique to the two tenants, by VNI. */
const own = (vni: number, node: number, family: 4 | 6): string => {
  const net = vni === SERVERS ? 250 : 251;
  return family === 4 ? `10.${net}.${node}.2` : `fd00:10:${net}:${node}::2`;
};
const RANGES: Readonly<Record<number, readonly string[]>> = {
  [CLIENTS]: ['10.251.0.0/16', 'fd00:10:251::/48'],
  [SERVERS]: ['10.250.0.0/16', 'fd00:10:250::/48'],
};
const prefixesAt = (vni: number, node: number): string[] =>
  vni in RANGES
    ? [`${own(vni, node, 4).replace(/2$/, '0')}/24`, `${own(vni, node, 6).replace(/2$/, '')}/64`]
    : [];

let lab: LabLayout;
let context: Context;
let [one, two, three]: NodeLayout[] = [];
const nodeAt = (index: number): NodeLayout => context.node(index);

function podOf(node: number, vni: number): PodLayout {
  const pod = nodeAt(node).pods.find((each) => each.vni === vni);
  if (pod === undefined) throw new Error(`no pod of VNI ${vni} on node${node}`);
  return pod;
}

/** Node 3 carries no pods of the serving tenant, and its certificate does not grant that VNI. */
const vnisAt = (node: NodeLayout): number[] => (node.index === 3 ? [100, CLIENTS] : [100, CLIENTS, SERVERS]);

function configure(node: NodeLayout, shared: boolean): void {
  writeConfig(lab, node);
  const config = parse(readFileSync(node.configFile, 'utf8'));
  const cluster = [CLUSTER_PREFIXES[4], CLUSTER_PREFIXES[6]];
  config.overlay.prefixes = vnisAt(node).map((vni) => ({
    vni,
    prefixes: [...node.prefixes, ...prefixesAt(vni, node.index)],
  }));
  config.overlay.protectedPrefixes = [100, CLIENTS, SERVERS].map((vni) => ({
    vni,
    prefixes: [...cluster, ...(RANGES[vni] ?? [])],
  }));
  const services = [1, 2].flatMap((at) => [`${own(SERVERS, at, 4)}/32`, `${own(SERVERS, at, 6)}/128`]);
  if (shared)
    config.overlay.shared = [
      {
        name: 'dns',
        vni: SERVERS,
        prefixes: services,
        clients: [{ vni: CLIENTS, prefixes: RANGES[CLIENTS] }],
      },
    ];
  writeFileSync(node.configFile, stringify(config), { mode: 0o600 });
}

function issueIdentities(): void {
  const cli = join(packageRoot(), 'build/agent/cli/vxseal.js');
  run([process.execPath, cli, 'ca', 'init', '--dir', lab.caDir, '--trust-domain', TRUST_DOMAIN]);
  for (const node of lab.nodes) {
    const extra = vnisAt(node).flatMap((vni) => prefixesAt(vni, node.index));
    const shape = { ...lab.shape, tenants: vnisAt(node).length };
    issueNode({ ...lab, shape }, { ...node, prefixes: [...node.prefixes, ...extra] });
  }
}

/** The pod's own address beside the one that all tenants have, and how it gets to the other tenant. */
async function attach(node: NodeLayout, pod: PodLayout): Promise<void> {
  for (const [index, family] of ([4, 6] as const).entries()) {
    const address = own(pod.vni, node.index, family);
    const [bits, other] = [family === 4 ? 32 : 128, pod.vni === SERVERS ? CLIENTS : SERVERS];
    ipBatch(pod.netns, [
      `addr add ${address}/${bits} dev eth0${family === 4 ? '' : ' nodad'}`,
      `route add ${RANGES[other]?.[index]} via ${node.gateways[index]} dev eth0 src ${address}`,
    ]);
  }
  const argv = ['pods', 'attach', '--netns', join('/run/netns', pod.netns), '--name', pod.name];
  const where = ['--namespace', `t${pod.vni}`, '--vni', String(pod.vni)];
  const outcome = await start(vxsealArgv(node, [...argv, ...where]));
  if (outcome.status !== 0) throw new Error(`${pod.name}: ${outcome.stderr}`);
  for (const port of [PORT, OTHER_PORT]) await context.endpoint(pod.netns).echo(port);
  await context.endpoint(pod.netns).collect(SINK_PORT);
}

let round = 0;

/** Policy of the serving tenant's pods, in force on every node. */
async function apply(ingress: readonly object[]): Promise<void> {
  const name = `p${++round}`;
  const namespace = `t${SERVERS}`;
  const manifests = [
    {
      kind: 'Namespace',
      metadata: { name: namespace, annotations: { 'vxseal/vni': String(SERVERS) } },
    },
    { kind: 'NetworkPolicy', metadata: { namespace, name }, spec: { podSelector: {}, ingress } },
  ];
  writeFileSync(join(lab.policyDir, 'all.yaml'), manifests.map((each) => stringify(each)).join('---\n'));
  for (const node of lab.nodes)
    await until(
      `${node.name} enforces ${name}`,
      20_000,
      async () => (await policies(node)).policies.join() === `${namespace}/${name}` || undefined,
      () => logTail(node, 5),
    );
}

const blocks = (...cidrs: string[]): object[] => cidrs.map((cidr) => ({ ipBlock: { cidr } }));
const NAMED = {
  from: blocks(...(RANGES[CLIENTS] ?? [])),
  ports: [
    { port: PORT, protocol: 'TCP' },
    { port: PORT, protocol: 'UDP' },
  ],
};

/** Both protocols: "tcp", "udp" for what was answered. */
async function ask(from: PodLayout, to: string, port = PORT): Promise<string[]> {
  const tries = (['tcp', 'udp'] as const).map(async (protocol) => {
    const endpoint = context.endpoint(from.netns);
    return (await endpoint.exchange(protocol, to, port, context.payload(60), SHORT_MS)) ? [protocol] : [];
  });
  return (await Promise.all(tries)).flat();
}

interface Attempt {
  readonly answered: string[];
  /** Reasons whose counter rose at that node. */
  readonly dropped: string[];
}

async function attempt(at: NodeLayout, body: () => Promise<string[]>): Promise<Attempt> {
  const before = await drops(at);
  const answered = await body();
  const reasons = [...risen(before, await drops(at)).keys()];
  // The pods' stacks look for routers and report their groups when they like.
  return { answered, dropped: reasons.filter((reason) => reason !== 'multicast').sort() };
}

/** Packets that node 1 sealed towards node 2, by VNI. */
async function sealed(): Promise<ReadonlyMap<number, number>> {
  const { sas } = await status(nodeAt(1));
  return new Map(
    sas.filter((sa) => sa.direction === 'tx' && sa.node === 'node2').map((sa) => [sa.vni, sa.sequence]),
  );
}

/** An idle VNI may stay under the keys of a former process: up is enough. */
async function reconfigure(nodes: readonly NodeLayout[], shared: boolean): Promise<void> {
  for (const node of nodes) {
    configure(node, shared);
    await restart(node);
  }
  for (const node of lab.nodes)
    await until(`${node.name} and its peers are up`, START_TIMEOUT_MS, async () => {
      const { readiness, peers, pods } = await status(node);
      const all = readiness.ready && peers.length === 2 && pods.every((pod) => pod.ready);
      return (all && peers.every((peer) => peer.state === 'up')) || undefined;
    });
}

beforeAll(async () => {
  lab = buildMachines(NAME, 3, 1, { ...PLAIN_SHAPE, overlay: [4, 6], tenants: 3, policies: true });
  context = new Context(lab);
  [one, two, three] = lab.nodes as [NodeLayout, NodeLayout, NodeLayout];
  issueIdentities();
  for (const node of lab.nodes) configure(node, false);
  const agents = lab.nodes.map((node) => [node, startAgent(node)] as const);
  for (const [node, id] of agents) await waitAnswering(node, id);
  try {
    await waitAllUp(lab, START_TIMEOUT_MS);
  } catch (error) {
    throw new Error(lab.nodes.map((node) => logTail(node)).join('\n'), { cause: error });
  }
  for (const node of lab.nodes)
    for (const vni of vnisAt(node).filter((each) => each in RANGES))
      await attach(node, podOf(node.index, vni));
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

const families = [4, 6] as const;
const none = { answered: [], dropped: ['tenant'] };

test(
  'by default there is no way, whatever the policy',
  async () => {
    await apply([NAMED]);
    for (const family of families)
      for (const at of [1, 2]) {
        const client = podOf(1, CLIENTS);
        expect(await attempt(nodeAt(1), () => ask(client, own(SERVERS, at, family)))).toEqual(none);
      }
  },
  TIMEOUT_MS,
);

describe('shared', () => {
  beforeAll(() => reconfigure(lab.nodes, true), TIMEOUT_MS);

  test.each([
    ['no rule', []],
    ['everybody', [{}]],
    ['all pods', [{ from: [{ namespaceSelector: {} }] }]],
    ['other addresses', [{ from: blocks('10.252.0.0/16', 'fd00:10:252::/48') }]],
  ])('a policy that allows %s lets no client in', async (_, ingress) => {
    await apply(ingress);
    for (const family of families)
      for (const [at, to] of [
        [nodeAt(1), 1],
        [nodeAt(2), 2],
      ] as const)
        expect(await attempt(at, () => ask(podOf(1, CLIENTS), own(SERVERS, to, family)))).toEqual({
          answered: [],
          dropped: ['policy'],
        });
  });

  describe('and its policy names the clients', () => {
    beforeAll(() => apply([NAMED]));

    test.each(families)('IPv%i: clients are answered, here and across nodes', async (family) => {
      const answered = ['tcp', 'udp'];
      for (const [from, to] of [
        [1, 1],
        [1, 2],
        [2, 1],
      ] as const)
        expect([from, to, await ask(podOf(from, CLIENTS), own(SERVERS, to, family))]).toEqual([
          from,
          to,
          answered,
        ]);
    });

    test('what is large passes too, and under the serving tenant’s keys alone', async () => {
      const before = await sealed();
      const endpoint = context.endpoint(podOf(1, CLIENTS).netns);
      for (const family of families)
        expect(await endpoint.exchange('tcp', own(SERVERS, 2, family), PORT, context.payload(200_000))).toBe(
          true,
        );
      const after = await sealed();
      const by = (vni: number): number => (after.get(vni) ?? 0) - (before.get(vni) ?? 0);
      expect(by(SERVERS)).toBeGreaterThan(250);
      expect(by(CLIENTS)).toBe(0);
    });

    test.each(families)('IPv%i: the service begins nothing', async (family) => {
      for (const [from, to] of [
        [1, 1],
        [2, 1],
      ] as const)
        expect(
          await attempt(nodeAt(from), () => ask(podOf(from, SERVERS), own(CLIENTS, to, family))),
        ).toEqual({
          answered: [],
          dropped: ['policy'],
        });
    });

    test.each(families)('IPv%i: another port is refused at the service', async (family) => {
      const found = await attempt(nodeAt(2), () =>
        ask(podOf(1, CLIENTS), own(SERVERS, 2, family), OTHER_PORT),
      );
      expect(found).toEqual({ answered: [], dropped: ['policy'] });
    });

    test('a source that is not named has no way', async () => {
      const client = podOf(1, CLIENTS);
      const ping = ['ping', '-c', '1', '-W', '1', '-I', client.address, own(SERVERS, 2, 4)];
      const found = await attempt(nodeAt(1), async () =>
        tryRun(inNetns(client.netns, ping)).status === 0 ? ['icmp'] : [],
      );
      expect(found).toEqual(none);
    });

    test('the address that all tenants have is still their own', async () => {
      const client = podOf(1, CLIENTS);
      const text = `of tenant ${CLIENTS}`;
      const theirs = podOf(2, CLIENTS);
      expect(theirs.address).toBe(podOf(2, SERVERS).address);
      await until('the datagram arrives', 10_000, async () => {
        await context
          .endpoint(client.netns)
          .cast(theirs.address, SINK_PORT, Buffer.from(text.padEnd(60, '.')));
        const got = await context.endpoint(theirs.netns).collected(SINK_PORT);
        return got.some((each) => each.startsWith(text)) || undefined;
      });
      expect(await context.endpoint(podOf(2, SERVERS).netns).collected(SINK_PORT)).toEqual([]);
    });

    test('a node without the serving tenant’s grant has no key of it, says so, and gets nothing through', async () => {
      for (const family of families)
        expect(await attempt(nodeAt(3), () => ask(podOf(3, CLIENTS), own(SERVERS, 2, family)))).toEqual({
          answered: [],
          dropped: ['no_sa'],
        });
      for (const [node, other] of [
        [three, two],
        [two, three],
      ] as NodeLayout[][]) {
        const { sas } = await status(node as NodeLayout);
        const between = sas.filter((sa) => sa.node === other?.name).map((sa) => sa.vni);
        expect([...new Set(between)].sort()).toEqual([100, CLIENTS]);
      }
      const told = tryRun(vxsealArgv(nodeAt(3), ['status'])).stdout;
      expect(told).toContain(`shared    dns: ${own(SERVERS, 1, 4)}/32`);
      expect(told).toContain(`pods of VNI ${CLIENTS} on this node cannot use it`);
      expect((await status(one as NodeLayout)).shared[0]?.why).toBe('');
    });

    test('a policy that closes again ends it', async () => {
      expect(await ask(podOf(1, CLIENTS), own(SERVERS, 2, 4))).toEqual(['tcp', 'udp']);
      await apply([]);
      expect(await ask(podOf(1, CLIENTS), own(SERVERS, 2, 4))).toEqual([]);
    });
  });
});

test(
  'a configuration without it takes the way away',
  async () => {
    await apply([NAMED]);
    expect(await ask(podOf(1, CLIENTS), own(SERVERS, 2, 4))).toEqual(['tcp', 'udp']);
    await reconfigure([nodeAt(1)], false);
    expect(await attempt(nodeAt(1), () => ask(podOf(1, CLIENTS), own(SERVERS, 2, 4)))).toEqual(none);
  },
  TIMEOUT_MS,
);
