// Our plugin behind the plugins that clusters have, run as libcni runs them, on a lab with real agents: every form of
// a pod's beginning and end, MTUs, services in front, many at once.

import { inNetns, run, tryRun, until } from '../lab/command';
import { sniff } from '../lab/sniffer';
import { Chain, type CniError, type Conflist, type Container, type Json } from './chain';
import { bridge, conflist, hostLocal, Stage, type StageNode, vxseal } from './stage';

const PORT = 7000;
const LIMIT_MS = 120_000;

interface Pod extends Container {
  readonly netns: string;
  readonly node: StageNode;
  readonly chain: Chain;
  readonly result: Json;
  readonly ip: string;
}

let stage: Stage;
const running = new Set<Pod>();

beforeAll(async () => {
  stage = await Stage.open(2);
}, 180_000);
afterEach(async () => {
  for (const pod of running) await end(pod).catch(() => undefined);
  running.clear();
  // Bridges stay after their pods (libcni leaves them), and two with one subnet would share the route.
  for (const { layout } of stage.nodes)
    for (const name of BRIDGES) tryRun(['ip', '-n', layout.netns, 'link', 'del', name]);
}, LIMIT_MS);
afterAll(() => stage?.close(), LIMIT_MS);

const BRIDGES = ['cni0', 'cni9', 'cni-fl', 'cni-foreign'];
const SPEC_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0'] as const;

/** What stands before our plugin. */
const PRIMARIES: Readonly<Record<string, (node: StageNode) => Conflist>> = {
  bridge: (node) => conflist('cbr0', [bridge(node), vxseal(node)]),
  'bridge that says MTU 9000': (node) =>
    conflist('cbr0', [bridge(node, { bridge: 'cni9', mtu: 9000 }), vxseal(node)]),
  ptp: (node) =>
    conflist('ptp0', [{ type: 'ptp', ipMasq: false, mtu: 1500, ipam: hostLocal(node) }, vxseal(node)]),
  'flannel, 0.3.1': (node) =>
    conflist(
      'flannel0',
      [
        // What flannel's plugin delegates to, with its routes and the MTU of its own tunnel.
        bridge(node, {
          bridge: 'cni-fl',
          mtu: 1450,
          isDefaultGateway: true,
          ipam: { ...hostLocal(node), routes: [{ dst: '10.244.0.0/16' }] },
        }),
        { type: 'portmap', capabilities: { portMappings: true } },
        vxseal(node),
      ],
      '0.3.1',
    ),
};

async function start(node: StageNode, list: Conflist, more: Partial<Container> = {}): Promise<Pod> {
  const chain = new Chain(list, node.netns);
  const container = stage.container(node, more);
  const result = await chain.add(container).catch(async (error: unknown) => {
    // As runtimes do.
    await chain.del(container);
    await stage.remove(container);
    throw error;
  });
  const ip = String((result.ips as { address: string }[])[0]?.address).split('/')[0] ?? '';
  const pod = { ...container, node, chain, result, ip };
  running.add(pod);
  return pod;
}

async function end(pod: Pod): Promise<void> {
  running.delete(pod);
  await pod.chain.del(pod, pod.result);
  await stage.remove(pod);
}

const startBoth = (list: (node: StageNode) => Conflist): Promise<Pod[]> =>
  Promise.all([1, 2].map((index) => start(stage.node(index), list(stage.node(index)))));

async function reaches(from: Pod, to: Pod, port = PORT): Promise<void> {
  const { context } = stage;
  const source = context.endpoint(from.netns);
  expect(await source.exchange('tcp', to.ip, port, context.payload(100_000))).toBe(true);
  expect(await source.exchange('udp', to.ip, port, context.payload(1380))).toBe(true);
}

const podNames = async (node: StageNode): Promise<string[]> =>
  (await node.status()).pods.map(({ name }) => name);
const linkMtu = (netns: string, device: string): number =>
  JSON.parse(run(inNetns(netns, ['ip', '-j', 'link', 'show', device])))[0].mtu;

