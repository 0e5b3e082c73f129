// Why the agent last failed to start, kept beside its socket: `vxseal status` can then say it although nobody answers.
// Holds what the log holds; no secrets.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VxsealError } from '../errors';

export interface LastFailure {
  readonly atMs: number;
  readonly message: string;
  readonly remedy: string;
}

const NAME = 'last-failure.json';

/** As well as can be: the failure itself is what matters. */
export function keepFailure(runDir: string, error: unknown, atMs: number): void {
  const message = error instanceof Error ? error.message : String(error);
  const remedy = error instanceof VxsealError ? error.remedy : '';
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o755 });
    writeFileSync(join(runDir, NAME), JSON.stringify({ atMs, message, remedy }), { mode: 0o600 });
  } catch {
    // It stands in the log.
  }
}

export function forgetFailure(runDir: string): void {
  rmSync(join(runDir, NAME), { force: true });
}

export function readFailure(runDir: string): LastFailure | undefined {
  try {
    const { atMs, message, remedy } = Object(JSON.parse(readFileSync(join(runDir, NAME), 'utf8'))) as Record<
      string,
      unknown
    >;
    if (typeof atMs !== 'number' || typeof message !== 'string' || typeof remedy !== 'string')
      return undefined;
    return { atMs, message, remedy };
  } catch {
    return undefined;
  }
}
