// What a listener of the API is made of, around a made-up agent.
import { Metrics } from '../../agent/http/metrics';
import type { ServerParts } from '../../agent/http/server';
import type { Log } from '../../agent/ports';
import { QuietLog } from './log';
import { FakeAgent } from './status';

export function apiParts(agent: FakeAgent = new FakeAgent(), log: Log = new QuietLog()): ServerParts {
  return { agent, metrics: new Metrics(), log, version: '0.1.0' };
}
