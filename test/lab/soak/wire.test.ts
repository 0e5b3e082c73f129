// The judge of a soak's wire must see what it is there for.
import { randomBytes } from 'node:crypto';
import { esp, ethernet, ipv4, udp } from '../frames';
import { WireJudge } from './wire';

const marker = randomBytes(16);
const wireFrame = (packet: Buffer): Buffer => ethernet('021ab0010100', '021ab0010200', packet);
const nodes = { from: '192.0.2.1', to: '192.0.2.2' };

const iv = (number: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(number));
  return bytes;
};
const sealed = (spi: number, number: number): Buffer =>
  wireFrame(udp(nodes, 4500, 4500, esp(spi, number, Buffer.concat([iv(number), randomBytes(40)]))));

function judged(...frames: readonly Buffer[]) {
  const judge = new WireJudge(marker);
  for (const frame of frames) judge.take(frame);
  const { sealed: espCount, spis, repeated, leakCount } = judge.report(0);
  return { espCount, spis, repeated, leakCount };
}

test('1 numbers under two keys, in any order, also far ahead: nothing repeats', () => {
  expect(judged(sealed(300, 2), sealed(300, 1), sealed(400, 1), sealed(300, 200_000))).toEqual({
    espCount: 4,
    spis: [300, 400],
    repeated: 0,
    leakCount: 0,
  });
});

test('2 the same number under one key twice is seen, however much came between', () => {
  const frames = Array.from({ length: 5000 }, (_, number) => sealed(300, number + 1));
  expect(judged(...frames, sealed(300, 4711)).repeated).toBe(1);
});

test('3 the marker anywhere, a pod as sender, and any other kind of frame are leaks', () => {
  const pods = { from: '10.244.1.2', to: '10.244.2.2' };
  expect(
    judged(wireFrame(udp(nodes, 4500, 4500, esp(300, 1, Buffer.concat([iv(1), marker]))))).leakCount,
  ).toBe(1);
  expect(judged(wireFrame(udp(pods, 4500, 4500, esp(300, 1, iv(1))))).leakCount).toBe(1);
  expect(judged(wireFrame(udp(nodes, 1000, 53, randomBytes(20)))).leakCount).toBe(1);
  expect(judged(wireFrame(ipv4(nodes, randomBytes(20), 6))).leakCount).toBe(1);
});

test('4 "port unreachable" of a node that just booted is none, an echo is one', () => {
  const icmp = (type: number): Buffer => wireFrame(ipv4(nodes, Buffer.from([type, 3, 0, 0, 0, 0, 0, 0]), 1));
  expect([judged(icmp(3)).leakCount, judged(icmp(8)).leakCount]).toEqual([0, 1]);
});
