// SAs in the kernel's IPsec behind the port of the SA maps: what is there after each call, and that no key is given a
// second counter, no policy outlives its purpose, no key bytes stay in a buffer.
import type { IpAddress, PeerNumber, Spi, Vni } from '../../../../agent/core/ids';
import { saFingerprint } from '../../../../agent/core/keyschedule';
import type { PeerEntry } from '../../../../agent/core/state';
import type { Fd } from '../../../../agent/kernel/native';
import { markOf, vniOf } from '../../../../agent/kernel/xfrm/marks';
import { XfrmSaTables } from '../../../../agent/kernel/xfrm/sas';
import { XfrmSocket } from '../../../../agent/kernel/xfrm/socket';
import { errno, type FakeKernel, fakeNative } from '../../../fakes/native';
import { newKernel } from '../shapes';

const peer3: PeerEntry = {
  number: 3 as PeerNumber,
  identity: '00'.repeat(16),
  vtep: '192.0.2.3' as IpAddress,
  local: '192.0.2.1' as IpAddress,
  mac: '02:00:00:00:00:03',
};
const peer4: PeerEntry = {
  ...peer3,
  number: 4 as PeerNumber,
  vtep: '2001:db8::4' as IpAddress,
  local: '2001:db8::1' as IpAddress,
};
const VNI = 42 as Vni;
const keys = (byte: number) => ({ key: Buffer.alloc(32, byte), salt: Buffer.alloc(4, byte) });
const print = (byte: number) => saFingerprint(keys(byte).key, keys(byte).salt);
const tx = (spi: number, byte: number, to = peer3, vni = VNI) => ({
  ...keys(byte),
  spi: spi as Spi,
  vni,
  peer: to.number,
  limit: 1n << 40n,
});
const rx = (spi: number, byte: number, from = peer3, vni = VNI) => ({
  ...keys(byte),
  spi: spi as Spi,
  vni,
  peer: from.number,
  source: from.vtep,
});

let kernel: FakeKernel;
let peers: PeerEntry[];
let now: bigint;
let rxMap: Fd;
let rxRows: Map<string, Buffer>;
let tables: XfrmSaTables;

/** Another process over the same kernel. */
function start(): XfrmSaTables {
  const native = fakeNative(kernel, () => []);
  return new XfrmSaTables({
    native,
    socket: new XfrmSocket(native),
    rxMap,
    peer: (number) => peers.find((each) => each.number === number),
    peers: () => peers,
    ports: () => ({ vxlanPort: 14789, espPort: 4500 }),
    nowNs: () => now,
  });
}

beforeEach(() => {
  kernel = newKernel();
  peers = [peer3, peer4];
  now = 1000n;
  rxRows = new Map();
  rxMap = {
    fd: kernel.add({ name: 'xfrm_rx', keySize: 20, valueSize: 24, maxEntries: 64, entries: rxRows }),
    close: () => {},
  };
  tables = start();
});

const ON_THEIR_WAY_NS = 1_000_000_000n;
const empty = { sequence: 0n, limit: 1n << 40n };

