// A parser under fire, and the loop that fires: counts what became of the inputs, and stops at the first that did what
// must not be, with everything needed to see it again.
import { seeded } from '../agent/core/random';
import type { Random } from './mutate';

/** What became of an input: a reason of refusal, or "accepted" where the target has made sure that it may be. */
export type Verdict = string;

export interface Target {
  readonly name: string;
  /** Makes an input and gives it to the parser. Throws for a crash, and for an accept that must not be. */
  readonly fire: (random: Random) => Verdict | Promise<Verdict>;
  readonly close?: () => void | Promise<void>;
}

export interface Tally {
  readonly target: string;
  readonly inputs: number;
  readonly verdicts: ReadonlyMap<Verdict, number>;
}

export interface Limit {
  readonly inputs?: number;
  readonly ms?: number;
}

/** Every input has a seed of its own: the one that fails can be run alone. */
export async function fireAt(target: Target, seed: number, limit: Limit): Promise<Tally> {
  const verdicts = new Map<Verdict, number>();
  const deadline = performance.now() + (limit.ms ?? Number.POSITIVE_INFINITY);
  let inputs = 0;
  while (inputs < (limit.inputs ?? Number.POSITIVE_INFINITY) && performance.now() < deadline) {
    try {
      const verdict = await target.fire(seeded(seed + inputs));
      verdicts.set(verdict, (verdicts.get(verdict) ?? 0) + 1);
    } catch (cause) {
      const again = `scripts/fuzz --seed ${seed + inputs} --inputs 1 ${target.name}`;
      throw new Error(
        `${target.name}, input ${inputs}: ${cause instanceof Error ? cause.message : String(cause)}. Again: ${again}`,
        { cause },
      );
    }
    inputs++;
  }
  return { target: target.name, inputs, verdicts };
}
