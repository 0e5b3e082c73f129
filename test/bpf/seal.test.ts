// Packet stories of seal: what it writes is read by an ESP decoder of its own; what it must not let out stays.

import { openEsp, parseOuter } from './esp-decoder';
import { ethernet, packet, udp, vxlan } from './frames';
import { DROPPED, ESN, KEY, PASS, RAW, SALT, World } from './world';

const NODE_A = '192.0.2.1';
const NODE_B = '192.0.2.2';
const NODE_A6 = 'fd00::1';
const NODE_B6 = 'fd00::2';
const keys = { key: KEY, salt: SALT, esn: true };

let world: World;
beforeAll(() => {
  world = new World('test/bpf/stamped');
});
afterAll(() => world.close());
beforeEach(() => {
  world.configure();
  world.own(42, '10.1.0.0/24', 0);
  world.own(42, '10.2.0.0/24', 7);
  world.own(42, '192.0.2.1/32', 0, true);
  world.own(42, '192.0.2.2/32', 7, true);
  world.own(42, '10.0.0.0/8', 0xffffffff);
  world.peer(7, NODE_B, NODE_A);
  world.vtep(7, NODE_B6);
  world.txSa(42, 7, { spi: 0x1000 });
  world.drops();
});

const inner = (bytes: number, from = '10.1.0.2', to = '10.2.0.2'): Buffer =>
  ethernet(packet(from, to, Buffer.alloc(Math.max(0, bytes - (from.includes(':') ? 40 : 20)), 0x5a)));

const outer = (frame: Buffer, from = NODE_A, to = NODE_B, vni = 42): Buffer =>
  ethernet(packet(from, to, udp(0xc123, 14789, vxlan(vni, frame))));

describe('what seal writes', () => {
  const cases: [string, string, string, number][] = [
    ['IPv4 UDP', NODE_A, NODE_B, ESN],
    ['IPv4 raw', NODE_A, NODE_B, ESN | RAW],
    ['IPv6 UDP', NODE_A6, NODE_B6, ESN],
    ['IPv6 raw', NODE_A6, NODE_B6, ESN | RAW],
  ];
  test.each(cases)('%s: every size from the smallest to the MTU', (_name, from, to, flags) => {
    world.txSa(42, 7, { spi: 0x2000, flags });
    const max = 1408 + (flags & RAW ? 8 : 0) - (from.includes(':') ? 20 : 0);
    let sequence = 0n;
    for (let bytes = 20; bytes <= max; bytes += bytes < 120 || bytes > max - 12 ? 1 : 13) {
      const frame = inner(bytes);
      const result = world.tc('seal_steered', outer(frame, from, to));
      expect([bytes, result.retval, world.drops()]).toEqual([bytes, PASS, []]);
      expect(result.dataOut.length).toBeLessThanOrEqual(1514);
      const sent = parseOuter(result.dataOut);
      expect(sent.udp?.destination).toBe(flags & RAW ? undefined : 4500);
      expect(sent.udp?.source).toBe(flags & RAW ? undefined : 0xc123);
      const opened = openEsp(sent.esp, keys);
      sequence += 1n;
      expect([opened.spi, opened.sequence]).toEqual([0x2000, sequence]);
      expect(sent.esp.readBigUInt64BE(8)).toBe(sequence); // IV
      expect(opened.payload).toEqual(udp(0xc123, 14789, vxlan(42, frame)));
    }
    // one byte more than the MTU
    expect(world.tc('seal_steered', outer(inner(max + 1), from, to)).retval).toBe(DROPPED);
    expect(world.drops()).toEqual(['egress:too_big@7']);
  });

  test('a jumbo underlay, up to the one page that a test run of an skb takes', () => {
    world.configure({ underlayMtu: 9100 });
    for (const bytes of [1409, 2034, 2035, 2047, 2048, 2049, 3000, 3300]) {
      const frame = inner(bytes);
      const result = world.tc('seal_steered', outer(frame));
      expect([bytes, result.retval]).toEqual([bytes, PASS]);
      expect(openEsp(parseOuter(result.dataOut).esp, keys).payload.subarray(16)).toEqual(frame);
    }
  });
});

