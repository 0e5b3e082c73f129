// The netlink and netns rooms against the kernel, in namespaces of their own.
import type { IpAddress, Prefix } from '../../agent/core/ids';
import type { VxlanSpec } from '../../agent/core/state';
import { loadNative } from '../../agent/kernel/native';
import { createNetlink } from '../../agent/kernel/netlink';
import { createNetnsOpener } from '../../agent/kernel/netns';
import { ROUTE_PROTOCOL, UNREACHABLE_METRIC } from '../../agent/kernel/route';
import type { LinkInfo, Netlink, Netns } from '../../agent/ports';
import { createNamespace, createVeth, type Namespace } from './namespace';

const native = loadNative();
const SPEC: VxlanSpec = { name: 'vxseal0', mac: '02:00:5e:00:53:01', port: 4790, mtuBytes: 1408 };
const prefix = (text: string) => text as Prefix;

let namespace: Namespace;
let netns: Netns;
let netlink: Netlink;

beforeEach(() => {
  namespace = createNamespace();
  netns = createNetnsOpener(native).open(namespace.path);
  netlink = netns.netlink();
});

afterEach(() => {
  netlink.close();
  netns.close();
  namespace.remove();
});

interface IpLink {
  readonly ifindex: number;
  readonly flags: string[];
  readonly mtu: number;
  readonly address: string;
  readonly gso_max_segs: number;
  readonly inet6_addr_gen_mode: string;
  readonly linkinfo: { readonly info_data: Record<string, unknown> };
}

const ipLink = (name: string): IpLink => JSON.parse(namespace.run('ip', '-d', '-j', 'link', 'show', name))[0];
const offload = (name: string, feature: 'tx' | 'tso' | 'gso' | 'gro') => {
  const fd = native.openNetns(namespace.path);
  try {
    return native.inNetns(fd, () => native.getOffload(name, feature));
  } finally {
    fd.close();
  }
};

