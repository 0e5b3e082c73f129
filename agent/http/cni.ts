// The door for the CNI plugin (native/cni-shim.c): bytes in, what it is to print out. Only for the unix socket.
import type { FastifyInstance } from 'fastify';
import type { AgentView } from '../control/status';

/** The plugin's own limits: 1 MiB of configuration and a few variables. */
const BODY_LIMIT_BYTES = 2 * 1024 * 1024;
const CALL_TYPE = 'application/vnd.vxseal.cni';

/** POST /v1/cni: 200 and what is to be printed, 422 and a CNI error object. */
export async function cniRoutes(
  server: FastifyInstance,
  { agent }: { readonly agent: AgentView },
): Promise<void> {
  const limits = { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES } as const;
  server.addContentTypeParser(CALL_TYPE, limits, (_request, body, done) => done(null, body));
  server.post<{ Body: unknown }>('/v1/cni', { bodyLimit: BODY_LIMIT_BYTES }, async (request, reply) => {
    if (!Buffer.isBuffer(request.body)) return reply.code(415).send();
    const { ok, body } = await agent.answerCni(request.body);
    return reply
      .code(ok ? 200 : 422)
      .type('application/json')
      .send(body);
  });
}
