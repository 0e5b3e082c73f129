// Bytes written out by hand from bpf/abi.h: the codec and the headers check each other.
import * as codec from '../../../agent/abi/codec';
import * as events from '../../../agent/abi/events';
import { DROP_REASONS, LAYOUT } from '../../../agent/abi/layout.gen';
import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../../agent/core/ids';
import type { OverlayEntry, PeerEntry, PodEntry, RxSa, TxSa } from '../../../agent/core/state';

const ip = (text: string): IpAddress => text as IpAddress;
const px = (text: string): Prefix => text as Prefix;
const [VNI, PEER, SPI] = [0x00abcdef as Vni, 7 as PeerNumber, 0x89abcdef as Spi];
const VNI_HEX = 'efcdab00';
const V4 = '00000000000000000000ffffc0000201'; // 192.0.2.1
const V6 = 'fd000000000000000000000000000001'; // fd00::1
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (...parts: string[]): Buffer => Buffer.from(parts.join(''), 'hex');
const key32 = Uint8Array.from({ length: 32 }, (_, index) => index + 1);
const salt = Uint8Array.of(0xa0, 0xa1, 0xa2, 0xa3);

describe('config', () => {
  const config = {
    settings: {
      hostVni: VNI,
      vxlanPort: 14789,
      espPort: 4500,
      underlayMtuBytes: 1500,
      vxlanMtuBytes: 1408,
      mac: '02:aa:bb:cc:dd:ee',
      sharedPort: true,
    },
    vxlanIfindex: 9,
    cookie: 0x1122334455667788n,
    stamp: 0x1234,
    flows: false,
    xfrm: false,
  };
  const image = bytes(
    '8877665544332211',
    '01000000',
    '09000000',
    VNI_HEX,
    'dc050000',
    '80050000',
    'c539',
    '9411',
    '3412',
    '02aabbccddee',
    '01000000',
    '00000000',
  );

  test('bytes', () => expect(hex(codec.encodeConfig(config))).toBe(hex(image)));
  test('back', () => expect(codec.decodeConfig(image)).toEqual({ ...config, abi: codec.ABI_VERSION }));
  test('not shared', () => {
    const alone = { ...config, settings: { ...config.settings, sharedPort: false } };
    expect(codec.decodeConfig(codec.encodeConfig(alone)).settings.sharedPort).toBe(false);
  });
  test('with flows sampled', () => {
    const watched = codec.encodeConfig({ ...config, flows: true });
    expect(hex(watched.subarray(40, 44))).toBe('03000000');
    expect(codec.decodeConfig(watched)).toEqual({ ...config, flows: true, abi: codec.ABI_VERSION });
  });
  test("with the kernel's own IPsec as engine", () => {
    const other = codec.encodeConfig({ ...config, xfrm: true });
    expect(hex(other.subarray(40, 44))).toBe('05000000');
    expect(codec.decodeConfig(other)).toEqual({ ...config, xfrm: true, abi: codec.ABI_VERSION });
  });
  test('a port that does not fit', () => {
    const wrong = { ...config, settings: { ...config.settings, vxlanPort: 65536 } };
    expect(() => codec.encodeConfig(wrong)).toThrow(RangeError);
  });
});

describe('shared', () => {
  test.each([
    ['client', '0700000002000000' + '0000000000000080'],
    ['server', '0700000004000000' + '0000000000000080'],
  ] as const)('%s: value, and back', (way, value) => {
    const entry = { vni: VNI, prefix: px('10.7.0.53/32'), other: 7 as Vni, way, services: 1n << 63n };
    expect(hex(codec.encodeSharedValue(entry))).toBe(value);
    expect(codec.decodeShared(codec.encodeOverlayKey(entry), codec.encodeSharedValue(entry))).toEqual(entry);
  });
});

