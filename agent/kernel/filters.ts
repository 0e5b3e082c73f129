// Our filters of clsact: where a kernel has no tcx, and on devices that are about to go. One for each program and device,
// the first to be asked, told by its handle. Which hooks are filters is hooks.ts'.
import type { HookEntry } from '../core/state';
import { attempt, isErrno, kernelError } from './fault';
import type { Fd, Native } from './native';
import { ATTACH_POINTS, PROGRAM_NAMES } from './programs';

const PRIORITY = 1;
const handleOf = (hook: HookEntry): number => 0x7678_0001 + PROGRAM_NAMES.indexOf(hook.program);

/** What the kernel says of a link or filter whose device is gone, or that another hand has removed. */
export const GONE = ['ENOENT', 'ENODEV', 'ENOLINK', 'ENXIO'];

export class Filters {
  constructor(private readonly native: Native) {}

  /** Id of the program; undefined: no such filter, or no such device. */
  query(op: string, hook: HookEntry): number | undefined {
    const { direction } = ATTACH_POINTS[hook.program];
    try {
      return this.native.queryClsact(hook.ifindex, direction, handleOf(hook), PRIORITY);
    } catch (cause) {
      if (isErrno(cause, ...GONE, 'EINVAL')) return undefined;
      throw kernelError(op, cause);
    }
  }

  /** In the place of the one that is there, in one step. */
  put(op: string, hook: HookEntry, program: Fd): void {
    const { direction } = ATTACH_POINTS[hook.program];
    attempt(op, () => this.native.attachClsact(program, hook.ifindex, direction, handleOf(hook), PRIORITY));
  }

  /** Throws what the native module throws. */
  remove(hook: HookEntry): void {
    const { direction } = ATTACH_POINTS[hook.program];
    this.native.detachClsact(hook.ifindex, direction, handleOf(hook), PRIORITY);
  }
}
