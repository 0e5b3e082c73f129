import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Checkpoint, FileCheckpoint, type SavedPod } from '../../../agent/control/checkpoint';
import type { AttachedPod } from '../../../agent/control/inspection';
import { PodStore } from '../../../agent/control/pods';
import type { WeakerMode } from '../../../agent/core/adoption';
import type { Prefix, Vni } from '../../../agent/core/ids';
import { MemoryCheckpoint } from '../../fakes/checkpoint';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';
import { addPod, FakeNetnsOpener, FakeNetwork } from '../../fakes/netlink';

const hostVni = 42 as Vni;
const settings = {
  hostVni,
  prefixes: [{ vni: hostVni, prefixes: ['10.1.0.0/24' as Prefix, 'fd00:1::/64' as Prefix] }],
};
let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'vxseal-pods-'));
});
afterEach(() => rmSync(runDir, { recursive: true }));

function bench(
  world = { host: new FakeNetwork(), opener: new FakeNetnsOpener() },
  checkpoint: Checkpoint = new MemoryCheckpoint(),
  allowedModes: readonly WeakerMode[] = [],
  offCheckpoint: Checkpoint = new MemoryCheckpoint(),
) {
  const clock = new ManualClock();
  const log = new QuietLog();
  const control = {
    missing: (_pod: AttachedPod): string | undefined => undefined,
    passes: 0,
    mtuBytes: 1408 as number | undefined,
    blockers: [] as string[],
  };
  const store = new PodStore(
    { ...settings, allowedModes },
    {
      opener: world.opener,
      netlink: world.host.netlink(),
      clock,
      log,
      checkpoint,
      offCheckpoint,
      mtuBytes: () => control.mtuBytes,
      reconcile: async () => {
        control.passes += 1;
        await store.dropVanished([...world.host.linkTable.values()]);
      },
      missing: (pod) => control.missing(pod),
      blockers: () => control.blockers,
    },
  );
  return { ...world, clock, log, control, store };
}
/** Whatever needs no clock, disk or answer has happened. */
const turns = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));
const ask = (path: string) => ({ netnsPath: path, name: 'web', namespace: 'shop' });

test('1 attach finds device, addresses and host side, lowers the MTU and keeps link-local addresses out', async () => {
  const { host, opener, store, control } = bench();
  const { path, inside, hostDevice } = addPod(host, opener, 'pod1', '10.1.0.5');
  const eth0 = inside.linkNamed('eth0');
  if (eth0 === undefined) throw new Error('no eth0');
  inside.addAddress(eth0.ifindex, 'fe80::1', 64);
  inside.addAddress(eth0.ifindex, 'fd00:1::5', 64);
  const { pod, entry } = await store.attach(ask(path));
  expect(pod).toMatchObject({
    id: '4:4026531841',
    vni: 42,
    hostDevice: 'pod1',
    addresses: ['10.1.0.5', 'fd00:1::5'],
  });
  expect(entry).toMatchObject({ ifindex: hostDevice.ifindex, mac: eth0.mac, hostMac: hostDevice.mac });
  expect(inside.linkNamed('eth0')?.mtuBytes).toBe(1408);
  expect(control.passes).toBe(1);
});

test('2 a smaller MTU is left alone; attaching twice is one pod', async () => {
  const { host, opener, store } = bench();
  const { path, inside } = addPod(host, opener, 'pod1', '10.1.0.5');
  inside.changeLink(inside.linkNamed('eth0')?.ifindex ?? 0, { mtuBytes: 1280 });
  const first = await store.attach(ask(path));
  const second = await store.attach(ask(path));
  expect(second).toEqual(first);
  expect(store.list()).toHaveLength(1);
  expect(inside.linkNamed('eth0')?.mtuBytes).toBe(1280);
});

