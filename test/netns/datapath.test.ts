// The data plane against the kernel: real programs, links, maps and pins, on veths in namespaces of their own.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../agent/core/ids';
import type { DatapathSettings, HookEntry, ProgramName, TxSa } from '../../agent/core/state';
import { createDatapath } from '../../agent/kernel/datapath';
import type { XdpChoice } from '../../agent/kernel/hooks';
import { type Fd, loadNative, type Native } from '../../agent/kernel/native';
import { probeKernel } from '../../agent/kernel/probe';
import { ATTACH_POINTS, PROGRAM_NAMES } from '../../agent/kernel/programs';
import type { Datapath } from '../../agent/ports';
import { createNamespace, createVeth, type Namespace } from './namespace';
import { hasTcx, testWithTcx } from './tcx';

const native = loadNative();
const bpfDir = join(__dirname, '../../build/bpf');
const peer = (value: number) => value as PeerNumber;
const vni = (value: number) => value as Vni;

const noTcx = (): never => {
  throw Object.assign(new Error('no tcx'), { code: 'EINVAL', errno: 22 });
};
/** A kernel without tcx, as 6.1 is. */
const withoutTcx: Native = { ...native, attachTcx: noTcx, queryTcx: noTcx };

let node: Namespace;
let wire: Namespace;
let netns: Fd;
let bpffs: string;
let underlay: number;
let opened: Datapath[];

beforeEach(() => {
  opened = [];
  node = createNamespace();
  wire = createNamespace();
  createVeth(node, 'eth0', wire, 'wire0');
  netns = native.openNetns(node.path);
  underlay = JSON.parse(node.run('ip', '-j', 'link', 'show', 'eth0'))[0].ifindex;
  bpffs = mkdtempSync(join(tmpdir(), 'vxseal-bpffs-'));
  native.mountBpffs(bpffs);
});

afterEach(() => {
  // Also after a failure: an open ring buffer keeps the process, a link keeps its program.
  for (const datapath of opened) inside(() => datapath.destroy());
  netns.close();
  node.remove();
  wire.remove();
  execFileSync('umount', [bpffs]);
  rmSync(bpffs, { recursive: true });
});

/** In the node's namespace, where the device numbers mean what they say. */
const inside = <T>(body: () => T): T => native.inNetns(netns, body);
function open(xdp: XdpChoice = 'auto', on: Native = native): Datapath {
  const datapath = createDatapath(on, { bpfDir, pinDir: join(bpffs, 'vxseal'), xdp });
  opened.push(datapath);
  inside(() => datapath.open());
  return datapath;
}
const attach = (datapath: Datapath, program: ProgramName) =>
  inside(() => datapath.attach({ program, ifindex: underlay }));
const list = (datapath: Datapath) =>
  inside(() => datapath.attached())
    .map(({ program, mode }) => `${program} ${mode}`)
    .sort();
interface Seen {
  /** "native 17" */
  readonly xdp: string[];
  /** In the order in which they run: "open_tc 18". */
  readonly ingress: string[];
  readonly egress: string[];
}
const programName = (id: number): string =>
  JSON.parse(execFileSync('bpftool', ['-j', 'prog', 'show', 'id', String(id)], { encoding: 'utf8' })).name;

/** What ip(8), tc(8) and the kernel's own list say of the underlay: not what our pins say. */
function seen(): Seen {
  const link = JSON.parse(node.run('ip', '-d', '-j', 'link', 'show', 'eth0'))[0];
  const xdpModes = ['', 'native', 'generic'];
  const xdp = link.xdp === undefined ? [] : [`${xdpModes[link.xdp.mode]} ${link.xdp.prog.id}`];
  const filters = (direction: string) =>
    [...node.run('tc', 'filter', 'show', 'dev', 'eth0', direction).matchAll(/ id (\d+) /g)].map((match) =>
      Number(match[1]),
    );
  const hook = (direction: 'ingress' | 'egress') =>
    [...(hasTcx ? inside(() => native.queryTcx(underlay, direction)) : []), ...filters(direction)].map(
      (id) => `${programName(id)} ${id}`,
    );
  return { xdp, ingress: hook('ingress'), egress: hook('egress') };
}
const count = ({ xdp, ingress, egress }: Seen): number => xdp.length + ingress.length + egress.length;
const names = (hook: string[]): string[] => hook.map((entry) => entry.split(' ')[0] ?? '');
/** A bpffs of its own holds two files of the kernel's. */
const leftPinned = () => readdirSync(bpffs).filter((name) => !name.endsWith('.debug'));

