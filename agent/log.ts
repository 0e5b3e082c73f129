// Structured log: JSON lines by pino. Owns what may not be written (anything named like a secret, raw bytes) and
// how bigint and errors look. Where lines go and from which level is the caller's choice.
import pino from 'pino';
import type { Log } from './ports';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  /** The daemon writes to stdout; commands keep stdout for their answer. */
  readonly stream: 'stdout' | 'stderr' | { write(line: string): void };
}

// Deeper than any object that is logged; also ends cycles.
const MAX_DEPTH = 6;
const REDACTED = '[redacted]';
const SECRET_NAME = /(^|[a-z0-9_-])(key|secret|salt|password|token)s?$/i;
const PUBLIC_NAME = /public_?-?keys?$/i;

/** Log lines carry `level` as a word, `time` in ISO 8601 and `message`. Writes are synchronous: none is lost. */
export function createLog(options: LogOptions): Log {
  const destination = typeof options.stream === 'string' ? openStream(options.stream) : options.stream;
  const logger = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  return {
    debug: (fields, message) => logger.debug(loggable(fields), message),
    info: (fields, message) => logger.info(loggable(fields), message),
    warn: (fields, message) => logger.warn(loggable(fields), message),
    error: (fields, message) => logger.error(loggable(fields), message),
  };
}

function openStream(name: 'stdout' | 'stderr'): { write(line: string): void } {
  return pino.destination({ dest: name === 'stdout' ? 1 : 2, sync: true });
}

/**
 * A copy of `fields` that may be written. pino's own redaction was rejected: its paths reach a fixed depth only,
 * and a secret must not appear at any.
 */
function loggable(fields: object): object {
  const copy = copyValue(fields, 0);
  return typeof copy === 'object' && copy !== null && !Array.isArray(copy) ? copy : { value: copy };
}

function copyValue(value: unknown, depth: number): unknown {
  if (typeof value === 'bigint') {
    return value.toString();
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    return `[${value.byteLength} bytes]`;
  }
  if (depth >= MAX_DEPTH) {
    return '[nested]';
  }
  if (value instanceof Error) {
    return copyError(value, depth);
  }
  if (Array.isArray(value)) {
    return value.map((element) => copyValue(element, depth + 1));
  }
  if (value instanceof Map) {
    return copyFields(
      [...value].map(([name, element]) => [String(name), element]),
      depth,
    );
  }
  if (value instanceof Set) {
    return [...value].map((element) => copyValue(element, depth + 1));
  }
  return copyFields(Object.entries(value), depth);
}

function copyFields(entries: [string, unknown][], depth: number): object {
  return Object.fromEntries(
    entries.map(([name, value]) => [name, isSecret(name) ? REDACTED : copyValue(value, depth + 1)]),
  );
}

/** Message, codes and stack; `cause` follows as long as the depth allows. */
function copyError(error: Error, depth: number): object {
  return {
    ...copyFields(Object.entries(error), depth),
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: copyValue(error.cause, depth + 1) }),
  };
}

function isSecret(name: string): boolean {
  return SECRET_NAME.test(name) && !PUBLIC_NAME.test(name);
}
