import { Loop } from '../../../agent/control/loop';
import { ManualClock, settle } from '../../fakes/clock';

/** Passes that end when the test says so. */
function bench() {
  const clock = new ManualClock();
  const ends: (() => void)[] = [];
  const seen = { begun: 0, overlapping: 0, inside: 0 };
  const loop = new Loop(clock, 5000, async () => {
    seen.begun += 1;
    seen.inside += 1;
    seen.overlapping = Math.max(seen.overlapping, seen.inside);
    await new Promise<void>((resolve) => ends.push(resolve));
    seen.inside -= 1;
  });
  const end = async () => {
    ends.shift()?.();
    await settle();
  };
  return { clock, loop, seen, end };
}

test('1 a hundred kicks during a pass make one more, never two at a time', async () => {
  const { loop, seen, end } = bench();
  loop.start();
  for (let i = 0; i < 100; i++) loop.kick();
  await settle();
  expect(seen.begun).toBe(1);
  await end();
  expect(seen.begun).toBe(2);
  await end();
  expect(seen).toEqual({ begun: 2, overlapping: 1, inside: 0 });
});

test('1b kicks in the moment between two passes do not start a third beside the second', async () => {
  const clock = new ManualClock();
  let inside = 0;
  let most = 0;
  const loop: Loop = new Loop(clock, 5000, async () => {
    inside += 1;
    most = Math.max(most, inside);
    await settle(2);
    inside -= 1;
    // Runs in the turns of the microtask queue right behind the end of the pass.
    for (let turn = Promise.resolve(), i = 0; i < 8; i++) turn = turn.then(() => loop.kick());
  });
  loop.start();
  loop.kick();
  await settle(100);
  await loop.stop();
  expect(most).toBe(1);
});

test('2 run() waits for a pass that began after the call', async () => {
  const { loop, seen, end } = bench();
  loop.start();
  let done = false;
  void loop.run().then(() => {
    done = true;
  });
  await end();
  expect([seen.begun, done]).toEqual([2, false]);
  await end();
  expect(done).toBe(true);
});

test('3 a pass runs at the interval after the last one ended', async () => {
  const { loop, clock, seen, end } = bench();
  loop.start();
  await clock.advance(20_000);
  expect(seen.begun).toBe(1);
  await end();
  await clock.advance(4999);
  expect(seen.begun).toBe(1);
  await clock.advance(1);
  expect(seen.begun).toBe(2);
});

test('4 stop waits for the pass under way, and none follows', async () => {
  const { loop, clock, seen, end } = bench();
  loop.start();
  loop.kick();
  let stopped = false;
  void loop.stop().then(() => {
    stopped = true;
  });
  await settle();
  expect(stopped).toBe(false);
  await end();
  await clock.advance(20_000);
  loop.kick();
  await loop.run();
  expect([stopped, seen.begun, clock.pending]).toEqual([true, 1, 0]);
});
