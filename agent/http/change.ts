// The changing group of the API: pods, rotation, probes (they send packets) and the container runtime's calls. Only for
// the unix socket, whose mode is the access control.
import type { FastifyInstance } from 'fastify';
import type { AgentView, AttachRequest, ProbeRequest } from '../control/status';
import { cniRoutes } from './cni';
import * as schemas from './schemas';

const failures = { '4xx': schemas.failure, '5xx': schemas.failure };

/** POST and DELETE under /v1. */
export async function changeRoutes(
  server: FastifyInstance,
  options: { readonly agent: AgentView },
): Promise<void> {
  const { agent } = options;

  server.register(cniRoutes, { agent });

  server.post<{ Body: AttachRequest }>(
    '/v1/pods',
    { schema: { body: schemas.attachRequest, response: { 200: schemas.pod, ...failures } } },
    async (request) => agent.attachPod(request.body),
  );

  server.delete<{ Params: { id: string } }>(
    '/v1/pods/:id',
    { schema: { response: { 200: schemas.detached, ...failures } } },
    async (request) => ({ detached: await agent.detachPod(request.params.id) }),
  );

  const probeSchema = {
    summary: 'Probes peers now: round trip, loss, and the largest size that comes back',
    body: schemas.probeRequest,
    response: { 200: schemas.probed, ...failures },
  };
  server.post<{ Body: ProbeRequest }>('/v1/probe', { schema: probeSchema }, async (request) => ({
    peers: await agent.probe(request.body),
  }));

  server.post('/v1/rotate', { schema: { response: { 200: schemas.rotated, ...failures } } }, async () =>
    agent.rotate(),
  );
}