describe('sending', () => {
  test.each([
    ['IPv4', peer3],
    ['IPv6', peer4],
  ])('%s: a state, and a policy that names it', (_, to) => {
    tables.putTx(tx(0x1001, 1, to));
    expect(tables.listTx()).toEqual([
      { vni: VNI, peer: to.number, spi: 0x1001, fingerprint: print(1), ...empty },
    ]);
    kernel.ipsec.count(0x1001, { sequence: (5n << 32n) + 7n });
    expect(tables.listTx()[0]?.sequence).toBe((5n << 32n) + 7n);
  });

  test('another key takes the place of the first: the new state, the policy, and later the old state away', () => {
    tables.putTx(tx(0x1001, 1));
    kernel.ipsec.changes.length = 0;
    tables.putTx(tx(0x1002, 2));
    const [NEWSA, DELSA, UPDPOLICY] = [16, 17, 25];
    const installed = [{ vni: VNI, peer: 3, spi: 0x1002, fingerprint: print(2), ...empty }];
    expect(tables.listTx()).toEqual(installed);
    now += ON_THEIR_WAY_NS - 1n;
    expect(tables.listTx()).toEqual(installed);
    expect(kernel.ipsec.changes).toEqual([NEWSA, UPDPOLICY]);
    now += 1n;
    expect(tables.listTx()).toEqual(installed);
    expect(kernel.ipsec.changes).toEqual([NEWSA, UPDPOLICY, DELSA]);
    expect(kernel.ipsec.states.size).toBe(1);
    expect(kernel.ipsec.policies.size).toBe(1);
  });

  test('a state that is named again in between stays, and its time starts anew', () => {
    tables.putTx(tx(0x1001, 1));
    const [policy] = [...kernel.ipsec.policies];
    const look = (passedNs: bigint): number => {
      now += passedNs;
      tables.listTx();
      return kernel.ipsec.states.size;
    };
    kernel.ipsec.policies.clear();
    expect(look(0n)).toBe(1);
    if (policy !== undefined) kernel.ipsec.policies.set(...policy);
    expect(look(ON_THEIR_WAY_NS)).toBe(1);
    kernel.ipsec.policies.clear();
    expect(look(ON_THEIR_WAY_NS)).toBe(1);
    expect(look(ON_THEIR_WAY_NS)).toBe(0);
  });

  test('the same key is refused: its counter would start again', () => {
    tables.putTx(tx(0x1001, 1));
    kernel.ipsec.count(0x1001, { sequence: 9n });
    expect(() => tables.putTx(tx(0x1001, 1))).toThrow(/same key/);
    expect(tables.listTx()[0]?.sequence).toBe(9n);
  });

  test('each VNI and each peer has its own', () => {
    const other = 0x123456 as Vni;
    tables.putTx(tx(0x1001, 1));
    tables.putTx(tx(0x1002, 2, peer3, other));
    tables.putTx(tx(0x1003, 3, peer4));
    expect(tables.listTx().map(({ vni, peer, spi }) => [vni, peer, spi])).toEqual([
      [VNI, 3, 0x1001],
      [other, 3, 0x1002],
      [VNI, 4, 0x1003],
    ]);
    tables.removeTx(VNI, peer3.number);
    expect(tables.listTx().map(({ spi }) => spi)).toEqual([0x1002, 0x1003]);
    expect(kernel.ipsec.states.size).toBe(2);
    tables.removeTx(VNI, peer3.number); // and again
  });

  test('a state that has ended is not there, though its policy is', () => {
    tables.putTx(tx(0x1001, 1));
    kernel.ipsec.states.clear();
    expect(tables.listTx()).toEqual([]);
    expect(kernel.ipsec.policies.size).toBe(1);
  });

  test('a peer without an entry: told, nothing done', () => {
    peers = [];
    expect(() => tables.putTx(tx(0x1001, 1))).toThrow(/peer 3 has no entry/);
    expect(kernel.ipsec.states.size).toBe(0);
  });

  test('what a process that died left: states that no policy names, policies to nobody', () => {
    tables.putTx(tx(0x1001, 1));
    const [orphan] = [...kernel.ipsec.policies.keys()];
    kernel.ipsec.policies.delete(orphan ?? ''); // died between state and policy
    tables.putTx(tx(0x1002, 2, peer4));
    peers = [peer3]; // peer 4 has gone meanwhile
    const next = start();
    expect(next.listTx()).toEqual([]);
    expect(kernel.ipsec.policies.size).toBe(0);
    now += ON_THEIR_WAY_NS;
    expect(next.listTx()).toEqual([]);
    expect(kernel.ipsec.states.size).toBe(0);
  });
});

test('an SA whose key was wiped is not installed', () => {
  const wiped = { key: new Uint8Array(32) };
  expect(() => tables.putTx({ ...tx(0x100, 1), ...wiped })).toThrow(/VNI 42, peer 3: its key was wiped/);
  expect(() => tables.putRx({ ...rx(0x200, 2), ...wiped })).toThrow(
    /0x00000200 from 192.0.2.3: its key was wiped/,
  );
  expect([tables.listTx(), tables.listRx()]).toEqual([[], []]);
});