const SETTINGS: DatapathSettings = {
  hostVni: vni(42),
  vxlanPort: 4790,
  espPort: 4500,
  underlayMtuBytes: 1500,
  vxlanMtuBytes: 1408,
  mac: '02:00:5e:00:53:01',
  sharedPort: false,
};
const TX: TxSa = {
  vni: vni(42),
  peer: peer(3),
  spi: 0x01020304 as Spi,
  key: Uint8Array.from({ length: 32 }, (_, i) => i + 1),
  salt: Uint8Array.of(1, 2, 3, 4),
  limit: 1n << 40n,
};

describe('hooks', () => {
  type Row = [number, string, XdpChoice, string, string];
  const onTcx: Row[] = [
    [1, 'tcx', 'auto', 'open xdp-native', 'seal tcx'],
    [2, 'tcx', 'tc', 'open tc-open', 'seal tcx'],
  ];
  const onClsact: Row[] = [
    [3, 'clsact', 'native', 'open xdp-native', 'seal clsact'],
    [4, 'clsact', 'tc', 'open tc-open', 'seal clsact'],
  ];
  const attachedAdoptedReleased = (_n: number, way: string, xdp: XdpChoice, open_: string, seal: string) => {
    const on = way === 'tcx' ? native : withoutTcx;
    const first = open(xdp, on);
    const hooks: ProgramName[] = ['open', 'deliver', 'seal'];
    for (const program of hooks) attach(first, program);
    expect(list(first)).toEqual(expect.arrayContaining([open_, seal]));
    expect(list(first)).toHaveLength(3);
    const eyes = seen();
    expect(count(eyes)).toBe(3);
    expect(eyes.xdp.length).toBe(open_.startsWith('open xdp') ? 1 : 0);
    const modes = list(first);
    first.close();
    expect(seen()).toEqual(eyes); // it goes on without us

    const second = open(xdp, on);
    expect(list(second)).toEqual(modes);
    const after = seen();
    expect(count(after)).toBe(3);
    // Other programs at the same hooks.
    for (const hook of ['xdp', 'ingress', 'egress'] as const) {
      expect(after[hook]).toHaveLength(eyes[hook].length);
      for (const program of eyes[hook]) expect(after[hook]).not.toContain(program);
    }
    for (const program of hooks) inside(() => second.detach({ program, ifindex: underlay }));
    expect(list(second)).toEqual([]);
    inside(() => second.destroy());
    expect(count(seen())).toBe(0);
    expect(leftPinned()).toEqual([]);
  };
  const name = '%i: %s, XDP %s: attached, adopted, released';
  testWithTcx.each(onTcx)(name, attachedAdoptedReleased);
  test.each(onClsact)(name, attachedAdoptedReleased);

  const goneWithItsDevice = (way: string) => {
    const datapath = open('tc', way === 'tcx' ? native : withoutTcx);
    for (const program of PROGRAM_NAMES) attach(datapath, program);
    expect(list(datapath)).toHaveLength(PROGRAM_NAMES.length);
    node.run('ip', 'link', 'del', 'eth0');
    expect(list(datapath)).toEqual([]);
    expect(() => attach(datapath, 'seal')).toThrow(expect.objectContaining({ retriable: true }));
    expect(['links', 'filters'].flatMap((folder) => readdirSync(join(bpffs, 'vxseal', folder)))).toEqual([]);
    inside(() => datapath.destroy());
  };
  testWithTcx.each(['tcx'])('%s: a device that went away takes its hooks along', goneWithItsDevice);
  test.each(['clsact'])('%s: a device that went away takes its hooks along', goneWithItsDevice);

  test('every program goes where it belongs', () => {
    const datapath = open('tc');
    for (const program of PROGRAM_NAMES) attach(datapath, program);
    const eyes = seen();
    for (const { tc, direction } of Object.values(ATTACH_POINTS))
      expect(names(eyes[direction])).toContain(tc);
    expect(count(eyes)).toBe(PROGRAM_NAMES.length);
    inside(() => datapath.destroy());
  });

  testWithTcx('tcx: another user of the hook who got there first does not decide before us', () => {
    const datapath = open('tc');
    const other = native.loadObject(join(bpfDir, 'guard.bpf.o'), {});
    const guard = other.programs.guard;
    if (guard === undefined) throw new Error('guard is missing');
    const link = inside(() => native.attachTcx(guard.fd, underlay, 'ingress'));
    attach(datapath, 'deliver');
    attach(datapath, 'open');
    expect(names(seen().ingress)).toEqual(['open_tc', 'deliver', 'guard']);
    link.close();
    inside(() => datapath.destroy());
  });

  testWithTcx('tcx: another user who went in front later is told, and overtaken', () => {
    const order: string[][] = [];
    const note = () => order.push(names(seen().egress));
    const watching: Native = {
      ...native,
      detachLink: (link) => {
        note();
        native.detachLink(link);
        note();
      },
    };
    const datapath = open('tc', watching);
    attach(datapath, 'seal');
    const other = native.loadObject(join(bpfDir, 'guard.bpf.o'), {}).programs.guard;
    if (other === undefined) throw new Error('guard is missing');
    const { id } = native.programInfo(other.fd);
    const link = inside(() => native.attachTcx(other.fd, underlay, 'egress'));
    const hook = { program: 'seal', ifindex: underlay, mode: 'tcx' } as const;
    expect(inside(() => datapath.attached())).toEqual([{ ...hook, behind: id }]);
    attach(datapath, 'seal');
    expect(order).toEqual([
      ['seal', 'guard', 'seal'],
      ['seal', 'guard'],
    ]);
    expect(inside(() => datapath.attached())).toEqual([hook]);
    // Nothing that keeps our own program out the next time.
    datapath.close();
    const second = open('tc');
    expect(inside(() => second.attached())).toEqual([hook]);
    expect(names(seen().egress)).toEqual(['seal', 'guard']);
    link.close();
    expect(names(seen().egress)).toEqual(['seal']);
    inside(() => second.destroy());
    expect(leftPinned()).toEqual([]);
  });

  test('from XDP to tc without a moment in between', () => {
    const first = open('native');
    attach(first, 'open');
    first.close();
    const second = open('tc');
    expect(attach(second, 'open').mode).toBe('tc-open');
    expect(seen()).toMatchObject({ xdp: [], ingress: [expect.stringMatching(/^open_tc /)], egress: [] });
    inside(() => second.destroy());
  });

  test('while programs are replaced, the device never has none', () => {
    const first = open();
    const hooks: HookEntry[] = (['seal', 'deliver', 'open'] as const).map((program) => ({
      program,
      ifindex: underlay,
    }));
    for (const hook of hooks) inside(() => first.attach(hook));
    first.close();
    const counts: number[] = [];
    // Looks at the device around every call that could change it.
    const watching: Native = {
      ...native,
      updateLink: (link, program) => {
        counts.push(count(seen()));
        native.updateLink(link, program);
        counts.push(count(seen()));
      },
      attachClsact: (...hook) => {
        counts.push(count(seen()));
        native.attachClsact(...hook);
        counts.push(count(seen()));
      },
    };
    const second = open('auto', watching);
    for (const hook of hooks) inside(() => second.attach(hook));
    // Filters are written again also when they hold the program already.
    expect(counts.length).toBeGreaterThanOrEqual(6);
    expect(new Set(counts)).toEqual(new Set([3]));
    inside(() => second.destroy());
  });
});

