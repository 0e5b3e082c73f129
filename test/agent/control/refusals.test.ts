// Refused records as problems: each reason with its remedy, bounded, and gone when the record is good or gone.
import { Problems } from '../../../agent/control/problems';
import { Refusals } from '../../../agent/control/refusals';
import { REJECT_REASONS } from '../../../agent/core/verify';
import type { BusRecord } from '../../../agent/ports';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';

const record = (key: string): BusRecord => ({ topic: 't', key, value: undefined });
let refusals: Refusals;
let problems: Problems;
beforeEach(() => {
  refusals = new Refusals();
  problems = new Problems(new ManualClock(), new QuietLog());
});

const told = (): string[] => {
  refusals.tell(problems);
  return problems.list().map(({ object }) => object);
};

test.each(REJECT_REASONS.filter((reason) => reason !== 'tombstone'))('%s has a remedy', (reason) => {
  refusals.refused(record('node3'), reason, 'because');
  told();
  expect(problems.list()).toEqual([
    expect.objectContaining({
      object: 'record of node3',
      reason: `refused: ${reason}: because`,
      remedy: expect.stringMatching(/.{20}/),
    }),
  ]);
});

test('a reason that is not known yet has one too', () => {
  refusals.refused(record('node3'), 'constructor', 'because');
  told();
  expect(problems.list()[0]?.remedy).toMatch(/.{20}/);
});

test('a good record, or none, ends it', () => {
  refusals.refused(record('a'), 'bad-chain', '');
  refusals.refused(record('b'), 'bad-chain', '');
  expect(told()).toEqual(['record of a', 'record of b']);
  refusals.accepted(record('a'));
  expect(told()).toEqual(['record of b']);
  refusals.refused(record('b'), 'tombstone', '');
  expect(told()).toEqual([]);
});

test('a flood shows its newest few, by short names', () => {
  for (let n = 0; n < 1000; n++) refusals.refused(record(`${'x'.repeat(500)}${n}`), 'malformed', '');
  for (let n = 0; n < 1000; n++) refusals.refused(record(`n${n}`), 'malformed', '');
  const objects = told();
  expect(objects).toHaveLength(16);
  expect(objects).toContain('record of n999');
  expect(objects).not.toContain('record of n983');
});