describe('the counter', () => {
  // #, last number used, limit, verdicts of the next three packets, number after them
  const table: [number, bigint, bigint, number[], bigint][] = [
    [1, 0n, 3n, [PASS, PASS, PASS], 3n],
    [2, 1n, 3n, [PASS, PASS, DROPPED], 3n],
    [3, 3n, 3n, [DROPPED, DROPPED, DROPPED], 3n],
    [4, 0xfffffffdn, 1n << 40n, [PASS, PASS, PASS], 0x100000000n],
    [5, (1n << 64n) - 3n, (1n << 64n) - 2n, [PASS, DROPPED, DROPPED], (1n << 64n) - 2n],
    [6, 0n, 0n, [DROPPED, DROPPED, DROPPED], 0n],
  ];
  test.each(table)('%i: from %d, limit %d', (_i, seq, limit, verdicts, after) => {
    world.txSa(42, 7, { spi: 0x3000 }, seq, limit);
    for (const [i, verdict] of verdicts.entries()) {
      const result = world.tc('seal_steered', outer(inner(60)));
      expect([i, result.retval]).toEqual([i, verdict]);
      if (verdict !== PASS) continue;
      const number = seq + BigInt(i) + 1n;
      expect(openEsp(parseOuter(result.dataOut).esp, keys, Number(number >> 32n)).sequence).toBe(number);
    }
    expect(new Set(world.drops())).toEqual(
      new Set(verdicts.includes(DROPPED) ? ['egress:sa_exhausted@7'] : []),
    );
    expect(world.sequence(42, 7)).toBe(after);
  });
});

describe('what seal refuses', () => {
  const clear = (from: string, to: string): Buffer => ethernet(packet(from, to, udp(1, 2, Buffer.from('x'))));
  const solicitation = (to: string, hopLimit: number): Buffer =>
    ethernet(packet('2001:db8::9', to, Buffer.from([135, ...Buffer.alloc(23)]), { protocol: 58, hopLimit }));
  const table: [string, string, () => Buffer, string, { gsoSize?: number }?][] = [
    ['VXLAN that steer did not make', 'seal', () => outer(inner(60)), 'forged_vxlan'],
    ['VXLAN of a frame that was only opened', 'seal_opened', () => outer(inner(60)), 'forged_vxlan'],
    ['VXLAN to nobody', 'seal_steered', () => outer(inner(60), NODE_A, '192.0.2.9'), 'no_peer'],
    ['a VNI without a key', 'seal_steered', () => outer(inner(60), NODE_A, NODE_B, 43), 'no_sa@7'],
    ['a super-packet', 'seal_steered', () => outer(inner(1400)), 'gso', { gsoSize: 500 }],
    [
      'a first fragment',
      'seal_steered',
      () => ethernet(packet(NODE_A, NODE_B, udp(1, 14789, vxlan(42, inner(60))), { fragment: 0x2000 })),
      'fragment',
    ],
    [
      'a later fragment of ours',
      'seal_steered',
      () => ethernet(packet(NODE_A, NODE_B, Buffer.alloc(64), { fragment: 0x0010 })),
      'clear_egress',
    ],
    [
      'a steered frame that is not VXLAN',
      'seal_steered',
      () => clear('10.1.0.2', '198.51.100.1'),
      'clear_egress',
    ],
    ['pod to remote pod', 'seal', () => clear('10.1.0.2', '10.2.0.2'), 'clear_egress'],
    ['node to remote pod', 'seal', () => clear(NODE_A, '10.2.0.2'), 'clear_egress'],
    ['stranger to remote pod', 'seal', () => clear('198.51.100.1', '10.2.0.2'), 'clear_egress'],
    ['anyone to a protected range', 'seal', () => clear(NODE_A, '10.9.0.2'), 'clear_egress'],
    ['pod to a pod of ours that is gone', 'seal', () => clear('10.1.0.2', '10.1.0.99'), 'clear_egress'],
    [
      'a remote pod to a pod of ours that is gone',
      'seal',
      () => clear('10.2.0.2', '10.1.0.99'),
      'clear_egress',
    ],
    ['pod to a peer node', 'seal', () => clear('10.1.0.2', NODE_B), 'clear_egress'],
    ['a remote pod, forwarded', 'seal', () => clear('10.2.0.2', '198.51.100.1'), 'clear_egress'],
    [
      'a remote pod, decrypted and forwarded',
      'seal_opened',
      () => clear('10.2.0.2', '10.1.0.9'),
      'clear_egress',
    ],
    ['forwarded neighbour discovery', 'seal', () => solicitation('2001:db8::1', 254), 'router'],
    [
      'too short for VXLAN',
      'seal_steered',
      () => ethernet(packet(NODE_A, NODE_B, udp(1, 14789, Buffer.alloc(4)))),
      'malformed',
    ],
  ];
  test.each(table)('%s', (_name, program, frame, reason, given = {}) => {
    expect(world.tc(program, frame(), given).retval).toBe(DROPPED);
    expect(world.drops()).toEqual([`egress:${reason}`]);
  });

  test.each([
    ['node to node', () => clear(NODE_A, NODE_B)],
    ['pod to the world', () => clear('10.1.0.2', '198.51.100.1')],
    ['node to the world', () => clear(NODE_A, '198.51.100.1')],
    ['ARP', () => ethernet(Buffer.alloc(46), 0x0806)],
    ['neighbour discovery', () => solicitation('2001:db8::1', 255)],
  ])('lets pass unchanged: %s', (_name, frame) => {
    const result = world.tc('seal', frame());
    expect([result.retval, world.drops()]).toEqual([PASS, []]);
    expect(result.dataOut).toEqual(frame());
  });
});
