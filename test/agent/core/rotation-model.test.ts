// Rotation under every interleaving of a bounded length, and under long random ones (nodes.ts). What must hold: a
// direction that works goes on working through anything but a reboot or the loss of its SAs; no key is installed twice,
// so no (key, nonce) is used twice; and from every state, once records arrive, all directions end up under the newest
// epochs, with every older secret gone. VXSEAL_MODEL=long goes one step deeper and walks ten times as much.
import {
  type Action,
  act,
  canonical,
  describeDirection,
  emptyWorld,
  leftOf,
  opens,
  othersOf,
  plan,
  type Side,
  settle,
  TIMING,
  type World,
} from './nodes';
import { seeded } from './random';

const LONG = process.env.VXSEAL_MODEL === 'long';
const TWO: readonly Side[] = ['a', 'b'];
const THREE: readonly Side[] = ['a', 'b', 'c'];

/** With how often each is drawn in a random walk: most of a walk shall be progress, or there is nothing to lose. */
const VERBS = [
  ['reconcile', 6],
  ['half', 1],
  ['lame', 1],
  ['mute', 1],
  ['deliver', 5],
  ['skip', 1],
  ['repeat', 0.5],
  ['epoch', 2],
  ['restart', 2],
  ['reboot', 0.1],
  ['wipe', 0.1],
  ['lapse', 0.1],
] as const;
const SEND_WEIGHT = 4;
const TICK_WEIGHT = 3;

type Weighted = readonly (readonly [Action, number])[];

const weighted = (sides: readonly Side[]): Weighted => [
  ...sides.flatMap((side) => [
    ...VERBS.map(([verb, weight]): readonly [Action, number] => [{ do: verb, side }, weight]),
    ...sides
      .filter((to) => to !== side)
      .map((to): readonly [Action, number] => [{ do: 'send', side, to }, SEND_WEIGHT]),
  ]),
  [{ do: 'tick', ms: TIMING.idleMs + 1 }, TICK_WEIGHT],
];

function draw(actions: Weighted, roll: number): Action {
  let left = roll * actions.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [action, weight] of actions) {
    left -= weight;
    if (left < 0) return action;
  }
  throw new RangeError(`${roll} is not below 1`);
}

/** After these nothing needs to work at once to and from that node, only in the end. */
const ENDS_ALL: ReadonlySet<Action['do']> = new Set(['reboot', 'wipe', 'lapse']);

const directions = (world: World): [Side, Side][] =>
  world.sides.flatMap((side) => othersOf(world, side).map((to): [Side, Side] => [side, to]));

/** What went wrong between two states; undefined when nothing. */
function fault(before: World, action: Action, after: World): string | undefined {
  if (after.faults.length > 0) return after.faults.join();
  const ended = 'side' in action && ENDS_ALL.has(action.do) ? action.side : undefined;
  const broken = directions(after).find(
    ([side, to]) => side !== ended && to !== ended && opens(before, side, to) && !opens(after, side, to),
  );
  return broken === undefined ? undefined : describeDirection(after, ...broken);
}

function unsettled(world: World): string | undefined {
  const end = settle(world);
  if (end.faults.length > 0) return end.faults.join();
  const deaf = directions(end).find(([side, to]) => !opens(end, side, to));
  if (deaf !== undefined) return `${deaf.join(' to ')} does not get through at the end`;
  for (const side of end.sides) {
    const rotation = plan(end, side);
    const late = rotation.peers.find((peer) => peer.state !== 'up');
    if (late !== undefined) return `${side} ends ${late.state} with ${late.node}: ${late.why}`;
    if (rotation.laggards.length > 0 || rotation.keptTxSas.length > 0) return `${side} has leftovers`;
    const left = leftOf(end, side);
    if (left.rx !== end.sides.length - 1 || left.secrets !== 1) return `${side} retired too little`;
  }
  return undefined;
}

function show(action: Action): string {
  if (action.do === 'tick') return action.do;
  return action.do === 'send' ? `send ${action.side} ${action.to}` : `${action.do} ${action.side}`;
}

/** Every state within `depth` actions, each once. */
function explore(start: World, depth: number): number {
  const actions = weighted(start.sides).map(([action]) => action);
  const seen = new Set([canonical(start)]);
  let front: { world: World; path: readonly string[] }[] = [{ world: start, path: [] }];
  for (let level = 0; level < depth; level++) {
    const next: typeof front = [];
    for (const { world, path } of front) {
      for (const action of actions) {
        const after = act(world, action);
        if (after === undefined) continue;
        const name = canonical(after);
        const walked = [...path, show(action)];
        const wrong = fault(world, action, after) ?? (seen.has(name) ? undefined : unsettled(after));
        if (wrong !== undefined) throw new Error(`${wrong}\n  after ${walked.join(', ')}`);
        if (seen.has(name)) continue;
        seen.add(name);
        next.push({ world: after, path: walked });
      }
    }
    front = next;
  }
  return seen.size;
}

function walk(sides: readonly Side[], walks: number, steps: number): void {
  const actions = weighted(sides);
  const start = settle(emptyWorld(sides));
  for (let seed = 1; seed <= walks; seed++) {
    const roll = seeded(seed);
    let world = start;
    const path: string[] = [];
    for (let step = 0; step < steps; step++) {
      const action = draw(actions, roll());
      const after = act(world, action);
      if (after === undefined) continue;
      path.push(show(action));
      const wrong = fault(world, action, after);
      if (wrong !== undefined) throw new Error(`seed ${seed}: ${wrong}\n  after ${path.join(', ')}`);
      world = after;
    }
    const wrong = unsettled(world);
    if (wrong !== undefined) throw new Error(`seed ${seed}: ${wrong} at the end of ${path.join(', ')}`);
  }
}

const LIMIT_MS = LONG ? 3_600_000 : 120_000;

describe.each([
  ['two nodes', TWO, 5, 5, 600],
  ['three nodes', THREE, 4, 3, 150],
] as const)('%s', (_, sides, fromNothing, fromSettled, walks) => {
  const deeper = LONG ? 1 : 0;

  test(
    'every interleaving, from nothing',
    () => {
      expect(explore(emptyWorld(sides), fromNothing + deeper)).toBeGreaterThan(1_000);
    },
    LIMIT_MS,
  );

  test(
    'every interleaving, from a settled state',
    () => {
      expect(explore(settle(emptyWorld(sides)), fromSettled + deeper)).toBeGreaterThan(1_000);
    },
    LIMIT_MS,
  );

  test('random walks of 80 steps', () => walk(sides, walks * (LONG ? 10 : 1), 80), LIMIT_MS);
});
