// Packet stories of open: replay window against truth table and naive twin, and everything forged, by its reason.
import { seeded } from '../agent/core/random';
import { sealEsp, withTrailer } from './esp-decoder';
import { ethernet, packet, udp, vxlan } from './frames';
import { DROPPED, ESN, KEY, SALT, World, XDP_DROP, XDP_PASS } from './world';

const NODE_A = '192.0.2.1';
const NODE_B = '192.0.2.2';
const STRANGER = '192.0.2.9';
const SPI = 0x1000;
const WINDOW = 4096n;
const keys = { key: KEY, salt: SALT, esn: true };
const inner = ethernet(packet('10.2.0.2', '10.1.0.2', udp(1, 2, Buffer.from('hello'))));

let world: World;
beforeAll(() => {
  world = new World('bpf/open');
  world.configure();
  world.own(42, '10.1.0.0/24', 0);
  world.own(42, '10.2.0.0/24', 7);
  world.vtep(7, NODE_B);
  world.peer(7, NODE_B, NODE_A);
});
afterAll(() => world.close());
beforeEach(() => {
  world.drops();
  world.rxSa(42, 7, NODE_B, { spi: SPI });
});

interface Packet {
  readonly sequence?: bigint;
  readonly spi?: number;
  readonly vni?: number;
  readonly port?: number;
  readonly next?: number;
  readonly frame?: Buffer;
  readonly flags?: number;
  readonly keys?: typeof keys;
  readonly text?: Buffer;
}

const esp = (p: Packet): Buffer => {
  const sequence = p.sequence ?? 1n;
  const payload = udp(0xc123, p.port ?? 14789, vxlan(p.vni ?? 42, p.frame ?? inner, p.flags));
  const iv = Buffer.alloc(8);
  iv.writeBigUInt64BE(sequence ^ 0x5555aaaa5555aaaan); // a receiver reads no counter from it
  return sealEsp(p.text ?? withTrailer(payload, p.next), p.keys ?? keys, p.spi ?? SPI, sequence, iv);
};
const wire = (body: Buffer, from = NODE_B): Buffer => ethernet(packet(from, NODE_A, udp(0xc123, 4500, body)));

/** "" when opened, else the reason. */
function verdict(frame: Buffer): string {
  const { retval } = world.xdp('open_xdp', frame);
  const drops = world.drops();
  expect(drops.length).toBe(retval === XDP_DROP ? 1 : 0);
  return (drops[0] ?? '').replace('ingress:', '').replace('@7', '');
}

describe('replay window of 4096', () => {
  const low32 = 1n << 32n;
  // #, highest number so far, next number, accepted
  const table: [number, bigint, bigint, boolean][] = [
    [1, 0n, 1n, true],
    [2, 1n, 1n, false],
    [3, 1n, 2n, true],
    [4, WINDOW, 1n, true], // right at the left edge
    [5, WINDOW + 1n, 1n, false], // one left of it
    [6, WINDOW + 1n, 2n, true],
    [7, 5000n, 5000n - WINDOW + 1n, true],
    [8, 5000n, 5000n - WINDOW, false],
    [9, 5000n, 5000n + WINDOW * 3n, true], // a leap over the whole ring
    [10, 5000n, 5001n, true],
    [11, low32 - 1n, low32, true], // the low half wraps
    [12, low32 + 5n, low32 - 1n, true], // the older subspace
    [13, low32 + 5n, low32 + 5n - WINDOW + 1n, true],
    [14, low32 + WINDOW - 1n, low32, true],
    [15, low32 + WINDOW, low32, false],
    [16, 7n * low32 - 3n, 7n * low32 + 2n, true],
  ];
  test.each(table)('%i: highest %d, then %d: %s', (_i, top, next, accepted) => {
    if (top > 0n) {
      world.rxSa(42, 7, NODE_B, { spi: SPI }, top - 1n);
      expect(verdict(wire(esp({ sequence: top })))).toBe('');
    }
    expect(verdict(wire(esp({ sequence: next })))).toBe(accepted ? '' : 'replay');
    if (accepted) expect(verdict(wire(esp({ sequence: next })))).toBe('replay');
  });

  test('a gap of 2^31 - 1 is bridged, one of 2^31 is not', () => {
    const top = 3n * low32 + 10_000n;
    world.rxSa(42, 7, NODE_B, { spi: SPI }, top);
    expect(verdict(wire(esp({ sequence: top + (1n << 31n) })))).toBe('replay');
    expect(verdict(wire(esp({ sequence: top + (1n << 31n) - 1n })))).toBe('');
  });

  test('agrees with a naive twin on 3000 random numbers around the wrap', () => {
    const random = seeded(4303);
    const randomInt = (below: number) => Math.floor(random() * below);
    let top = low32 - 3000n;
    const seen = new Set([top]);
    // The map takes a highest number, not that it was seen: that comes with its packet.
    world.rxSa(42, 7, NODE_B, { spi: SPI }, top - 1n);
    expect(verdict(wire(esp({ sequence: top })))).toBe('');
    for (let i = 0; i < 3000; i++) {
      const leap = randomInt(100) === 0 ? randomInt(20_000) : randomInt(40);
      const sequence = randomInt(3) === 0 ? top + BigInt(leap) : top - BigInt(randomInt(4200));
      const expected = !seen.has(sequence) && sequence > top - WINDOW;
      const got = verdict(wire(esp({ sequence })));
      expect([i, sequence, top, got]).toEqual([i, sequence, top, expected ? '' : 'replay']);
      if (got === '') {
        seen.add(sequence);
        if (sequence > top) top = sequence;
      }
    }
  });
});

