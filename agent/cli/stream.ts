// Reads the agent's streams (server-sent events, WHATWG HTML §9.2) over its unix socket, event by event. Knows no
// event by name.
import { request } from 'node:http';
import { StringDecoder } from 'node:string_decoder';
import { VxsealError } from '../errors';
import { unreachable } from './client';

export interface StreamEvent {
  readonly name: string;
  readonly data: unknown;
}

/** A line longer than this is no event of an agent's. */
const MAX_PENDING = 1_048_576;

/** Text in pieces to whole events; comments and what is no JSON are left out. */
export class EventParser {
  private readonly decoder = new StringDecoder('utf8');
  private pending = '';

  push(part: Buffer): StreamEvent[] {
    this.pending += this.decoder.write(part);
    const blocks = this.pending.split('\n\n');
    this.pending = blocks.pop() ?? '';
    if (this.pending.length > MAX_PENDING) this.pending = '';
    return blocks.flatMap(parseBlock);
  }
}

function parseBlock(block: string): StreamEvent[] {
  const field = (name: string): string | undefined =>
    block
      .split('\n')
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2);
  const [name, data] = [field('event'), field('data')];
  if (name === undefined || data === undefined) return [];
  try {
    return [{ name, data: JSON.parse(data) as unknown }];
  } catch {
    return [];
  }
}

/**
 * Calls `take` for each event until it answers false; resolves then. Errors: VxsealError as of the client, and
 * 'not-ready' when the agent ends the stream.
 */
export function readStream(
  socketPath: string,
  path: string,
  take: (event: StreamEvent) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const parser = new EventParser();
    const outgoing = request({ socketPath, path, agent: false }, (incoming) => {
      if (incoming.statusCode !== 200) {
        outgoing.destroy();
        const remedy = 'Close another stream, or update the agent.';
        const message = `agent at ${socketPath}: ${path} answered with status ${incoming.statusCode}`;
        reject(new VxsealError('not-ready', message, remedy));
        return;
      }
      incoming.on('data', (part: Buffer) => {
        for (const event of parser.push(part)) {
          if (take(event)) continue;
          outgoing.destroy();
          resolve();
          return;
        }
      });
      incoming.on('close', () => {
        const remedy = 'Start it again, or see its log; then ask again.';
        reject(new VxsealError('not-ready', `agent at ${socketPath}: ended the stream`, remedy));
      });
      incoming.on('error', () => {}); // 'close' follows
    });
    outgoing.on('error', (cause) => reject(unreachable(socketPath, cause)));
    outgoing.end();
  });
}
