// Forgeries made from an honest ESP packet: altered, cut, sealed under another key, or sent again as it was.
import { createCipheriv, randomBytes } from 'node:crypto';
import type { Context } from '../context';
import { type Ends, esp, ipBytes, ipPacket, udp } from '../frames';
import { ESP_PORT } from '../layout';
import { frameKind, ipEnds } from '../pcap';
import { sniff } from '../sniffer';
import {
  arrival,
  type Forgery,
  honestDatagram,
  received,
  SINK_PORT,
  sendFromWire,
  strangerOf,
  victim,
} from './sink';

const UDP_PROTOCOL = 17;

const espAt = (frame: Buffer): number => 14 + (frame.readUInt16BE(12) === 0x86dd ? 40 : 20) + 8;
const IV_AT = 8; // in the ESP packet
const TEXT_AT = IV_AT + 8;
const ICV_BYTES = 16;
/** Beyond everything that was sent, so that the replay window does not answer in place of the cipher. */
const SEQUENCE_AHEAD = 100_000;

/** Every ESP frame of one honest datagram from node 1 to node 2 (and of the probes meanwhile). */
async function captureEsp(context: Context, tag: Buffer): Promise<Buffer[]> {
  const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
  await context.endpoint(context.pod(1).netns).cast(context.pod(2).address, SINK_PORT, tag);
  await arrival(context, tag);
  const [from, to] = [ipBytes(context.node(1).vtep), ipBytes(victim(context).vtep)];
  const frames = (await sniffer.stop()).filter(
    (frame) => frameKind(frame) === 'esp' && ipEnds(frame)?.from.equals(from) && ipEnds(frame)?.to.equals(to),
  );
  if (frames.length === 0) throw new Error('the capture holds no ESP from node1 to node2');
  return frames;
}

interface Sample {
  readonly ends: Ends;
  readonly spi: number;
  readonly sequence: number;
  /** IV, ciphertext and ICV. */
  readonly rest: Buffer;
}

async function sampleEsp(context: Context): Promise<Sample> {
  const frame = (await captureEsp(context, randomBytes(200))).at(-1);
  if (frame === undefined) throw new Error('no sample');
  return {
    ends: { from: context.node(1).vtep, to: victim(context).vtep },
    spi: frame.readUInt32BE(espAt(frame)),
    sequence: frame.readUInt32BE(espAt(frame) + 4) + SEQUENCE_AHEAD,
    rest: Buffer.from(frame.subarray(espAt(frame) + IV_AT)),
  };
}

const espPacket = ({ ends, spi, sequence, rest }: Sample): Buffer =>
  udp(ends, 40_001, ESP_PORT, esp(spi, sequence, rest));

/** Altered copies of an honest packet, from the right address, ahead of the replay window. */
const alteredEsp =
  (alter: (sample: Sample) => readonly Buffer[]): Forgery['send'] =>
  async (context) =>
    sendFromWire(context, context.node(1).mac, alter(await sampleEsp(context)));

function flipBit(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

/** RFC 7634 §2: right in every respect but the key. */
function sealedUnderWrongKey(sample: Sample): Buffer {
  const iv = sample.rest.subarray(0, 8);
  const nonce = Buffer.concat([randomBytes(4), iv]);
  const cipher = createCipheriv('chacha20-poly1305', randomBytes(32), nonce, { authTagLength: ICV_BYTES });
  const text = sample.rest.subarray(TEXT_AT - IV_AT, sample.rest.length - ICV_BYTES);
  return Buffer.concat([iv, cipher.update(text), cipher.final(), cipher.getAuthTag()]);
}

/** IP and UDP lengths that contradict each other. */
function contradictory(sample: Sample): Buffer {
  const packet = espPacket(sample);
  const datagram = Buffer.from(packet.subarray(sample.ends.from.includes(':') ? 40 : 20));
  datagram.writeUInt16BE(datagram.length - 8, 4);
  return ipPacket(sample.ends, datagram, UDP_PROTOCOL);
}

export const alteredEspForgeries: readonly Forgery[] = [
  {
    name: 'ESP with a flipped bit in IV, ciphertext or ICV',
    reason: 'bad_icv',
    at: victim,
    send: alteredEsp((sample) => {
      const bits = sample.rest.length * 8;
      const flips = Array.from({ length: 64 }, (_, index) => Math.floor((index * (bits - 1)) / 63));
      return flips.map((bit, index) =>
        espPacket({ ...sample, sequence: sample.sequence + index, rest: flipBit(sample.rest, bit) }),
      );
    }),
  },
  {
    name: 'ESP with another sequence number, cut at its end, or sealed under another key',
    reason: 'bad_icv',
    at: victim,
    send: alteredEsp((sample) => [
      espPacket(sample),
      espPacket({ ...sample, rest: sample.rest.subarray(0, sample.rest.length - 4) }),
      espPacket({ ...sample, rest: sealedUnderWrongKey(sample) }),
    ]),
  },
  {
    name: 'ESP too short, or with lengths that contradict each other',
    reason: 'malformed',
    at: victim,
    send: alteredEsp((sample) => [
      espPacket({ ...sample, rest: Buffer.alloc(0) }),
      espPacket({ ...sample, rest: sample.rest.subarray(0, 8 + ICV_BYTES) }),
      espPacket({ ...sample, rest: sample.rest.subarray(0, sample.rest.length - 1) }),
      contradictory(sample),
    ]),
  },
  {
    name: 'ESP under an SPI that nobody agreed on',
    reason: 'unknown_spi',
    at: victim,
    send: alteredEsp((sample) => [espPacket({ ...sample, spi: (sample.spi ^ 0x5a5a_5a5a) >>> 0 })]),
  },
  {
    name: 'ESP of a peer from another address',
    reason: 'unknown_spi',
    at: victim,
    send: alteredEsp((sample) => [
      espPacket({ ...sample, ends: { ...sample.ends, from: strangerOf(sample.ends.to) } }),
    ]),
  },
];

export const replayed: Forgery = {
  name: 'a replayed capture',
  reason: 'replay',
  at: victim,
  send: async (context) => {
    const tag = randomBytes(200);
    const frames = await captureEsp(context, tag);
    const sent = await sendFromWire(
      context,
      context.node(1).mac,
      frames.map((frame) => frame.subarray(14)),
    );
    await honestDatagram(context);
    const copies = (await received(context)).filter((payload) => payload === tag.toString('latin1')).length;
    if (copies !== 1) throw new Error(`the datagram arrived ${copies} times`);
    return sent;
  },
};
