// Packet stories of the programs around the cipher: who may send what to whom, in both directions.
import { ethernet, packet, tcp, tcpChecksum, udp, vxlan } from './frames';
import { DROPPED, PASS, REDIRECTED, World } from './world';

const POD = '10.1.0.2';
const REMOTE = '10.2.0.2';
const NODE_A = '192.0.2.1';
const NODE_B = '192.0.2.2';
const WORLD = '198.51.100.1';
const POD6 = 'fd01::2';
const REMOTE6 = 'fd02::2';
const LO = 1;

let world: World;
beforeAll(() => {
  world = new World(
    'bpf/steer',
    'bpf/encap',
    'bpf/gate',
    'bpf/admit',
    'bpf/guard',
    'bpf/fence',
    'test/bpf/astray',
    'bpf/deliver',
    'test/bpf/stamped',
    'test/bpf/opened',
  );
  world.configure();
  for (const vni of [42, 43]) {
    world.own(vni, '10.1.0.0/24', 0);
    world.own(vni, '10.2.0.0/24', 7);
    world.own(vni, '10.3.0.0/24', 8);
    world.own(vni, '10.0.0.0/8', 0xffffffff);
    world.own(vni, 'fd01::/64', 0);
    world.own(vni, 'fd02::/64', 7);
    world.own(vni, '192.0.2.1/32', 0, true);
    world.own(vni, '192.0.2.2/32', 7, true);
  }
  world.peer(7, NODE_B, NODE_A);
  world.peer(8, '192.0.2.3', NODE_A);
  world.pod(LO, 42, POD, POD6);
});
afterAll(() => world.close());
beforeEach(() => world.drops());

const clear = (from: string, to: string): Buffer => ethernet(packet(from, to, udp(1, 2, Buffer.from('x'))));

/** Of one link, as honest neighbour discovery is: nobody has forwarded it. */
const icmp6 = (from: string, to: string, type: number, hopLimit = 255): Buffer =>
  ethernet(
    packet(from, to, Buffer.concat([Buffer.from([type]), Buffer.alloc(23)]), { protocol: 58, hopLimit }),
  );

/** ICMPv6 behind so many hop-by-hop options headers. */
function hidden(type: number, headers: number): Buffer {
  const chain = Array.from({ length: headers }, (_, i) =>
    Buffer.from([i + 1 < headers ? 0 : 58, 0, 1, 4, 0, 0, 0, 0]),
  );
  const payload = Buffer.concat([...chain, Buffer.from([type]), Buffer.alloc(23)]);
  return ethernet(packet('fe80::2', 'ff02::1', payload, { protocol: 0 }));
}

type Case = [name: string, frame: Buffer, verdict: number, drops: string[]];

