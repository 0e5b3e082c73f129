// Asks a node's agent over its unix socket: status, readiness and drop counters, as the CLI does.
import { request } from 'node:http';
import type { PolicyStatus, Status } from '../../agent/control/status';
import { until } from './command';
import type { NodeLayout } from './layout';
import { patient } from './patience';

const ANSWER_TIMEOUT_MS = 10_000;

function get(socket: string, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: socket, path, timeout: patient(ANSWER_TIMEOUT_MS) }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => {
        try {
          resolve(JSON.parse(body));
        } catch (cause) {
          reject(new Error(`${path}: the answer is not JSON: ${body.slice(0, 200)}`, { cause }));
        }
      });
    });
    call.on('timeout', () =>
      call.destroy(new Error(`${path}: no answer within ${patient(ANSWER_TIMEOUT_MS)} ms`)),
    );
    call.on('error', reject);
    call.end();
  });
}

export async function status(node: NodeLayout): Promise<Status> {
  return (await get(node.socket, '/v1/status')) as Status;
}

export async function policies(node: NodeLayout): Promise<PolicyStatus> {
  return (await get(node.socket, '/v1/policies')) as PolicyStatus;
}

/** Packets dropped on the node so far, over all peers, as "reason" -> count. */
export async function drops(node: NodeLayout): Promise<ReadonlyMap<string, number>> {
  const { drops: rows } = (await get(node.socket, '/v1/drops')) as Pick<Status, 'drops'>;
  const counts = new Map<string, number>();
  for (const row of rows) counts.set(row.reason, (counts.get(row.reason) ?? 0) + row.packets);
  return counts;
}

/** Reasons whose counter grew between two readings, with by how much. */
export function risen(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const grown = [...after].map(([reason, count]) => [reason, count - (before.get(reason) ?? 0)] as const);
  return new Map(grown.filter(([, by]) => by > 0));
}

/**
 * Waits until the agent is ready and every one of `peers` is up under the newest keys of both sides; the error says
 * what is missing.
 */
export async function waitUp(node: NodeLayout, peers: readonly string[], timeoutMs: number): Promise<void> {
  let missing = 'it does not answer';
  await until(
    `${node.name} is ready and its peers are up`,
    timeoutMs,
    async () => {
      try {
        const now = await status(node);
        const lagging = peers.flatMap((name) => {
          const peer = now.peers.find((candidate) => candidate.node === name);
          return peer?.state === 'up' && !peer.rotating
            ? []
            : [
                `${name}: ${peer?.state ?? 'unknown'}${peer?.rotating ? ', rotating' : ''} (${peer?.why ?? 'no record'})`,
              ];
        });
        const blockers = now.readiness.blockers.map((blocker) => `${blocker.name}: ${blocker.reason}`);
        missing = [...blockers, ...lagging].join('; ');
        return now.readiness.ready && lagging.length === 0 ? true : undefined;
      } catch (error) {
        missing = error instanceof Error ? error.message : String(error);
        return undefined;
      }
    },
    () => missing,
  );
}
