// Choices that are remembered against choices that are made anew, in worlds that change at random.
import { rotate, rotating } from '../../../agent/core/rotation';
import { whole } from '../../../agent/core/slices';
import { SteadyChoices } from '../../../agent/core/steady';
import { type Action, act, emptyWorld, rotationInput, type Side, settle, TIMING } from './nodes';
import { seeded } from './random';

/** Counts what it saves. */
class Counting extends SteadyChoices {
  found = 0;
  asked = 0;

  override find(...asked: Parameters<SteadyChoices['find']>): ReturnType<SteadyChoices['find']> {
    const choice = super.find(...asked);
    this.asked += 1;
    if (choice !== undefined) this.found += 1;
    return choice;
  }
}

const SIDES = ['a', 'b', 'c'] as const satisfies readonly Side[];

const VERBS = ['reconcile', 'reconcile', 'deliver', 'deliver', 'epoch', 'restart'] as const;

function draw(roll: () => number): Action {
  const side = SIDES[Math.floor(roll() * 3)] ?? 'a';
  const kind = roll();
  if (kind < 0.02) return { do: 'reboot', side };
  if (kind < 0.1) return { do: 'tick', ms: TIMING.idleMs + 1 };
  if (kind < 0.4) return { do: 'send', side, to: SIDES.find((other) => other !== side) ?? 'a' };
  return { do: VERBS[Math.floor(roll() * VERBS.length)] ?? 'deliver', side };
}

test('what is remembered is what would be chosen', () => {
  let found = 0;
  let asked = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const roll = seeded(seed);
    const memories = new Map(SIDES.map((side) => [side, new Counting()]));
    let world = settle(emptyWorld(SIDES));
    for (let step = 0; step < 60; step++) {
      world = act(world, draw(roll)) ?? world;
      if (step % 20 === 19) world = settle(world);
      for (const [side, memory] of memories) {
        const input = rotationInput(world, side);
        expect(whole(rotating(input, memory))).toEqual(rotate(input));
      }
    }
    for (const memory of memories.values()) {
      found += memory.found;
      asked += memory.asked;
    }
  }
  // Neither never nor always.
  expect(found).toBeGreaterThan(300);
  expect(asked - found).toBeGreaterThan(300);
});
