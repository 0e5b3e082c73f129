// Asks the running agent over its unix socket. Turns every failure into an error that says what to do; knows no
// command.
import { request } from 'node:http';
import { type ErrorCode, VxsealError } from '../errors';

export interface AgentClient {
  readonly socketPath: string;
  get(path: string): Promise<unknown>;
  /** What is not JSON. */
  text(path: string): Promise<string>;
  post(path: string, body?: object): Promise<unknown>;
  remove(path: string): Promise<unknown>;
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

const READ_TIMEOUT_MS = 10_000;
// Attaching and rotating wait for the kernel and the bus.
const CHANGE_TIMEOUT_MS = 60_000;

const CODES: readonly ErrorCode[] = [
  'config',
  'kernel',
  'verifier',
  'identity',
  'state',
  'bus',
  'request',
  'not-found',
  'forbidden',
  'not-ready',
];

/** Errors of every call: VxsealError with the agent's own code and remedy, or 'not-ready' when nobody answers. */
export function agentClient(socketPath: string): AgentClient {
  const call = async (method: string, path: string, timeoutMs: number, body?: object): Promise<unknown> => {
    const answer = await exchange(socketPath, method, path, timeoutMs, body);
    const parsed = parseBody(answer.body, socketPath);
    // /readyz answers 503 with its blockers: an answer, not a failure.
    if (answer.status < 400 || path === '/readyz') return parsed;
    throw failureOf(parsed, answer.status);
  };
  return {
    socketPath,
    get: (path) => call('GET', path, READ_TIMEOUT_MS),
    text: async (path) => {
      const { status, body } = await exchange(socketPath, 'GET', path, READ_TIMEOUT_MS, undefined);
      if (status < 400) return body;
      throw failureOf(parseBody(body, socketPath), status);
    },
    post: (path, body) => call('POST', path, CHANGE_TIMEOUT_MS, body),
    remove: (path) => call('DELETE', path, CHANGE_TIMEOUT_MS),
  };
}

function exchange(
  socketPath: string,
  method: string,
  path: string,
  timeoutMs: number,
  body: object | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { 'content-type': 'application/json' };
    const outgoing = request({ socketPath, method, path, headers, agent: false }, (incoming) => {
      const parts: string[] = [];
      incoming.setEncoding('utf8');
      incoming.on('data', (part: string) => parts.push(part));
      incoming.on('error', (cause) => reject(unreachable(socketPath, cause)));
      incoming.on('end', () => resolve({ status: incoming.statusCode ?? 0, body: parts.join('') }));
    });
    const deadline = setTimeout(() => {
      outgoing.destroy(new Error(`no answer within ${timeoutMs / 1000} s`));
    }, timeoutMs);
    outgoing.on('close', () => clearTimeout(deadline));
    outgoing.on('error', (cause) => reject(unreachable(socketPath, cause)));
    outgoing.end(text);
  });
}

export function unreachable(socketPath: string, cause: NodeJS.ErrnoException): VxsealError {
  const object = `agent at ${socketPath}`;
  if (cause.code === 'ENOENT' || cause.code === 'ECONNREFUSED') {
    const remedy = 'Start it (vxseal agent, or systemctl start vxseal), or name its socket: --socket PATH.';
    return new VxsealError('not-ready', `${object}: is not running`, remedy, { cause });
  }
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    return new VxsealError('request', `${object}: permission denied`, 'Run this as root.', { cause });
  }
  const remedy =
    "Read the agent's log; restart it if it does not recover. Encrypted traffic goes on meanwhile.";
  return new VxsealError('not-ready', `${object}: ${cause.message}`, remedy, { cause });
}

function parseBody(body: string, socketPath: string): unknown {
  try {
    return JSON.parse(body);
  } catch (cause) {
    const message = `agent at ${socketPath}: the answer is no JSON`;
    const remedy = 'Name the socket of a vxseal agent: --socket PATH.';
    throw new VxsealError('request', message, remedy, { cause });
  }
}

function failureOf(parsed: unknown, status: number): VxsealError {
  const fields = typeof parsed === 'object' && parsed !== null ? parsed : {};
  const { code, message, remedy } = fields as { code?: unknown; message?: unknown; remedy?: unknown };
  return new VxsealError(
    CODES.find((known) => known === code) ?? 'request',
    typeof message === 'string' ? message : `the agent answered with status ${status}`,
    typeof remedy === 'string' ? remedy : '',
  );
}
