// The data plane with the kernel's IPsec as its engine: what must stand before a key does, what it counts, and that the
// two engines do not take each other over.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { IpAddress, PeerNumber, Spi, Vni } from '../../../agent/core/ids';
import type { DatapathSettings, PeerEntry, RxSa } from '../../../agent/core/state';
import { createDatapath } from '../../../agent/kernel/datapath';
import { type EngineName, joinDrops } from '../../../agent/kernel/engine';
import { PROGRAM_NAMES } from '../../../agent/kernel/programs';
import type { Datapath, DropCount } from '../../../agent/ports';
import { errno, type FakeKernel, fakeNative } from '../../fakes/native';
import { newKernel } from './shapes';

const SETTINGS: DatapathSettings = {
  hostVni: 42 as Vni,
  vxlanPort: 14789,
  espPort: 4500,
  underlayMtuBytes: 1500,
  vxlanMtuBytes: 1408,
  mac: '02:00:5e:00:53:01',
  sharedPort: false,
};
const peer: PeerEntry = {
  number: 3 as PeerNumber,
  identity: '00'.repeat(16),
  vtep: '192.0.2.3' as IpAddress,
  local: '192.0.2.1' as IpAddress,
  mac: '02:00:00:00:00:03',
};
const sa: RxSa = {
  key: Buffer.alloc(32, 1),
  salt: Buffer.alloc(4, 1),
  spi: 0x1001 as Spi,
  vni: 42 as Vni,
  peer: peer.number,
  source: peer.vtep,
};

let folder: string;
let kernel: FakeKernel;

