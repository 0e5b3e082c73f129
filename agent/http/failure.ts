// How errors leave the API: a status code and {code, message, remedy}. A bug's text stays in the log.
import type { FastifyError, FastifyInstance } from 'fastify';
import { type ErrorCode, VxsealError } from '../errors';
import type { Log } from '../ports';

export interface Failure {
  readonly code: ErrorCode | 'internal';
  readonly message: string;
  readonly remedy: string;
}

const STATUS_OF_CODE: Readonly<Record<ErrorCode, number>> = {
  request: 400,
  'not-found': 404,
  forbidden: 403,
  'not-ready': 503,
  config: 500,
  kernel: 500,
  verifier: 500,
  identity: 500,
  state: 500,
  bus: 500,
};

/** Error and not-found handling of every listener. */
export function handleFailures(server: FastifyInstance, log: Log): void {
  server.setNotFoundHandler((request, reply) => {
    const failure: Failure = {
      code: 'not-found',
      message: `${request.method} ${request.url.slice(0, 200)}: there is no such resource here`,
      remedy: 'All paths: /openapi.json.',
    };
    return reply.code(404).send(failure);
  });
  server.setErrorHandler((error: FastifyError | Error, request, reply) => {
    const { status, failure } = describe(error);
    if (failure.code === 'internal') {
      log.error({ error, method: request.method, path: request.routeOptions.url }, 'request failed');
    }
    return reply.code(status).send(failure);
  });
}

function describe(error: FastifyError | Error): { status: number; failure: Failure } {
  if (error instanceof VxsealError) {
    const { code, message, remedy } = error;
    return { status: STATUS_OF_CODE[code], failure: { code, message, remedy } };
  }
  const status = 'statusCode' in error ? (error.statusCode ?? 500) : 500;
  if (status >= 400 && status < 500) {
    // fastify's own refusal: schema, body size, media type. It names the field.
    return { status, failure: { code: 'request', message: error.message, remedy: 'Correct the request.' } };
  }
  const message = 'the agent met an error it does not know';
  return { status: 500, failure: { code: 'internal', message, remedy: "Read the agent's log." } };
}