describe('3 what the caller must change is said with object and remedy, and attaches nothing', () => {
  test.each<[string, RegExp, (bench_: ReturnType<typeof bench>) => object]>([
    ['no such path', /\/run\/netns\/none is not a network namespace.*ENOENT/, () => ask('/run/netns/none')],
    [
      'no such device',
      /no device net1 in .* \(there: eth0\)/,
      (b) => ({ ...ask(addPod(b.host, b.opener, 'p', '10.1.0.5').path), device: 'net1' }),
    ],
    [
      'address outside the prefixes of the node',
      /10\.2\.0\.5 not in this node's prefixes of VNI 42 \(10\.1\.0\.0\/24, fd00:1::\/64\)/,
      (b) => ask(addPod(b.host, b.opener, 'p', '10.2.0.5').path),
    ],
    [
      'a VNI without prefixes',
      /no prefix in VNI 43/,
      (b) => ({ ...ask(addPod(b.host, b.opener, 'p', '10.1.0.5').path), vni: 43 }),
    ],
    [
      'not a veth',
      /no veth with its other end on this host/,
      (b) => {
        const { path, inside } = addPod(b.host, b.opener, 'p', '10.1.0.5');
        inside.changeLink(inside.linkNamed('eth0')?.ifindex ?? 0, { kind: 'ipvlan' });
        return ask(path);
      },
    ],
    [
      'the other end is in a third namespace: a device of that number here is not its peer',
      /no veth with its other end on this host/,
      (b) => {
        const { path, hostDevice } = addPod(b.host, b.opener, 'p', '10.1.0.5');
        b.host.changeLink(hostDevice.ifindex, { linkIndex: 9999 });
        return ask(path);
      },
    ],
    [
      'no address yet',
      /has no address/,
      (b) => {
        const { path, inside } = addPod(b.host, b.opener, 'p', '10.1.0.5');
        inside.addressTable.length = 0;
        return ask(path);
      },
    ],
  ])('%s', async (_, message, request) => {
    const made = bench();
    const rejected = made.store.attach(request(made) as ReturnType<typeof ask>);
    await expect(rejected).rejects.toThrow(message);
    await expect(rejected).rejects.toMatchObject({ code: 'request', remedy: expect.stringMatching(/./) });
    expect(made.store.list()).toEqual([]);
  });
});

test('4 attach waits until hooked, and says what is missing at the deadline', async () => {
  const { host, opener, store, control, clock } = bench();
  const { path } = addPod(host, opener, 'pod1', '10.1.0.5');
  control.missing = () => (control.passes < 4 ? 'hook steer' : undefined);
  const attached = store.attach(ask(path));
  await clock.advance(1000);
  await expect(attached).resolves.toMatchObject({ pod: { name: 'web' } });
  control.missing = () => 'hook gate on pod1: ENOMEM';
  const late = store.attach(ask(path));
  const refused = expect(late).rejects.toMatchObject({
    code: 'not-ready',
    message: expect.stringContaining('hook gate on pod1: ENOMEM'),
  });
  await clock.advance(11_000);
  await refused;
});

test('5 attach waits for the underlay of an agent that starts, and asks to come back at the deadline', async () => {
  const { host, opener, store, control, clock } = bench();
  control.mtuBytes = undefined;
  const attached = store.attach(ask(addPod(host, opener, 'p', '10.1.0.5').path));
  await clock.advance(1000);
  control.mtuBytes = 1408;
  await clock.advance(1000);
  await expect(attached).resolves.toMatchObject({ pod: { name: 'web' } });
  control.mtuBytes = undefined;
  const late = store.attach(ask(addPod(host, opener, 'q', '10.1.0.6').path));
  const refused = expect(late).rejects.toMatchObject({
    code: 'not-ready',
    message: 'the tunnel MTU is not known yet: no underlay device',
  });
  await clock.advance(11_000);
  await refused;
});

test('6 detach is idempotent; a pod whose host device is gone or another is dropped', async () => {
  const { host, opener, store } = bench();
  const one = await store.attach(ask(addPod(host, opener, 'pod1', '10.1.0.5').path));
  expect(await store.detach(one.pod.id)).toBe(true);
  expect(await store.detach(one.pod.id)).toBe(false);
  const two = await store.attach(ask(addPod(host, opener, 'pod2', '10.1.0.6').path));
  const three = await store.attach(ask(addPod(host, opener, 'pod3', '10.1.0.7').path));
  host.dropLink(two.entry.ifindex);
  host.changeLink(three.entry.ifindex, { name: 'other0' });
  await store.dropVanished([...host.linkTable.values()]);
  expect(store.list()).toEqual([]);
});

