// Packet stories beside the kernel's own IPsec: what open hands to it, and what seal lets out of it.
import { checksum, parseOuter } from './esp-decoder';
import { ethernet, packet, udp, vxlan } from './frames';
import { DROPPED, mapped, PASS, World, XDP_DROP, XDP_PASS, XFRM } from './world';

const [NODE_A, NODE_B, STRANGER] = ['192.0.2.1', '192.0.2.2', '192.0.2.9'];
const MOVED = '192.0.2.8';
const [NODE_A6, NODE_B6] = ['fd00::1', 'fd00::2'];
const SPI = 0x1000;
const SEALED = 0xa8000000;
const ESP = 50;
/** Nobody opens it here: the kernel would. */
const esp = Buffer.concat([Buffer.from('00001000000000010000000000000001', 'hex'), Buffer.alloc(96, 0x5a)]);
/** Over IPv6 with the checksum that it needs there (RFC 8200 §8.1). */
function inUdp(from: string, to: string, body = esp): Buffer {
  const datagram = udp(4500, 4500, body);
  if (from.includes(':')) {
    const pseudo = Buffer.concat([mapped(from), mapped(to), Buffer.alloc(8), datagram]);
    pseudo.writeUInt32BE(datagram.length, 32);
    pseudo.writeUInt32BE(17, 36);
    datagram.writeUInt16BE(checksum(pseudo), 6);
  }
  return ethernet(packet(from, to, datagram));
}
const raw = (from: string, to: string): Buffer => ethernet(packet(from, to, esp, { protocol: ESP }));

let world: World;
beforeAll(() => {
  world = new World('bpf/handover', 'bpf/encap', 'bpf/guard', 'bpf/deliver', 'test/bpf/stamped');
  world.own(42, '10.1.0.0/24', 0);
  world.own(42, '10.2.0.0/24', 7);
  world.peer(7, NODE_B, NODE_A);
  world.vtep(7, NODE_B6);
  world.peer(8, MOVED, NODE_A);
  world.xfrmRx(42, 7, MOVED, NODE_A, SPI); // of the peer that had the address before
  world.xfrmRx(42, 7, NODE_B, NODE_A, SPI);
  world.xfrmRx(42, 7, NODE_B6, NODE_A6, SPI);
});
afterAll(() => world.close());
beforeEach(() => {
  world.configure({ flags: XFRM });
  world.drops();
});

describe.each(['open_xdp', 'open_tc'] as const)('%s', (program) => {
  const run = (frame: Buffer) =>
    program === 'open_xdp' ? world.xdp(program, frame) : world.tc(program, frame);
  const [passed, dropped] = program === 'open_xdp' ? [XDP_PASS, XDP_DROP] : [PASS, DROPPED];

  test.each([
    ['IPv4', NODE_B, NODE_A],
    ['IPv6', NODE_B6, NODE_A6],
  ])('%s: ESP of ours goes up without its UDP header, still sealed', (_, from, to) => {
    const result = run(inUdp(from, to));
    expect([result.retval, world.drops()]).toEqual([passed, []]);
    const outer = parseOuter(result.dataOut); // checks lengths and the header's checksum
    expect(outer).toMatchObject({ udp: undefined, esp });
    expect(outer).toMatchObject({ source: parseOuter(inUdp(from, to)).source });
  });

  test('raw ESP of ours goes up as it is', () => {
    const result = run(raw(NODE_B, NODE_A));
    expect([result.retval, world.drops()]).toEqual([passed, []]);
    expect(result.dataOut).toEqual(raw(NODE_B, NODE_A));
  });

  test.each([
    ['the SPI from another address', () => inUdp(STRANGER, NODE_A), 'unknown_spi'],
    ['the SPI to another address of ours', () => inUdp(NODE_B, '192.0.2.7'), 'unknown_spi'],
    ['the SPI of the peer that had the address before', () => inUdp(MOVED, NODE_A), 'unknown_spi'],
    [
      'the first fragment of raw ESP',
      () => ethernet(packet(NODE_B, NODE_A, esp, { protocol: ESP, fragment: 0x2000 })),
      'fragment',
    ],
    [
      'a later fragment of raw ESP',
      () => ethernet(packet(NODE_B, NODE_A, esp, { protocol: ESP, fragment: 0x0010 })),
      'fragment',
    ],
    [
      'another SPI',
      () => inUdp(NODE_B, NODE_A, Buffer.concat([Buffer.from('00002000', 'hex'), esp.subarray(4)])),
      'unknown_spi',
    ],
    ['an SPI with nothing behind it', () => inUdp(NODE_B, NODE_A, esp.subarray(0, 4)), 'malformed'],
    ['what no block fills', () => inUdp(NODE_B, NODE_A, esp.subarray(0, esp.length - 1)), 'malformed'],
    [
      'VXLAN in clear',
      () => ethernet(packet(NODE_B, NODE_A, udp(1, 14789, vxlan(42, Buffer.alloc(60))))),
      'forged_vxlan',
    ],
  ] as const)('refuses %s', (_, frame, reason) => {
    expect(run(frame()).retval).toBe(dropped);
    expect(world.drops().map((drop) => drop.replace('@7', ''))).toEqual([`ingress:${reason}`]);
  });
});

