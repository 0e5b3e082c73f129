import type { Reconciler } from '../../../agent/control/reconciler';
import { MemoryTopics } from '../../fakes/bus';
import { ManualClock, settle } from '../../fakes/clock';
import { FakeFabric, type Outcome } from '../../fakes/fabric';
import { FakeNode, HOST_VNI, LEASE_MS, PROBE_MS, RECONCILE_MS } from '../../fakes/node';

function pair(packetLimit?: bigint) {
  const clock = new ManualClock();
  const fabric = new FakeFabric(clock);
  const topics = new MemoryTopics();
  const world = { clock, fabric, topics };
  const limit = packetLimit === undefined ? {} : { packetLimit };
  const one = new FakeNode(world, 'node1', { vtep: '192.0.2.1', prefix: '10.1.0.0/24', ...limit });
  const two = new FakeNode(world, 'node2', { vtep: '192.0.2.2', prefix: '10.2.0.0/24', ...limit });
  return { ...world, one, two };
}

async function started(packetLimit?: bigint) {
  const made = pair(packetLimit);
  await made.one.room.start();
  await made.two.room.start();
  await made.clock.advance(10_000);
  return made;
}

/** A packet each way every 100 ms; what became of them. */
async function traffic({ clock, fabric }: Awaited<ReturnType<typeof started>>, forMs: number) {
  const outcomes = new Map<Outcome, number>();
  for (let atMs = 0; atMs < forMs; atMs += 100) {
    for (const [from, to] of [
      ['node1', 'node2'],
      ['node2', 'node1'],
    ] as const) {
      const outcome = fabric.send(from, to, HOST_VNI);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    await clock.advance(100);
  }
  return Object.fromEntries(outcomes);
}

const peerOf = (node: FakeNode, peer: string) =>
  node.room.status().peers.find((other) => other.node === peer);

/** Waits in the clock's time; fails when the condition does not come. */
async function until(clock: ManualClock, withinMs: number, condition: () => boolean) {
  for (let atMs = 0; atMs <= withinMs; atMs += 100) {
    if (condition()) return;
    await clock.advance(100);
  }
  throw new Error(`not within ${withinMs} ms: ${condition}`);
}

describe('two agents on one bus', () => {
  test('1 reach keys both ways, and say so', async () => {
    const { one, two, fabric } = await started();
    expect(fabric.send('node1', 'node2', HOST_VNI)).toBe('delivered');
    expect(fabric.send('node2', 'node1', HOST_VNI)).toBe('delivered');
    for (const [node, peer] of [
      [one, 'node2'],
      [two, 'node1'],
    ] as const) {
      const status = node.room.status();
      expect(status.readiness).toEqual({ ready: true, blockers: [] });
      expect(status.problems).toEqual([]);
      expect(status.peers).toHaveLength(1);
      expect(status.peers[0]).toMatchObject({ node: peer, state: 'up', why: '', rotating: false });
      const theirs = peer === 'node2' ? '10.2.0.0/24' : '10.1.0.0/24';
      expect(new Set(node.network.routeTable.values())).toEqual(
        new Set([
          { prefix: '10.0.0.0/8', device: undefined },
          { prefix: '10.1.0.0/24', device: undefined },
          { prefix: '10.2.0.0/24', device: undefined },
          { prefix: theirs, device: 'vxseal0', source: peer === 'node2' ? '192.0.2.1' : '192.0.2.2' },
        ]),
      );
      expect(status.node.mtuBytes).toBe(1408);
    }
  });

  test('2 guards stand before keys and routes lead into the tunnel', async () => {
    const { one, two, clock } = pair();
    const trace: string[] = [];
    const note = (call: string): undefined => {
      trace.push(call);
    };
    one.pins.fail = note;
    one.network.fail = note;
    await two.room.start();
    await one.room.start();
    await clock.advance(10_000);
    const first = (text: string) => trace.findIndex((call) => call.startsWith(text));
    for (const guard of [
      'attach seal',
      'attach encap',
      'attach open',
      'attach deliver',
      'attach admit',
      'configure',
    ]) {
      expect(first(guard)).toBeGreaterThanOrEqual(0);
      expect(first('putTx')).toBeGreaterThan(first(guard));
      expect(first('putRoute 10.2')).toBeGreaterThan(first(guard));
      // What refuses needs no guard, and nothing is there yet that it would be late for.
      expect(first('putRoute unreachable 10.0.0.0/8')).toBeLessThan(first(guard));
    }
    expect(first('putRoute unreachable 10.0.0.0/8')).toBeLessThan(first('ensureVxlan'));
  });

  test('3 an epoch is published only once inbound keys for every known peer stand', async () => {
    const { one, two, topics } = await started();
    const before = two.pins.rx.size;
    one.pins.fail = (call) => (call.startsWith('putRx') ? 'ENOMEM' : undefined);
    const published = topics.records.get('vxseal.nodes.v1\nnode1');
    const rotated = one.room.rotate();
    const refused = expect(rotated).rejects.toMatchObject({ code: 'not-ready' });
    await one.world.clock.advance(11_000);
    await refused;
    expect(topics.records.get('vxseal.nodes.v1\nnode1')).toBe(published);
    expect(two.pins.rx.size).toBe(before);
    expect(
      one.room
        .status()
        .problems.map((problem) => problem.reason)
        .join(),
    ).toMatch(/putRx .*ENOMEM/);
    one.pins.fail = () => undefined;
    await until(one.world.clock, 2 * RECONCILE_MS, () => one.room.status().node.epoch.published);
    expect(one.room.status().problems).toEqual([]);
  });
});

test('3b no key is left in what is kept for the status, and none is in the status or the log', async () => {
  const { one } = await started();
  const { status, kept } = {
    status: JSON.stringify(one.room.status()),
    kept: (Reflect.get(one.room, 'reconciler') as Reconciler).picture(),
  };
  expect(kept?.wanted.txSas).toHaveLength(1);
  for (const sa of [...(kept?.wanted.txSas ?? []), ...(kept?.wanted.rxSas ?? [])])
    expect([...sa.key, ...sa.salt].every((byte) => byte === 0)).toBe(true);
  const secrets = [...one.pins.tx.values(), ...one.pins.rx.values()].map((sa) => Buffer.from(sa.key));
  expect(secrets).toHaveLength(2);
  for (const text of [status, JSON.stringify(one.log.lines)])
    for (const secret of secrets)
      for (const form of [secret.toString('hex'), secret.toString('base64'), [...secret].join()])
        expect(text).not.toContain(form);
});

describe('rotation', () => {
  test('4 loses nothing, moves both directions, and retires the old keys', async () => {
    const made = await started();
    const { one, two, clock } = made;
    const spis = () => [...one.pins.tx.values(), ...two.pins.tx.values()].map((sa) => sa.spi);
    const before = spis();
    for (const node of [one, two, one]) {
      const rotated = node.room.rotate();
      expect(Object.keys(await traffic(made, 15_000))).toEqual(['delivered']);
      await rotated;
    }
    expect(spis().filter((spi) => before.includes(spi))).toEqual([]);
    expect(one.room.status().node.epoch).toMatchObject({ number: 3, published: true });
    await clock.advance(120_000);
    expect(one.room.status().node.epoch.retiring).toEqual([]);
    expect([one.pins.rx.size, two.pins.rx.size]).toEqual([1, 1]);
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
  });

  test('5 both nodes at once lose nothing', async () => {
    const made = await started();
    const both = [made.one.room.rotate(), made.two.room.rotate()];
    expect(Object.keys(await traffic(made, 30_000))).toEqual(['delivered']);
    await Promise.all(both);
    expect(peerOf(made.one, 'node2')).toMatchObject({ state: 'up', rotating: false });
  });

  test('6 an SA near its packet limit is replaced before it stops', async () => {
    const made = await started(1000n);
    expect(Object.keys(await traffic(made, 300_000))).toEqual(['delivered']);
    // More than 3,000 packets each way need four keys at least; a new epoch of either node makes one.
    const [one, two] = [made.one, made.two].map((node) => node.room.status().node.epoch.number);
    expect((one ?? 0) + (two ?? 0)).toBeGreaterThanOrEqual(5);
  });
});

describe('restart', () => {
  test.each([
    ['7 after SIGTERM', true],
    ['8 after SIGKILL', false],
  ])('%s: adopts what stands, loses nothing, moves to a new epoch', async (_, gracefully) => {
    const made = await started();
    const { one, clock } = made;
    await one.renew(gracefully);
    expect(Object.keys(await traffic(made, 5000))).toEqual(['delivered']);
    const callsBefore = one.pins.calls.length;
    await one.room.start();
    expect(Object.keys(await traffic(made, 40_000))).toEqual(['delivered']);
    const calls = one.pins.calls.slice(callsBefore);
    expect(calls.filter((call) => /^(detach|removeTx|remove (overlay|peers|pods))/.test(call))).toEqual([]);
    expect(one.room.status()).toMatchObject({ node: { epoch: { number: 2 } }, readiness: { ready: true } });
    expect(peerOf(one, 'node2')).toMatchObject({ state: 'up', number: 1, rotating: false });
    await clock.advance(60_000);
    expect(one.pins.rx.size).toBe(1);
  });

  test('9 nothing is deleted before the bus is read to its end, and it says what it waits for', async () => {
    const made = await started();
    const { one, topics, clock } = made;
    await one.renew(true, false);
    const kept = new Map(topics.records);
    topics.records.clear();
    const before = [
      one.pins.tx.size,
      one.pins.rx.size,
      one.pins.overlay.size,
      one.network.tunnelRoutes().length,
    ];
    await one.room.start();
    expect(Object.keys(await traffic(made, 20_000))).toEqual(['delivered']);
    expect([
      one.pins.tx.size,
      one.pins.rx.size,
      one.pins.overlay.size,
      one.network.tunnelRoutes().length,
    ]).toEqual(before);
    expect(one.room.readiness().blockers.map((blocker) => blocker.name)).toEqual(['bus-sync', 'keys']);
    for (const record of kept.values())
      if (!topics.records.has(`${record.topic}\n${record.key}`)) topics.write(record);
    await settle();
    one.bus.finishReading();
    await clock.advance(20_000);
    expect(one.room.readiness()).toEqual({ ready: true, blockers: [] });
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
  });

  test('10 both agents restarted at once: tunnels stand throughout and move to new keys', async () => {
    const made = await started();
    await made.one.renew(false);
    await made.two.renew(false);
    await made.one.room.start();
    await made.two.room.start();
    expect(Object.keys(await traffic(made, 60_000))).toEqual(['delivered']);
    expect(peerOf(made.one, 'node2')).toMatchObject({ state: 'up', rotating: false });
  });

  test('11 stopping leaves programs, keys and routes in place, and no timer', async () => {
    const { one, two, clock } = await started();
    const hooks = one.pins.hooks.size;
    await one.room.stop();
    await two.room.stop();
    expect([one.pins.hooks.size, one.pins.tx.size, one.network.tunnelRoutes().length]).toEqual([hooks, 1, 1]);
    expect(clock.pending).toBe(0);
  });
});

describe('the bus', () => {
  test('12 gone for an hour: nothing is lost, the problem is named; back: nothing goes in the grace', async () => {
    const made = await started();
    const { one, two, clock } = made;
    one.bus.disconnect();
    two.bus.disconnect();
    await clock.advance(3_600_000);
    expect(Object.keys(await traffic(made, 5000))).toEqual(['delivered']);
    expect(one.room.status().problems.map((problem) => problem.object)).toContain('bus');
    expect(one.room.status().bus.stalenessMs).toBeGreaterThan(3_500_000);
    expect(peerOf(one, 'node2')?.state).toBe('up');
    one.bus.reconnect();
    two.bus.reconnect();
    expect(Object.keys(await traffic(made, 20_000))).toEqual(['delivered']);
    await clock.advance(LEASE_MS * 2);
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
    expect(one.room.status().problems).toEqual([]);
  });

  test('13 a peer whose lease ended is expired, and its traffic is dropped, not sent in clear', async () => {
    const { one, two, clock, fabric } = await started();
    await two.room.stop();
    await clock.advance(LEASE_MS + RECONCILE_MS);
    expect(peerOf(one, 'node2')).toMatchObject({
      state: 'expired',
      remedy: expect.stringContaining('node2'),
    });
    expect([one.pins.tx.size, one.pins.rx.size, one.network.tunnelRoutes().length]).toEqual([0, 0, 0]);
    expect(fabric.send('node1', 'node2', HOST_VNI)).toBe('no-peer');
    expect([...one.pins.overlay.values()].find((entry) => entry.prefix === '10.2.0.0/24')?.peer).toBe(
      0xffffffff,
    );
  });

  test('14 garbage and tombstones change nothing and are counted by reason', async () => {
    const made = await started();
    const { one, topics, clock } = made;
    for (let i = 0; i < 1000; i++)
      topics.write({ topic: 'vxseal.nodes.v1', key: `x${i}`, value: Uint8Array.of(i & 0xff) });
    topics.write({ topic: 'vxseal.nodes.v1', key: 'node2', value: undefined });
    await clock.advance(RECONCILE_MS);
    expect(one.room.status().bus.refusedRecords).toEqual([
      { reason: 'malformed', count: 1000 },
      { reason: 'tombstone', count: 1 },
    ]);
    expect(one.log.matching('record refused')).toHaveLength(2);
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
  });
});

describe('a hostile host', () => {
  test('15 whatever is changed or removed is repaired at the next pass; foreign objects stand', async () => {
    const made = await started();
    const { one, clock } = made;
    const wanted = () => ({
      routes: [...one.network.routeTable.values()],
      overlay: new Map(one.pins.overlay),
      peers: [...one.pins.peers.values()],
      hooks: [...one.pins.hooks.keys()].sort(),
      settings: one.pins.settings,
      mac: one.network.linkNamed('vxseal0')?.mac,
    });
    const before = wanted();
    one.network.routeTable.clear();
    one.pins.overlay.clear();
    one.pins.peers.clear();
    one.pins.hooks.clear();
    one.pins.settings = undefined;
    one.network.changeLink(one.network.linkNamed('vxseal0')?.ifindex ?? 0, {
      mac: '02:66:66:66:66:66',
      up: false,
    });
    await clock.advance(RECONCILE_MS);
    expect(wanted()).toEqual(before);
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
  });

  test('16 the device deleted: made again with its hooks, settings and routes within two passes', async () => {
    const { one, clock } = await started();
    const old = one.network.linkNamed('vxseal0')?.ifindex ?? 0;
    one.network.dropLink(old);
    await clock.advance(RECONCILE_MS);
    const made = one.network.linkNamed('vxseal0')?.ifindex ?? 0;
    expect(made).not.toBe(old);
    expect(one.pins.vxlanIfindex).toBe(made);
    expect([...one.pins.hooks.keys()]).toEqual(expect.arrayContaining([`encap/${made}`, `admit/${made}`]));
    expect(one.network.tunnelRoutes().length).toBe(1);
    expect(one.room.readiness().ready).toBe(true);
  });

  test('16b a device made anew by another hand, alike but for its number: the settings follow it', async () => {
    const { one, clock } = await started();
    const old = one.network.linkNamed('vxseal0');
    if (old === undefined) throw new Error('no device');
    one.network.linkTable.delete(old.ifindex);
    const { ifindex } = one.network.addLink({ ...old, ifindex: old.ifindex + 1000 });
    await clock.advance(RECONCILE_MS);
    expect(one.pins.vxlanIfindex).toBe(ifindex);
    expect([...one.pins.hooks.keys()]).toEqual(
      expect.arrayContaining([`encap/${ifindex}`, `admit/${ifindex}`]),
    );
  });

  test('16c a device made anew is down until its hooks stand; one set down by another hand is raised', async () => {
    const { one, clock } = await started();
    const trace: string[] = [];
    one.pins.fail = one.network.fail = (call) => void trace.push(call);
    const old = one.network.linkNamed('vxseal0');
    if (old === undefined) throw new Error('no device');
    one.network.dropLink(old.ifindex);
    await clock.advance(2 * RECONCILE_MS);
    const made = one.network.linkNamed('vxseal0');
    expect(made).toMatchObject({ up: true });
    const at = (call: string) => trace.indexOf(call);
    for (const program of ['encap', 'admit']) {
      expect(at(`attach ${program}/${made?.ifindex}`)).toBeGreaterThan(at('ensureVxlan vxseal0'));
      expect(at(`attach ${program}/${made?.ifindex}`)).toBeLessThan(at('raiseVxlan vxseal0'));
    }
    one.network.changeLink(made?.ifindex ?? 0, { up: false });
    trace.length = 0;
    await clock.advance(RECONCILE_MS);
    expect(one.network.linkNamed('vxseal0')).toMatchObject({ ifindex: made?.ifindex, up: true });
    expect(at('ensureVxlan vxseal0')).toBe(-1);
  });

  test('17 an error on one object does not stop the others, is named with reason, and its recovery is seen', async () => {
    const { one, two, clock } = await started();
    const { path } = one.pod('pod1', '10.1.0.5');
    one.network.fail = (call) => (call === 'putRoute 10.2.0.0/24' ? 'EINVAL' : undefined);
    one.network.routeTable.clear();
    one.pins.overlay.clear();
    await one.room.attachPod({ netnsPath: path, name: 'web', namespace: 'shop' });
    expect(one.pins.overlay.size).toBeGreaterThan(0);
    expect(one.room.status().problems).toEqual([
      expect.objectContaining({ object: 'apply route 10.2.0.0/24', reason: expect.stringMatching(/EINVAL/) }),
    ]);
    await clock.advance(10 * RECONCILE_MS);
    expect(one.log.matching('apply route 10.2.0.0/24').filter((line) => line.level === 'warn')).toHaveLength(
      1,
    );
    one.network.fail = () => undefined;
    await clock.advance(RECONCILE_MS);
    expect(one.room.status().problems).toEqual([]);
    expect(one.log.matching('well again')).toHaveLength(1);
    expect(two.room.status().problems).toEqual([]);
  });

  test.each(['seal', 'encap', 'admit'])(
    '18 without %s the device stays down, neither keys nor routes are put, and readiness names the hook',
    async (guard) => {
      const { one, two, clock } = pair();
      one.pins.fail = (call) => (call.startsWith(`attach ${guard}`) ? 'EBUSY' : undefined);
      await two.room.start();
      await one.room.start();
      await clock.advance(20_000);
      expect([one.pins.tx.size, one.network.tunnelRoutes().length]).toEqual([0, 0]);
      expect(one.network.linkNamed('vxseal0')).toMatchObject({ up: false });
      expect(one.room.readiness().blockers).toContainEqual(
        expect.objectContaining({ name: 'hooks', reason: expect.stringContaining(`${guard} on `) }),
      );
      one.pins.fail = () => undefined;
      await clock.advance(20_000);
      expect(one.room.readiness()).toEqual({ ready: true, blockers: [] });
      expect([one.pins.tx.size, one.network.tunnelRoutes().length]).toEqual([1, 1]);
    },
  );

  test('18c a fence that cannot be attached to another device is told by its name and opens nothing', async () => {
    const { one, two, clock } = pair();
    const nic = one.network.addLink({ name: 'eth1' });
    one.pins.fail = (call) => (call === `attach fence/${nic.ifindex}` ? 'EBUSY' : undefined);
    await two.room.start();
    await one.room.start();
    await clock.advance(20_000);
    expect([one.pins.tx.size, one.network.tunnelRoutes()]).toEqual([0, []]);
    expect(one.room.readiness().blockers).toContainEqual(
      expect.objectContaining({ name: 'hooks', reason: 'not attached: fence on eth1' }),
    );
    expect(one.room.status().problems).toContainEqual(
      expect.objectContaining({
        object: `apply hook fence on device ${nic.ifindex}`,
        reason: expect.stringMatching(new RegExp(`EBUSY.* \\(device ${nic.ifindex} is eth1\\)$`)),
      }),
    );
    // A device that went away between look and attempt is no danger.
    one.pins.fail = (call) => (call === `attach fence/${nic.ifindex}` ? 'ENODEV' : undefined);
    await clock.advance(2 * RECONCILE_MS);
    expect([one.pins.tx.size, one.network.tunnelRoutes()]).toMatchObject([1, [{ prefix: '10.2.0.0/24' }]]);
  });

  test("18b another's program in front: told by device and number; while it stays there, we are not ready", async () => {
    const { one, clock } = await started();
    const eth0 = one.network.linkNamed('eth0')?.ifindex ?? 0;
    const key = `seal/${eth0}`;
    const displace = () => {
      const hook = one.pins.hooks.get(key);
      if (hook === undefined) throw new Error('no seal');
      one.pins.hooks.set(key, { ...hook, behind: 4711 });
    };
    displace();
    await clock.advance(RECONCILE_MS);
    expect(one.pins.hooks.get(key)?.behind).toBeUndefined();
    expect(one.room.readiness().ready).toBe(true);
    expect(one.room.status().problems).toEqual([
      expect.objectContaining({ object: 'order of seal on eth0', reason: expect.stringContaining('4711') }),
    ]);
    await clock.advance(RECONCILE_MS);
    expect(one.room.status().problems).toEqual([]);

    displace();
    one.pins.fail = (call) => (call === `attach ${key}` ? 'EBUSY' : undefined);
    one.pins.tx.clear();
    await clock.advance(RECONCILE_MS);
    expect(one.room.readiness().blockers).toEqual([
      expect.objectContaining({ name: 'hooks', reason: 'not attached: seal on eth0' }),
    ]);
    expect(one.pins.tx.size).toBe(0);
    one.pins.fail = () => undefined;
    await clock.advance(2 * RECONCILE_MS);
    expect(one.room.readiness().ready).toBe(true);
  });

  test('19 the underlay address gone for a while takes nothing down', async () => {
    const made = await started();
    const { one, clock } = made;
    const saved = one.network.addressTable.splice(0);
    await clock.advance(20_000);
    expect(Object.keys(await traffic(made, 1000))).toEqual(['delivered']);
    expect(one.room.readiness().blockers).toEqual([
      expect.objectContaining({ name: 'link', reason: expect.stringContaining('192.0.2.1') }),
    ]);
    one.network.addressTable.push(...saved);
    await clock.advance(RECONCILE_MS);
    expect(one.room.readiness().ready).toBe(true);
  });
});

describe('pods', () => {
  test('20 attached, hooked and known; gone with their host device', async () => {
    const { one, clock } = await started();
    const { path, hostDevice, inside } = one.pod('pod1', '10.1.0.5');
    const pod = await one.room.attachPod({ netnsPath: path, name: 'web', namespace: 'shop' });
    expect(pod).toMatchObject({
      ready: true,
      why: '',
      hostDevice: 'pod1',
      mtuBytes: 1408,
      addresses: ['10.1.0.5'],
    });
    const hooks = [`steer/${hostDevice.ifindex}`, `gate/${hostDevice.ifindex}`];
    expect([...one.pins.hooks.keys()]).toEqual(expect.arrayContaining(hooks));
    expect(one.pins.pods.size).toBe(1);
    expect(inside.linkNamed('eth0')?.mtuBytes).toBe(1408);
    one.network.dropLink(hostDevice.ifindex);
    await clock.advance(RECONCILE_MS);
    expect(one.room.status().pods).toEqual([]);
    expect(one.pins.pods.size).toBe(0);
    expect([...one.pins.hooks.keys()].filter((key) => hooks.includes(key))).toEqual([]);
  });

  test('21 detached: its device is guarded again; a restarted agent wants the pods it had', async () => {
    const { one, clock } = await started();
    const { path, hostDevice } = one.pod('pod1', '10.1.0.5');
    const { id } = await one.room.attachPod({ netnsPath: path, name: 'web', namespace: 'shop' });
    await one.renew();
    await one.room.start();
    await clock.advance(RECONCILE_MS);
    expect(one.room.status().pods).toMatchObject([{ id, ready: true }]);
    expect(await one.room.detachPod(id)).toBe(true);
    const left = [...one.pins.hooks.keys()].filter((key) => key.endsWith(`/${hostDevice.ifindex}`));
    expect(left.sort()).toEqual([`fence/${hostDevice.ifindex}`, `guard/${hostDevice.ifindex}`]);
  });
});

describe('liveness', () => {
  test('22 a way that fails is seen within 15 seconds and named by direction; recovery too', async () => {
    const { one, two, clock, fabric } = await started();
    fabric.lose = (from) => from === 'node1';
    await until(clock, 15_000 + PROBE_MS, () => peerOf(one, 'node2')?.state === 'stalled');
    expect(peerOf(one, 'node2')?.why).toMatch(/ours are not answered: the way from here/);
    expect(peerOf(two, 'node1')?.why).toMatch(/no packet from it/);
    fabric.lose = () => false;
    await until(clock, 2 * PROBE_MS, () => peerOf(one, 'node2')?.state === 'up');
  });

  test('23 a path that drops large packets is "mtu", with the size', async () => {
    const { one, clock, fabric } = await started();
    fabric.lose = (_, __, bytes) => bytes > 1300;
    await until(clock, 15_000 + PROBE_MS, () => peerOf(one, 'node2')?.state === 'mtu');
    expect(peerOf(one, 'node2')?.why).toContain('1408');
  });
});