describe('a device that is about to go', () => {
  const steer = () => ({ program: 'steer', ifindex: underlay }) as const;
  const leaving = () => ({ ...steer(), leaving: true }) as const;
  const ingress = () => names(seen().ingress);

  testWithTcx(
    'a filter comes beside the link before that goes; staying after all, the other way round',
    () => {
      const counts: number[] = [];
      const counting = <A extends unknown[], R>(call: (...args: A) => R) => {
        return (...args: A): R => {
          counts.push(ingress().length);
          const result = call(...args);
          counts.push(ingress().length);
          return result;
        };
      };
      const watching: Native = {
        ...native,
        attachTcx: counting(native.attachTcx),
        detachLink: counting(native.detachLink),
        attachClsact: counting(native.attachClsact),
        detachClsact: counting(native.detachClsact),
      };
      const datapath = open('auto', watching);
      inside(() => datapath.attach(steer()));
      counts.length = 0;
      expect(inside(() => datapath.attach(leaving())).mode).toBe('clsact');
      expect(inside(() => native.queryTcx(underlay, 'ingress'))).toEqual([]);
      expect(ingress()).toEqual(['steer']);
      expect(inside(() => datapath.attached())).toEqual([{ ...steer(), mode: 'clsact', passing: true }]);
      expect(inside(() => datapath.attach(steer())).mode).toBe('tcx');
      expect(inside(() => native.queryTcx(underlay, 'ingress'))).toHaveLength(1);
      expect(ingress()).toEqual(['steer']);
      expect(counts).toEqual([1, 2, 2, 1, 1, 2, 2, 1]);
    },
  );

  testWithTcx('with a tcx program of somebody else the link stays, or comes back', () => {
    const datapath = open();
    inside(() => datapath.attach(steer()));
    inside(() => datapath.attach(leaving()));
    const guard = native.loadObject(join(bpfDir, 'guard.bpf.o'), {}).programs.guard;
    if (guard === undefined) throw new Error('guard is missing');
    const { fd } = guard;
    const link = inside(() => native.attachTcx(fd, underlay, 'ingress'));
    expect(inside(() => datapath.attached())).toEqual([
      { ...steer(), mode: 'clsact', passing: true, behind: native.programInfo(fd).id },
    ]);
    expect(inside(() => datapath.attach(leaving())).mode).toBe('tcx');
    expect(ingress()).toEqual(['steer', 'guard']);
    expect(inside(() => datapath.attach(leaving())).mode).toBe('tcx');
    expect(ingress()).toEqual(['steer', 'guard']);
    link.close();
  });
});

