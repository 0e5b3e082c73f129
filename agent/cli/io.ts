// What a command sees of the terminal, so that tests can give it another. Commands write through it and never
// touch process.stdout, process.exit or the environment themselves.
import { VxsealError } from '../errors';

export interface Io {
  out(text: string): void;
  err(text: string): void;
  readonly colour: boolean;
  /** Somebody looks at standard error. Default: no. */
  readonly watched?: boolean;
  readonly environment: Readonly<Record<string, string | undefined>>;
  nowMs(): number;
}

/** 0 well, 1 not well, 2 usage. */
export type ExitCode = 0 | 1 | 2;

/** A terminal gets colours unless NO_COLOR (no-color.org) or a dumb TERM says otherwise. */
export function processIo(): Io {
  const { env, stdout, stderr } = process;
  // The reader of a pipe may leave early (`| head`); that is no failure of ours.
  stdout.on('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EPIPE') throw cause;
  });
  return {
    out: (text) => stdout.write(`${text}\n`),
    err: (text) => stderr.write(`${text}\n`),
    colour: stdout.isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb',
    watched: stderr.isTTY === true,
    environment: env,
    nowMs: () => Date.now(),
  };
}

/** Indented JSON; characters a terminal would obey are escaped, since records hold text of other nodes. */
export function writeJson(io: Io, value: unknown): void {
  writeEscaped(io, JSON.stringify(value, null, 2));
}

/** One line, for streams. */
export function writeJsonLine(io: Io, value: unknown): void {
  writeEscaped(io, JSON.stringify(value));
}

function writeEscaped(io: Io, text: string): void {
  io.out(text.replace(/[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, escapeCharacter));
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Object and reason, then the remedy on a line of its own. */
export function writeError(io: Io, error: unknown, json: boolean): void {
  const code = error instanceof VxsealError ? error.code : 'internal';
  const remedy = error instanceof VxsealError ? error.remedy : '';
  const message = error instanceof Error ? error.message : String(error);
  if (json) {
    writeJson(io, { error: { code, message, remedy } });
    return;
  }
  io.err(`vxseal: ${clean(message)}`);
  if (remedy !== '') io.err(`  -> ${clean(remedy)}`);
  // A bug: only its stack says where.
  if (code === 'internal' && error instanceof Error && error.stack !== undefined) io.err(clean(error.stack));
}

/** Without characters that a terminal would obey, but for line ends. */
export function clean(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is to be removed
  return text.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, '?');
}