describe('ensureVxlan', () => {
  test('makes the device as the data plane needs it', async () => {
    const link = await netlink.ensureVxlan(SPEC);
    expect(link).toMatchObject({
      name: 'vxseal0',
      kind: 'vxlan',
      mac: SPEC.mac,
      mtuBytes: 1408,
      up: false,
      vxlan: { port: 4790, external: true },
      gsoMaxSegs: 1,
    });
    const seen = ipLink('vxseal0');
    expect(seen.flags).toContain('NOARP');
    expect(seen.flags).not.toContain('UP');
    expect(seen.gso_max_segs).toBe(1);
    expect(seen.inet6_addr_gen_mode).toBe('none');
    expect(seen.linkinfo.info_data).toMatchObject({
      external: true,
      port: 4790,
      learning: false,
      udp_csum: false,
    });
    expect((['tx', 'tso', 'gso'] as const).map((feature) => offload('vxseal0', feature))).toEqual([
      false,
      false,
      false,
    ]);
    const addresses = (await netlink.addresses()).filter(({ ifindex }) => ifindex === link.ifindex);
    expect(addresses.map(({ address }) => address)).toEqual(['192.0.0.8']);
  });

  test('only a device whose socket receives takes UDP over IPv6 without a checksum', async () => {
    const { ifindex } = await netlink.ensureVxlan(SPEC);
    expect(ipLink('vxseal0').linkinfo.info_data).toMatchObject({ udp_zero_csum6_rx: false });
    await netlink.removeLink(ifindex);
    await netlink.ensureVxlan({ ...SPEC, receives: true });
    expect(ipLink('vxseal0').linkinfo.info_data).toMatchObject({ udp_zero_csum6_rx: true });
  });

  test('a second call changes nothing', async () => {
    const first = await netlink.ensureVxlan(SPEC);
    const before = namespace.run('ip', '-d', 'link', 'show', 'vxseal0');
    expect(await netlink.ensureVxlan(SPEC)).toEqual(first);
    expect(namespace.run('ip', '-d', 'link', 'show', 'vxseal0')).toBe(before);
  });

  test.each([
    ['MAC', ['address', '02:00:5e:00:53:99']],
    ['MTU', ['mtu', '1300']],
    ['ARP', ['arp', 'on']],
    ['GSO', ['gso_max_segs', '64']],
    ['address generation', ['addrgenmode', 'eui64']],
    ['learning', ['type', 'vxlan', 'learning']],
  ])('another hand changed %s: put back, the device stays', async (_what, change) => {
    const made = await netlink.ensureVxlan(SPEC);
    const good = ipLink('vxseal0');
    namespace.run('ip', 'link', 'set', 'vxseal0', ...change);
    expect(ipLink('vxseal0')).not.toEqual(good);
    expect(await netlink.ensureVxlan(SPEC)).toEqual(made);
    expect(ipLink('vxseal0')).toEqual(good);
  });

  test('it is up only when it is raised, and stays as it is otherwise', async () => {
    const { ifindex } = await netlink.ensureVxlan(SPEC);
    await netlink.raiseVxlan('vxseal0');
    await netlink.raiseVxlan('vxseal0');
    expect(await netlink.ensureVxlan({ ...SPEC, mtuBytes: 1300 })).toMatchObject({ ifindex, up: true });
    const addresses = (await netlink.addresses()).filter((entry) => entry.ifindex === ifindex);
    expect(addresses.map(({ address }) => address)).toEqual(['192.0.0.8']);
    namespace.run('ip', 'link', 'set', 'vxseal0', 'down');
    expect(await netlink.ensureVxlan(SPEC)).toMatchObject({ ifindex, up: false });
    await netlink.raiseVxlan('vxseal0');
    // Made anew for good reason: as new.
    expect(await netlink.ensureVxlan({ ...SPEC, port: 4791 })).toMatchObject({ up: false });
    await expect(netlink.raiseVxlan('nothere')).rejects.toMatchObject({ errnoName: 'ENODEV' });
  });

  const drifted = async () => (await netlink.links()).find(({ name }) => name === 'vxseal0')?.vxlan?.drifted;

  test('strict reverse path filtering is seen and loosened, on our device only', async () => {
    const filter = (device: string) =>
      namespace.run('sysctl', '-n', `net.ipv4.conf.${device}.rp_filter`).trim();
    namespace.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=1');
    await netlink.ensureVxlan(SPEC);
    expect([filter('vxseal0'), filter('all'), filter('lo'), await drifted()]).toEqual(['2', '1', '0', false]);
    namespace.run('sysctl', '-qw', 'net.ipv4.conf.vxseal0.rp_filter=1');
    expect(await drifted()).toBe(true);
    await netlink.ensureVxlan(SPEC);
    expect([filter('vxseal0'), await drifted()]).toEqual(['2', false]);
    namespace.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0');
  });

  test('router advertisements are refused on our device, and again after another hand allowed them', async () => {
    const accept = () => namespace.run('sysctl', '-n', 'net.ipv6.conf.vxseal0.accept_ra').trim();
    await netlink.ensureVxlan(SPEC);
    expect([accept(), await drifted()]).toEqual(['0', false]);
    namespace.run('sysctl', '-qw', 'net.ipv6.conf.vxseal0.accept_ra=2');
    expect(await drifted()).toBe(true);
    await netlink.ensureVxlan(SPEC);
    expect([accept(), await drifted()]).toEqual(['0', false]);
  });

  test('the dummy address comes back, and is never a source', async () => {
    await netlink.ensureVxlan(SPEC);
    namespace.run('ip', 'address', 'flush', 'dev', 'vxseal0');
    expect(await drifted()).toBe(true);
    await netlink.ensureVxlan(SPEC);
    expect(await drifted()).toBe(false);
    await netlink.raiseVxlan('vxseal0');
    const route = { prefix: prefix('198.51.100.0/24'), device: 'vxseal0' };
    await netlink.putRoute(route);
    expect(namespace.run('ip', 'route', 'get', '198.51.100.1')).not.toContain('192.0.0.8');
    await netlink.removeRoute(route);
  });

  test('offloads that came back are switched off again', async () => {
    await netlink.ensureVxlan(SPEC);
    expect(await drifted()).toBe(false);
    namespace.run('ethtool', '-K', 'vxseal0', 'tx', 'on', 'tso', 'on', 'gso', 'on');
    expect(offload('vxseal0', 'tx')).toBe(true);
    expect(await drifted()).toBe(true);
    await netlink.ensureVxlan(SPEC);
    expect(await drifted()).toBe(false);
    expect((['tx', 'tso', 'gso'] as const).map((feature) => offload('vxseal0', feature))).toEqual([
      false,
      false,
      false,
    ]);
  });

  test('wanted MAC and MTU change in place', async () => {
    const { ifindex } = await netlink.ensureVxlan(SPEC);
    const next = { ...SPEC, mac: '02:00:5e:00:53:02', mtuBytes: 1388 };
    expect(await netlink.ensureVxlan(next)).toMatchObject({
      ifindex,
      mac: next.mac,
      mtuBytes: 1388,
    });
  });

  test('another port needs another device', async () => {
    const { ifindex } = await netlink.ensureVxlan(SPEC);
    const link = await netlink.ensureVxlan({ ...SPEC, port: 4791 });
    expect(link.vxlan).toEqual({ port: 4791, external: true, drifted: false });
    expect(link.ifindex).not.toBe(ifindex);
  });

  test('a VXLAN device of that name that is not external is made anew', async () => {
    namespace.run(
      'ip',
      'link',
      'add',
      'vxseal0',
      'type',
      'vxlan',
      'id',
      '7',
      'dstport',
      '4790',
      'local',
      '192.0.2.1',
    );
    expect((await netlink.ensureVxlan(SPEC)).vxlan).toEqual({ port: 4790, external: true, drifted: false });
  });

  test('a foreign device of that name is refused and left alone', async () => {
    namespace.run('ip', 'link', 'add', 'vxseal0', 'type', 'bridge');
    await expect(netlink.ensureVxlan(SPEC)).rejects.toMatchObject({
      errnoName: 'EEXIST',
      message: expect.stringMatching(/VXLAN device vxseal0.*kind bridge.*overlay\.device/),
    });
    expect(ipLink('vxseal0').linkinfo).toMatchObject({ info_kind: 'bridge' });
  });

  test('a port that is taken names the device in the error', async () => {
    namespace.run('ip', 'link', 'add', 'other', 'type', 'vxlan', 'external', 'dstport', '4790');
    namespace.run('ip', 'link', 'set', 'other', 'up');
    await expect(netlink.ensureVxlan(SPEC)).rejects.toMatchObject({
      code: 'kernel',
      message: expect.stringContaining('VXLAN device vxseal0'),
    });
  });

  test('without IPv6 on the device it works too', async () => {
    await netlink.ensureVxlan({ ...SPEC, mtuBytes: 1200 }); // below 1280 the kernel takes IPv6 off (RFC 8200 §5)
    expect(await netlink.ensureVxlan({ ...SPEC, mtuBytes: 1200 })).toMatchObject({
      mtuBytes: 1200,
    });
    await netlink.raiseVxlan('vxseal0');
  });
});

