import { HOLD_MS, SteadyClock, SystemClock } from '../../agent/clock';
import { ManualClock } from '../fakes/clock';

const DAY_MS = 86_400_000;

function bench() {
  const system = new ManualClock();
  let asleepMs = 0;
  const clock = new SteadyClock(system, () => Number(system.monotonicNs()) / 1e6 + asleepMs);
  const startMs = system.nowMs();
  return {
    system,
    clock,
    /** nowMs() less the beginning. */
    passedMs: () => clock.nowMs() - startMs,
    sleep: (ms: number) => {
      asleepMs += ms;
      system.setWall(system.nowMs() + ms);
    },
  };
}

test('1 as long as nobody sets the clock it is the wall clock', async () => {
  const { system, clock, passedMs } = bench();
  await system.advance(5000);
  expect([passedMs(), clock.heldJumpMs()]).toEqual([5000, 0]);
});

test.each([
  ['2 a second ahead', 1000, 6000, 0],
  ['3 a second back', -1000, 4000, 0],
  ['4 more than that', 1001, 5000, 1001],
  ['5 a day ahead', DAY_MS, 5000, DAY_MS],
  ['6 a day back', -DAY_MS, 5000, -DAY_MS],
] as const)('%s', async (_, byMs, passed, held) => {
  const { system, clock, passedMs } = bench();
  system.setWall(system.nowMs() + byMs);
  await system.advance(5000);
  expect([passedMs(), clock.heldJumpMs()]).toEqual([passed, held]);
});

test.each([DAY_MS, -DAY_MS])(
  '7 set by %i ms and mended before it is believed: nothing happened',
  async (byMs) => {
    const { system, clock, passedMs } = bench();
    system.setWall(system.nowMs() + byMs);
    clock.nowMs();
    await system.advance(HOLD_MS - 1);
    expect(passedMs()).toBe(HOLD_MS - 1);
    system.setWall(system.nowMs() - byMs);
    expect([passedMs(), clock.heldJumpMs()]).toEqual([HOLD_MS - 1, 0]);
    // The next one is held as long as the first.
    system.setWall(system.nowMs() + byMs);
    clock.nowMs();
    await system.advance(HOLD_MS - 1);
    expect(passedMs()).toBe(2 * (HOLD_MS - 1));
  },
);

test('8 what stays is believed in the end', async () => {
  const { system, clock, passedMs } = bench();
  system.setWall(system.nowMs() + DAY_MS);
  clock.nowMs();
  await system.advance(HOLD_MS);
  expect([passedMs(), clock.heldJumpMs()]).toEqual([DAY_MS + HOLD_MS, 0]);
});

test('9 sleep is no jump', async () => {
  const { system, clock, passedMs, sleep } = bench();
  sleep(DAY_MS);
  await system.advance(100);
  expect([passedMs(), clock.heldJumpMs()]).toEqual([DAY_MS + 100, 0]);
});

test('10 steps too small to notice do not add up to a jump', async () => {
  const { system, clock } = bench();
  for (let hour = 0; hour < 100; hour++) {
    await system.advance(3_600_000);
    system.setWall(system.nowMs() + 900);
    expect(clock.nowMs()).toBe(system.nowMs());
  }
});

test('11 the real ones agree', () => {
  const system = new SystemClock();
  expect(Math.abs(new SteadyClock(system).nowMs() - system.nowMs())).toBeLessThan(1000);
});
