import type { KafkaRecord } from '../../../../agent/sources/kafka/batch';
import { digestOf } from '../../../../agent/sources/kafka/delivery';
import { type LogEnds, PartitionReading } from '../../../../agent/sources/kafka/partition';
import { seeded } from '../../core/random';

const record = (offset: number, text = `v${offset}`): KafkaRecord => ({
  offset: BigInt(offset),
  key: Buffer.from('k'),
  value: Buffer.from(text),
});
const ends = (earliest: number, latest: number): LogEnds => ({
  earliest: BigInt(earliest),
  latest: BigInt(latest),
});

/** A log, and fetches of at most `most` records from it, as a broker answers them. */
class FakeLog {
  constructor(
    readonly records: KafkaRecord[],
    private readonly most = 3,
    /** Where the log ends, if that is behind its last record. */
    private readonly latest = Number(records.at(-1)?.offset ?? -1) + 1,
  ) {}

  get ends(): LogEnds {
    return ends(Number(this.records[0]?.offset ?? 0), this.latest);
  }

  /** Reads until it is done. @returns the offsets that came */
  read(reading: PartitionReading): number[] {
    reading.begin(this.ends);
    const got: number[] = [];
    for (let fetches = 0; !reading.done; fetches++) {
      if (fetches > 1000) throw new Error('the reading does not end');
      const found = this.records.filter(({ offset }) => offset >= reading.position).slice(0, this.most);
      const last = found.at(-1);
      if (last === undefined) reading.takeNothing();
      else got.push(...reading.take(found, last.offset + 1n).map(({ offset }) => Number(offset)));
    }
    return got;
  }
}

const log = (...offsets: number[]): FakeLog => new FakeLog(offsets.map((offset) => record(offset)));
const read = (...logs: FakeLog[]): { got: number[][]; rereading: boolean; round: number } => {
  const reading = new PartitionReading(digestOf);
  const got = logs.map((one) => {
    if (reading.rereading && reading.done) reading.finishRereading();
    return one.read(reading);
  });
  return { got, rereading: reading.rereading, round: reading.round };
};

describe('reading of a partition', () => {
  test.each<[string, FakeLog[], number[][], boolean]>([
    ['1 empty', [log()], [[]], false],
    ['2 all of it', [log(0, 1, 2, 3, 4)], [[0, 1, 2, 3, 4]], false],
    ['3 gaps of compaction', [log(7, 9, 20)], [[7, 9, 20]], false],
    ['4 a gap at the end', [new FakeLog([record(0)], 3, 9)], [[0]], false],
    ['5 nothing but a gap', [new FakeLog([], 3, 9)], [[]], false],
    ['6 goes on behind what it has', [log(0, 1, 2), log(0, 1, 2, 3)], [[0, 1, 2], [3]], false],
    ['7 nothing new', [log(0, 1, 2), log(0, 1, 2)], [[0, 1, 2], []], false],
    ['8 from empty to something', [log(), log(0, 1)], [[], [0, 1]], false],
    ['9 compacted before what it has', [log(0, 1, 2), log(2, 3)], [[0, 1, 2], [3]], false],
    [
      '10 shorter',
      [log(0, 1, 2), log(0, 1)],
      [
        [0, 1, 2],
        [0, 1],
      ],
      true,
    ],
    ['11 empty now', [log(0, 1, 2), log()], [[0, 1, 2], []], true],
    [
      '12 begins behind what it has',
      [log(0, 1, 2), log(5, 6)],
      [
        [0, 1, 2],
        [5, 6],
      ],
      true,
    ],
    [
      '13 another record in the last place',
      [log(0, 1), new FakeLog([record(0), record(1, 'x'), record(2)])],
      [
        [0, 1],
        [0, 1, 2],
      ],
      true,
    ],
    [
      '14 the last one compacted away',
      [log(0, 1, 2), log(0, 1, 3)],
      [
        [0, 1, 2],
        [0, 1, 3],
      ],
      true,
    ],
    [
      '15 a gap where the last one was',
      [log(0, 1, 2), new FakeLog([record(0)], 3, 9)],
      [[0, 1, 2], [0]],
      true,
    ],
  ])('%s', (_, logs, got, rereading) => {
    expect(read(...logs)).toMatchObject({ got, rereading });
  });

  test('broken off while it reads again, it still reads again', () => {
    const reading = new PartitionReading(digestOf);
    log(0, 1, 2, 3).read(reading);
    reading.begin(ends(0, 2));
    expect(reading.rereading).toBe(true);
    reading.take([record(0)], 1n);
    reading.begin(ends(0, 2));
    expect(reading).toMatchObject({ rereading: true, position: 0n });
  });

  test('sessions that break anywhere bring every record once, in order', () => {
    const random = seeded(3);
    for (let round = 0; round < 300; round++) {
      const all = Array.from({ length: 30 }, (_, index) => index).filter(() => random() < 0.7);
      const reading = new PartitionReading(digestOf);
      const got: number[] = [];
      for (let known = 0; known < all.length || !reading.done; ) {
        known = Math.min(all.length, known + Math.floor(random() * 8));
        const records = all.slice(0, known).map((offset) => record(offset));
        reading.begin(
          ends(
            records.length === 0 ? 0 : Number(records[0]?.offset),
            Number(records.at(-1)?.offset ?? -1n) + 1,
          ),
        );
        for (let fetches = Math.floor(random() * 6); fetches > 0 && !reading.done; fetches--) {
          const found = records.filter(({ offset }) => offset >= reading.position).slice(0, 2);
          const last = found.at(-1);
          if (last === undefined) reading.takeNothing();
          else got.push(...reading.take(found, last.offset + 1n).map(({ offset }) => Number(offset)));
        }
      }
      expect(got).toEqual(all);
    }
  });
});