test('7 an address that a new pod brings is taken from the pod that had it', async () => {
  const { host, opener, store, log } = bench();
  await store.attach(ask(addPod(host, opener, 'pod1', '10.1.0.5').path));
  await store.attach({ ...ask(addPod(host, opener, 'pod2', '10.1.0.5').path), name: 'web-new' });
  expect(store.list().map(({ pod }) => pod.name)).toEqual(['web-new']);
  expect(log.matching('replaced by shop/web-new')).toHaveLength(1);
});

test('8 a restarted agent takes up its pods, and drops those whose namespace is gone or another', async () => {
  const first = bench(undefined, new FileCheckpoint(runDir, new QuietLog()));
  for (const [name, address] of [
    ['pod1', '10.1.0.5'],
    ['pod2', '10.1.0.6'],
    ['pod3', '10.1.0.7'],
  ] as const)
    await first.store.attach({ ...ask(addPod(first.host, first.opener, name, address).path), name });
  first.opener.paths.delete('/run/netns/pod2');
  const reused = first.opener.paths.get('/run/netns/pod3');
  if (reused === undefined) throw new Error('no pod3');
  first.opener.paths.set('/run/netns/pod3', { ...reused, inode: 1n });
  const inside = first.opener.paths.get('/run/netns/pod1')?.network;
  inside?.changeLink(inside.linkNamed('eth0')?.ifindex ?? 0, { mtuBytes: 1500 });

  const second = bench(
    { host: first.host, opener: first.opener },
    new FileCheckpoint(runDir, new QuietLog()),
  );
  await second.store.reload();
  expect(second.store.list().map(({ pod }) => pod.name)).toEqual(['pod1']);
  expect(second.log.matching('pod dropped at start')).toHaveLength(2);
  expect(inside?.linkNamed('eth0')?.mtuBytes).toBe(1500);
  expect(JSON.parse(readFileSync(join(runDir, 'pods.json'), 'utf8')).pods).toHaveLength(1);
});

test.each(['', '{', '{"v":2,"pods":[]}', '{"v":1,"pods":[null,{"id":3}]}'])(
  '9 checkpoint %j: no pods, no throw',
  async (text) => {
    writeFileSync(join(runDir, 'pods.json'), text);
    expect(await new FileCheckpoint(runDir, new QuietLog()).load()).toEqual([]);
  },
);

describe('the checkpoint', () => {
  test('of many at once the newest is what stays, and each is told when it is on disk', async () => {
    const checkpoint = new FileCheckpoint(runDir, new QuietLog());
    const onDisk = (): string[] =>
      JSON.parse(readFileSync(join(runDir, 'pods.json'), 'utf8')).pods.map(({ id }: SavedPod) => id);
    const pod = (id: string): SavedPod => ({
      ...ask('/run/netns/pod'),
      id,
      vni: hostVni,
      hostDevice: 'veth',
      addresses: [],
      device: 'eth0',
    });
    const seen: string[][] = [];
    const saves = Array.from({ length: 20 }, async (_, count) => {
      for (let turn = 0; turn < count; turn++) await readFile('/dev/null');
      await checkpoint.save(Array.from({ length: count + 1 }, (_each, index) => pod(String(index))));
      seen.push(onDisk());
      expect(onDisk()).toContain(String(count));
    });
    await Promise.all(saves);
    expect(onDisk()).toHaveLength(20);
    expect(seen).toHaveLength(20);
  });

  test('is waited for by attach and detach, and the pod is hooked meanwhile', async () => {
    const opened: (() => void)[] = [];
    const gated: Checkpoint = {
      load: async () => [],
      save: () => new Promise((resolve) => opened.push(resolve)),
    };
    const { host, opener, store, control } = bench(undefined, gated);
    const { path } = addPod(host, opener, 'pod1', '10.1.0.5');
    const told: string[] = [];
    const attached = store.attach(ask(path)).then(({ pod }) => {
      told.push('attached');
      return pod.id;
    });
    await turns();
    expect([told, control.passes, opened.length]).toEqual([[], 1, 1]);
    opened.shift()?.();
    const detached = store.detach(await attached).then(() => told.push('detached'));
    await turns();
    expect([told, control.passes, opened.length]).toEqual([['attached'], 2, 1]);
    opened.shift()?.();
    await detached;
    expect(told).toEqual(['attached', 'detached']);
  });
});

