import { StandingRecords } from '../../../agent/control/standing';
import { type PodWithdrawal, recordName } from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Vni } from '../../../agent/core/ids';
import { encodePayload } from '../../../agent/core/payload';
import type { BusRecord } from '../../../agent/ports';
import { seeded } from '../core/random';

const topic = 'vxseal.pods.v1';
const record = (key: string, value: Uint8Array): BusRecord => ({ topic, key, value });
const text = (key: string, value: string): BusRecord => record(key, new Uint8Array(Buffer.from(value)));
const saying = (sequence: number): PodWithdrawal => ({
  kind: 'pod-withdrawal',
  node: 'node1' as NodeName,
  vni: 100 as Vni,
  address: '10.0.0.1' as IpAddress,
  generation: 1,
  sequence,
  notAfterMs: 2000,
});
const NOTHING = saying(0);
const payloadOf = (sequence: number): string =>
  Buffer.from(encodePayload(saying(sequence))).toString('base64url');

describe('standing records', () => {
  test('what is put in comes out byte for byte, whatever it is', () => {
    const next = seeded(7);
    const byte = (): number => Math.floor(next() * 256);
    const records = new StandingRecords();
    const naive = new Map<string, BusRecord>();
    for (let round = 0; round < 3000; round++) {
      const value = Uint8Array.from({ length: Math.floor(next() * 40) }, byte);
      if (next() < 0.7) value[Math.floor(next() * value.length)] = 0x2e;
      const one = record(`key\n${Math.floor(next() * 200)}`, value);
      if (next() < 0.2) {
        records.delete(recordName(one));
        naive.delete(recordName(one));
      } else {
        records.set(recordName(one), one, NOTHING);
        naive.set(recordName(one), one);
      }
    }
    expect([...records.names()].sort()).toEqual([...naive.keys()].sort());
    for (const [name, one] of naive) {
      expect(records.get(name)).toEqual(one);
      expect(records.holds(name, one)).toBe(true);
      expect(records.holds(name, { ...one, value: Uint8Array.of(...(one.value ?? []), 0) })).toBe(false);
    }
    expect(naive.size).toBeGreaterThan(100);
  });

  test.each([
    ['1 the payload says it', `head.${payloadOf(7)}.signature`],
    ['2 it says something else', `head.${payloadOf(8)}.signature`],
    ['3 another text for the same bytes', `head.${payloadOf(7)}=.signature`],
    ['4 more behind it', `head.${payloadOf(7)}AAAA.signature`],
    ['5 nothing behind it', `head.${payloadOf(7)}`],
    ['6 nothing but dots', `.${payloadOf(7)}..`],
    ['7 no payload', 'head..signature'],
  ])('with what a record says: %s', (_, value) => {
    const records = new StandingRecords();
    const one = text('a', value);
    records.set(recordName(one), one, saying(7));
    expect(records.get(recordName(one))).toEqual(one);
    expect(records.holds(recordName(one), one)).toBe(true);
    expect(records.holds(recordName(one), text('a', `head.${payloadOf(9)}.signature`))).toBe(false);
  });

  test('records of one head hold it once', () => {
    const records = new StandingRecords();
    for (let pod = 0; pod < 100; pod++) {
      const one = text(`${pod}`, `head of node ${pod % 10}.payload ${pod}`);
      records.set(recordName(one), one, NOTHING);
    }
    expect(records.heads).toBe(10);
  });

  test('nothing is there, or not any more', () => {
    const records = new StandingRecords();
    const one = text('a', 'head.payload.signature');
    expect([
      records.has(recordName(one)),
      records.get(recordName(one)),
      records.holds(recordName(one), one),
    ]).toEqual([false, undefined, false]);
    records.set(recordName(one), one, NOTHING);
    expect(records.has(recordName(one))).toBe(true);
    records.set(recordName(one), { ...one, value: undefined }, NOTHING);
    expect(records.has(recordName(one))).toBe(false);
  });

  test('heads of records that are gone are not kept without end', () => {
    const records = new StandingRecords();
    const one = (round: number): BusRecord => text('a', `head ${round}.payload`);
    for (let round = 0; round < 5000; round++) records.set(recordName(one(round)), one(round), NOTHING);
    expect(records.heads).toBeLessThanOrEqual(1024 + 3);
    expect(records.get(recordName(one(0)))).toEqual(one(4999));
  });
});