describe('overlay', () => {
  test.each([
    [1, '10.1.2.0/24', '98000000', '00000000000000000000ffff0a010200'],
    [2, '0.0.0.0/0', '80000000', '00000000000000000000ffff00000000'],
    [3, '192.0.2.1/32', 'a0000000', V4],
    [4, 'fd00::/8', '28000000', 'fd000000000000000000000000000000'],
    [5, 'fd00::1/128', 'a0000000', V6],
  ])('%i: %s', (_n, prefix, length, address) => {
    const entry: OverlayEntry = { vni: VNI, prefix: px(prefix), peer: PEER, node: true };
    expect(hex(codec.encodeOverlayKey(entry))).toBe(length + VNI_HEX + address);
    expect(hex(codec.encodeOverlayValue(entry))).toBe('0700000001000000');
    expect(codec.decodeOverlay(codec.encodeOverlayKey(entry), codec.encodeOverlayValue(entry))).toEqual(
      entry,
    );
  });

  test('a prefix that would match every IPv4 address is refused', () => {
    expect(() => codec.encodeOverlayKey({ vni: VNI, prefix: px('::/0') })).toThrow(RangeError);
    expect(() => codec.encodeOverlayKey({ vni: VNI, prefix: px('::/80') })).toThrow(RangeError);
  });

  test('nobody', () => {
    const entry = { vni: VNI, prefix: px('10.0.0.0/8'), peer: 0xffffffff as PeerNumber, node: false };
    expect(hex(codec.encodeOverlayValue(entry))).toBe('ffffffff00000000');
    expect(codec.decodeOverlay(codec.encodeOverlayKey(entry), codec.encodeOverlayValue(entry))).toEqual(
      entry,
    );
  });
});

describe('peers and pods', () => {
  const peer: PeerEntry = {
    number: PEER,
    identity: '000102030405060708090a0b0c0d0e0f',
    vtep: ip('192.0.2.1'),
    local: ip('fd00::1'),
    mac: '02:00:00:00:00:63',
  };

  test('a peer', () => {
    const image = bytes(V4, V6, '020000000063', '0000', peer.identity);
    expect(hex(codec.encodePeerValue(peer))).toBe(hex(image));
    expect(hex(codec.encodePeerKey(PEER))).toBe('07000000');
    expect(codec.decodePeerKey(bytes('07000000'))).toBe(PEER);
    expect(codec.decodePeer(codec.encodePeerKey(PEER), image)).toEqual(peer);
    expect(hex(codec.encodeVtepKey(peer.vtep))).toBe(V4);
  });

  test('an identity of another length', () => {
    expect(() => codec.encodePeerValue({ ...peer, identity: '0001' })).toThrow(RangeError);
  });

  test('a pod and its addresses', () => {
    const pod: PodEntry = {
      ifindex: 300,
      vni: VNI,
      mac: '02:00:00:00:00:01',
      hostMac: '02:00:00:00:00:02',
      addresses: [],
    };
    const { addresses: _, ...rest } = pod;
    const image = bytes(VNI_HEX, '00000000', '020000000001', '020000000002', '00000000');
    expect(hex(codec.encodePodKey(300))).toBe('2c010000');
    expect(hex(codec.encodePodValue(pod))).toBe(hex(image));
    expect(codec.decodePod(codec.encodePodKey(300), image)).toEqual(rest);
    for (const [flag, text] of [
      ['permissive', '01000000'],
      ['off', '02000000'],
    ] as const) {
      const flagged = { ...rest, [flag]: true };
      const value = bytes(VNI_HEX, text, '020000000001', '020000000002', '00000000');
      expect(hex(codec.encodePodValue(flagged))).toBe(hex(value));
      expect(codec.decodePod(codec.encodePodKey(300), value)).toEqual(flagged);
    }

    const key = codec.encodeEndpointKey(VNI, ip('192.0.2.1'));
    expect(hex(key)).toBe(VNI_HEX + V4);
    expect(hex(codec.encodeEndpointValue(300))).toBe('2c01000000000000');
    expect(codec.decodeEndpoint(key, codec.encodeEndpointValue(300))).toEqual({
      vni: VNI,
      address: '192.0.2.1',
      ifindex: 300,
    });
  });
});