const runtimeOf = (containerId: string, ifname = 'eth0', network = 'cbr0') => ({
  attachment: { network, containerId, ifname },
  uid: 'u-1',
  annotations: { team: 'a' },
});

describe('10 pods of the runtime', () => {
  test('are found by what the runtime calls them, also by a restarted agent', async () => {
    const first = bench(undefined, new FileCheckpoint(runDir, new QuietLog()));
    const { path } = addPod(first.host, first.opener, 'pod1', '10.1.0.5');
    await first.store.attach({ ...ask(path), runtime: runtimeOf('abc') });
    const second = bench(
      { host: first.host, opener: first.opener },
      new FileCheckpoint(runDir, new QuietLog()),
    );
    await second.store.reload();
    expect(second.store.list().map(({ pod }) => pod.runtime)).toEqual([runtimeOf('abc')]);
    for (const other of [runtimeOf('abd'), runtimeOf('abc', 'eth1'), runtimeOf('abc', 'eth0', 'other')])
      expect(await second.store.detach(other.attachment)).toBe(false);
    expect(await second.store.detach(runtimeOf('abc').attachment)).toBe(true);
    expect(await second.store.detach(runtimeOf('abc').attachment)).toBe(false);
    expect(second.store.list()).toEqual([]);
  });

  test('are waited for until keys stand; those attached by hand are not', async () => {
    const { host, opener, store, control, clock } = bench();
    control.blockers = ['our epoch is not published yet'];
    const byHand = addPod(host, opener, 'pod1', '10.1.0.5').path;
    await expect(store.attach(ask(byHand))).resolves.toBeDefined();
    const attached = store.attach({
      ...ask(addPod(host, opener, 'pod2', '10.1.0.6').path),
      runtime: runtimeOf('abc'),
    });
    const refused = expect(attached).rejects.toMatchObject({
      code: 'not-ready',
      message: expect.stringContaining('our epoch is not published yet'),
    });
    await clock.advance(11_000);
    await refused;
  });

  test('GC detaches those of its network that the runtime does not know', async () => {
    const { host, opener, store } = bench();
    let last = 5;
    const attach = async (name: string, runtime?: ReturnType<typeof runtimeOf>): Promise<void> => {
      last += 1;
      const { path } = addPod(host, opener, name, `10.1.0.${last}`);
      await store.attach({ ...ask(path), name, ...(runtime === undefined ? {} : { runtime }) });
    };
    await attach('kept', runtimeOf('a'));
    await attach('stale', runtimeOf('b'));
    await attach('renamed', runtimeOf('a', 'eth0', 'other'));
    await attach('by-hand');
    expect(await store.collect('cbr0', [{ containerId: 'a', ifname: 'eth0' }])).toBe(1);
    expect(
      store
        .list()
        .map(({ pod }) => pod.name)
        .sort(),
    ).toEqual(['by-hand', 'kept', 'renamed']);
    expect(await store.collect('cbr0', [{ containerId: 'a', ifname: 'eth1' }])).toBe(1);
  });

  test('CHECK tells what is not as attach left it', async () => {
    const { host, opener, store, control } = bench();
    const { path, inside } = addPod(host, opener, 'pod1', '10.1.0.5');
    const { attachment } = runtimeOf('abc');
    expect(await store.check(attachment, path)).toBeUndefined();
    await store.attach({ ...ask(path), runtime: runtimeOf('abc') });
    expect(await store.check(attachment, path)).toEqual([]);
    const eth0 = inside.linkNamed('eth0');
    inside.changeLink(eth0?.ifindex ?? 0, { mtuBytes: 1409 });
    inside.addAddress(eth0?.ifindex ?? 0, '10.1.0.9', 24);
    control.missing = () => 'hook gate';
    expect(await store.check(attachment, path)).toEqual([
      'its addresses have changed',
      "MTU 1409 of eth0 is larger than the tunnel's 1408",
      'hook gate',
    ]);
  });

  test('have one device each', async () => {
    const { host, opener, store } = bench();
    const { path, inside } = addPod(host, opener, 'pod1', '10.1.0.5');
    await store.attach({ ...ask(path), runtime: runtimeOf('abc') });
    const second = host.addLink({ name: 'veth2', kind: 'veth' });
    const net1 = inside.addLink({ name: 'net1', kind: 'veth', linkIndex: second.ifindex, linkNsid: 0 });
    host.changeLink(second.ifindex, { linkIndex: net1.ifindex });
    inside.addAddress(net1.ifindex, '10.1.0.6', 24);
    await expect(
      store.attach({ ...ask(path), device: 'net1', runtime: runtimeOf('abc', 'net1') }),
    ).rejects.toMatchObject({ code: 'request', message: expect.stringContaining('second device') });
    expect(store.list()).toHaveLength(1);
  });
});