/** Rejects with a CniError of that code. */
const refusedBy = async (call: Promise<unknown>): Promise<CniError> =>
  await call.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: CniError) => error,
  );

describe.each(Object.entries(PRIMARIES))('behind %s', (_name, list) => {
  test(
    'pods reach each other unseen, with the MTU of the tunnel',
    async () => {
      const [a, b] = await startBoth(list);
      if (a === undefined || b === undefined) throw new Error('no pods');
      const { context } = stage;
      const sniffer = await sniff(stage.lab, context.endpoint(stage.lab.wireNetns));
      await context.endpoint(b.netns).echo(PORT);
      await context.endpoint(a.netns).echo(PORT);
      await reaches(a, b);
      await reaches(b, a);
      const ping = (bytes: string) => ['ping', '-q', '-c', '1', '-W', '2', '-M', 'do', '-s', bytes, b.ip];
      run(inNetns(a.netns, ping('1380')));
      // The node speaks to its own pod: what the host's end believes in is what the pod takes.
      const own = ['ping', '-q', '-c', '1', '-W', '2', '-s', '2000', a.ip];
      run(inNetns(a.node.layout.netns, own));
      const frames = await sniffer.stop();
      expect(frames.filter((frame) => frame.includes(context.marker))).toEqual([]);
      expect(frames.length).toBeGreaterThan(100);

      const [status] = (await a.node.status()).pods;
      expect(status).toMatchObject({ addresses: [a.ip], mtuBytes: 1408, ready: true });
      expect(linkMtu(a.netns, 'eth0')).toBe(1408);
      expect(linkMtu(a.node.layout.netns, status?.hostDevice ?? '')).toBe(1408);
      await a.chain.check(a, a.result);
      await Promise.all([end(a), end(b)]);
      expect(await podNames(a.node)).toEqual([]);
    },
    LIMIT_MS,
  );
});

test.each(SPEC_VERSIONS.map((version) => [version]))('a chain of version %s', async (version) => {
  const node = stage.node(1);
  const pod = await start(node, conflist('cbr0', [bridge(node), vxseal(node)], version));
  expect(pod.result).toMatchObject({ cniVersion: version, ips: [{ address: `${pod.ip}/24` }] });
  await pod.chain.check(pod, pod.result);
  await end(pod);
  expect(await podNames(node)).toEqual([]);
});

test('version 1.1.0: the MTU is told, STATUS and GC answer', async () => {
  const node = stage.node(1);
  const chain = new Chain(conflist('cbr0', [bridge(node), vxseal(node)]), node.netns);
  const pod = await start(node, chain.conflist);
  const newer = new Chain({ ...chain.conflist, cniVersion: '1.1.0' }, node.netns);
  const told = {
    ...pod.result,
    cniVersion: '1.1.0',
    interfaces: [{ name: 'eth0', sandbox: pod.netnsPath, mtu: 9000 }],
    routes: [{ dst: '0.0.0.0/0', mtu: 9000 }],
  };
  expect(await newer.call('ADD', vxseal(node), pod, told)).toEqual({
    ...told,
    interfaces: [{ name: 'eth0', sandbox: pod.netnsPath, mtu: 1408 }],
    routes: [{ dst: '0.0.0.0/0', mtu: 1408 }],
  });
  expect(await newer.call('STATUS', vxseal(node), undefined)).toBeUndefined();
  const valid = { 'cni.dev/valid-attachments': [{ containerID: pod.id, ifname: 'eth0' }] };
  await newer.call('GC', vxseal(node), undefined, undefined, valid);
  expect(await podNames(node)).toHaveLength(1);
  await newer.call('GC', vxseal(node), undefined, undefined, { 'cni.dev/valid-attachments': [] });
  expect(await podNames(node)).toEqual([]);
  expect(await refusedBy(newer.call('CHECK', vxseal(node), pod, told))).toMatchObject({ code: 3 });
});