describe('routes', () => {
  let device: LinkInfo;
  beforeEach(async () => {
    device = await netlink.ensureVxlan(SPEC);
    await netlink.raiseVxlan('vxseal0');
  });

  test.each(['10.244.2.0/24', '10.0.0.0/8', '10.244.2.7/32', 'fd00:2::/64', 'fd00:2::7/128', '10.128.0.0/9'])(
    '%s: put, listed, put again, removed, removed again',
    async (text) => {
      const route = { prefix: prefix(text), device: 'vxseal0' };
      await netlink.putRoute(route);
      await netlink.putRoute(route);
      expect(await netlink.ownRoutes()).toEqual([route]);
      await netlink.removeRoute(route);
      await netlink.removeRoute(route);
      expect(await netlink.ownRoutes()).toEqual([]);
    },
  );

  test('carry our protocol, link scope, main table', async () => {
    await netlink.putRoute({ prefix: prefix('10.244.2.0/24'), device: 'vxseal0' });
    expect(JSON.parse(namespace.run('ip', '-j', '-d', 'route', 'show', '10.244.2.0/24'))).toEqual([
      expect.objectContaining({
        dev: 'vxseal0',
        protocol: String(ROUTE_PROTOCOL),
        scope: 'link',
        type: 'unicast',
      }),
    ]);
  });

  // Two devices with addresses, as a machine with a network for its management has: the first would be the source.
  test.each([
    ['198.51.100.0/24', '198.51.100.1', '192.0.2.1/24', '203.0.113.1'],
    ['2001:db8:1::/64', '2001:db8:1::1', '2001:db8:2::1/64', '2001:db8:3::1'],
  ])('%s: what the host sends there has the source of the route', async (text, to, first, second) => {
    for (const [name, address] of [
      ['nic0', first],
      ['nic1', `${second}/${text.includes(':') ? 64 : 24}`],
    ] as const) {
      namespace.run('ip', 'link', 'add', name, 'type', 'bridge');
      namespace.run('ip', 'link', 'set', name, 'up');
      namespace.run('ip', 'address', 'add', address, 'dev', name, ...(text.includes(':') ? ['nodad'] : []));
    }
    const bare = { prefix: prefix(text), device: 'vxseal0' };
    await netlink.putRoute(bare);
    expect(namespace.run('ip', 'route', 'get', to)).not.toContain(`src ${second}`);
    const route = { ...bare, source: second as IpAddress };
    await netlink.putRoute(route);
    expect(await netlink.ownRoutes()).toEqual([route]);
    expect(namespace.run('ip', 'route', 'get', to)).toContain(`src ${second}`);
    await netlink.removeRoute(route);
    expect(await netlink.ownRoutes()).toEqual([]);
  });

  test("others' routes are neither listed, nor replaced, nor removed", async () => {
    for (const family of [['10.244.3.0/24'], ['-6', 'fd00:3::/64']]) {
      const text = family.at(-1) ?? '';
      const flags = family.length > 1 ? ['-6'] : [];
      namespace.run(
        'ip',
        ...flags,
        'route',
        'add',
        text,
        'dev',
        'vxseal0',
        'proto',
        'static',
        'metric',
        flags.length > 0 ? '1024' : '0',
      );
      const before = namespace.run('ip', ...flags, 'route', 'show', text);
      await expect(netlink.putRoute({ prefix: prefix(text), device: 'vxseal0' })).rejects.toMatchObject({
        errnoName: 'EEXIST',
        message: expect.stringMatching(/protocol 4/),
      });
      await netlink.removeRoute({ prefix: prefix(text), device: 'vxseal0' });
      expect(namespace.run('ip', ...flags, 'route', 'show', text)).toBe(before);
    }
    expect(await netlink.ownRoutes()).toEqual([]);
  });

  test('one of ours through another device moves', async () => {
    namespace.run('ip', 'link', 'add', 'other0', 'type', 'bridge');
    namespace.run('ip', 'link', 'set', 'other0', 'up');
    for (const text of ['10.244.4.0/24', 'fd00:4::/64']) {
      await netlink.putRoute({ prefix: prefix(text), device: 'other0' });
      await netlink.putRoute({ prefix: prefix(text), device: 'vxseal0' });
    }
    expect((await netlink.ownRoutes()).map((route) => route.device)).toEqual(['vxseal0', 'vxseal0']);
  });

  test('of a device that is not there: put says so, remove succeeds', async () => {
    const route = { prefix: prefix('10.244.2.0/24'), device: 'nothere' };
    await expect(netlink.putRoute(route)).rejects.toMatchObject({ errnoName: 'ENODEV', retriable: true });
    await netlink.removeRoute(route);
  });

  test('go with their device', async () => {
    await netlink.putRoute({ prefix: prefix('10.244.2.0/24'), device: 'vxseal0' });
    await netlink.removeLink(device.ifindex);
    await netlink.removeLink(device.ifindex);
    expect(await netlink.ownRoutes()).toEqual([]);
  });

  const getRoute = (address: string): string => {
    try {
      return namespace.run('ip', 'route', 'get', address);
    } catch (error) {
      return String((error as { readonly stderr?: string }).stderr);
    }
  };

  /** A way out for everything, as every node has one. */
  function addDefaultRoute(): void {
    namespace.run('ip', 'link', 'add', 'nic0', 'type', 'bridge');
    namespace.run('ip', 'link', 'set', 'nic0', 'up');
    namespace.run('ip', 'route', 'add', 'default', 'dev', 'nic0');
    namespace.run('ip', '-6', 'route', 'add', 'default', 'dev', 'nic0');
  }

  test.each([
    ['10.244.2.0/24', '10.244.2.9'],
    ['10.0.0.0/8', '10.9.9.9'],
    ['fd00:2::/64', 'fd00:2::9'],
  ])(
    '%s unreachable: behind the one through the device, and there when that is gone',
    async (text, inside) => {
      addDefaultRoute();
      const refused = { prefix: prefix(text), device: undefined };
      const through = { prefix: prefix(text), device: 'vxseal0' };
      expect(getRoute(inside)).toContain('dev nic0');
      for (const route of [refused, through, refused, through]) await netlink.putRoute(route);
      expect(new Set(await netlink.ownRoutes())).toEqual(new Set([refused, through]));
      expect(getRoute(inside)).toContain('dev vxseal0');
      await netlink.removeLink(device.ifindex);
      expect(await netlink.ownRoutes()).toEqual([refused]);
      expect(getRoute(inside)).toContain('No route to host');
      await netlink.removeRoute(refused);
      await netlink.removeRoute(refused);
      expect(await netlink.ownRoutes()).toEqual([]);
      expect(getRoute(inside)).toContain('dev nic0');
    },
  );

  test.each([
    ['10.244.5.0/24', '10.244.5.1/24', '10.244.5.9'],
    ['fd00:5::/64', 'fd00:5::1/64', 'fd00:5::9'],
  ])(
    '%s unreachable takes nothing from the bridge that has it, and neither is removed for the other',
    async (text, own, pod) => {
      addDefaultRoute();
      const refused = { prefix: prefix(text), device: undefined };
      const through = { prefix: prefix(text), device: 'vxseal0' };
      await netlink.putRoute(refused);
      namespace.run('ip', 'link', 'add', 'cni0', 'type', 'bridge');
      namespace.run('ip', 'link', 'set', 'cni0', 'up');
      namespace.run('ip', 'addr', 'add', own, 'dev', 'cni0', ...(own.includes(':') ? ['nodad'] : []));
      expect(getRoute(pod)).toContain('dev cni0');
      await netlink.removeRoute(through);
      expect(await netlink.ownRoutes()).toEqual([refused]);
      await netlink.removeRoute(refused);
      expect(await netlink.ownRoutes()).toEqual([]);
      expect(getRoute(pod)).toContain('dev cni0');
      await netlink.putRoute(refused);
      namespace.run('ip', 'link', 'del', 'cni0');
      expect(getRoute(pod)).toContain('No route to host');
    },
  );

  test('removing the one through the device leaves the unreachable one, and the other way round', async () => {
    for (const text of ['10.244.6.0/24', 'fd00:6::/64']) {
      const refused = { prefix: prefix(text), device: undefined };
      const through = { prefix: prefix(text), device: 'vxseal0' };
      for (const [gone, left] of [
        [refused, through],
        [through, refused],
      ] as const) {
        await netlink.putRoute(refused);
        await netlink.putRoute(through);
        await netlink.removeRoute(gone);
        expect(await netlink.ownRoutes()).toEqual([left]);
      }
      await netlink.removeRoute(refused);
    }
  });

  test("another's unreachable route at our metric is told, and stays", async () => {
    for (const [family, text] of [
      ['-4', '10.244.7.0/24'],
      ['-6', 'fd00:7::/64'],
    ] as const) {
      const metric = String(UNREACHABLE_METRIC);
      namespace.run('ip', family, 'route', 'add', 'unreachable', text, 'metric', metric, 'proto', 'static');
      await expect(netlink.putRoute({ prefix: prefix(text), device: undefined })).rejects.toMatchObject({
        errnoName: 'EEXIST',
        message: expect.stringMatching(/unreachable route .*protocol 4/),
      });
      expect(namespace.run('ip', family, 'route', 'show', text)).toContain('unreachable');
    }
    expect(await netlink.ownRoutes()).toEqual([]);
  });

  test('some hundred at once, more than one message of the dump', async () => {
    const wanted = Array.from({ length: 600 }, (_, i) => prefix(`10.${100 + (i >> 8)}.${i & 255}.0/24`));
    await Promise.all(wanted.map((text) => netlink.putRoute({ prefix: text, device: 'vxseal0' })));
    const found = await netlink.ownRoutes();
    expect(new Set(found.map((route) => route.prefix))).toEqual(new Set(wanted));
  });
});

