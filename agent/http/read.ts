// The read-only group of the API: health and status. Fit for any listener; changes nothing.
import type { FastifyInstance } from 'fastify';
import type { AgentView } from '../control/status';
import { VxsealError } from '../errors';
import * as schemas from './schemas';

const failures = { '4xx': schemas.failure, 500: schemas.failure };

/** /livez /readyz and the GET side of /v1. */
export async function readRoutes(
  server: FastifyInstance,
  options: { readonly agent: AgentView },
): Promise<void> {
  const { agent } = options;
  const answer = (ok: object): { schema: { response: object } } => ({
    schema: { response: { 200: ok, ...failures } },
  });

  server.get('/livez', answer(schemas.live), async () => ({ live: true }));

  const readyAnswer = { 200: schemas.readiness, 503: schemas.readiness, ...failures };
  server.get('/readyz', { schema: { response: readyAnswer } }, async (_request, reply) => {
    const readiness = agent.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });

  server.get('/v1/status', answer(schemas.status), async () => agent.status());
  server.get('/v1/peers', answer(schemas.peers), async () => ({ peers: agent.status().peers }));
  server.get('/v1/pods', answer(schemas.pods), async () => ({ pods: agent.status().pods }));
  server.get('/v1/sas', answer(schemas.sas), async () => ({ sas: agent.status().sas }));
  server.get('/v1/drops', answer(schemas.drops), async () => ({ drops: agent.status().drops }));

  server.get<{ Params: { node: string } }>('/v1/peers/:node', answer(schemas.peer), async (request) => {
    const { node } = request.params;
    const found = agent.status().peers.find((peer) => peer.node === node);
    if (found === undefined) {
      const remedy = 'List the known ones: vxseal peers.';
      throw new VxsealError('not-found', `peer ${node}: no record of such a node`, remedy);
    }
    return found;
  });
}
