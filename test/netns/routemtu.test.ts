// MTUs of routes are lowered in the kernel, and the routes stay what they were otherwise.
import { loadNative } from '../../agent/kernel/native';
import { createNetnsOpener } from '../../agent/kernel/netns';
import type { Netlink, Netns } from '../../agent/ports';
import { createNamespace, createVeth, type Namespace } from './namespace';

const native = loadNative();
let inside: Namespace;
let outside: Namespace;
let netns: Netns;
let netlink: Netlink;

beforeEach(() => {
  inside = createNamespace();
  outside = createNamespace();
  createVeth(inside, 'eth0', outside, 'host0');
  createVeth(inside, 'eth1', outside, 'host1');
  for (const [device, network] of [
    ['eth0', '10.1.0'],
    ['eth1', '10.2.0'],
  ] as const)
    inside.run('ip', 'addr', 'add', `${network}.2/24`, 'dev', device);
  inside.run('ip', 'addr', 'add', 'fd00:1::2/64', 'dev', 'eth0', 'nodad');
  netns = createNetnsOpener(native).open(inside.path);
  netlink = netns.netlink();
});

afterEach(() => {
  netlink.close();
  netns.close();
  inside.remove();
  outside.remove();
});

const routes = (...more: string[]): string[] =>
  [...['-4', '-6'].map((family) => inside.run('ip', family, 'route', 'show', ...more))]
    .join('')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.includes('mtu'));

test('larger ones through the device come down; smaller ones, other devices and all else stay', async () => {
  const add = (route: string): void => void inside.run('ip', ...route.split(' '));
  add('route add default via 10.1.0.1 dev eth0 mtu 1500 advmss 1400 metric 100');
  add('route add 10.8.0.0/16 via 10.1.0.1 dev eth0 mtu lock 9000 src 10.1.0.2 proto 44');
  add('route add 10.9.0.0/16 dev eth0 mtu 1408');
  add('route add 10.10.0.0/16 dev eth0 mtu 1280');
  add('route add 10.11.0.0/16 via 10.2.0.1 dev eth1 mtu 1500');
  add('route add 10.12.0.0/16 mtu 1500 nexthop via 10.1.0.1 weight 1 nexthop via 10.2.0.1 weight 2');
  add('route add 10.13.0.0/16 via 10.1.0.1 dev eth0 mtu 1500 table 77');
  add('-6 route add fd00:8::/48 via fd00:1::1 dev eth0 mtu 1500 metric 50');
  add('route add unreachable 10.14.0.0/16');
  const before = routes('table', 'all');
  const { ifindex = 0 } = (await netlink.links()).find((link) => link.name === 'eth0') ?? {};

  expect(await netlink.lowerRouteMtus(ifindex, 1408)).toBe(5);
  const lowered = before.map((line) =>
    line.includes('10.11.0.0') ? line : line.replace(/mtu (lock )?(1500|9000)/, 'mtu $11408'),
  );
  expect(routes('table', 'all').sort()).toEqual(lowered.sort());
  expect(before).toHaveLength(8);
  expect(await netlink.lowerRouteMtus(ifindex, 1408)).toBe(0);
});
