// The frame every command runs in. A command returns its exit code and throws its failure; nothing in cli/ ends the
// process.
import type { Command } from 'commander';
import type { ExitCode, Io } from './io';

export interface Cli {
  readonly io: Io;
  /** Keeps the worst code. */
  finish(code: ExitCode): void;
}

export type Values = Readonly<Record<string, unknown>>;

/** A command that takes longer says what it waits for. */
export const MOMENT_MS = 1000;

/**
 * @param run gets the option values and the positional arguments.
 * @param waiting what it may wait for; "" for commands that speak by themselves.
 */
export function action(
  cli: Cli,
  command: Command,
  run: (values: Values, args: readonly string[]) => Promise<ExitCode>,
  waiting = '',
): void {
  command.action(async () => {
    const timer =
      waiting !== '' && cli.io.watched === true
        ? setTimeout(() => cli.io.err(`${waiting}…`), MOMENT_MS)
        : undefined;
    try {
      cli.finish(await run(command.opts(), command.args));
    } finally {
      clearTimeout(timer);
    }
  });
}