describe('SAs', () => {
  const tx: TxSa = { vni: VNI, peer: PEER, spi: SPI, key: key32, salt, limit: 2n ** 40n };
  const rx: RxSa = { vni: VNI, peer: PEER, spi: SPI, key: key32, salt, source: ip('192.0.2.1') };

  test('sending', () => {
    const image = bytes(
      hex(key32),
      'a0a1a2a3',
      '89abcdef',
      '01000000',
      '00000000',
      '0000000000000000',
      '0000000000010000',
    );
    expect(hex(codec.encodeTxKey(VNI, PEER))).toBe(`${VNI_HEX}07000000`);
    expect(hex(codec.encodeTxSa(tx))).toBe(hex(image));
    image.writeBigUInt64LE(12345n, LAYOUT.tx_sa.fields.seq.offset);
    expect(codec.decodeTxSa(codec.encodeTxKey(VNI, PEER), image)).toEqual({
      vni: VNI,
      peer: PEER,
      spi: SPI,
      sequence: 12345n,
      limit: 2n ** 40n,
    });
  });

  test('receiving', () => {
    const image = codec.encodeRxSa(rx);
    const head = `${hex(key32)}a0a1a2a3${'01000000'}${'07000000'}${VNI_HEX}`;
    expect(hex(image)).toBe(head + '00'.repeat(LAYOUT.rx_sa.size - head.length / 2));
    expect(hex(codec.encodeRxKey(SPI, rx.source))).toBe(`89abcdef${V4}`);
    image.writeBigUInt64LE(1n, 56);
    image.writeBigUInt64LE(2n, 64);
    image.writeBigUInt64LE(3n, 72);
    expect(codec.decodeRxSa(codec.encodeRxKey(SPI, rx.source), image)).toEqual({
      vni: VNI,
      peer: PEER,
      spi: SPI,
      source: '192.0.2.1',
      top: 1n,
      packets: 2n,
      lastOpenedNs: 3n,
    });
  });

  test.each(['tx_sa', 'rx_sa'] as const)('key material of %s is a view', (struct) => {
    const value = struct === 'tx_sa' ? codec.encodeTxSa(tx) : codec.encodeRxSa(rx);
    const material = codec.saKeyMaterial(struct, value);
    expect([hex(material.key), hex(material.salt)]).toEqual([hex(key32), hex(salt)]);
    value.fill(0);
    expect(hex(material.key)).toBe('00'.repeat(32));
  });

  test('a key of another length', () => {
    expect(() => codec.encodeTxSa({ ...tx, key: new Uint8Array(31) })).toThrow(RangeError);
    expect(() => codec.encodeRxSa({ ...rx, salt: new Uint8Array(5) })).toThrow(RangeError);
    expect(() => codec.encodeTxSa({ ...tx, limit: 2n ** 64n })).toThrow(/out of range/);
  });
});

