// Listeners of the agent's API: the unix socket, who may open it, and that two agents never share one; and TCP, which
// only reads. What is answered is in read.ts and change.ts; nothing here knows how the agent works.
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import type { AgentView } from '../control/status';
import { VxsealError } from '../errors';
import type { Log } from '../ports';
import { changeRoutes } from './change';
import { handleFailures } from './failure';
import type { Metrics } from './metrics';
import { describeApi } from './openapi';
import { refuseForeign } from './origin';
import { readRoutes } from './read';

export interface RunningServer {
  /** Path of the socket, or host:port. */
  readonly address: string;
  /** Ends open requests and streams, and removes the socket. */
  close(): Promise<void>;
}

export interface ServerParts {
  readonly agent: AgentView;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Of the agent, for the description of the API. */
  readonly version: string;
}

/** "127.0.0.1" and 9477. */
export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

const BODY_LIMIT_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 1000;

/** "127.0.0.1:9477" or "[::1]:9477" as the configuration has it; undefined for ''. */
export function parseListen(text: string): TcpAddress | undefined {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return undefined;
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

/** For browsers that meet an answer by mistake or on purpose. */
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
};

/** The API without a listener: what changes something only for the unix socket, foreign hosts refused on TCP. */
export function buildServer(parts: ServerParts, listener: 'unix' | 'tcp'): FastifyInstance {
  const { agent, metrics, log } = parts;
  const server = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    forceCloseConnections: true,
    // A wrong type or a stray field is refused, not bent into shape.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true } },
  });
  handleFailures(server, log);
  server.addHook('onRequest', async (_request, reply) => void reply.headers(HEADERS));
  if (listener === 'tcp') refuseForeign(server);
  describeApi(server, parts.version);
  server.register(readRoutes, { agent, metrics });
  if (listener === 'unix') server.register(changeRoutes, { agent });
  return server;
}

/**
 * Serves the read-only API over TCP; port 0 takes a free one. Errors: VxsealError 'state' when the address cannot be
 * had.
 */
export async function listenTcp(parts: ServerParts, { host, port }: TcpAddress): Promise<RunningServer> {
  const server = buildServer(parts, 'tcp');
  try {
    const address = (await server.listen({ host, port })).replace('http://', '');
    parts.log.info({ address }, 'status page and metrics are served');
    return { address, close: async () => await server.close() };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const remedy = 'Free the port, or set http.listen to another address ("" for none).';
    throw new VxsealError('state', `http.listen ${host}:${port}: ${reason}`, remedy, { cause });
  }
}

/**
 * Serves the API on a unix socket of mode 0600. A socket file that nobody answers on is replaced.
 * Errors: VxsealError 'state' when another agent answers there, or something else lies at the path.
 */
export async function listenUnix(parts: ServerParts, socketPath: string): Promise<RunningServer> {
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  await clearStaleSocket(socketPath);
  const server = buildServer(parts, 'unix');
  await server.ready();
  await bind(server, socketPath);
  parts.log.info({ socket: socketPath }, 'API is listening');
  return { address: socketPath, close: async () => await server.close() };
}

/** The mode must be right from the first moment, so umask and not chmod. Binding a path is synchronous in Node. */
function bind(server: FastifyInstance, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const refuse = (cause: Error): void => reject(unusable(socketPath, cause.message, { cause }));
    server.server.once('error', refuse);
    const before = process.umask(0o177);
    try {
      server.server.listen({ path: socketPath }, () => {
        server.server.off('error', refuse);
        resolve();
      });
    } finally {
      process.umask(before);
    }
  });
}

async function clearStaleSocket(socketPath: string): Promise<void> {
  const found = lstatSync(socketPath, { throwIfNoEntry: false });
  if (found === undefined) {
    return;
  }
  if (!found.isSocket()) {
    throw unusable(socketPath, 'a file that is no socket lies there');
  }
  if (await answers(socketPath)) {
    throw unusable(socketPath, 'another agent answers on it');
  }
  rmSync(socketPath, { force: true });
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    const settle = (outcome: () => void): void => {
      socket.destroy();
      outcome();
    };
    // A full backlog or a stopped process: somebody is there.
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => settle(() => resolve(true)));
    socket.once('connect', () => settle(() => resolve(true)));
    socket.once('error', (cause: NodeJS.ErrnoException) =>
      settle(() => {
        if (cause.code === 'ECONNREFUSED' || cause.code === 'ENOENT') {
          resolve(false);
        } else if (cause.code === 'EAGAIN') {
          resolve(true);
        } else {
          reject(unusable(socketPath, cause.message, { cause }));
        }
      }),
    );
  });
}

function unusable(socketPath: string, reason: string, options?: { readonly cause: unknown }): VxsealError {
  return new VxsealError(
    'state',
    `socket ${socketPath}: ${reason}`,
    'Stop the other agent, remove the file, or choose another runDir.',
    options,
  );
}
