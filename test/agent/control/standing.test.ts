import { StandingRecords } from '../../../agent/control/standing';
import { recordName } from '../../../agent/core/announcement';
import type { BusRecord } from '../../../agent/ports';
import { seeded } from '../core/random';

const topic = 'vxseal.pods.v1';
const record = (key: string, value: Uint8Array): BusRecord => ({ topic, key, value });
const text = (key: string, value: string): BusRecord => record(key, new Uint8Array(Buffer.from(value)));

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
        records.set(recordName(one), one);
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

  test('records of one head hold it once', () => {
    const records = new StandingRecords();
    for (let pod = 0; pod < 100; pod++) {
      const one = text(`${pod}`, `head of node ${pod % 10}.payload ${pod}`);
      records.set(recordName(one), one);
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
    records.set(recordName(one), one);
    expect(records.has(recordName(one))).toBe(true);
    records.set(recordName(one), { ...one, value: undefined });
    expect(records.has(recordName(one))).toBe(false);
  });

  test('heads of records that are gone are not kept without end', () => {
    const records = new StandingRecords();
    const one = (round: number): BusRecord => text('a', `head ${round}.payload`);
    for (let round = 0; round < 5000; round++) records.set(recordName(one(round)), one(round));
    expect(records.heads).toBeLessThanOrEqual(1024 + 3);
    expect(records.get(recordName(one(0)))).toEqual(one(4999));
  });
});
