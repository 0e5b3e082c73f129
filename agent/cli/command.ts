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

/** @param run gets the option values and the positional arguments. */
export function action(
  cli: Cli,
  command: Command,
  run: (values: Values, args: readonly string[]) => Promise<ExitCode>,
): void {
  command.action(async () => cli.finish(await run(command.opts(), command.args)));
}
