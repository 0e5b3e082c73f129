// What a mirror says against what is read after the same steps were really done.
import { applySteps } from '../../../agent/control/drivers/apply';
import { observe } from '../../../agent/control/drivers/observe';
import { mirrored } from '../../../agent/control/mirror';
import { Slices } from '../../../agent/control/slices';
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../../agent/core/ids';
import { saFingerprint } from '../../../agent/core/keyschedule';
import type { Step } from '../../../agent/core/plan';
import { ManualClock } from '../../fakes/clock';
import { FakeDatapath, FakePins } from '../../fakes/datapath';
import { FakeNetwork } from '../../fakes/netlink';
import { randomBytes, seeded } from '../core/random';

const DEVICE = 'vxseal0';

function randomStep(roll: () => number): Step {
  const pick = (n: number): number => Math.floor(roll() * n);
  const object = 'one';
  const peer = (1 + pick(4)) as PeerNumber;
  const vni = (1 + pick(2)) as Vni;
  const prefix = `10.${pick(4)}.0.0/16` as Prefix;
  const keys = { key: randomBytes(32, roll), salt: randomBytes(4, roll), spi: (256 + pick(4)) as Spi };
  const fingerprint = saFingerprint(keys.key, keys.salt);
  const source = `192.0.2.${pick(3)}` as IpAddress;
  const entry = { vni, prefix, peer, node: roll() < 0.5 };
  const isPeer = {
    number: peer,
    identity: `id${pick(3)}`,
    vtep: source,
    local: source,
    mac: '02:00:00:00:00:01',
  };
  const route = { prefix, device: roll() < 0.5 ? DEVICE : undefined };
  const steps: readonly Step[] = [
    { do: 'put-rx', object, sa: { ...keys, vni, peer, source }, fingerprint },
    { do: 'put-tx', object, sa: { ...keys, vni, peer, limit: BigInt(1 + pick(9)) }, fingerprint },
    { do: 'put-peer', object, peer: isPeer },
    { do: 'put-overlay', object, entry },
    { do: 'put-route', object, route },
    { do: 'remove-rx', object, spi: keys.spi, source },
    { do: 'remove-tx', object, vni, peer },
    { do: 'remove-peer', object, peer: isPeer },
    { do: 'remove-overlay', object, entry },
    { do: 'remove-route', object, route },
  ];
  return steps[pick(steps.length)] as Step;
}

function world() {
  const network = new FakeNetwork();
  const vxlan = network.addLink({
    name: DEVICE,
    kind: 'vxlan',
    vxlan: { port: 1, external: true, drifted: false },
  });
  const datapath = new FakeDatapath(new FakePins());
  const netlink = network.netlink();
  const slices = new Slices(new ManualClock());
  return {
    read: () => observe(netlink, datapath, DEVICE, slices),
    apply: (steps: readonly Step[]) => applySteps(steps, netlink, datapath, vxlan.ifindex, true, slices),
  };
}

const inOrder = (list: readonly object[]): string[] =>
  list
    .map((entry) => JSON.stringify(entry, (_, value) => (typeof value === 'bigint' ? `${value}n` : value)))
    .map((text) => text.split(/[{},]/).sort().join())
    .sort();

test('after any steps on its tables a mirror is what a reading is', async () => {
  let written = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const roll = seeded(seed);
    const { read, apply } = world();
    let before = await read();
    for (let round = 0; round < 25; round++) {
      const steps = Array.from({ length: 1 + Math.floor(roll() * 5) }, () => randomStep(roll));
      const { failed } = await apply(steps);
      expect([...failed]).toEqual([]);
      const mirror = mirrored(before, steps);
      const real = await read();
      for (const table of ['rxSas', 'txSas', 'peers', 'overlay', 'routes'] as const) {
        expect([table, ...inOrder(mirror?.[table] ?? [])]).toEqual([table, ...inOrder(real[table])]);
        written += real[table].length;
      }
      before = mirror ?? real;
    }
  }
  expect(written).toBeGreaterThan(5000);
});

test('whatever else was touched is to be read', async () => {
  const before = await world().read();
  const hook = { program: 'steer', ifindex: 7 } as const;
  expect(mirrored(before, [{ do: 'attach', object: 'hook', hook }])).toBeUndefined();
  expect(mirrored(before, [{ do: 'raise-vxlan', object: 'device', name: DEVICE }])).toBeUndefined();
  expect(mirrored(before, [])).toEqual(before);
});