test('11 MTUs are lowered on both ends, and on routes that carry a larger one', async () => {
  const { host, opener, store } = bench();
  const { path, inside, hostDevice } = addPod(host, opener, 'pod1', '10.1.0.5');
  const eth0 = inside.linkNamed('eth0')?.ifindex ?? 0;
  inside.changeLink(eth0, { mtuBytes: 9000 });
  host.changeLink(hostDevice.ifindex, { mtuBytes: 9000 });
  inside.routeMtus.set(eth0, 8900);
  host.routeMtus.set(hostDevice.ifindex, 1300);
  await store.attach(ask(path));
  expect(inside.linkNamed('eth0')?.mtuBytes).toBe(1408);
  expect(host.linkNamed('pod1')?.mtuBytes).toBe(1408);
  expect(inside.routeMtus.get(eth0)).toBe(1408);
  expect(host.routeMtus.get(hostDevice.ifindex)).toBe(1300);
});

test('12 the device of a pod that the runtime ends is closing until it goes or a pod comes back', async () => {
  const { host, opener, store } = bench();
  const { path, hostDevice } = addPod(host, opener, 'pod1', '10.1.0.5');
  const runtime = runtimeOf('abc');
  await store.attach({ ...ask(path), runtime });
  expect(store.closing()).toEqual([]);
  await store.detach(runtime.attachment);
  expect(store.closing()).toEqual([hostDevice.ifindex]);
  const { pod } = await store.attach({ ...ask(path), runtime });
  expect(store.closing()).toEqual([]);
  await store.detach(pod.id);
  expect(store.closing()).toEqual([]);
  await store.attach({ ...ask(path), runtime });
  await store.detach(runtime.attachment);
  host.dropLink(hostDevice.ifindex);
  await store.dropVanished([...host.linkTable.values()]);
  expect(store.closing()).toEqual([]);
});

test('13 a mode that is not allowed is refused, and after a restart without it the pod is strict', async () => {
  const world = bench();
  const { path } = addPod(world.host, world.opener, 'pod1', '10.1.0.5');
  await expect(world.store.attach({ ...ask(path), mode: 'permissive' })).rejects.toMatchObject({
    code: 'request',
  });
  const checkpoint = new FileCheckpoint(runDir, world.log);
  const allowing = bench(world, checkpoint, ['permissive', 'off']);
  await expect(allowing.store.attach({ ...ask(path), mode: 'off' })).rejects.toMatchObject({
    code: 'request',
  });
  await expect(allowing.store.attach({ ...ask(path), mode: 'permissive', vni: 7 })).rejects.toMatchObject({
    code: 'request',
  });
  await allowing.store.attach({ ...ask(path), mode: 'permissive' });
  const permissive = async (allowed: readonly WeakerMode[]) => {
    const { store } = bench(world, new FileCheckpoint(runDir, world.log), allowed);
    await store.reload();
    return store.list().map(({ entry }) => entry.permissive);
  };
  expect(await permissive(['permissive'])).toEqual([true]);
  expect(await permissive([])).toEqual([undefined]);
  expect(await permissive(['permissive'])).toEqual([undefined]);
});