describe('devices and addresses', () => {
  test('a veth pair over two namespaces names its other end', async () => {
    const pod = createNamespace();
    try {
      createVeth(namespace, 'host0', pod, 'eth0');
      pod.run('ip', 'addr', 'add', '10.244.1.2/24', 'dev', 'eth0');
      pod.run('ip', '-6', 'addr', 'add', 'fd00:1::2/64', 'dev', 'eth0', 'nodad');
      const inside = createNetnsOpener(native).open(pod.path);
      const insideNetlink = inside.netlink();
      const eth0 = (await insideNetlink.links()).find(({ name }) => name === 'eth0');
      const host0 = (await netlink.links()).find(({ name }) => name === 'host0');
      expect(eth0).toMatchObject({ kind: 'veth', linkIndex: host0?.ifindex, up: true, loopback: false });
      expect(host0).toMatchObject({ kind: 'veth', linkIndex: eth0?.ifindex });
      expect(host0?.linkNsid).toBeGreaterThanOrEqual(0);
      const addresses = (await insideNetlink.addresses()).filter(({ ifindex }) => ifindex === eth0?.ifindex);
      expect(addresses).toEqual(
        expect.arrayContaining([
          { ifindex: eth0?.ifindex, address: '10.244.1.2' as IpAddress, prefixLength: 24 },
          { ifindex: eth0?.ifindex, address: 'fd00:1::2' as IpAddress, prefixLength: 64 },
        ]),
      );
      await insideNetlink.setMtu(eth0?.ifindex ?? 0, 1408);
      expect((await insideNetlink.links()).find(({ name }) => name === 'eth0')?.mtuBytes).toBe(1408);
      insideNetlink.close();
      inside.close();
    } finally {
      pod.remove();
    }
  });

  test('a veth whose other end is in the same namespace has no other namespace', async () => {
    namespace.run('ip', 'link', 'add', 'a0', 'type', 'veth', 'peer', 'name', 'b0');
    const links = await netlink.links();
    const [a, b] = ['a0', 'b0'].map((name) => links.find((link) => link.name === name));
    expect(a).toMatchObject({ linkIndex: b?.ifindex, linkNsid: -1 });
  });

  test('a point-to-point address is our own end', async () => {
    namespace.run('ip', 'link', 'add', 'p0', 'type', 'bridge');
    namespace.run('ip', 'addr', 'add', '10.9.9.1', 'peer', '10.9.9.2/32', 'dev', 'p0');
    expect(await netlink.addresses()).toEqual([
      expect.objectContaining({ address: '10.9.9.1', prefixLength: 32 }),
    ]);
  });

  test('the loopback is told', async () => {
    expect(await netlink.links()).toEqual([
      expect.objectContaining({ name: 'lo', loopback: true, kind: '' }),
    ]);
  });

  test('errors name the device and carry the errno', async () => {
    await expect(netlink.setMtu(4242, 1400)).rejects.toMatchObject({
      errnoName: 'ENODEV',
      op: 'set MTU 1400 of device 4242',
    });
  });

  test('a closed socket refuses, and says so', async () => {
    const other = netns.netlink();
    const pending = other.links();
    other.close();
    other.close();
    await expect(pending).rejects.toMatchObject({ code: 'kernel' });
    await expect(other.links()).rejects.toMatchObject({ errnoName: 'EBADF' });
  });
});

describe('namespaces', () => {
  test('identity is that of the file', () => {
    const stat = namespace.run('stat', '-L', '-c', '%i', namespace.path).trim();
    expect(netns.inode).toBe(BigInt(stat));
    const again = createNetnsOpener(native).open(namespace.path);
    expect([again.device, again.inode]).toEqual([netns.device, netns.inode]);
    again.close();
  });

  test.each([
    ['/run/netns/vxt-not-there', 'ENOENT'],
    ['/etc/hostname', 'EINVAL'],
    ['/proc/self/ns/mnt', 'EINVAL'],
  ])('%s is refused with %s', (path, code) => {
    expect(() => createNetnsOpener(native).open(path)).toThrow(
      expect.objectContaining({ errnoName: code, op: `open network namespace ${path}` }),
    );
  });

  test('the own namespace is not left', async () => {
    const own = createNetlink(native);
    const names = (await own.links()).map(({ name }) => name);
    expect(names).toContain('lo');
    await netlink.ensureVxlan(SPEC);
    expect((await own.links()).map(({ name }) => name)).toEqual(names);
    own.close();
  });
});