describe('steer, on what a pod sends', () => {
  const table: Case[] = [
    ['to a remote pod', clear(POD, REMOTE), REDIRECTED, []],
    ['to a remote pod, IPv6', clear(POD6, REMOTE6), REDIRECTED, []],
    ['to a peer node', clear(POD, NODE_B), REDIRECTED, []],
    ['to the own node', clear(POD, NODE_A), PASS, []],
    ['to a local pod', clear(POD, '10.1.0.3'), PASS, []],
    ['to the world', clear(POD, WORLD), PASS, []],
    ['to a protected range without a peer', clear(POD, '10.9.0.1'), DROPPED, ['egress:no_peer']],
    ['from another local pod’s address', clear('10.1.0.3', REMOTE), DROPPED, ['egress:spoofed_source']],
    [
      'from a remote pod’s address, to a local pod',
      clear(REMOTE, '10.1.0.3'),
      DROPPED,
      ['egress:spoofed_source'],
    ],
    ['from a remote pod’s address, to the world', clear(REMOTE, WORLD), DROPPED, ['egress:spoofed_source']],
    ['from a stranger’s address, to a remote pod', clear(WORLD, REMOTE), DROPPED, ['egress:spoofed_source']],
    ['from a stranger’s address, to the world', clear(WORLD, '203.0.113.1'), PASS, []],
    ['a router advertisement', icmp6('fe80::2', 'ff02::1', 134), DROPPED, ['egress:router']],
    ['one behind a hop-by-hop header', hidden(134, 1), DROPPED, ['egress:router']],
    ['one behind six headers', hidden(134, 6), DROPPED, ['egress:router']],
    ['something behind seven headers', hidden(134, 7), DROPPED, ['egress:malformed']],
    ['a redirect', icmp6('fe80::2', POD6, 137), DROPPED, ['egress:router']],
    ['a router solicitation', icmp6('fe80::2', 'ff02::2', 133), PASS, []],
    ['a neighbour solicitation', icmp6('fe80::2', 'ff02::1:ff00:1', 135), PASS, []],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), PASS, []],
    ['a tag behind a tag', ethernet(tagged(clear(POD, REMOTE)), 0x8100), DROPPED, ['egress:nested_tag']],
    ['a service tag', ethernet(tagged(clear(POD, REMOTE)), 0x88a8), DROPPED, ['egress:nested_tag']],
    ['a probe', ethernet(Buffer.alloc(60), 0x88b5), PASS, []],
    [
      'a first fragment',
      ethernet(packet(POD, REMOTE, Buffer.alloc(64), { fragment: 0x2000 })),
      REDIRECTED,
      [],
    ],
    [
      'a later fragment',
      ethernet(packet(POD, REMOTE, Buffer.alloc(64), { fragment: 0x0008 })),
      REDIRECTED,
      [],
    ],
    [
      'IP options',
      ethernet(packet(POD, REMOTE, udp(1, 2, Buffer.alloc(9)), { options: Buffer.alloc(8, 1) })),
      REDIRECTED,
      [],
    ],
    ['an IPv4 header of 16 bytes', broken(clear(POD, REMOTE), 14, 0x44), DROPPED, ['egress:malformed']],
    ['version 5', broken(clear(POD, REMOTE), 14, 0x55), DROPPED, ['egress:malformed']],
  ];
  test.each(table)('%s', (_name, frame, verdict, drops) => {
    expect([world.tc('steer', frame).retval, world.drops()]).toEqual([verdict, drops]);
  });

  test('a device that is nobody’s pod passes nothing', () => {
    const other = new World('bpf/steer');
    try {
      expect(other.tc('steer', clear(POD, REMOTE)).retval).toBe(DROPPED);
      expect(other.drops()).toEqual(['egress:not_configured']);
      other.configure();
      expect(other.tc('steer', clear(POD, REMOTE)).retval).toBe(DROPPED);
      other.configure({ abi: 2 });
      expect(other.tc('steer', clear(POD, REMOTE)).retval).toBe(DROPPED);
      expect(other.drops()).toEqual(['egress:not_configured', 'egress:not_configured']);
    } finally {
      other.close();
    }
  });
});

