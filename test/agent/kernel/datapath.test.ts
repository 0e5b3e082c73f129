import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../../agent/core/ids';
import type {
  DatapathSettings,
  OverlayEntry,
  PeerEntry,
  PodEntry,
  RxSa,
  TxSa,
} from '../../../agent/core/state';
import { createDatapath } from '../../../agent/kernel/datapath';
import { PROGRAM_NAMES } from '../../../agent/kernel/programs';
import type { Datapath, FlowReport, ProbeReply } from '../../../agent/ports';
import { errno, type FakeKernel, type FakeMap, fakeNative } from '../../fakes/native';
import { mapped, newKernel, SHAPES, u32, u64 } from './shapes';

const vni = (value: number) => value as Vni;
const peer = (value: number) => value as PeerNumber;
const spi = (value: number) => value as Spi;
const ip = (text: string) => text as IpAddress;

const SETTINGS: DatapathSettings = {
  hostVni: vni(42),
  vxlanPort: 4790,
  espPort: 4500,
  underlayMtuBytes: 1500,
  vxlanMtuBytes: 1408,
  mac: '02:00:5e:00:53:01',
  sharedPort: false,
};

let folder: string;
let kernel: FakeKernel;
let datapath: Datapath;

function start(): Datapath {
  const native = fakeNative(kernel, (file) => (file === 'open' ? ['open_xdp', 'open_tc'] : [file]));
  return createDatapath(native, { bpfDir: join(folder, 'bpf'), pinDir: join(folder, 'pins'), xdp: 'auto' });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vxseal-datapath-'));
  mkdirSync(join(folder, 'bpf'));
  for (const name of PROGRAM_NAMES) writeFileSync(join(folder, 'bpf', `${name}.bpf.o`), '');
  kernel = newKernel();
  kernel.devices.add(7);
  datapath = start();
  datapath.open();
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

const map = (name: string): FakeMap => {
  const found = [...kernel.objects.values()].find(
    (object): object is FakeMap => 'entries' in object && object.name === name,
  );
  if (found === undefined) throw new Error(`no map ${name}`);
  return found;
};
const value = (name: string, ...key: Buffer[]): Buffer | undefined =>
  map(name).entries.get(Buffer.concat(key).toString('hex'));
const setValue = (name: string, key: Buffer, bytes: Buffer) =>
  map(name).entries.set(key.toString('hex'), bytes);

describe('open', () => {
  test('pins every program, and a second process takes the same maps', () => {
    expect(readdirSync(join(folder, 'pins', 'programs')).sort()).toEqual(
      [...PROGRAM_NAMES.filter((name) => name !== 'open'), 'open_tc', 'open_xdp'].sort(),
    );
    datapath.overlay.put({ vni: vni(42), prefix: '10.1.0.0/24' as Prefix, peer: peer(3), node: false });
    datapath.close();
    const next = start();
    next.open();
    expect(next.overlay.list()).toHaveLength(1);
  });

  test('moves attached hooks to the new programs at once', () => {
    datapath.attach({ program: 'seal', ifindex: 7 });
    datapath.close();
    kernel.calls.length = 0;
    start().open();
    expect(kernel.calls).toContain('updateLink seal 7');
    expect(kernel.calls.filter((call) => call.startsWith('detach'))).toEqual([]);
  });

  test('names a missing object and the remedy', () => {
    rmSync(join(folder, 'bpf', 'seal.bpf.o'));
    expect(() => start().open()).toThrow(/load program seal: ENOENT: .*seal\.bpf\.o.*scripts\/build/);
  });

  test("ends with the verifier's last lines when a program is refused", () => {
    kernel.fail = (call) =>
      call === 'loadObject open'
        ? Object.assign(errno('EACCES', 13), { log: 'R3 invalid mem access' })
        : undefined;
    expect(() => start().open()).toThrow(/load program open: EACCES.*R3 invalid mem access$/s);
  });

  test.each(Object.keys(SHAPES).filter((name) => name !== 'events'))(
    'refuses a pinned %s of another size',
    (name) => {
      const pin = kernel.add({ ...map(name), valueSize: map(name).valueSize + 8 });
      writeFileSync(join(folder, 'pins', 'maps', name), String(pin));
      expect(() => start().open()).toThrow(
        new RegExp(`adopt pinned map ${name}.*another version.*--cleanup`),
      );
    },
  );

  test('refuses a pinned configuration of another layout, and destroy() removes it all the same', () => {
    const config = value('config', u32(0));
    config?.writeUInt32LE(99, 8);
    datapath.close();
    const next = start();
    expect(() => next.open()).toThrow(/adopt pinned map config.*layout 99/);
    next.destroy();
    expect(readdirSync(folder)).toEqual(['bpf']);
  });

  test('use before it is a bug', () => {
    expect(() => start().overlay).toThrow('the data plane is not open');
  });
});

describe('configure', () => {
  test('lays the settings out as abi.h says', () => {
    expect(datapath.settings()).toBeUndefined();
    datapath.configure(SETTINGS, 11);
    const bytes = value('config', u32(0)) ?? Buffer.alloc(0);
    expect(bytes.subarray(8, 28)).toEqual(Buffer.concat([1, 11, 42, 1500, 1408].map(u32)));
    expect([bytes.readUInt16LE(28), bytes.readUInt16LE(30)]).toEqual([4790, 4500]);
    expect(bytes.subarray(34, 40).toString('hex')).toBe('02005e005301');
    expect(bytes.subarray(40)).toEqual(Buffer.alloc(8));
    expect(datapath.settings()).toEqual(SETTINGS);
  });

  test('draws cookie and stamp once, and keeps them over changes and restarts', () => {
    datapath.configure(SETTINGS, 11);
    const secrets = () => {
      const bytes = value('config', u32(0));
      return [bytes?.readBigUInt64LE(0), bytes?.readUInt16LE(32)];
    };
    const [cookie, stamp] = secrets();
    expect(cookie).not.toBe(0n);
    expect([0, 0xffff]).not.toContain(stamp);
    datapath.configure({ ...SETTINGS, sharedPort: true, vxlanMtuBytes: 1388 }, 12);
    datapath.close();
    const next = start();
    next.open();
    next.configure(SETTINGS, 13);
    expect(secrets()).toEqual([cookie, stamp]);
    expect(next.settings()).toEqual(SETTINGS);
  });

  test('different boots draw different cookies', () => {
    const cookies = new Set<bigint | undefined>();
    for (let boot = 0; boot < 8; boot++) {
      setValue('config', u32(0), Buffer.alloc(48));
      datapath.configure(SETTINGS, 11);
      cookies.add(value('config', u32(0))?.readBigUInt64LE(0));
    }
    expect(cookies.size).toBe(8);
  });

  test('the shared port is flag 1', () => {
    datapath.configure({ ...SETTINGS, sharedPort: true }, 11);
    expect(value('config', u32(0))?.readUInt32LE(40)).toBe(1);
    expect(datapath.settings()?.sharedPort).toBe(true);
  });
});

describe('overlay', () => {
  const entry = (prefix: string, over: Partial<OverlayEntry> = {}): OverlayEntry => ({
    vni: vni(42),
    prefix: prefix as Prefix,
    peer: peer(3),
    node: false,
    ...over,
  });

  // text | bits of the key: VNI and mapped address
  test.each([
    ['0.0.0.0/0', 128],
    ['10.0.0.0/8', 136],
    ['10.1.0.0/24', 152],
    ['10.1.0.7/32', 160],
    ['fd00::/8', 40],
    ['fd00:1::/64', 96],
    ['fd00:1::7/128', 160],
  ])('%s is a key of %i bits and comes back', (prefix, bits) => {
    datapath.overlay.put(entry(prefix));
    const [key] = [...map('overlay').entries.keys()].map((hex) => Buffer.from(hex, 'hex'));
    expect([key?.readUInt32LE(0), key?.readUInt32LE(4)]).toEqual([bits, 42]);
    expect(datapath.overlay.list()).toEqual([entry(prefix)]);
    datapath.overlay.remove(entry(prefix));
    datapath.overlay.remove(entry(prefix));
    expect(datapath.overlay.list()).toEqual([]);
  });

  test('one prefix in two VNIs is two entries; a second put replaces', () => {
    datapath.overlay.put(entry('10.1.0.0/24'));
    datapath.overlay.put(entry('10.1.0.0/24', { vni: vni(43) }));
    datapath.overlay.put(entry('10.1.0.0/24', { peer: peer(4), node: true }));
    expect(datapath.overlay.list()).toHaveLength(2);
    expect(datapath.overlay.list()).toContainEqual(entry('10.1.0.0/24', { peer: peer(4), node: true }));
  });

  test.each([
    [{}, true],
    [{ peer: peer(4) }, false],
    [{ node: true }, false],
    [{ vni: vni(1) }, false],
  ])('equal(%j) is %s', (over, equal) => {
    expect(datapath.overlay.equal(entry('10.1.0.0/24'), entry('10.1.0.0/24', over))).toBe(equal);
  });

  test('a failed write names the entry', () => {
    kernel.fail = (call) => (call === 'mapUpdate overlay' ? errno('ENOSPC', 28) : undefined);
    expect(() => datapath.overlay.put(entry('10.1.0.0/24'))).toThrow(
      /put overlay entry 10\.1\.0\.0\/24 of VNI 42: ENOSPC/,
    );
  });
});

describe('peers', () => {
  const entry = (over: Partial<PeerEntry> = {}): PeerEntry => ({
    number: peer(3),
    identity: '00112233445566778899aabbccddeeff',
    vtep: ip('192.0.2.2'),
    local: ip('192.0.2.1'),
    mac: '02:00:5e:00:53:02',
    ...over,
  });

  test('put writes the peer, its VTEP and its counters; remove takes all three', () => {
    datapath.peers.put(entry());
    expect(value('peers', u32(3))).toEqual(
      Buffer.concat([
        mapped(192, 0, 2, 2),
        mapped(192, 0, 2, 1),
        Buffer.from('02005e005302', 'hex'),
        Buffer.alloc(2),
        Buffer.from('00112233445566778899aabbccddeeff', 'hex'),
      ]),
    );
    expect(value('vteps', mapped(192, 0, 2, 2))).toEqual(u32(3));
    expect(value('peer_stats', u32(3))).toEqual(Buffer.alloc(64));
    expect(datapath.peers.list()).toEqual([entry()]);
    datapath.peers.remove(entry());
    datapath.peers.remove(entry());
    expect(['peers', 'vteps', 'peer_stats'].map((name) => map(name).entries.size)).toEqual([0, 0, 0]);
  });

  test('a second put keeps the counters', () => {
    datapath.peers.put(entry());
    setValue('peer_stats', u32(3), Buffer.alloc(64, 1));
    datapath.peers.put(entry({ mac: '02:00:5e:00:53:03' }));
    expect(value('peer_stats', u32(3))).toEqual(Buffer.alloc(64, 1));
  });

  test('a moved VTEP leaves no trace at the old address', () => {
    datapath.peers.put(entry());
    datapath.peers.put(entry({ vtep: ip('192.0.2.9') }));
    expect(value('vteps', mapped(192, 0, 2, 2))).toBeUndefined();
    expect(value('vteps', mapped(192, 0, 2, 9))).toEqual(u32(3));
  });

  test('an address that another peer took over stays with it', () => {
    datapath.peers.put(entry());
    datapath.peers.put(entry({ number: peer(4) }));
    datapath.peers.remove(entry());
    expect(value('vteps', mapped(192, 0, 2, 2))).toEqual(u32(4));
  });

  test('remove with a stale entry still clears the installed address', () => {
    datapath.peers.put(entry({ vtep: ip('fd00::2'), local: ip('fd00::1') }));
    datapath.peers.remove(entry());
    expect(map('vteps').entries.size).toBe(0);
  });
});

describe('pods', () => {
  const entry = (over: Partial<PodEntry> = {}): PodEntry => ({
    ifindex: 20,
    vni: vni(42),
    mac: '02:aa:00:00:00:01',
    hostMac: '02:bb:00:00:00:01',
    addresses: [ip('10.1.0.2'), ip('fd00:1::2')],
    ...over,
  });
  const endpoint = (number: number, address: Buffer) =>
    value('endpoints', u32(number), address)?.readUInt32LE(0);

  test('put writes device and addresses; remove takes exactly those', () => {
    datapath.pods.put(entry());
    datapath.pods.put(entry({ ifindex: 21, addresses: [ip('10.1.0.3')] }));
    expect(value('pods', u32(20))).toEqual(
      Buffer.concat([u32(42), u32(0), Buffer.from('02aa0000000102bb00000001', 'hex'), u32(0)]),
    );
    expect(endpoint(42, mapped(10, 1, 0, 2))).toBe(20);
    expect(datapath.pods.list()).toEqual(expect.arrayContaining([entry()]));
    datapath.pods.remove(entry());
    datapath.pods.remove(entry());
    expect(datapath.pods.list()).toEqual([entry({ ifindex: 21, addresses: [ip('10.1.0.3')] })]);
    expect(map('endpoints').entries.size).toBe(1);
  });

  test('addresses that the pod no longer has are forgotten', () => {
    datapath.pods.put(entry());
    datapath.pods.put(entry({ addresses: [ip('10.1.0.9')] }));
    expect(endpoint(42, mapped(10, 1, 0, 2))).toBeUndefined();
    expect(endpoint(42, mapped(10, 1, 0, 9))).toBe(20);
  });

  test('a device that changed its VNI owns nothing in the old one', () => {
    datapath.pods.put(entry());
    datapath.pods.put(entry({ vni: vni(43) }));
    expect(endpoint(42, mapped(10, 1, 0, 2))).toBeUndefined();
    expect(endpoint(43, mapped(10, 1, 0, 2))).toBe(20);
  });

  test('an address that moved to another pod stays with that one', () => {
    datapath.pods.put(entry());
    datapath.pods.put(entry({ ifindex: 21, addresses: [ip('10.1.0.2')] }));
    datapath.pods.remove(entry());
    expect(endpoint(42, mapped(10, 1, 0, 2))).toBe(21);
  });

  test('the same address in two VNIs is two endpoints', () => {
    datapath.pods.put(entry());
    datapath.pods.put(entry({ ifindex: 21, vni: vni(43) }));
    expect([endpoint(42, mapped(10, 1, 0, 2)), endpoint(43, mapped(10, 1, 0, 2))]).toEqual([20, 21]);
  });

  test('the order of addresses is no difference', () => {
    expect(datapath.pods.equal(entry(), entry({ addresses: [ip('fd00:1::2'), ip('10.1.0.2')] }))).toBe(true);
    expect(datapath.pods.equal(entry(), entry({ addresses: [ip('10.1.0.2')] }))).toBe(false);
  });
});

describe('SAs', () => {
  const KEY = Uint8Array.from({ length: 32 }, (_, i) => i);
  const SALT = Uint8Array.of(0xa0, 0xa1, 0xa2, 0xa3);
  const FINGERPRINT = createHash('sha256')
    .update('vxseal/1 fingerprint')
    .update(KEY)
    .update(SALT)
    .digest('hex')
    .slice(0, 16);
  const tx = (over: Partial<TxSa> = {}): TxSa => ({
    vni: vni(42),
    peer: peer(3),
    spi: spi(0x01020304),
    key: KEY,
    salt: SALT,
    limit: 1n << 40n,
    ...over,
  });
  const rx = (over: Partial<RxSa> = {}): RxSa => ({
    vni: vni(42),
    peer: peer(3),
    spi: spi(0x01020304),
    source: ip('192.0.2.2'),
    key: KEY,
    salt: SALT,
    ...over,
  });
  const otherKey = Uint8Array.from(KEY, (byte) => byte ^ 0xff);
  const txAt = () => value('tx_sa', u32(42), u32(3));
  const rxAt = () => value('rx_sa', Buffer.of(1, 2, 3, 4), mapped(192, 0, 2, 2));

  test('a sending SA lies as abi.h says, the SPI in network order, ESN on', () => {
    datapath.sas.putTx(tx());
    expect(txAt()).toEqual(
      Buffer.concat([KEY, SALT, Buffer.of(1, 2, 3, 4), u32(1), u32(0), u64(0n), u64(1n << 40n)]),
    );
    expect(datapath.sas.listTx()).toEqual([
      { vni: 42, peer: 3, spi: 0x01020304, fingerprint: FINGERPRINT, sequence: 0n, limit: 1n << 40n },
    ]);
  });

  test('a receiving SA lies as abi.h says', () => {
    datapath.sas.putRx(rx());
    const bytes = rxAt() ?? Buffer.alloc(0);
    expect(bytes.subarray(0, 48)).toEqual(Buffer.concat([KEY, SALT, u32(1), u32(3), u32(42)]));
    expect(bytes.subarray(48)).toEqual(Buffer.alloc(1104 - 48));
    bytes.writeBigUInt64LE(77n, 56);
    bytes.writeBigUInt64LE(70n, 64);
    bytes.writeBigUInt64LE(123456789n, 72);
    expect(datapath.sas.listRx()).toEqual([
      {
        vni: 42,
        peer: 3,
        spi: 0x01020304,
        source: '192.0.2.2',
        fingerprint: FINGERPRINT,
        top: 77n,
        packets: 70n,
        lastOpenedNs: 123456789n,
      },
    ]);
  });

  test('a sending SA is never written again with its key: the counter stands', () => {
    datapath.sas.putTx(tx());
    txAt()?.writeBigUInt64LE(1000n, 48);
    expect(() => datapath.sas.putTx(tx())).toThrow(/VNI 42, peer 3.*same key/);
    expect(() => datapath.sas.putTx(tx({ spi: spi(0x05060708), limit: 5n }))).toThrow(/same key/);
    expect(txAt()?.readBigUInt64LE(48)).toBe(1000n);
  });

  test('an SA whose key was wiped is not installed', () => {
    const wiped = { key: new Uint8Array(32) };
    expect(() => datapath.sas.putTx(tx(wiped))).toThrow(/VNI 42, peer 3: its key was wiped/);
    expect(() => datapath.sas.putRx(rx(wiped))).toThrow(/0x01020304 from 192.0.2.2: its key was wiped/);
    expect([txAt(), rxAt()]).toEqual([undefined, undefined]);
  });

  test('another key replaces it and starts at zero', () => {
    datapath.sas.putTx(tx());
    txAt()?.writeBigUInt64LE(1000n, 48);
    datapath.sas.putTx(tx({ key: otherKey }));
    expect(txAt()?.readBigUInt64LE(48)).toBe(0n);
    expect(datapath.sas.listTx()[0]?.fingerprint).not.toBe(FINGERPRINT);
  });

  test('another salt alone is another SA', () => {
    datapath.sas.putTx(tx());
    datapath.sas.putTx(tx({ salt: Uint8Array.of(1, 2, 3, 4) }));
    expect(datapath.sas.listTx()[0]?.fingerprint).not.toBe(FINGERPRINT);
  });

  test('a receiving SA with the same key keeps its replay window', () => {
    datapath.sas.putRx(rx());
    rxAt()?.fill(0xee, 56);
    datapath.sas.putRx(rx());
    expect(rxAt()?.subarray(56)).toEqual(Buffer.alloc(1104 - 56, 0xee));
  });

  test('receiving SAs stand beside each other; removal takes one', () => {
    datapath.sas.putRx(rx());
    datapath.sas.putRx(rx({ spi: spi(0xfffffffe), key: otherKey }));
    datapath.sas.putRx(rx({ source: ip('fd00::2'), key: otherKey }));
    expect(datapath.sas.listRx()).toHaveLength(3);
    datapath.sas.removeRx(spi(0x01020304), ip('192.0.2.2'));
    datapath.sas.removeRx(spi(0x01020304), ip('192.0.2.2'));
    expect(
      datapath.sas
        .listRx()
        .map((sa) => `${sa.spi} ${sa.source}`)
        .sort(),
    ).toEqual([`${0x01020304} fd00::2`, `${0xfffffffe} 192.0.2.2`]);
    datapath.sas.putTx(tx());
    datapath.sas.removeTx(vni(42), peer(3));
    datapath.sas.removeTx(vni(42), peer(3));
    expect(datapath.sas.listTx()).toEqual([]);
  });

  test('every buffer that held a key is wiped, also when the write fails', () => {
    datapath.sas.putTx(tx());
    datapath.sas.putRx(rx());
    datapath.sas.listTx();
    datapath.sas.listRx();
    datapath.sas.putRx(rx());
    kernel.fail = (call) => (call === 'mapUpdate tx_sa' ? errno('E2BIG', 7) : undefined);
    expect(() => datapath.sas.putTx(tx({ peer: peer(4) }))).toThrow(
      /install sending SA of VNI 42, peer 4: E2BIG/,
    );
    kernel.fail = () => undefined;
    const sizes = kernel.wiped.map((bytes) => bytes.length);
    // put tx, put rx, list both, compare for put rx, failed put tx
    expect(sizes.filter((size) => size === 64).length).toBe(3);
    expect(sizes.filter((size) => size === 1104).length).toBe(3);
    expect(kernel.wiped.every((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  });

  test("the caller's key is left to the caller", () => {
    datapath.sas.putTx(tx());
    expect(KEY[31]).toBe(31);
  });

  test('no error text holds a key', () => {
    datapath.sas.putTx(tx());
    let text = '';
    try {
      datapath.sas.putTx(tx());
    } catch (cause) {
      text = String(cause);
    }
    expect(text).not.toContain(Buffer.from(KEY).toString('hex'));
    expect(text).not.toContain('0,1,2,3');
  });
});

describe('counters', () => {
  test('drops are summed over CPUs and named as in abi.h', () => {
    const bad = Buffer.concat([u32(3), Buffer.of(15, 0, 1, 0)]);
    setValue('drops', bad, Buffer.concat([u64(2n), u64(200n), u64(5n), u64(500n)]));
    const exhausted = Buffer.concat([u32(0), Buffer.of(6, 0, 0, 0)]);
    setValue('drops', exhausted, Buffer.concat([u64(0n), u64(0n), u64(1n), u64(60n)]));
    expect(datapath.dropCounts()).toEqual([
      { peer: 3, reason: 'bad_icv', direction: 'ingress', packets: 7n, bytes: 700n },
      { peer: 0, reason: 'sa_exhausted', direction: 'egress', packets: 1n, bytes: 60n },
    ]);
  });

  test('traffic is summed over CPUs', () => {
    setValue('peer_stats', u32(3), Buffer.concat([1n, 10n, 2n, 20n, 100n, 1000n, 200n, 2000n].map(u64)));
    expect(datapath.peerTraffic()).toEqual([
      { peer: 3, sealedPackets: 101n, sealedBytes: 1010n, openedPackets: 202n, openedBytes: 2020n },
    ]);
  });

  test('usage of the maps', () => {
    datapath.overlay.put({ vni: vni(42), prefix: '10.1.0.0/24' as Prefix, peer: peer(3), node: false });
    expect(datapath.mapUsage()).toContainEqual({ map: 'overlay', entries: 1, capacity: 64, evicted: 0 });
    expect(datapath.mapUsage()).toContainEqual({ map: 'rx_sa', entries: 0, capacity: 64, evicted: 0 });
    const connections = () => datapath.mapUsage().find(({ map }) => map === 'connections');
    expect(connections()).toEqual({ map: 'connections', entries: 0, capacity: 64, evicted: 0 });
    // Begun and ended by policy, by CPU: 7 were to be there.
    setValue('connection_stats', u32(0), Buffer.concat([9n, 4n, 3n, 1n].map(u64)));
    setValue('connections', Buffer.alloc(44), Buffer.alloc(16));
    expect(connections()).toEqual({ map: 'connections', entries: 1, capacity: 64, evicted: 6 });
    setValue('connections', Buffer.alloc(44, 1), Buffer.alloc(16));
    expect(connections()?.evicted).toBe(6); // a counter does not fall
  });
});

describe('probes', () => {
  test('the frame lies as abi.h says, padded with zeros to the size', () => {
    datapath.configure(SETTINGS, 11);
    const before = process.hrtime.bigint();
    datapath.sendProbe(peer(3), 0x1122334455667788n, 1422);
    const [sent] = kernel.frames;
    const frame = sent?.frame ?? Buffer.alloc(0);
    expect(sent?.ifindex).toBe(11);
    expect(frame.length).toBe(1422);
    expect(frame.subarray(12, 16)).toEqual(Buffer.of(0x88, 0xb5, 1, 0));
    expect(frame.readUInt32LE(16)).toBe(3);
    expect(frame.readBigUInt64LE(20)).toBe(0x1122334455667788n);
    const at = frame.readBigUInt64LE(28);
    expect(at >= before && at <= process.hrtime.bigint()).toBe(true);
    expect(frame.subarray(36)).toEqual(Buffer.alloc(1422 - 36));
  });

  test('one that our own programs drop is lost, not an error; others are', () => {
    datapath.configure(SETTINGS, 11);
    kernel.fail = (call) => (call.startsWith('sendFrame') ? errno('ENOBUFS', 105) : undefined);
    datapath.sendProbe(peer(3), 1n, 60);
    kernel.fail = (call) => (call.startsWith('sendFrame') ? errno('ENODEV', 19) : undefined);
    expect(() => datapath.sendProbe(peer(3), 1n, 60)).toThrow(/send probe to peer 3: ENODEV/);
  });

  test('before configure() is an error', () => {
    expect(() => datapath.sendProbe(peer(3), 1n, 60)).toThrow(/not configured/);
  });

  test('reports of packets reach every listener, and no listener of replies', () => {
    const flows: FlowReport[] = [];
    const replies: ProbeReply[] = [];
    datapath.onFlow((flow) => flows.push(flow));
    datapath.onProbeReply((reply) => replies.push(reply));
    const drop = Buffer.concat([u32(2), u32(3), u64(7n), Buffer.alloc(52), Buffer.from([0, 1, 0, 0])]);
    kernel.ringListener?.(drop);
    kernel.ringListener?.(drop.subarray(1));
    expect(flows).toHaveLength(1);
    expect(flows[0]).toMatchObject({ peer: 3, atNs: 7n, reason: 'not_configured', source: undefined });
    expect(replies).toEqual([]);
  });

  test('sampling is a flag of the configuration, kept when that is written again', () => {
    const flags = (): number | undefined => value('config', u32(0))?.readUInt32LE(40);
    datapath.sampleFlows(true);
    expect(flags()).toBe(0);
    datapath.configure(SETTINGS, 11);
    expect(flags()).toBe(2);
    datapath.sampleFlows(false);
    expect(flags()).toBe(0);
    datapath.sampleFlows(true);
    datapath.configure({ ...SETTINGS, sharedPort: true }, 12);
    expect(flags()).toBe(3);
    // A process that died while somebody watched has left the flag behind.
    const next = start();
    next.open();
    next.configure({ ...SETTINGS, sharedPort: true }, 12);
    expect(flags()).toBe(1);
  });

  test('replies reach every listener; what is no event of ours reaches none', () => {
    const replies: ProbeReply[] = [];
    datapath.onProbeReply((reply) => replies.push(reply));
    datapath.onProbeReply((reply) => replies.push(reply));
    const event = Buffer.concat([u32(1), u32(3), u64(2000n), u64(9n), u64(1500n), u32(1422), u32(0)]);
    kernel.ringListener?.(event);
    const reply = { peer: 3, id: 9n, sentNs: 1500n, receivedNs: 2000n, bytes: 1422 };
    expect(replies).toEqual([reply, reply]);
    kernel.ringListener?.(Buffer.concat([u32(99), event.subarray(4)]));
    kernel.ringListener?.(event.subarray(0, 39));
    kernel.ringListener?.(Buffer.alloc(0));
    expect(replies).toHaveLength(2);
  });
});

describe('end', () => {
  test('close() leaves everything attached and pinned', () => {
    datapath.attach({ program: 'seal', ifindex: 7 });
    datapath.close();
    expect(kernel.ringListener).toBeUndefined();
    const next = start();
    next.open();
    expect(next.attached()).toEqual([{ program: 'seal', ifindex: 7, mode: 'tcx' }]);
  });

  test.each([true, false])('destroy() leaves nothing (open before: %s)', (open) => {
    datapath.attach({ program: 'seal', ifindex: 7 });
    datapath.attach({ program: 'open', ifindex: 7 });
    datapath.configure(SETTINGS, 11);
    if (!open) {
      datapath.close();
      datapath = start();
    }
    datapath.destroy();
    expect(readdirSync(folder)).toEqual(['bpf']);
    expect(kernel.calls.filter((call) => call === 'detachLink 7')).toHaveLength(2);
    start().destroy(); // and again
  });
});
