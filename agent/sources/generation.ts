// The generation of our records: grows with each start of the agent and is on disk before it is used, so that no two
// processes of a node publish under one. Sequences need no file: each generation begins its own.
import { latestGeneration } from '../core/verify';
import { VxsealError } from '../errors';
import { isOrderNumber, readState, writeState } from './statefile';

export class GenerationFile {
  constructor(private readonly path: string) {}

  /**
   * A generation never given out before. Wall clock milliseconds, so that a node which has lost its disk still
   * comes after its former self, or one more than the last where the clock went back.
   * @param above a generation seen under our name, which must be exceeded
   * Throws VxsealError 'state', also where peers would not believe the number: nothing is written then.
   */
  async next(nowMs: number, above = 0): Promise<number> {
    const last = (await readState(this.path, decode)) ?? 0;
    const generation = Math.max(last + 1, above + 1, Math.floor(nowMs));
    if (generation > latestGeneration(nowMs))
      throw new VxsealError(
        'state',
        `${this.path}: generation ${generation} is more than a year ahead of the clock, and no peer would believe it`,
        'set the clock; if it is right, remove the file: no peer has taken such a number for ours',
      );
    await writeState(this.path, { v: 1, generation });
    return generation;
  }
}

function decode(json: unknown): number | undefined {
  if (typeof json !== 'object' || json === null || !('v' in json) || json.v !== 1) return undefined;
  return 'generation' in json && isOrderNumber(json.generation) ? json.generation : undefined;
}