describe('fence, on what leaves over any other device', () => {
  const refused = ['egress:clear_egress'];
  const table: Case[] = [
    ['pod to remote pod', clear(POD, REMOTE), DROPPED, refused],
    ['node to remote pod', clear(NODE_A, REMOTE), DROPPED, refused],
    ['stranger to remote pod', clear(WORLD, REMOTE), DROPPED, refused],
    ['to a range without a peer', clear(NODE_A, '10.9.0.1'), DROPPED, refused],
    ['pod to a peer node', clear(POD, NODE_B), DROPPED, refused],
    ['a remote pod, to the world', clear(REMOTE, WORLD), DROPPED, refused],
    ['a remote pod, to a local pod behind a bridge', clear(REMOTE, '10.1.0.9'), PASS, []],
    ['node to a local pod behind a bridge', clear(NODE_A, '10.1.0.9'), PASS, []],
    ['pod to the world', clear(POD, WORLD), PASS, []],
    ['node to node', clear(NODE_A, NODE_B), PASS, []],
    ['IPv6, pod to remote pod', clear(POD6, REMOTE6), DROPPED, refused],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), PASS, []],
    ['a neighbour solicitation', icmp6('2001:db8::1', '2001:db8::2', 135), PASS, []],
    ['one that was forwarded', icmp6(POD6, '2001:db8::2', 135, 254), DROPPED, ['egress:router']],
    ['an answer that was forwarded', icmp6(POD6, '2001:db8::2', 136, 1), DROPPED, ['egress:router']],
    ['a ping that was forwarded', icmp6(POD6, '2001:db8::2', 128, 63), PASS, []],
    ['a listener’s report', icmp6('fe80::1', 'ff02::16', 143, 1), PASS, []],
  ];
  test.each(table)('%s', (_name, frame, verdict, drops) => {
    expect([world.tc('fence', frame).retval, world.drops()]).toEqual([verdict, drops]);
  });

  test('VXLAN that the device made and the routing sent astray', () => {
    const astray = ethernet(packet(NODE_A, NODE_B, udp(1, 14789, vxlan(42, clear(POD, REMOTE)))));
    expect([world.tc('fence_steered', astray).retval, world.drops()]).toEqual([DROPPED, refused]);
    expect([world.tc('fence', astray).retval, world.drops()]).toEqual([PASS, []]);
  });
});

describe('TCP’s segment size', () => {
  const SYN = 0x02;
  const mss = (value: number): Buffer => Buffer.from([2, 4, value >> 8, value & 255]);
  // #, options, option bytes afterwards
  const table: [number, Buffer, Buffer, number?][] = [
    [1, mss(1460), mss(1368)],
    [2, mss(1368), mss(1368)],
    [3, mss(1369), mss(1368)],
    [4, mss(536), mss(536)],
    [5, mss(65535), mss(1368)],
    [6, Buffer.concat([Buffer.from([1]), mss(1460)]), Buffer.concat([Buffer.from([1]), mss(1368)])], // odd offset
    [7, Buffer.concat([Buffer.from([1, 1]), mss(1460)]), Buffer.concat([Buffer.from([1, 1]), mss(1368)])],
    [8, Buffer.concat([Buffer.from([4, 2]), mss(1460)]), Buffer.concat([Buffer.from([4, 2]), mss(1368)])],
    [
      9,
      Buffer.concat([Buffer.from([3, 3, 7]), mss(1460)]),
      Buffer.concat([Buffer.from([3, 3, 7]), mss(1368)]),
    ],
    [10, Buffer.concat([Buffer.from([0]), mss(1460)]), Buffer.concat([Buffer.from([0]), mss(1460)])], // ended
    [11, Buffer.concat([Buffer.from([8, 0]), mss(1460)]), Buffer.concat([Buffer.from([8, 0]), mss(1460)])], // length 0
    [12, Buffer.concat([Buffer.alloc(36, 1), mss(1460)]), Buffer.concat([Buffer.alloc(36, 1), mss(1368)])], // last place
    [
      13,
      Buffer.from([8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4]),
      Buffer.from([8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4]),
    ], // cut
    [14, mss(1460), mss(1460), 0x10], // not a SYN
  ];
  test.each(table)('%i', (_i, options, after, flags = SYN) => {
    const result = world.tc(
      'steer',
      ethernet(packet(POD, REMOTE, tcp(POD, REMOTE, flags, options), { protocol: 6 })),
    );
    expect(result.retval).toBe(REDIRECTED);
    const segment = result.dataOut.subarray(34);
    expect(segment.subarray(20, 20 + after.length)).toEqual(after);
    expect(tcpChecksum(POD, REMOTE, segment)).toBe(0);
  });

  test('IPv6 takes 20 bytes more', () => {
    const frame = ethernet(packet(POD6, REMOTE6, tcp(POD6, REMOTE6, SYN, mss(1460)), { protocol: 6 }));
    const segment = world.tc('steer', frame).dataOut.subarray(54);
    expect(segment.readUInt16BE(22)).toBe(1348);
    expect(tcpChecksum(POD6, REMOTE6, segment)).toBe(0);
  });
});

