// The kernel's IPsec of one network namespace: its states and policies, as far as they are ours. One request a call,
// in the namespace that the thread is in. Key material in messages is wiped at once; V8 may keep copies of it.
import { KernelError } from '../../errors';
import { attempt, isErrno } from '../fault';
import type { Native } from '../native';
import { encodeDump, MessageType, NETLINK_XFRM } from './messages';
import { decodePolicy, encodePolicy, encodePolicyRequest, type Policy, type PolicyId } from './policy';
import {
  decodeState,
  encodeNewState,
  encodeStateRequest,
  type FoundState,
  type NewState,
  type StateId,
} from './state';

const DUMP_ATTEMPTS = 10;

export class XfrmSocket {
  constructor(private readonly native: Native) {}

  states(): FoundState[] {
    return this.dump('list SAs of the kernel', MessageType.GETSA).flatMap((message) =>
      this.wiping(message, () => decodeState(message) ?? []),
    );
  }

  policies(): Policy[] {
    return this.dump('list IPsec policies', MessageType.GETPOLICY).flatMap(
      (message) => decodePolicy(message) ?? [],
    );
  }

  /** Undefined when there is none, or not one of ours. */
  state(id: StateId): FoundState | undefined {
    const op = `look at SA ${spiText(id)}`;
    const [message] = this.absent(['ESRCH'], op, encodeStateRequest('GETSA', id)) ?? [];
    return message === undefined ? undefined : this.wiping(message, () => decodeState(message));
  }

  addState(op: string, state: NewState): void {
    const message = encodeNewState(state);
    this.wiping(message, () => this.request(op, message));
  }

  /** ESRCH is success. */
  removeState(id: StateId): void {
    this.absent(['ESRCH'], `remove SA ${spiText(id)}`, encodeStateRequest('DELSA', id));
  }

  policy(id: PolicyId): Policy | undefined {
    const [message] =
      this.absent(['ENOENT'], 'look at IPsec policy', encodePolicyRequest('GETPOLICY', id)) ?? [];
    return message === undefined ? undefined : decodePolicy(message);
  }

  /** In the place of the one with the same selector and mark, in one step. */
  putPolicy(op: string, policy: Policy): void {
    this.request(op, encodePolicy(policy));
  }

  /** ENOENT is success. */
  removePolicy(id: PolicyId): void {
    this.absent(['ENOENT'], 'remove IPsec policy', encodePolicyRequest('DELPOLICY', id));
  }

  private request(op: string, message: Buffer): Buffer[] {
    return attempt(op, () => this.native.netlinkRequest(NETLINK_XFRM, message));
  }

  private absent(errnoNames: readonly string[], op: string, message: Buffer): Buffer[] | undefined {
    try {
      return this.request(op, message);
    } catch (cause) {
      if (isErrno(cause, ...errnoNames)) return undefined;
      throw cause;
    }
  }

  /** A dump that the kernel marks as torn is asked again. */
  private dump(op: string, type: MessageType): Buffer[] {
    for (let round = 0; round < DUMP_ATTEMPTS; round++) {
      try {
        return this.request(op, encodeDump(type));
      } catch (cause) {
        if (!isErrno(cause, 'EINTR')) throw cause;
      }
    }
    throw new KernelError(op, 11, 'EAGAIN', 'the tables kept changing while they were read');
  }

  private wiping<T>(message: Buffer, use: () => T): T {
    try {
      return use();
    } finally {
      this.native.wipe(message);
    }
  }
}

const spiText = ({ spi, destination }: StateId): string =>
  `0x${spi.toString(16).padStart(8, '0')} to ${destination}`;
