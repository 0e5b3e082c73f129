// The sniffer's reading of captures, and its judgement of frames: a wrong "esp" here would hide a leak.
import { esp, ethernet, ipv4, udp } from './frames';
import { frameKind, ipEnds, readPcap } from './pcap';
import { leaks } from './proofs/reach';

const ENDS = { from: '192.0.2.1', to: '192.0.2.2' };
const A = '02:00:00:00:00:01';
const B = '02:00:00:00:00:02';
const marker = Buffer.from('0123456789abcdef');

function pcap(frames: readonly Buffer[], little = true): Buffer {
  const header = Buffer.alloc(24);
  const put = (target: Buffer, value: number, at: number): number =>
    little ? target.writeUInt32LE(value, at) : target.writeUInt32BE(value, at);
  put(header, 0xa1b2c3d4, 0);
  const records = frames.map((frame) => {
    const record = Buffer.alloc(16);
    put(record, frame.length, 8);
    put(record, frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([header, ...records]);
}

const espFrame = (spi: number, port = 4500): Buffer =>
  ethernet(A, B, udp(ENDS, 40_000, port, esp(spi, 1, Buffer.alloc(40))));

describe.each([true, false])('a capture (little-endian: %p)', (little) => {
  const frames = [espFrame(256), espFrame(4096)];

  test('gives its frames', () => {
    expect(readPcap(pcap(frames, little))).toEqual(frames);
  });

  test('still being written gives the whole frames, at every length', () => {
    const whole = pcap(frames, little);
    const first = 24 + 16 + (frames[0]?.length ?? 0);
    for (let length = 0; length < whole.length; length++) {
      expect(readPcap(whole.subarray(0, length))).toHaveLength(length < first ? 0 : 1);
    }
  });
});

test('a file of another kind is refused', () => {
  expect(() => readPcap(Buffer.alloc(64, 7))).toThrow('not a pcap file');
});

const v6 = (next: number, first: number): Buffer => {
  const frame = Buffer.alloc(80);
  frame.writeUInt16BE(0x86dd, 12);
  frame[20] = next;
  frame[54] = first;
  return frame;
};

test.each([
  ['ESP in UDP', espFrame(256), 'esp'],
  ['a reserved SPI', espFrame(255), 'udp-4500'],
  ['the non-ESP marker', espFrame(0), 'udp-4500'],
  ['VXLAN', espFrame(256, 4789), 'udp-4789'],
  ['TCP', ethernet(A, B, ipv4(ENDS, Buffer.alloc(20), 6)), 'tcp'],
  ['ICMP', ethernet(A, B, ipv4(ENDS, Buffer.alloc(20), 1)), 'icmp'],
  ['raw ESP', ethernet(A, B, ipv4(ENDS, Buffer.alloc(20), 50)), 'ip-50'],
  ['neighbour solicitation', v6(58, 135), 'nd'],
  ['ICMPv6 echo', v6(58, 128), 'icmpv6'],
  ['IPv6 TCP', v6(6, 0), 'ipv6-6'],
  ['a runt', Buffer.alloc(20), 'short'],
])('%s is %s', (_name, frame, kind) => {
  expect(frameKind(frame)).toBe(kind);
});

test('addresses are read', () => {
  const ends = ipEnds(espFrame(256));
  expect([ends?.from.join('.'), ends?.to.join('.')]).toEqual(['192.0.2.1', '192.0.2.2']);
  expect(ipEnds(v6(58, 135))?.from).toHaveLength(16);
  expect(ipEnds(Buffer.alloc(60))).toBeUndefined();
});

describe('a leak', () => {
  test('is not ESP or neighbour discovery', () => {
    expect(leaks([espFrame(256), v6(58, 135)], marker)).toEqual([]);
  });

  test.each([
    [
      'the marker, even inside ESP',
      ethernet(A, B, udp(ENDS, 1, 4500, esp(300, 1, marker))),
      'marker in a esp frame',
    ],
    [
      'a pod address outside',
      ethernet(A, B, udp({ ...ENDS, from: '10.244.1.2' }, 1, 4500, esp(300, 1, Buffer.alloc(40)))),
      'from pod 10.244.1.2',
    ],
    ['anything else', espFrame(256, 53), 'udp-53 frame'],
  ])('is %s', (_name, frame, message) => {
    expect(leaks([frame], marker)).toEqual([expect.stringContaining(message)]);
  });
});