describe('encap, on what the host sends into the VXLAN device', () => {
  const probe = (peer: number, reply = 0, version = 1): Buffer => {
    const frame = ethernet(Buffer.alloc(60), 0x88b5);
    frame.writeUInt8(version, 14);
    frame.writeUInt8(reply, 15);
    frame.writeUInt32LE(peer, 16);
    return frame;
  };
  const table: Case[] = [
    ['node to remote pod', clear(NODE_A, REMOTE), PASS, []],
    ['pod through the stack (DNAT)', clear(POD, REMOTE), PASS, []],
    ['to a local pod', clear(NODE_A, POD), DROPPED, ['egress:no_peer']],
    ['to the world', clear(NODE_A, WORLD), DROPPED, ['egress:no_peer']],
    ['to a range without a peer', clear(NODE_A, '10.9.0.1'), DROPPED, ['egress:no_peer']],
    ['from a stranger', clear(WORLD, REMOTE), DROPPED, ['egress:spoofed_source@7']],
    ['from another peer', clear('10.3.0.2', REMOTE), DROPPED, ['egress:spoofed_source@7']],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), DROPPED, ['egress:inner_protocol']],
    ['the host’s own multicast', clear(NODE_A, '224.0.0.22'), DROPPED, ['egress:multicast']],
    ['broadcast', clear(NODE_A, '255.255.255.255'), DROPPED, ['egress:multicast']],
    ['the host’s own multicast, IPv6', clear('::', 'ff02::16'), DROPPED, ['egress:multicast']],
    ['a probe', probe(7), PASS, []],
    ['a probe to nobody', probe(9), DROPPED, ['egress:no_peer@9']],
    ['a probe’s reply made by a process', probe(7, 1), DROPPED, ['egress:malformed']],
    ['a probe of another version', probe(7, 0, 2), DROPPED, ['egress:malformed']],
  ];
  test.each(table)('%s', (_name, frame, verdict, drops) => {
    expect([world.tc('encap', frame).retval, world.drops()]).toEqual([verdict, drops]);
  });
});