describe('refused, by its reason', () => {
  const good = (): Buffer => esp({});
  const table: [string, () => Buffer, string][] = [
    ['an SPI we do not have', () => wire(esp({ spi: 0x1001 })), 'unknown_spi'],
    ['our SPI from another address', () => wire(good(), STRANGER), 'unknown_spi'],
    ['another key', () => wire(esp({ keys: { ...keys, key: Buffer.alloc(32, 9) } })), 'bad_icv'],
    ['another salt', () => wire(esp({ keys: { ...keys, salt: Buffer.alloc(4) } })), 'bad_icv'],
    ['without ESN in the associated data', () => wire(esp({ keys: { ...keys, esn: false } })), 'bad_icv'],
    ['sequence number 0', () => wire(esp({ sequence: 0n })), 'replay'],
    ['next header 41', () => wire(esp({ next: 41 })), 'bad_trailer'],
    ['next header 59, a dummy packet', () => wire(esp({ next: 59 })), 'bad_trailer'],
    [
      'padding longer than the packet',
      () => wire(esp({ text: Buffer.from([...Array(58).fill(0), 255, 17]) })),
      'bad_trailer',
    ],
    ['not our VXLAN port', () => wire(esp({ port: 4789 })), 'not_vxlan'],
    ['VXLAN without a VNI', () => wire(esp({ flags: 0 })), 'not_vxlan'],
    [
      'UDP length beyond the packet',
      () => wire(esp({ text: withTrailer(lie(udp(1, 14789, vxlan(42, inner)))) })),
      'not_vxlan',
    ],
    ['another VNI', () => wire(esp({ vni: 43 })), 'wrong_vni'],
    ['ciphertext not a multiple of 4', () => wire(Buffer.concat([good(), Buffer.alloc(1)])), 'malformed'],
    ['only SPI', () => wire(good().subarray(0, 4)), 'malformed'],
    ['no ciphertext', () => wire(good().subarray(0, 32)), 'malformed'],
    ['too short for an inner frame', () => wire(esp({ text: Buffer.alloc(28, 17) })), 'malformed'],
    ['the frame ends before the IP packet does', () => wire(good()).subarray(0, 80), 'malformed'],
    ['UDP length unlike IP’s', () => longer(wire(good())), 'malformed'],
  ];
  test.each(table)('%s', (_name, frame, reason) => {
    expect(verdict(frame())).toBe(reason);
    world.rxSa(42, 7, NODE_B, { spi: SPI });
    const viaTc = world.tc('open_tc', frame());
    expect([viaTc.retval, world.drops()[0]?.replace('@7', '')]).toEqual([DROPPED, `ingress:${reason}`]);
  });

  test('truncated at every length', () => {
    const body = good();
    for (let bytes = 0; bytes < body.length; bytes++) {
      const result = verdict(wire(body.subarray(0, bytes)));
      // Below 4 bytes it is a NAT keepalive, which is the stack's.
      expect([bytes, result]).toEqual([
        bytes,
        bytes < 4 ? '' : expect.stringMatching(/^(malformed|bad_icv)$/),
      ]);
    }
  });

  test('every single bit flipped behind the UDP header', () => {
    const body = good();
    for (let bit = 0; bit < body.length * 8; bit++) {
      const copy = Buffer.from(body);
      copy.writeUInt8(copy.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      expect([bit, verdict(wire(copy))]).toEqual([
        bit,
        expect.stringMatching(bit === 20 ? /^$/ : bit < 32 ? /^unknown_spi$/ : /^(bad_icv|replay)$/),
      ]);
    }
    expect(verdict(wire(body))).toBe(''); // and none of them moved the window
  });
});

describe('what is the stack’s', () => {
  const table: [string, Buffer][] = [
    ['IKE behind the non-ESP marker', wire(Buffer.alloc(64))],
    ['a NAT keepalive', wire(Buffer.from([0xff]))],
    ['UDP to another port', ethernet(packet(NODE_B, NODE_A, udp(1, 4501, Buffer.alloc(64))))],
    ['a fragment', ethernet(packet(NODE_B, NODE_A, udp(1, 4500, esp({})), { fragment: 0x2000 }))],
    ['TCP', ethernet(packet(NODE_B, NODE_A, Buffer.alloc(40), { protocol: 6 }))],
    ['ARP', ethernet(Buffer.alloc(46), 0x0806)],
  ];
  test.each(table)('%s', (_name, frame) => {
    const result = world.xdp('open_xdp', frame);
    expect([result.retval, result.dataOut, world.drops()]).toEqual([XDP_PASS, frame, []]);
  });

  test('a stranger’s SPI, only where the port is shared', () => {
    expect(verdict(wire(esp({ spi: 0x7777 }), STRANGER))).toBe('unknown_spi');
    world.configure({ flags: 1 });
    expect(verdict(wire(esp({ spi: 0x7777 }), STRANGER))).toBe('');
    expect(verdict(wire(esp({ spi: 0x7777 })))).toBe('unknown_spi'); // a peer's stays ours
    world.configure();
  });
});

test('tc ingress opens and delivers in one step', () => {
  world.rxSa(42, 7, NODE_B, { spi: SPI, flags: ESN });
  const result = world.tc('open_tc', wire(esp({})));
  expect([result.retval, world.drops()]).toEqual([7, []]);
  expect(result.dataOut).toEqual(inner);
});

function lie(datagram: Buffer): Buffer {
  datagram.writeUInt16BE(datagram.length + 1, 4);
  return datagram;
}

function longer(frame: Buffer): Buffer {
  frame.writeUInt16BE(frame.readUInt16BE(38) + 4, 38);
  return frame;
}
