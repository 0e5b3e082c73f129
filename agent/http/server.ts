// Listeners of the agent's API. Owns the unix socket: who may open it, and that two agents never share one. What is
// answered is in read.ts and change.ts; nothing here knows how the agent works.
import { lstatSync, mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import fastify, { type FastifyInstance } from 'fastify';
import type { AgentView } from '../control/status';
import { VxsealError } from '../errors';
import type { Log } from '../ports';
import { changeRoutes } from './change';
import { handleFailures } from './failure';
import { readRoutes } from './read';

export interface RunningServer {
  readonly socketPath: string;
  /** Ends open requests and removes the socket. */
  close(): Promise<void>;
}

const BODY_LIMIT_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 1000;

/** The API without a listener; `change` adds the group that only the unix socket may have. */
export function buildServer(
  agent: AgentView,
  log: Log,
  options: { readonly change: boolean },
): FastifyInstance {
  const server = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    forceCloseConnections: true,
    // A wrong type or a stray field is refused, not bent into shape.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: true } },
  });
  handleFailures(server, log);
  server.register(readRoutes, { agent });
  if (options.change) {
    server.register(changeRoutes, { agent });
  }
  return server;
}

/**
 * Serves the API on a unix socket of mode 0600. A socket file that nobody answers on is replaced.
 * Errors: VxsealError 'state' when another agent answers there, or something else lies at the path.
 */
export async function listenUnix(agent: AgentView, log: Log, socketPath: string): Promise<RunningServer> {
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  await clearStaleSocket(socketPath);
  const server = buildServer(agent, log, { change: true });
  await server.ready();
  await bind(server, socketPath);
  log.info({ socket: socketPath }, 'API is listening');
  return { socketPath, close: async () => await server.close() };
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