describe('deliver, on what a peer’s key opened', () => {
  type Row = [string, Buffer, number, number, number, string[]];
  const table: Row[] = [
    ['remote pod to local pod', clear(REMOTE, POD), 42, 7, REDIRECTED, []],
    ['remote pod to local pod, IPv6', clear(REMOTE6, POD6), 42, 7, REDIRECTED, []],
    ['peer node to local pod', clear(NODE_B, POD), 42, 7, REDIRECTED, []],
    ['remote pod to this node', clear(REMOTE, NODE_A), 42, 7, REDIRECTED, []],
    ['another peer’s pod', clear('10.3.0.2', POD), 42, 7, DROPPED, ['ingress:inner_source@7']],
    ['another peer’s key', clear(REMOTE, POD), 42, 8, DROPPED, ['ingress:inner_source@8']],
    ['our own pod', clear('10.1.0.3', POD), 42, 7, DROPPED, ['ingress:inner_source@7']],
    ['this node', clear(NODE_A, POD), 42, 7, DROPPED, ['ingress:inner_source@7']],
    ['a stranger', clear(WORLD, POD), 42, 7, DROPPED, ['ingress:inner_source@7']],
    ['a range without a peer', clear('10.9.0.1', POD), 42, 7, DROPPED, ['ingress:inner_source@7']],
    ['a VNI without members', clear(REMOTE, POD), 44, 7, DROPPED, ['ingress:inner_source@7']],
    ['to the world', clear(REMOTE, WORLD), 42, 7, DROPPED, ['ingress:inner_destination@7']],
    ['to a third node’s pod', clear(REMOTE, '10.3.0.2'), 42, 7, DROPPED, ['ingress:inner_destination@7']],
    ['to everybody', clear(REMOTE, '255.255.255.255'), 42, 7, DROPPED, ['ingress:inner_destination@7']],
    ['another VNI, no such pod', clear(REMOTE, POD), 43, 7, DROPPED, ['ingress:inner_destination@7']],
    ...[133, 134, 135, 136, 137].map(
      (type): Row => [
        `neighbour discovery, type ${type}, in a peer’s own name`,
        icmp6(REMOTE6, POD6, type),
        42,
        7,
        DROPPED,
        ['ingress:router@7'],
      ],
    ),
    [
      'a forged gateway’s advertisement',
      icmp6('fe80::1', POD6, 134),
      42,
      7,
      DROPPED,
      ['ingress:inner_source@7'],
    ],
    ['one to all nodes', icmp6(REMOTE6, 'ff02::1', 134), 42, 7, DROPPED, ['ingress:inner_destination@7']],
    ['an echo request over IPv6', icmp6(REMOTE6, POD6, 128), 42, 7, REDIRECTED, []],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), 42, 7, DROPPED, ['ingress:inner_protocol@7']],
    ['VLAN-tagged', ethernet(Buffer.alloc(46), 0x8100), 42, 7, DROPPED, ['ingress:inner_protocol@7']],
    ['a broken header', broken(clear(REMOTE, POD), 14, 0x41), 42, 7, DROPPED, ['ingress:malformed@7']],
  ];
  test.each(table)('%s', (_name, frame, vni, peer, verdict, drops) => {
    expect([world.tc('deliver_opened', frame, { cb: [vni, peer] }).retval, world.drops()]).toEqual([
      verdict,
      drops,
    ]);
  });

  test('a probe’s request goes back as it came, a reply ends here', () => {
    const frame = ethernet(Buffer.alloc(1408), 0x88b5);
    frame.writeUInt8(1, 14);
    frame.writeBigUInt64LE(99n, 20);
    const answer = world.tc('deliver_opened', frame, { cb: [42, 7] });
    expect([answer.retval, answer.dataOut.length, answer.dataOut.readUInt8(15)]).toEqual([
      REDIRECTED,
      frame.length,
      1,
    ]);
    expect(answer.dataOut.subarray(16)).toEqual(frame.subarray(16));
    frame.writeUInt8(1, 15);
    expect(world.tc('deliver_opened', frame, { cb: [42, 7] }).retval).toBe(DROPPED);
    expect(world.drops()).toEqual([]);
  });
});

describe('what arrives in clear', () => {
  const naked = ['ingress:naked_inner'];
  const nested = ['ingress:nested_tag'];
  const table: [string, Buffer, [wire: string[], other: string[], pod: string[]]][] = [
    ['remote pod to local pod', clear(REMOTE, POD), [naked, naked, naked]],
    ['remote pod to this node', clear(REMOTE, NODE_A), [naked, naked, naked]],
    ['a range without a peer', clear('10.9.0.1', POD), [naked, naked, naked]],
    ['peer node to local pod', clear(NODE_B, POD), [naked, naked, naked]],
    ['peer node to this node', clear(NODE_B, NODE_A), [[], [], naked]],
    ['a local pod’s address', clear('10.1.0.3', POD), [naked, [], []]],
    ['the world to local pod', clear(WORLD, POD), [[], [], []]],
    ['IPv6, remote pod', clear(REMOTE6, POD6), [naked, naked, naked]],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), [[], [], []]],
    ['a tag behind a priority tag', ethernet(tagged(clear(REMOTE, POD)), 0x8100), [nested, nested, []]],
  ];
  test.each(table)('%s', (_name, frame, expected) => {
    const seen = ['deliver', 'guard', 'gate'].map((program) => {
      const { retval } = world.tc(program, frame);
      const drops = world.drops();
      expect(retval).toBe(drops.length > 0 ? DROPPED : PASS);
      return drops;
    });
    expect(seen).toEqual(expected);
  });

  test('the gate lets in what deliver approved', () => {
    expect([world.tc('gate_opened', clear(REMOTE, POD)).retval, world.drops()]).toEqual([PASS, []]);
  });

  test('the VXLAN device takes nothing that deliver did not put there', () => {
    expect([world.tc('admit', clear(REMOTE, POD)).retval, world.drops()]).toEqual([
      DROPPED,
      ['ingress:no_cookie'],
    ]);
  });

  test('VXLAN in clear from the wire', () => {
    const opener = new World('bpf/open');
    try {
      opener.configure();
      const frame = ethernet(packet(NODE_B, NODE_A, udp(1, 14789, vxlan(42, clear(REMOTE, POD)))));
      expect([opener.xdp('open_xdp', frame).retval, opener.drops()]).toEqual([1, ['ingress:forged_vxlan']]);
      expect([opener.tc('open_tc', frame).retval, opener.drops()]).toEqual([
        DROPPED,
        ['ingress:forged_vxlan'],
      ]);
    } finally {
      opener.close();
    }
  });
});

