// Turns what a system call failed with into a KernelError that names the object. It decides nothing.
import { getSystemErrorName } from 'node:util';
import { KernelError } from '../errors';

/** "ENOENT" for 2; "E9999" for what this platform has no name for. */
export function errnoName(errno: number): string {
  const name = errno > 0 ? getSystemErrorName(-errno) : '';
  return /^E[A-Z0-9]+$/.test(name) ? name : `E${errno}`;
}

/** Told by its members, not by instanceof: the module's errors may come from another realm (worker, vm). */
interface NativeFailure {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly errno?: unknown;
  readonly code?: unknown;
  readonly log?: unknown;
}

/**
 * @param op the call and its object, e.g. "attach steer to veth1".
 * @param cause what the native module threw: `errno` positive, `code` symbolic, `log` the verifier's last lines.
 */
export function kernelError(op: string, cause: unknown): KernelError {
  if (cause instanceof KernelError) return cause;
  const failure = failureOf(cause);
  const errno = typeof failure.errno === 'number' ? Math.abs(failure.errno) : 0;
  const name = typeof failure.code === 'string' ? failure.code : errnoName(errno);
  const text = typeof failure.message === 'string' ? failure.message : '';
  const log = typeof failure.log === 'string' && failure.log !== '' ? `\n${failure.log}` : '';
  return new KernelError(op, errno, name, `${text}${log}`);
}

/** Runs `call`; what it throws leaves as a KernelError for `op`. Errors of the caller (TypeError) stay as they are. */
export function attempt<T>(op: string, call: () => T): T {
  try {
    return call();
  } catch (cause) {
    const { name } = failureOf(cause);
    if (name === 'TypeError' || name === 'RangeError') throw cause;
    throw kernelError(op, cause);
  }
}

const failureOf = (cause: unknown): NativeFailure =>
  typeof cause === 'object' && cause !== null ? cause : {};

export function isErrno(cause: unknown, ...names: readonly string[]): boolean {
  if (cause instanceof KernelError) return names.includes(cause.errnoName);
  const { code } = failureOf(cause);
  return typeof code === 'string' && names.includes(code);
}
