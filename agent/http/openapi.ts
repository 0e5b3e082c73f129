// The API described as OpenAPI, made from the routes' own schemas: what is served cannot differ from what is told.
import swagger from '@fastify/swagger';
import type { FastifyInstance } from 'fastify';

/** To be called before any route is added. */
export function describeApi(server: FastifyInstance, version: string): void {
  const description =
    'State of one vxseal agent. Read-only over TCP; what changes something is served on the unix socket only. ' +
    'Units are in the names; times are milliseconds since 1970.';
  server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'vxseal agent', version, description, license: { name: 'Apache-2.0' } },
    },
  });
  server.register(async (inner) => {
    const schema = { summary: 'This document' };
    inner.get('/openapi.json', { schema }, async () => server.swagger());
  });
}