/** What follows the type of an outer tag: VID 0, then the frame's own type and packet. */
function tagged(frame: Buffer): Buffer {
  return Buffer.concat([Buffer.alloc(2), frame.subarray(12)]);
}

describe('a tenant’s pod (VNI 43 beside the host’s 42)', () => {
  let other: World;
  beforeAll(() => {
    other = new World('bpf/steer', 'bpf/gate', 'test/bpf/opened', 'test/bpf/stamped');
    other.configure();
    for (const [vni, peer] of [
      [42, 8],
      [43, 7],
    ] as const) {
      other.own(vni, '10.1.0.0/24', 0);
      other.own(vni, '10.2.0.0/24', peer);
      other.own(vni, 'fd01::/64', 0);
      other.own(vni, 'fd02::/64', peer);
    }
    other.own(42, '192.0.2.1/32', 0, true);
    other.own(42, '192.0.2.2/32', 7, true);
    other.peer(7, NODE_B, NODE_A);
    other.peer(8, '192.0.2.3', NODE_A);
    other.pod(LO, 43, POD, POD6);
    other.pod(LO + 100, 43, '10.1.0.4', 'fd01::4');
    other.pod(LO + 101, 42, '10.1.0.5');
  });
  afterAll(() => other.close());

  const posing = (from: string, to: string): Buffer =>
    ethernet(packet(from, to, Buffer.concat([Buffer.from([135]), Buffer.alloc(23)]), { protocol: 58 }));
  const nd = (to: string, type = 135): Buffer => icmp6('fe80::2', to, type);
  const sent: Case[] = [
    ['to its own VNI elsewhere', clear(POD, REMOTE), REDIRECTED, []],
    ['the same, IPv6', clear(POD6, REMOTE6), REDIRECTED, []],
    ['to a pod of its own VNI here', clear(POD, '10.1.0.4'), REDIRECTED, []],
    ['to a pod of the host’s VNI here', clear(POD, '10.1.0.5'), DROPPED, ['egress:tenant']],
    ['to its own node', clear(POD, NODE_A), DROPPED, ['egress:tenant']],
    ['to another node', clear(POD, NODE_B), DROPPED, ['egress:tenant']],
    ['to the world', clear(POD, WORLD), DROPPED, ['egress:tenant']],
    ['from a stranger’s address to the world', clear(WORLD, '203.0.113.1'), DROPPED, ['egress:tenant']],
    ['from another pod’s address', clear('10.1.0.4', REMOTE), DROPPED, ['egress:spoofed_source']],
    ['the same to the world', clear('10.1.0.4', WORLD), DROPPED, ['egress:spoofed_source']],
    ['from a stranger’s address, to its own VNI', clear(WORLD, REMOTE), DROPPED, ['egress:spoofed_source']],
    ['multicast', clear(POD, '224.0.0.251'), DROPPED, ['egress:multicast']],
    ['a neighbour solicitation', nd('ff02::1:ff00:1'), PASS, []],
    ['one to the gateway itself', icmp6(POD6, 'fd01::1', 135), PASS, []],
    ['one to it from the link-local address', nd('fd01::1'), PASS, []],
    ['one to an address elsewhere', nd('fd02::1'), DROPPED, ['egress:spoofed_source']],
    ['one from another pod’s address', icmp6('fd01::4', 'fd01::1', 135), DROPPED, ['egress:spoofed_source']],
    ['an answer from the link-local address', nd('fd01::1', 136), PASS, []],
    ['a ping from it', nd('fd01::1', 128), DROPPED, ['egress:spoofed_source']],
    ['a router advertisement', nd('ff02::1', 134), DROPPED, ['egress:router']],
    ['a neighbour’s answer to another pod here', icmp6(POD6, 'fd01::4', 136), DROPPED, ['egress:router']],
    ['the same from its link-local address', nd('fd01::4', 136), DROPPED, ['egress:router']],
    ['a solicitation to another pod here from it', nd('fd01::4'), DROPPED, ['egress:router']],
    ['IPv4 that says it is ICMPv6, to the world', posing(POD, WORLD), DROPPED, ['egress:tenant']],
    ['the same from a stranger’s address', posing(WORLD, '203.0.113.1'), DROPPED, ['egress:tenant']],
    ['the same to every host', posing(POD, '224.0.0.1'), DROPPED, ['egress:multicast']],
    ['a solicitation behind a hop-by-hop header', hidden(135, 1), DROPPED, ['egress:multicast']],
    ['a ping to another pod here', icmp6(POD6, 'fd01::4', 128), REDIRECTED, []],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), PASS, []],
  ];
  test.each(sent)('sends %s', (_name, frame, verdict, drops) => {
    expect([other.tc('steer', frame).retval, other.drops()]).toEqual([verdict, drops]);
  });

  const tenant = ['ingress:tenant'];
  const arriving: [string, Buffer, drops: string[], approved: string[]][] = [
    ['its own VNI’s remote address', clear(REMOTE, POD), ['ingress:naked_inner'], []],
    ['a pod of its own VNI here', clear('10.1.0.4', POD), tenant, []],
    ['its own node', clear(NODE_A, POD), tenant, tenant],
    ['the world', clear(WORLD, POD), tenant, tenant],
    ['a neighbour advertisement', icmp6('fe80::1', POD6, 136), [], tenant],
    ['the gateway’s answer to its link-local address', icmp6('fd01::1', 'fe80::2', 136), [], []],
    ['one that was forwarded', icmp6('fd09::1', POD6, 136, 254), ['ingress:router'], tenant],
    ['IPv4 that says it is ICMPv6', posing(WORLD, POD), tenant, tenant],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806), [], []],
  ];
  test.each(arriving)('takes from the host: %s', (_name, frame, drops, approved) => {
    expect([other.tc('gate', frame).retval, other.drops()]).toEqual([
      drops.length > 0 ? DROPPED : PASS,
      drops,
    ]);
    expect([other.tc('gate_opened', frame).retval, other.drops()]).toEqual([
      approved.length > 0 ? DROPPED : PASS,
      approved,
    ]);
  });

  test('what its VNI’s key opened goes to its device, and the host VNI’s does not', () => {
    expect(other.tc('deliver_opened', clear(REMOTE, POD), { cb: [43, 7] }).retval).toBe(REDIRECTED);
    expect(other.tc('deliver_opened', clear(REMOTE, '10.1.0.5'), { cb: [43, 7] }).retval).toBe(DROPPED);
    expect(other.drops()).toEqual(['ingress:inner_destination@7']);
    expect(other.tc('deliver_opened', clear(REMOTE, POD), { cb: [42, 7] }).retval).toBe(DROPPED);
    expect(other.drops()).toEqual(['ingress:inner_source@7']);
  });
});

function broken(frame: Buffer, at: number, value: number): Buffer {
  frame.writeUInt8(value, at);
  return frame;
}
