import { MAX_RECORD_BYTES } from '../../../../agent/core/payload';
import type { BusRecord } from '../../../../agent/ports';
import { Delivery, type Origin } from '../../../../agent/sources/kafka/delivery';

const ORIGIN: Origin = { topic: 't', partition: 0, round: 1, rereading: false };
const AGAIN: Origin = { ...ORIGIN, round: 2, rereading: true };

describe('delivery', () => {
  let received: BusRecord[];
  let delivery: Delivery;
  let offset = 0n;
  beforeEach(() => {
    received = [];
    delivery = new Delivery((record) => received.push(record));
  });

  function take(origin: Origin, key: string, value: string | undefined): void {
    offset += 1n;
    delivery.take(origin, {
      offset,
      key: Buffer.from(key),
      value: value === undefined ? undefined : Buffer.from(value),
    });
  }

  const texts = (): string[] =>
    received.splice(0).map(({ key, value }) => `${key}=${value === undefined ? 'null' : Buffer.from(value)}`);

  test('1 all that comes, repeated or not', () => {
    for (const value of ['1', '1', '2']) take(ORIGIN, 'a', value);
    expect(texts()).toEqual(['a=1', 'a=1', 'a=2']);
  });

  test('2 a tombstone once, and none of what was never there', () => {
    take(ORIGIN, 'a', undefined);
    take(ORIGIN, 'a', '1');
    take(ORIGIN, 'a', undefined);
    take(ORIGIN, 'a', undefined);
    expect(texts()).toEqual(['a=1', 'a=null']);
  });

  test('3 of a log that is read again, what is different, and what has gone', () => {
    for (const [key, value] of [
      ['same', '1'],
      ['rolled', '2'],
      ['gone', '3'],
      ['line\nfeed', '4'],
    ] as const)
      take(ORIGIN, key, value);
    take({ ...ORIGIN, partition: 1 }, 'elsewhere', '5');
    delivery.take({ ...ORIGIN, topic: 'u' }, { offset, key: Buffer.from('gone'), value: Buffer.from('6') });
    texts();
    take(AGAIN, 'same', '1');
    take(AGAIN, 'rolled', '1');
    take(AGAIN, 'new', '7');
    delivery.finishRereading(AGAIN);
    expect(texts()).toEqual(['rolled=1', 'new=7', 'gone=null', 'line\nfeed=null']);
    // Told once; and a later reading starts from what stands now.
    take({ ...AGAIN, round: 3 }, 'rolled', '1');
    delivery.finishRereading({ ...AGAIN, round: 3 });
    expect(texts().sort()).toEqual(['new=null', 'same=null']);
  });

  test('4 too large: cut, so that it is refused as such', () => {
    delivery.take(ORIGIN, {
      offset: 1n,
      key: Buffer.alloc(5000, 'k'),
      value: new Uint8Array(10 * MAX_RECORD_BYTES),
    });
    delivery.take(ORIGIN, { offset: 2n, key: Buffer.from('b'), value: new Uint8Array(MAX_RECORD_BYTES) });
    expect(received.map(({ key, value }) => [key.length, value?.length])).toEqual([
      [1024, MAX_RECORD_BYTES + 1],
      [1, MAX_RECORD_BYTES],
    ]);
  });

  test('5 a batch that could not be read is a record of nobody', () => {
    delivery.takeUnusable(ORIGIN);
    expect(received).toEqual([{ topic: 't', key: '', value: new Uint8Array(0) }]);
  });
});
