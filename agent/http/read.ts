// The read-only group of the API: health, status, metrics, streams, the page. Fit for any listener; changes nothing.
import type { FastifyInstance } from 'fastify';
import type { AgentView } from '../control/status';
import { VxsealError } from '../errors';
import { Events } from './events';
import type { Metrics } from './metrics';
import { loadPage } from './page';
import * as schemas from './schemas';
import { Streams } from './stream';

export interface ReadParts {
  readonly agent: AgentView;
  readonly metrics: Metrics;
}

const failures = { '4xx': schemas.failure, 500: schemas.failure };

const answer = (
  ok: object,
  summary: string,
): { schema: { summary: string; response: Record<string, object> } } => ({
  schema: { summary, response: { 200: ok, ...failures } },
});

/** What is not JSON: the serializer must leave it alone, so only OpenAPI is told. */
const other = (summary: string): { schema: { summary: string } } => ({ schema: { summary } });

/** /livez /readyz /metrics, the GET side of /v1, and the page. */
export async function readRoutes(server: FastifyInstance, { agent, metrics }: ReadParts): Promise<void> {
  healthRoutes(server, agent);
  statusRoutes(server, agent);
  streamRoutes(server, agent);

  server.get('/metrics', other('Prometheus text format'), async (_request, reply) =>
    reply.type(metrics.contentType).send(await metrics.text(agent.status())),
  );

  const page = loadPage();
  server.get('/', other('Status page'), async (_request, reply) =>
    reply.headers(page.headers).type('text/html; charset=utf-8').send(page.html),
  );
}

function healthRoutes(server: FastifyInstance, agent: AgentView): void {
  server.get('/livez', answer(schemas.live, 'The process answers'), async () => ({ live: true }));

  const readyAnswer = { 200: schemas.readiness, 503: schemas.readiness, ...failures };
  const readySchema = { summary: 'Whether the data plane can be relied on', response: readyAnswer };
  server.get('/readyz', { schema: readySchema }, async (_request, reply) => {
    const readiness = agent.readiness();
    return reply.code(readiness.ready ? 200 : 503).send(readiness);
  });
}

function statusRoutes(server: FastifyInstance, agent: AgentView): void {
  server.get('/v1/status', answer(schemas.status, 'Everything at once'), async () => agent.status());
  server.get('/v1/peers', answer(schemas.peers, 'All peers'), async () => ({ peers: agent.status().peers }));
  server.get('/v1/pods', answer(schemas.pods, 'Local pods'), async () => ({ pods: agent.status().pods }));
  server.get('/v1/pods/remote', answer(schemas.remotePods, 'Pods of other nodes'), async () => ({
    pods: agent.remotePods(),
  }));
  server.get('/v1/sas', answer(schemas.sas, 'Security associations, keys as fingerprints'), async () => ({
    sas: agent.status().sas,
  }));
  server.get('/v1/drops', answer(schemas.drops, 'Drops by reason, and the newest'), async () => {
    const { drops, recentDrops } = agent.status();
    return { drops, recentDrops };
  });

  server.get('/v1/policies', answer(schemas.policies, 'Policies, and what they refused'), async () =>
    agent.policies(),
  );

  const one = answer(schemas.peer, 'One peer');
  server.get<{ Params: { node: string } }>('/v1/peers/:node', one, async (request) => {
    const { node } = request.params;
    const found = agent.status().peers.find((peer) => peer.node === node);
    if (found === undefined) {
      const remedy = 'List the known ones: vxseal peers.';
      throw new VxsealError('not-found', `peer ${node}: no record of such a node`, remedy);
    }
    return found;
  });
}

/** Both name their events: "change", "flow", and "missed" for what a slow client lost. */
function streamRoutes(server: FastifyInstance, agent: AgentView): void {
  const streams = new Streams();
  const events = new Events(agent);
  server.addHook('preClose', async () => streams.close());
  server.get('/v1/events', other('Changes of state, as server-sent events'), (_request, reply) =>
    streams.serve(reply, (sink) => events.listen((event) => sink.send('change', event))),
  );
  const flows = other('Drops and sampled flows, as server-sent events');
  server.get('/v1/flows', flows, (_request, reply) =>
    streams.serve(reply, (sink) => agent.watchFlows((flow) => sink.send('flow', flow))),
  );
}