test('a peer with another address: what led to the old one goes at the next look', () => {
  tables.putTx(tx(0x1001, 1));
  expect(tables.listTx()).toHaveLength(1);
  peers = [{ ...peer3, vtep: '192.0.2.33' as IpAddress }];
  expect(tables.listTx()).toEqual([]);
  expect(kernel.ipsec.policies.size).toBe(0);
  now += ON_THEIR_WAY_NS;
  expect(tables.listTx()).toEqual([]);
  expect(kernel.ipsec.states.size).toBe(0);
});

test('our own address changed: nothing leads to or from the old one after the next look', () => {
  tables.putTx(tx(0x1001, 1));
  tables.putRx(rx(0x2001, 2));
  peers = [{ ...peer3, local: '192.0.2.11' as IpAddress }];
  expect([tables.listTx(), tables.listRx()]).toEqual([[], []]);
  expect(kernel.ipsec.policies.size).toBe(0);
  tables.putTx(tx(0x1002, 3));
  expect(tables.listTx().map(({ spi }) => spi)).toEqual([0x1002]);
  now += ON_THEIR_WAY_NS;
  tables.listTx();
  expect(kernel.ipsec.states.size).toBe(1);
});

test("another peer has the address now: what ends is the former one's, not its own", () => {
  const heir = { ...peer4, vtep: peer3.vtep, local: peer3.local };
  tables.putTx(tx(0x1001, 1));
  peers = [peer3, heir];
  tables.putTx(tx(0x1002, 2, heir));
  tables.removeTx(VNI, peer3.number);
  peers = [heir];
  expect(tables.listTx().map(({ spi, peer }) => [spi, peer])).toEqual([[0x1002, 4]]);
});

test('a policy that the kernel did not acknowledge: the key is given up, and told until there is another', () => {
  kernel.ipsec.refuse = { type: 25, error: errno('ENOBUFS', 105) };
  expect(() => tables.putTx(tx(0x1001, 1))).toThrow(/ENOBUFS/);
  expect(kernel.ipsec.states.size).toBe(0);
  kernel.ipsec.refuse = undefined;
  expect(() => tables.putTx(tx(0x1001, 1))).toThrow(/EEXIST.*vxseal rotate/);
  tables.putTx(tx(0x1002, 2));
  expect(tables.listTx().map(({ spi }) => spi)).toEqual([0x1002]);
});

