// The one table of coded errors. What a user sees names the object, the reason and the remedy.

export type ErrorCode =
  | 'config' // the configuration is wrong; fields say where
  | 'kernel' // a system call failed
  | 'verifier' // the kernel refused one of our programs
  | 'identity' // key, certificate or chain cannot be used
  | 'state' // the state directory cannot be read or written
  | 'bus' // the topology bus cannot be used
  | 'request' // a request over the API or socket is wrong
  | 'not-found'
  | 'forbidden' // asked from where nobody may ask
  | 'not-ready'; // try again later

/** An error with a code; `remedy` is shown to the user as the next step. */
export class VxsealError extends Error {
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly remedy = '',
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
    this.name = 'VxsealError';
  }
}

/** A failed system call. `op` is the call and its object, e.g. "BPF_LINK_CREATE steer on veth1". */
export class KernelError extends VxsealError {
  constructor(
    readonly op: string,
    /** Positive errno, 0 if unknown. */
    readonly errno: number,
    /** Symbolic, e.g. "ENOENT". */
    readonly errnoName: string,
    detail = '',
  ) {
    super('kernel', `${op}: ${errnoName}${detail === '' ? '' : `: ${detail}`}`, kernelRemedy(op, errnoName));
    this.name = 'KernelError';
  }

  /** Another attempt may succeed without a change by the user. */
  get retriable(): boolean {
    return ['EAGAIN', 'EBUSY', 'EINTR', 'ENOBUFS', 'ENOMEM', 'ENODEV', 'ENETDOWN'].includes(this.errnoName);
  }
}

/** '' where all that can be done is to try again, or the message itself says what to do. */
function kernelRemedy(op: string, errnoName: string): string {
  if (op.startsWith('load program') && errnoName !== 'ENOENT')
    return 'run `vxseal doctor`: it names what this kernel lacks';
  if (op.startsWith('attach open') && ['EBUSY', 'EEXIST'].includes(errnoName))
    return 'another XDP program holds the device (`bpftool net` shows it): take it off, or set underlay.xdp to tc';
  if (['EPERM', 'EACCES'].includes(errnoName))
    return 'run the agent as root with the capabilities of docs/operations.md; `vxseal doctor` says which is missing';
  if (errnoName === 'EROFS')
    return 'let the agent write there: docs/operations.md says what a container needs';
  return '';
}
