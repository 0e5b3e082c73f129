// How long a pass took, and how much it found to be done.
import type { Clock, Measures } from '../ports';
import type { Reconciler } from './reconciler';

interface PaceParts {
  readonly clock: Clock;
  readonly measures: Measures;
}

export async function timedPass(
  { clock, measures }: PaceParts,
  reconciler: Reconciler,
  fresh: boolean,
): Promise<void> {
  const begunNs = clock.monotonicNs();
  await reconciler.pass(fresh);
  measures.reconciled(Number(clock.monotonicNs() - begunNs) / 1e6);
  measures.drifted(reconciler.drift());
}
