// The connections to brokers: opens them, bounds what may come over them, and closes them all at once. kafkajs leaves
// a closed connection to its other end and buffers whatever size a broker announces.
import { connect, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';

/** A fetch brings at most 1 MiB or one larger batch; metadata of a large cluster stays below this too. */
export const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;
const KEEP_ALIVE_MS = 30_000;
const LENGTH_BYTES = 4;

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

export class BrokerSockets {
  readonly #open = new Set<Socket>();
  #closed = false;

  /** @param tls undefined: in clear */
  constructor(private readonly tls: ConnectionOptions | undefined) {}

  open({ host: name, port }: BrokerAddress, connected: () => void): Socket {
    const host = fromSeed(name);
    const servername = isIP(host) === 0 ? { servername: host } : {};
    const socket =
      this.tls === undefined
        ? connect({ host, port }, connected)
        : connectTls({ host, port, ...servername, ...this.tls }, connected);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.setNoDelay(true);
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    boundResponses(socket);
    if (this.#closed) socket.destroy(new Error('closed'));
    return socket;
  }

  /** Also those that are opened later. With an error, so that whoever waits for an answer is told. */
  close(): void {
    this.#closed = true;
    for (const socket of this.#open) socket.destroy(new Error('closed'));
  }
}

/** Every response begins with its length (Kafka protocol, "Protocol Primitive Types"). */
function boundResponses(socket: Socket): void {
  let head = Buffer.alloc(0);
  let left = 0;
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length; ) {
      if (left > 0) {
        const skipped = Math.min(left, chunk.length - at);
        left -= skipped;
        at += skipped;
        continue;
      }
      const taken = chunk.subarray(at, at + LENGTH_BYTES - head.length);
      head = Buffer.concat([head, taken]);
      at += taken.length;
      if (head.length < LENGTH_BYTES) return;
      left = head.readUInt32BE();
      head = Buffer.alloc(0);
      if (left > MAX_RESPONSE_BYTES) {
        socket.destroy(new Error(`broker announces a response of ${left} bytes`));
        return;
      }
    }
  });
}

/** kafkajs splits seed addresses at ':', so one of IPv6 goes in with other separators. */
export const toSeed = ({ host, port }: BrokerAddress): string =>
  isIP(host) === 6 ? `[${host.replaceAll(':', '_')}]:${port}` : `${host}:${port}`;

const fromSeed = (host: string): string =>
  host.startsWith('[') ? host.slice(1, -1).replaceAll('_', ':') : host;