function start(engine: EngineName): Datapath {
  const native = fakeNative(kernel, (file) =>
    ['open', 'handover'].includes(file) ? ['open_xdp', 'open_tc'] : [file],
  );
  const folders = { bpfDir: join(folder, 'bpf'), pinDir: join(folder, 'pins') };
  return createDatapath(native, { ...folders, xdp: 'auto', engine, statistics: join(folder, 'xfrm_stat') });
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vxseal-engine-'));
  mkdirSync(join(folder, 'bpf'));
  for (const name of [...PROGRAM_NAMES, 'handover']) writeFileSync(join(folder, 'bpf', `${name}.bpf.o`), '');
  kernel = newKernel();
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('xfrm', () => {
  let datapath: Datapath;
  beforeEach(() => {
    datapath = start('xfrm');
    datapath.open();
    datapath.configure(SETTINGS, 9);
    datapath.peers.put(peer);
  });

  test('policies of both families and directions stand as soon as it is configured', () => {
    expect(kernel.ipsec.policies.size).toBe(4);
    expect(datapath.settings()).toEqual(SETTINGS);
  });

  test.each([0, 1, 2, 3])('settings without policy %i are none: the next pass writes them again', (index) => {
    const name = [...kernel.ipsec.policies.keys()][index] ?? '';
    kernel.ipsec.policies.delete(name);
    expect(datapath.settings()).toBeUndefined();
    datapath.configure(SETTINGS, 9);
    expect(datapath.settings()).toEqual(SETTINGS);
  });

  test('the program in the place of open is the one that hands over', () => {
    expect(kernel.calls).toContain('loadObject handover');
    expect(kernel.calls).not.toContain('loadObject open');
  });

  test('no key goes into the maps of our own cipher', () => {
    datapath.sas.putRx(sa);
    expect(datapath.sas.listRx()).toHaveLength(1);
    const usage = new Map(datapath.mapUsage().map(({ map, entries }) => [map, entries]));
    expect([usage.get('rx_sa'), usage.get('tx_sa'), usage.get('xfrm_rx')]).toEqual([0, 0, 1]);
  });

  test('what the kernel refused is told as drops', () => {
    datapath.sas.putRx(sa);
    expect(datapath.dropCounts()).toEqual([]);
    kernel.ipsec.count(sa.spi, { replays: 2, forged: 1 });
    expect(datapath.dropCounts()).toEqual([
      { peer: 3, reason: 'replay', direction: 'ingress', packets: 2n, bytes: 0n },
      { peer: 3, reason: 'bad_icv', direction: 'ingress', packets: 1n, bytes: 0n },
    ]);
  });

  test('what it refused without an SA is told by what it means, and nothing else of its statistics', () => {
    writeFileSync(
      join(folder, 'xfrm_stat'),
      [
        'XfrmInError              \t9',
        'XfrmInTmplMismatch       \t3',
        'XfrmInStateSeqError      \t8', // counted at the SA
        'XfrmInNoStates           \t6',
        'XfrmInStateMismatch      \t2',
        'XfrmOutPolBlock          \t4',
        'XfrmOutNoStates          \t5',
        'XfrmOutStateExpired      \t0',
        'constructor 7',
        '',
      ].join('\n'),
    );
    expect(datapath.dropCounts()).toEqual([
      { peer: 0, reason: 'forged_vxlan', direction: 'ingress', packets: 3n, bytes: 0n },
      { peer: 0, reason: 'unknown_spi', direction: 'ingress', packets: 6n, bytes: 0n },
      { peer: 0, reason: 'not_vxlan', direction: 'ingress', packets: 2n, bytes: 0n },
      { peer: 0, reason: 'forged_vxlan', direction: 'egress', packets: 4n, bytes: 0n },
      { peer: 0, reason: 'no_sa', direction: 'egress', packets: 5n, bytes: 0n },
    ]);
  });

  test('the engine of our programs does not read them', () => {
    writeFileSync(join(folder, 'xfrm_stat'), 'XfrmInTmplMismatch 3\n');
    datapath.close();
    start('bpf').destroy();
    const other = start('bpf');
    other.open();
    expect(other.dropCounts()).toEqual([]);
  });

  test('a restarted agent finds all of it', () => {
    datapath.sas.putRx(sa);
    datapath.close();
    const next = start('xfrm');
    next.open();
    expect(next.settings()).toEqual(SETTINGS);
    expect(next.sas.listRx()).toHaveLength(1);
  });

  test('sampling of flows leaves the engine as it is', () => {
    datapath.sampleFlows(true);
    datapath.close();
    expect(() => start('xfrm').open()).not.toThrow();
  });

  test.each<EngineName>(['bpf', 'xfrm'])(
    'destroy() by a process of engine %s leaves no SA and no policy',
    (engine) => {
      datapath.sas.putRx(sa);
      datapath.close();
      start(engine).destroy();
      expect([kernel.ipsec.states.size, kernel.ipsec.policies.size]).toEqual([0, 0]);
    },
  );
});

test.each<[EngineName, EngineName]>([
  ['bpf', 'xfrm'],
  ['xfrm', 'bpf'],
])('what engine %s has configured is not taken over by %s', (first, second) => {
  const before = start(first);
  before.open();
  before.configure(SETTINGS, 9);
  before.close();
  expect(() => start(second).open()).toThrow(new RegExp(`overlay.engine ${first}.*--cleanup`));
  start(first).open();
});

test('a kernel without ESP: engine xfrm does not start and says what to do, bpf never asks', () => {
  kernel.ipsec.missing = errno('EPROTONOSUPPORT', 93);
  expect(() => start('xfrm').open()).toThrow(/EPROTONOSUPPORT.*load xfrm_user.*overlay.engine/);
  const datapath = start('bpf');
  datapath.open();
  datapath.configure(SETTINGS, 9);
  expect(datapath.settings()).toEqual(SETTINGS);
  datapath.destroy();
});

test('drops of one peer, reason and direction are one count', () => {
  const drop = (reason: string, packets: bigint): DropCount => ({
    peer: peer.number,
    reason,
    direction: 'ingress',
    packets,
    bytes: 10n,
  });
  expect(joinDrops([drop('replay', 1n), drop('policy', 5n)], [drop('replay', 2n)])).toEqual([
    { ...drop('replay', 3n), bytes: 20n },
    drop('policy', 5n),
  ]);
});
