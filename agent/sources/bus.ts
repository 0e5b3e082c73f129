// The bus that the configuration names, for the agent and for commands that publish without one.
import type { Config } from '../config';
import type { Clock, Log, TopologyBus } from '../ports';
import { DirectoryBus } from './directory';
import { KafkaBus } from './kafka';

export interface BusChoice {
  readonly bus: Config['bus'];
  readonly kafka: Config['kafka'];
  readonly topics: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
}

export function makeBus({ bus, kafka, topics, clock, log }: BusChoice): TopologyBus {
  return bus.type === 'kafka'
    ? new KafkaBus({ settings: kafka, topics, clock, log })
    : new DirectoryBus({ path: bus.path, topics, clock, log });
}