describe('14 pods that are off', () => {
  const off = (containerId: string, path: string) => ({ ...ask(path), runtime: runtimeOf(containerId) });

  test('are kept apart from the others, with any address and MTU, until their runtime ends them', async () => {
    const { host, opener, store, control } = bench();
    const { path, inside, hostDevice } = addPod(host, opener, 'pod1', '172.30.0.9');
    inside.changeLink(inside.linkNamed('eth0')?.ifindex ?? 0, { mtuBytes: 9000 });
    control.blockers = ['no keys'];
    await store.leave(off('abc', path));
    expect([store.list(), store.off().map(({ entry }) => entry)]).toEqual([
      [],
      [expect.objectContaining({ ifindex: hostDevice.ifindex, addresses: ['172.30.0.9'], off: true })],
    ]);
    expect(inside.linkNamed('eth0')?.mtuBytes).toBe(9000);
    expect(await store.detach(runtimeOf('abc').attachment)).toBe(true);
    expect([store.off(), store.closing()]).toEqual([[], [hostDevice.ifindex]]);
    expect(await store.detach(runtimeOf('abc').attachment)).toBe(false);
  });

  test('are waited for until they are guarded, or refused at the deadline', async () => {
    const { host, opener, store, control, clock } = bench();
    const { path } = addPod(host, opener, 'pod1', '10.1.0.5');
    control.missing = ({ entry }) => (entry.off === true ? 'its device is not guarded yet' : undefined);
    const left = store.leave(off('abc', path));
    const refused = expect(left).rejects.toMatchObject({
      code: 'not-ready',
      message: expect.stringContaining('its device is not guarded yet'),
    });
    await clock.advance(11_000);
    await refused;
  });

  test('take no address from anybody, and one that changes its mode is one pod', async () => {
    const { host, opener, store } = bench();
    const first = addPod(host, opener, 'pod1', '10.1.0.5');
    await store.attach({ ...ask(first.path), runtime: runtimeOf('abc') });
    await store.leave(off('abd', addPod(host, opener, 'pod2', '10.1.0.5').path));
    expect([store.list().length, store.off().length]).toEqual([1, 1]);
    await store.leave(off('abc', first.path));
    expect([store.list().length, store.off().length]).toEqual([0, 2]);
    await store.attach({ ...ask(first.path), runtime: runtimeOf('abc') });
    expect([store.list().length, store.off().length]).toEqual([1, 1]);
  });

  test('outlive a restart, go with GC and with their device, and need a veth to be known at all', async () => {
    const saved = () => new FileCheckpoint(runDir, new QuietLog(), 'off.json');
    const world = bench(undefined, undefined, [], saved());
    const devices = ['a', 'b', 'c'].map((name) => addPod(world.host, world.opener, name, '10.1.0.5'));
    for (const [at, { path }] of devices.entries()) await world.store.leave(off(`abc${at}`, path));
    const { store } = bench(world, undefined, [], saved());
    await store.reload();
    expect(store.off().map(({ entry }) => entry.off)).toEqual([true, true, true]);
    expect(await store.collect('cbr0', [{ containerId: 'abc1', ifname: 'eth0' }])).toBe(2);
    expect(store.off().map(({ pod }) => pod.runtime?.attachment.containerId)).toEqual(['abc1']);
    world.host.dropLink(devices[1]?.hostDevice.ifindex ?? 0);
    await store.dropVanished([...world.host.linkTable.values()]);
    expect(store.off()).toEqual([]);

    const alone = world.opener.add('/run/netns/alone');
    alone.addLink({ name: 'eth0', kind: 'macvlan' });
    await store.leave(off('abd', '/run/netns/alone'));
    expect(store.off()).toEqual([]);
  });
});
