// One rtnetlink socket: requests one after the other, errors with their errno, dumps that are whole. It knows
// messages, not what they mean; netlink.ts does.
import {
  AttrStream,
  createRtNetlink,
  Flags,
  FlagsGet,
  MessageType,
  type NetlinkMessage,
  parseError,
  type RtNetlinkSocket,
} from 'netlink';
import { KernelError } from '../errors';
import { errnoName } from './fault';

const REPLY_TIMEOUT_MS = 5000;
const DUMP_ATTEMPTS = 10;
/** Enough for the dump of some thousand routes between two turns of the event loop. */
const RECEIVE_BUFFER_BYTES = 1 << 20;

export class RtNetlink {
  private readonly socket: RtNetlinkSocket;
  /** The kernel runs one dump a socket; and a reply is told by its number only, so requests queue here. */
  private last: Promise<unknown> = Promise.resolve();
  private fail: ((error: Error) => void) | undefined;
  private closed = false;

  /** Opens the socket in the network namespace that the thread is in now; it stays bound to that one. */
  constructor() {
    this.socket = createRtNetlink({ recvBufferSize: RECEIVE_BUFFER_BYTES, sendBufferSize: 0 });
    // Without listeners an overrun (ENOBUFS) would end the process, and a lost reply would wait for ever.
    this.socket.socket.on('error', (error) => this.fail?.(error));
    this.socket.socket.on('truncatedMessage', () => this.fail?.(new Error('reply truncated')));
    this.socket.socket.on('invalid', (error) =>
      this.fail?.(error instanceof Error ? error : new Error(String(error))),
    );
  }

  /**
   * Sends one message and waits for its acknowledgement.
   * @param op names the call and its object in the error.
   * @throws KernelError with the kernel's errno.
   */
  async change(op: string, type: number, flags: number, write: (out: AttrStream) => void): Promise<void> {
    await this.enqueue(op, () => this.exchange(op, type, flags, write));
  }

  /** Answers of one GET, each the payload of a message. A dump that the kernel marks as torn is asked again. */
  async dump(op: string, type: number, write: (out: AttrStream) => void): Promise<Buffer[]> {
    return this.enqueue(op, async () => {
      for (let round = 0; round < DUMP_ATTEMPTS; round++) {
        const replies = await this.exchange(op, type, FlagsGet.DUMP, write);
        if (!replies.some((reply) => (reply.flags & Flags.DUMP_INTR) !== 0)) return replies.map(payload);
      }
      throw new KernelError(op, 11, 'EAGAIN', 'the tables kept changing while they were read');
    });
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.fail?.(new Error('socket closed'));
    this.socket.socket.close();
  }

  private enqueue<T>(op: string, run: () => Promise<T>): Promise<T> {
    const turn = this.last.then(() => {
      if (this.closed) throw new KernelError(op, 9, 'EBADF', 'the netlink socket is closed');
      return run();
    });
    this.last = turn.catch(() => undefined);
    return turn;
  }

  private async exchange(
    op: string,
    type: number,
    flags: number,
    write: (out: AttrStream) => void,
  ): Promise<NetlinkMessage[]> {
    const out = new AttrStream();
    write(out);
    const broken = new Promise<never>((_, reject) => {
      this.fail = reject;
    });
    try {
      const [replies] = await Promise.race([
        this.socket.socket.request(type, out.bufs, { flags, timeout: REPLY_TIMEOUT_MS, checkError: false }),
        broken,
      ]);
      refuseError(op, replies);
      return replies;
    } catch (cause) {
      if (cause instanceof KernelError) throw cause;
      throw new KernelError(op, 0, 'EIO', cause instanceof Error ? cause.message : String(cause));
    } finally {
      this.fail = undefined;
    }
  }
}

const payload = (message: NetlinkMessage): Buffer => Buffer.from(message.data);

function refuseError(op: string, replies: readonly NetlinkMessage[]): void {
  for (const reply of replies) {
    if (reply.type !== MessageType.ERROR) continue;
    const errno = -parseError(Buffer.from(reply.data), reply.flags).errno;
    if (errno !== 0) throw new KernelError(op, errno, errnoName(errno));
  }
}