describe('receiving', () => {
  test.each([
    ['IPv4', peer3],
    ['IPv6', peer4],
  ])('%s: a state, and an entry for open', (_, from) => {
    tables.putRx(rx(0x2001, 1, from));
    expect(tables.listRx()).toEqual([
      {
        vni: VNI,
        peer: from.number,
        spi: 0x2001,
        source: from.vtep,
        fingerprint: print(1),
        top: 0n,
        packets: 0n,
        lastOpenedNs: 0n,
      },
    ]);
  });

  test('the same again is left as it is: the window keeps what it has seen', () => {
    tables.putRx(rx(0x2001, 1));
    kernel.ipsec.count(0x2001, { packets: 5n, sequence: 6n });
    tables.putRx(rx(0x2001, 1));
    expect(tables.listRx()[0]).toMatchObject({ packets: 5n, top: 6n });
  });

  test('the time of the last packet is when more of them were found', () => {
    tables.putRx(rx(0x2001, 1));
    expect(tables.listRx()[0]?.lastOpenedNs).toBe(0n);
    kernel.ipsec.count(0x2001, { packets: 5n });
    now = 2000n;
    expect(tables.listRx()[0]?.lastOpenedNs).toBe(2000n);
    now = 3000n;
    expect(tables.listRx()[0]?.lastOpenedNs).toBe(2000n);
    kernel.ipsec.count(0x2001, { packets: 6n });
    expect(tables.listRx()[0]?.lastOpenedNs).toBe(3000n);
  });

  test('entry and state only together are an SA', () => {
    tables.putRx(rx(0x2001, 1));
    kernel.ipsec.states.clear();
    expect(tables.listRx()).toEqual([]);
  });

  test('another SA under the SPI is told, and neither is touched', () => {
    tables.putRx(rx(0x2001, 1));
    expect(() => tables.putRx(rx(0x2001, 2))).toThrow(/EEXIST/);
    expect(tables.listRx()[0]?.fingerprint).toBe(print(1));
  });

  test('removed with its entry; what it refused stays counted', () => {
    tables.putRx(rx(0x2001, 1));
    tables.putRx(rx(0x2002, 2));
    kernel.ipsec.count(0x2001, { replays: 3, forged: 1 });
    kernel.ipsec.count(0x2002, { replays: 4 });
    expect(tables.refused()).toEqual(new Map([[3, { replays: 7, forged: 1 }]]));
    tables.removeRx(0x2001 as Spi, peer3.vtep);
    tables.removeRx(0x2001 as Spi, peer3.vtep); // and again
    expect(tables.listRx().map(({ spi }) => spi)).toEqual([0x2002]);
    expect(kernel.ipsec.states.size).toBe(1);
    expect(tables.refused()).toEqual(new Map([[3, { replays: 7, forged: 1 }]]));
  });
});

test('what was refused never becomes less: SAs that others flush, and SPIs that come again', () => {
  tables.putRx(rx(0x2001, 1));
  kernel.ipsec.count(0x2001, { replays: 3, forged: 1 });
  expect(tables.refused()).toEqual(new Map([[3, { replays: 3, forged: 1 }]]));
  kernel.ipsec.states.clear();
  expect(tables.refused()).toEqual(new Map([[3, { replays: 3, forged: 1 }]]));
  expect(tables.listRx()).toEqual([]);
  expect(rxRows.size).toBe(0);
  tables.putRx(rx(0x2001, 2));
  kernel.ipsec.count(0x2001, { replays: 2 });
  expect(tables.refused()).toEqual(new Map([[3, { replays: 5, forged: 1 }]]));
});

test('a state to receive that no entry names goes at the next look', () => {
  tables.putRx(rx(0x2001, 1));
  tables.putTx(tx(0x1001, 2));
  rxRows.clear(); // died between state and entry
  expect(start().listRx()).toEqual([]);
  expect(kernel.ipsec.states.size).toBe(1);
});

test('every message with a key is wiped', () => {
  tables.putTx(tx(0x1001, 0x5a));
  tables.putRx(rx(0x2001, 0x5a));
  tables.listTx();
  tables.listRx();
  // Two that were written, and two of each of the two dumps.
  expect(kernel.wiped.length).toBeGreaterThanOrEqual(6);
  for (const bytes of kernel.wiped) expect(Buffer.from(bytes).includes(Buffer.alloc(8, 0x5a))).toBe(false);
});

test('a torn dump is asked again', () => {
  tables.putTx(tx(0x1001, 1));
  kernel.ipsec.tornDumps = 3;
  expect(tables.listTx()).toHaveLength(1);
  kernel.ipsec.tornDumps = 10;
  expect(() => tables.listTx()).toThrow(/EAGAIN/);
});

describe('marks', () => {
  test.each([
    [1, 0xa4000001],
    [0x3fff, 0xa4003fff],
    [0x4000, 0xa4010000],
    [0xffffff, 0xa7ff3fff],
  ])('VNI %i', (vni, mark) => {
    expect(markOf(vni as Vni)).toBe(mark);
    expect(vniOf(mark)).toBe(vni);
    expect(mark & 0xc000).toBe(0); // kube-proxy's
  });
  test.each([0, 1, 0xa8000000, 0x4000, 0xa4004001])('%i names no VNI', (mark) => {
    expect(vniOf(mark)).toBeUndefined();
  });
});