const MARK_AT = 8; // in struct __sk_buff

describe.each(['guard', 'deliver', 'open_tc'])('%s', (program) => {
  const frame = ethernet(packet('198.51.100.1', NODE_A, udp(1, 2, Buffer.from('hello'))));
  test.each([
    ['a mark of ours, which a socket may have set, is taken off', XFRM, 0xa7ff3fff, 0],
    ["somebody else's mark stays", XFRM, 0x4000, 0x4000],
    ['one that bears the bits of kube-proxy beside ours is nobody of ours', XFRM, 0xa4004001, 0xa4004001],
    ['with the other engine every mark stays', 0, 0xa400002a, 0xa400002a],
  ])('%s', (_, flags, mark, left) => {
    world.configure({ flags });
    const result = world.tc(program, frame, { mark });
    expect([result.retval, world.drops()]).toEqual([PASS, []]);
    expect(result.ctxOut.readUInt32LE(MARK_AT)).toBe(left);
  });
});

describe('encap', () => {
  const inner = ethernet(packet('10.1.0.1', '10.2.0.2', udp(1, 2, Buffer.from('hello'))));

  test.each([
    [XFRM, 0xa400002a],
    [0, 7],
  ])('with flags %i the mark is %i', (flags, mark) => {
    world.configure({ flags });
    const result = world.tc('encap', inner, { mark: 7 });
    expect([result.retval, world.drops()]).toEqual([PASS, []]);
    expect(result.ctxOut.readUInt32LE(MARK_AT)).toBe(mark);
  });
});

describe('seal', () => {
  test.each([
    ['IPv4', NODE_A, NODE_B],
    ['IPv6', NODE_A6, NODE_B6],
  ])('%s: what a state has sealed leaves, with the port of its flow', (_, from, to) => {
    const result = world.tc('seal_steered', inUdp(from, to), { mark: SEALED });
    expect([result.retval, world.drops()]).toEqual([PASS, []]);
    const outer = parseOuter(result.dataOut); // checks UDP's checksum over IPv6
    expect(outer.udp?.destination).toBe(4500);
    expect(outer.udp?.source).toBeGreaterThanOrEqual(0xc000);
    expect(outer.esp).toEqual(esp);
  });

  test('raw ESP leaves as it is', () => {
    const result = world.tc('seal_steered', raw(NODE_A, NODE_B), { mark: SEALED });
    expect([result.retval, world.drops()]).toEqual([PASS, []]);
    expect(result.dataOut).toEqual(raw(NODE_A, NODE_B));
  });

  const clear = () => ethernet(packet(NODE_A, NODE_B, udp(0xc123, 14789, vxlan(42, Buffer.alloc(60)))));
  test.each([
    ['VXLAN that no state has seen', clear, 0, 'no_sa@7'],
    ['VXLAN with the mark of a state', clear, SEALED, 'clear_egress@7'],
    ['ESP without the mark', () => inUdp(NODE_A, NODE_B), 0, 'clear_egress'],
    ['ESP with the mark of a VNI', () => inUdp(NODE_A, NODE_B), 0xa400002a, 'clear_egress'],
    ['ESP to nobody we know', () => inUdp(NODE_A, STRANGER), SEALED, 'no_peer'],
    [
      'TCP with the mark',
      () => ethernet(packet(NODE_A, NODE_B, Buffer.alloc(60), { protocol: 6 })),
      SEALED,
      'clear_egress@7',
    ],
  ] as const)('refuses %s', (_, frame, mark, reason) => {
    expect(world.tc('seal_steered', frame(), { mark }).retval).toBe(DROPPED);
    expect(world.drops()).toEqual([`egress:${reason}`]);
  });

  test('the mark alone opens nothing: VXLAN that steer did not make', () => {
    expect(world.tc('seal', clear(), { mark: SEALED }).retval).toBe(DROPPED);
    expect(world.drops()).toEqual(['egress:forged_vxlan']);
  });

  test('with the other engine the mark means nothing', () => {
    world.configure();
    expect(world.tc('seal_steered', inUdp(NODE_A, NODE_B), { mark: SEALED }).retval).toBe(DROPPED);
    expect(world.drops()).toEqual(['egress:clear_egress']);
  });
});
