// Server-sent events (WHATWG HTML §9.2) with back-pressure: nothing is queued here. While the client does not read,
// events are counted instead of kept, and it is told how many it missed. Knows nothing of what it carries.
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import { VxsealError } from '../errors';

export interface Sink {
  send(event: string, data: object): void;
}

/** @returns how to end the subscription. */
export type Subscribe = (sink: Sink) => () => void;

/** Intermediaries and clients end connections that are silent for a minute or so. */
const HEARTBEAT_MS = 15_000;
const MAX_STREAMS = 16;

/** The streams of one server; their number is bounded. */
export class Streams {
  private readonly open = new Set<ServerResponse>();

  /** Answers with a stream until the client leaves or the server closes. Errors: VxsealError 'not-ready' when full. */
  serve(reply: FastifyReply, subscribe: Subscribe): void {
    if (this.open.size >= MAX_STREAMS) {
      const message = `${MAX_STREAMS} streams are open, and no more are given`;
      throw new VxsealError('not-ready', message, 'Close one, or ask again later.');
    }
    // Header fields that hooks have set are lost by hijack().
    const headers = reply.getHeaders() as Record<string, string>;
    reply.hijack();
    const { raw } = reply;
    this.open.add(raw);
    raw.writeHead(200, { ...headers, 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const sink = new StreamSink(raw);
    const end = subscribe(sink);
    const heartbeat = setInterval(() => sink.comment(), HEARTBEAT_MS);
    raw.on('drain', () => sink.resume());
    raw.once('close', () => {
      this.open.delete(raw);
      clearInterval(heartbeat);
      end();
    });
    // A client that goes away mid-write is no failure of ours; 'close' follows.
    raw.on('error', () => {});
  }

  /** A server that closes waits for its connections, and these would never end. */
  close(): void {
    for (const raw of this.open) raw.destroy();
  }
}

/** @param raw anything that writes, for tests. */
export class StreamSink implements Sink {
  private full = false;
  private missed = 0;

  constructor(private readonly raw: Pick<ServerResponse, 'write'>) {
    // The client knows at once that it is connected.
    this.comment();
  }

  send(event: string, data: object): void {
    if (this.full) this.missed += 1;
    else this.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  comment(): void {
    if (!this.full) this.write(': \n\n');
  }

  /** The client has read what it was sent. */
  resume(): void {
    this.full = false;
    const { missed } = this;
    this.missed = 0;
    if (missed > 0) this.send('missed', { count: missed });
  }

  private write(text: string): void {
    this.full = !this.raw.write(text);
  }
}