describe('maps', () => {
  test('entries outlive the process; destroy() takes them along', () => {
    const first = open();
    first.configure(SETTINGS, 11);
    first.overlay.put({ vni: vni(42), prefix: '10.244.2.0/24' as Prefix, peer: peer(3), node: false });
    first.overlay.put({ vni: vni(42), prefix: 'fd00:2::/64' as Prefix, peer: peer(3), node: false });
    first.overlay.put({ vni: vni(42), prefix: '192.0.2.2/32' as Prefix, peer: peer(3), node: true });
    const entry = {
      number: peer(3),
      identity: '00112233445566778899aabbccddeeff',
      vtep: '192.0.2.2' as IpAddress,
      local: '192.0.2.1' as IpAddress,
      mac: '02:00:5e:00:53:02',
    };
    first.peers.put(entry);
    first.peers.put(entry);
    const pod = {
      ifindex: 20,
      vni: vni(42),
      mac: '02:aa:00:00:00:01',
      hostMac: '02:bb:00:00:00:01',
      addresses: ['10.244.1.2', 'fd00:1::2'] as IpAddress[],
    };
    first.pods.put(pod);
    first.sas.putTx(TX);
    first.sas.putRx({ ...TX, source: '192.0.2.2' as IpAddress });
    first.sas.putRx({ ...TX, source: 'fd00::2' as IpAddress });
    first.close();

    const second = open();
    expect(second.settings()).toEqual(SETTINGS);
    expect(
      second.overlay
        .list()
        .map(({ prefix, node: isNode }) => `${prefix} ${isNode}`)
        .sort(),
    ).toEqual(['10.244.2.0/24 false', '192.0.2.2/32 true', 'fd00:2::/64 false']);
    expect(second.peers.list()).toEqual([entry]);
    expect(second.pods.list()).toEqual([pod]);
    expect(second.sas.listTx()).toEqual([
      expect.objectContaining({ peer: 3, spi: 0x01020304, sequence: 0n }),
    ]);
    expect(
      second.sas
        .listRx()
        .map(({ source, packets }) => `${source} ${packets}`)
        .sort(),
    ).toEqual(['192.0.2.2 0', 'fd00::2 0']);
    expect(() => second.sas.putTx(TX)).toThrow(/same key/);
    second.sas.putRx({ ...TX, source: '192.0.2.2' as IpAddress });
    expect(second.peerTraffic()).toEqual([
      { peer: 3, sealedPackets: 0n, sealedBytes: 0n, openedPackets: 0n, openedBytes: 0n },
    ]);
    expect(second.dropCounts()).toEqual([]);
    expect(second.mapUsage()).toEqual(
      expect.arrayContaining([
        { map: 'overlay', entries: 3, capacity: second.overlay.capacity, evicted: 0 },
        { map: 'rx_sa', entries: 2, capacity: 131072, evicted: 0 },
        { map: 'endpoints', entries: 2, capacity: 16384, evicted: 0 },
      ]),
    );
    second.peers.remove(entry);
    second.pods.remove(pod);
    second.sas.removeTx(vni(42), peer(3));
    const left = new Map(second.mapUsage().map(({ map, entries }) => [map, entries]));
    for (const map of ['peers', 'vteps', 'peer_stats', 'pods', 'endpoints', 'tx_sa'])
      expect(left.get(map)).toBe(0);
    inside(() => second.destroy());

    const third = open();
    expect([third.settings(), third.overlay.list()]).toEqual([undefined, []]);
    inside(() => third.destroy());
  });

  test('a map pinned with another layout is refused with the remedy', () => {
    open().close();
    const pin = join(bpffs, 'vxseal', 'maps', 'peers');
    execFileSync('rm', [pin]);
    execFileSync('bpftool', [
      'map',
      'create',
      pin,
      'type',
      'hash',
      'key',
      '4',
      'value',
      '99',
      'entries',
      '8',
      'name',
      'peers',
    ]);
    expect(() => open()).toThrow(/adopt pinned map peers.*another version.*--cleanup/);
    const leftover = createDatapath(native, { bpfDir, pinDir: join(bpffs, 'vxseal'), xdp: 'auto' });
    inside(() => leftover.destroy());
    expect(leftPinned()).toEqual([]);
  });

  test('many peers come and go, and the maps are as before', () => {
    const datapath = open();
    const before = datapath.mapUsage();
    const entries = Array.from({ length: 500 }, (_, i) => ({
      number: peer(i + 1),
      identity: String(i).padStart(32, '0'),
      vtep: `10.9.${i >> 8}.${i & 255}` as IpAddress,
      local: '192.0.2.1' as IpAddress,
      mac: '02:00:5e:00:53:02',
    }));
    for (const entry of entries) datapath.peers.put(entry);
    expect(datapath.peers.list()).toHaveLength(500);
    for (const entry of entries) datapath.peers.remove(entry);
    expect(datapath.mapUsage()).toEqual(before);
    inside(() => datapath.destroy());
  });
});

test('the probe says what this kernel does', async () => {
  const { checks, release } = await probeKernel(native, { bpfDir, pinDir: join(bpffs, 'vxseal') });
  expect(release).not.toBe('');
  const bad = checks.filter(({ ok, name }) => !ok && name !== 'BPF JIT');
  expect(bad).toEqual([]);
  expect(checks.find(({ name }) => name === 'VXLAN')).toMatchObject({ ok: true });
});