test('DEL: twice, without a result, without a namespace, of a pod that never was', async () => {
  const node = stage.node(1);
  const list = conflist('cbr0', [bridge(node), vxseal(node)]);
  const pod = await start(node, list);
  const own = vxseal(node);
  await pod.chain.call('DEL', own, { ...pod, netnsPath: '' });
  expect(await podNames(node)).toEqual([]);
  await pod.chain.call('DEL', own, { ...pod, netnsPath: '' });
  await pod.chain.call('DEL', own, { id: 'never', netnsPath: '/run/netns/never' });
  // ADD again of what runs, as after an ADD whose answer was lost.
  await pod.chain.call('ADD', own, pod, pod.result);
  await pod.chain.call('ADD', own, pod, pod.result);
  expect(await podNames(node)).toHaveLength(1);
  await pod.chain.del(pod);
  await pod.chain.del(pod);
  await stage.remove(pod);
  running.delete(pod);
  expect(await podNames(node)).toEqual([]);
});

test('a namespace that goes without DEL takes its pod along', async () => {
  const node = stage.node(1);
  const pod = await start(node, conflist('cbr0', [bridge(node), vxseal(node)]));
  running.delete(pod);
  await stage.remove(pod);
  await until('the pod is forgotten', 20_000, async () =>
    (await podNames(node)).length === 0 ? true : undefined,
  );
  await pod.chain.del({ ...pod, netnsPath: '' });
});

test('what the operator must change is said, with its code', async () => {
  const node = stage.node(1);
  const foreign = bridge(node, {
    bridge: 'cni-foreign',
    ipam: { ...hostLocal(node), ranges: [[{ subnet: '10.99.0.0/24' }]] },
  });
  const refused = await refusedBy(start(node, conflist('foreign', [foreign, vxseal(node)])));
  expect(refused).toMatchObject({
    plugin: 'vxseal',
    code: 7,
    msg: expect.stringContaining("not in this node's prefixes"),
  });
  const alone = await refusedBy(start(node, conflist('alone', [vxseal(node)])));
  expect(alone).toMatchObject({ code: 7, msg: expect.stringContaining('no prevResult') });
  const mistyped = await refusedBy(
    start(node, conflist('typed', [bridge(node), { ...vxseal(node), vin: 3 }])),
  );
  expect(mistyped).toMatchObject({ code: 2, msg: expect.stringContaining('vin') });
  expect(await podNames(node)).toEqual([]);
});

test(
  'a host port and a DNATed service in front: replies find their way',
  async () => {
    const [a, b] = [
      await start(stage.node(1), PRIMARIES.bridge?.(stage.node(1)) as Conflist),
      await start(stage.node(2), PRIMARIES['flannel, 0.3.1']?.(stage.node(2)) as Conflist, {
        runtimeConfig: { portMappings: [{ hostPort: 18_080, containerPort: PORT, protocol: 'tcp' }] },
      }),
    ];
    const { context } = stage;
    await context.endpoint(b.netns).echo(PORT);
    const nodeAddress = b.node.layout.vtep4;
    const source = context.endpoint(a.netns);
    const sniffer = await sniff(stage.lab, context.endpoint(stage.lab.wireNetns));
    // Pod to the other node's host port: inside the tunnel, translated there.
    expect(await source.exchange('tcp', nodeAddress, 18_080, context.payload(20_000))).toBe(true);
    const service = '10.96.0.10';
    run(
      inNetns(a.node.layout.netns, ['nft', '-f', '-']),
      `table ip cni_test { chain pre { type nat hook prerouting priority -100; ip daddr ${service} dnat to ${b.ip}; };
     chain out { type nat hook output priority -100; ip daddr ${service} dnat to ${b.ip}; }; }`,
    );
    run(['ip', '-n', a.node.layout.netns, 'route', 'add', service, 'dev', 'eth0']);
    try {
      for (const protocol of ['tcp', 'udp'] as const)
        expect(await source.exchange(protocol, service, PORT, context.payload(1000))).toBe(true);
      // The node's own process through the service; its source is the underlay's address, as with a default route.
      const host = context.endpoint(a.node.layout.netns);
      expect(await host.exchange('tcp', service, PORT, context.payload(20_000))).toBe(true);
    } finally {
      run(inNetns(a.node.layout.netns, ['nft', 'delete', 'table', 'ip', 'cni_test']));
      run(['ip', '-n', a.node.layout.netns, 'route', 'del', service]);
    }
    const frames = await sniffer.stop();
    expect(frames.filter((frame) => frame.includes(context.marker))).toEqual([]);
    expect(frames.length).toBeGreaterThan(20);
    await Promise.all([end(a), end(b)]);
  },
  LIMIT_MS,
);

