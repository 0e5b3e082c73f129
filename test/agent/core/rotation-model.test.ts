// Rotation under every interleaving of a bounded length, and under long random ones (twonodes.ts). What must hold:
// a direction that works goes on working through anything but a reboot or the loss of its SAs; no key is installed twice;
// and from every state, once records arrive, both directions end up under the newest epochs.
import { seeded } from './random';
import {
  type Action,
  act,
  canonical,
  emptyWorld,
  opens,
  plan,
  SIDES,
  settle,
  TIMING,
  type World,
} from './twonodes';

/** With how often each is drawn in a random walk: most of a walk shall be progress, or there is nothing to lose. */
const VERBS = [
  ['reconcile', 6],
  ['half', 1],
  ['lame', 1],
  ['deliver', 5],
  ['skip', 1],
  ['send', 4],
  ['epoch', 2],
  ['restart', 2],
  ['reboot', 0.1],
  ['wipe', 0.1],
  ['lapse', 0.1],
] as const;
const WEIGHTED: readonly (readonly [Action, number])[] = [
  ...SIDES.flatMap((side) =>
    VERBS.map(([verb, weight]): readonly [Action, number] => [{ do: verb, side }, weight]),
  ),
  [{ do: 'tick', ms: TIMING.idleMs + 1 }, 3],
];
const STEPS = WEIGHTED.map(([action]) => action);
const TOTAL = WEIGHTED.reduce((sum, [, weight]) => sum + weight, 0);

function draw(roll: number): Action {
  let left = roll * TOTAL;
  for (const [action, weight] of WEIGHTED) {
    left -= weight;
    if (left < 0) return action;
  }
  throw new RangeError(`${roll} is not below 1`);
}

/** After these nothing needs to work at once, only in the end. */
const ENDS_ALL: ReadonlySet<Action['do']> = new Set(['reboot', 'wipe', 'lapse']);

/** What went wrong between two states; undefined when nothing. */
function fault(before: World, action: Action, after: World): string | undefined {
  if (after.faults.length > 0) return after.faults.join();
  for (const side of SIDES) {
    const receiver = side === 'a' ? 'b' : 'a';
    const excused = ENDS_ALL.has(action.do) || !opens(before, side);
    if (!excused && !opens(after, side)) {
      const names = after[receiver].rx.map((sa) => sa.fingerprint).join(' ');
      return `${side} sends under ${after[side].tx[0]?.fingerprint}, ${receiver} opens ${names}`;
    }
  }
  return undefined;
}

function unsettled(world: World): string | undefined {
  const end = settle(world);
  if (end.faults.length > 0) return end.faults.join();
  for (const side of SIDES) {
    const rotation = plan(end, side);
    const [peer] = rotation.peers;
    if (!opens(end, side)) return `${side} does not get through at the end`;
    if (peer?.state !== 'up') return `${side} ends ${peer?.state}: ${peer?.why}`;
    if (rotation.laggards.length > 0 || rotation.keptTxSas.length > 0) return `${side} has leftovers`;
    if (end[side].rx.length !== 1 || end[side].process.own.length !== 1) return `${side} retired too little`;
  }
  return undefined;
}

const show = (action: Action): string => ('side' in action ? `${action.do} ${action.side}` : action.do);

/** Every state within `depth` actions, each once. */
function explore(start: World, depth: number): number {
  const seen = new Set([canonical(start)]);
  let front: { world: World; path: readonly string[] }[] = [{ world: start, path: [] }];
  for (let level = 0; level < depth; level++) {
    const next: typeof front = [];
    for (const { world, path } of front) {
      for (const action of STEPS) {
        const after = act(world, action);
        if (after === undefined) continue;
        const name = canonical(after);
        if (seen.has(name)) continue;
        seen.add(name);
        const walked = [...path, show(action)];
        const wrong = fault(world, action, after) ?? unsettled(after);
        if (wrong !== undefined) throw new Error(`${wrong}\n  after ${walked.join(', ')}`);
        next.push({ world: after, path: walked });
      }
    }
    front = next;
  }
  return seen.size;
}

describe('two nodes, every interleaving', () => {
  test('from nothing', () => {
    expect(explore(emptyWorld(), 6)).toBeGreaterThan(1_000);
  });

  test('from a settled pair', () => {
    expect(explore(settle(emptyWorld()), 5)).toBeGreaterThan(1_000);
  });
});

test('1,000 random walks of 80 steps', () => {
  for (let seed = 1; seed <= 1_000; seed++) {
    const roll = seeded(seed);
    let world = settle(emptyWorld());
    const path: string[] = [];
    for (let step = 0; step < 80; step++) {
      const action = draw(roll());
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
});