describe('counters, probes, events', () => {
  test('every reason by its number, and one from the future', () => {
    const key = (reason: number) => bytes('07000000', Buffer.from([reason, 0]).toString('hex'), '0100');
    for (const [number, reason] of DROP_REASONS.entries()) {
      expect(codec.decodeDropKey(key(number))).toEqual({ peer: PEER, reason, direction: 'ingress' });
    }
    expect(codec.decodeDropKey(key(DROP_REASONS.length)).reason).toBe('unknown');
    expect(codec.decodeDropKey(bytes('070000000a000000'))).toEqual({
      peer: PEER,
      reason: 'clear_egress',
      direction: 'egress',
    });
  });

  test('traffic', () => {
    const image = bytes('0100000000000000', '0200000000000000', '0300000000000000', 'ffffffffffffffff');
    expect(codec.decodePeerStats(image)).toEqual({
      sealed: { packets: 1n, bytes: 2n },
      opened: { packets: 3n, bytes: 2n ** 64n - 1n },
    });
    expect(codec.decodeCounter(image.subarray(0, 16))).toEqual({ packets: 1n, bytes: 2n });
  });

  test('a probe, from the shortest on', () => {
    const probe = { peer: PEER, id: 0x1122334455667788n, sentNs: 5n };
    const head = `${'00'.repeat(12)}88b50100${'07000000'}${'8877665544332211'}${'0500000000000000'}`;
    expect(hex(events.encodeProbe(probe, 36))).toBe(head);
    expect(hex(events.encodeProbe(probe, 60))).toBe(head + '00'.repeat(24));
    for (const wrong of [35, 0, 60.5]) expect(() => events.encodeProbe(probe, wrong)).toThrow(RangeError);
  });

  test('an event; anything else is none', () => {
    const record = bytes(
      '01000000',
      '07000000',
      '0900000000000000',
      '0300000000000000',
      '0500000000000000',
      '8e050000',
      '00000000',
    );
    expect(events.decodeEvent(record)).toEqual({
      peer: PEER,
      id: 3n,
      sentNs: 5n,
      receivedNs: 9n,
      bytes: 1422,
    });
    expect(events.decodeEvent(record.subarray(1))).toBeUndefined();
    expect(events.decodeEvent(Buffer.alloc(0))).toBeUndefined();
    record.writeUInt32LE(2, 0);
    expect(events.decodeEvent(record)).toBeUndefined();
  });
});

describe('a packet that was reported', () => {
  const record = bytes(
    '02000000',
    '07000000',
    '0900000000000000',
    V4,
    V6,
    'c822',
    '1194',
    VNI_HEX,
    '0b000000',
    '8e050000',
    '03000000',
    '11',
    '0a',
    '01',
    '03',
  );
  const drop = {
    peer: PEER,
    atNs: 9n,
    reason: 'clear_egress',
    direction: 'ingress',
    vni: VNI,
    ifindex: 11,
    outer: true,
    source: '192.0.2.1',
    destination: 'fd00::1',
    protocol: 17,
    sourcePort: 51234,
    destinationPort: 4500,
    bytes: 1422,
    unreported: 3,
  };
  const changed = (offset: number, value: number): Buffer => {
    const copy = Buffer.from(record);
    copy.writeUInt8(value, offset);
    return copy;
  };

  test('a drop', () => expect(events.decodeFlow(record)).toEqual(drop));
  test('a sample has no reason', () => {
    expect(events.decodeFlow(changed(0, 3))).toEqual({ ...drop, reason: undefined });
  });
  test('not IP: no addresses', () => {
    const bare = { ...drop, outer: false, source: undefined, destination: undefined };
    expect(events.decodeFlow(changed(71, 0))).toEqual(bare);
  });
  test('a reason of a newer data plane', () => {
    expect(events.decodeFlow(changed(69, 255))).toEqual({ ...drop, reason: 'unknown' });
  });
  test('what is none', () => {
    expect(events.decodeFlow(changed(0, 1))).toBeUndefined();
    expect(events.decodeFlow(changed(0, 4))).toBeUndefined();
    expect(events.decodeFlow(record.subarray(1))).toBeUndefined();
    expect(events.decodeFlow(Buffer.concat([record, Buffer.alloc(1)]))).toBeUndefined();
    expect(events.decodeEvent(record)).toBeUndefined();
  });
});

test('the sizes of the maps', () => {
  expect(codec.MAP_LAYOUT).toMatchObject({
    overlay: { keySize: 24, valueSize: 8 },
    rx_sa: { keySize: 20, valueSize: 1104 },
    events: { keySize: 0, valueSize: 0 },
  });
});