test(
  'a pod that ends: from DEL on nothing of it leaves, by any way',
  async () => {
    const list = PRIMARIES.bridge as (node: StageNode) => Conflist;
    const [a, b] = await startBoth(list);
    if (a === undefined || b === undefined) throw new Error('no pods');
    const { context } = stage;
    await context.endpoint(b.netns).collect(PORT);
    const from = context.endpoint(a.netns);
    await from.cast(b.ip, PORT, context.payload(100));
    await until('a datagram arrives', 10_000, async () =>
      (await context.endpoint(b.netns).collected(PORT)).length > 0 ? true : undefined,
    );
    const sniffer = await sniff(stage.lab, context.endpoint(stage.lab.wireNetns));
    const before =
      (await a.node.status()).drops.find(({ reason }) => reason === 'not_configured')?.packets ?? 0;
    await a.chain.call('DEL', vxseal(a.node), a);
    for (let count = 0; count < 20; count++) {
      await from.cast(b.ip, PORT, context.payload(100));
      await from.cast(b.node.layout.vtep4, PORT, context.payload(100));
      await from.cast('203.0.113.9', PORT, context.payload(100));
    }
    expect((await sniffer.stop()).filter((frame) => frame.includes(context.marker))).toEqual([]);
    expect(await context.endpoint(b.netns).collected(PORT)).toHaveLength(1);
    const after =
      (await a.node.status()).drops.find(({ reason }) => reason === 'not_configured')?.packets ?? 0;
    expect(after - before).toBeGreaterThan(40);
    await Promise.all([end(a), end(b)]);
  },
  LIMIT_MS,
);

test('100 pods at once on one node: each is keyed, or refused with a word to come back', async () => {
  const node = stage.node(1);
  const list = PRIMARIES.ptp?.(node) as Conflist;
  const far = await start(stage.node(2), PRIMARIES.bridge?.(stage.node(2)) as Conflist);
  await stage.context.endpoint(far.netns).echo(PORT);
  const asked = await Promise.allSettled(Array.from({ length: 100 }, () => start(node, list)));
  const refused = asked.flatMap((each) => (each.status === 'rejected' ? [each.reason as CniError] : []));
  expect(refused.filter(({ code }) => code !== 11)).toEqual([]);
  const pods = (await node.status()).pods;
  expect(pods.filter(({ ready }) => ready).length).toBeGreaterThanOrEqual(100 - refused.length);
  const started = asked.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
  const ping = (pod: Pod) => inNetns(pod.netns, ['ping', '-q', '-c', '1', '-W', '2', far.ip]);
  for (const pod of started) run(ping(pod));
  for (const pod of [...started, far]) await end(pod);
  await until('nothing is left', 20_000, async () =>
    (await podNames(node)).length === 0 ? true : undefined,
  );
  await until('no hook of a pod is wanted', 20_000, async () =>
    (await node.status()).hooks.some(({ program }) => program === 'steer') ? undefined : true,
  );
  const { maps, hooks } = await node.status();
  expect(
    maps.filter(({ map }) => map === 'pods' || map === 'endpoints').map(({ entries }) => entries),
  ).toEqual([0, 0]);
  expect(hooks.filter(({ mode, program }) => mode === '' || program === 'steer')).toEqual([]);
  console.info(`100 pods at once: ${started.length} keyed, ${refused.length} asked to come back`);
}, 300_000);
