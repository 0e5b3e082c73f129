// The conformance suite of the topology bus, on a real Kafka.
import { type BusWorld, busSuite, TOPICS } from '../agent/sources/bus-suite';
import { policySuite } from '../agent/sources/policy-suite';
import { Broker } from './broker';

const broker = new Broker();
beforeAll(() => broker.start());
afterAll(() => broker.dispose());

async function makeWorld(partitions: number): Promise<BusWorld> {
  const prefix = broker.nextPrefix();
  const stranger = broker.stranger();
  const createTopics = async (count: number): Promise<void> => {
    for (const topic of TOPICS) await stranger.createTopic(`${prefix}${topic}`, count);
  };
  if (partitions > 0) await createTopics(partitions);
  let away = false;
  return {
    client: () => broker.bus(prefix),
    write: async (topic, key, value) => {
      if (partitions === 0) await createTopics(1); // unless they are there
      await stranger.write(`${prefix}${topic}`, key, value);
    },
    vanish: async () => {
      away = true;
      await broker.kill();
    },
    comeBack: async () => {
      await broker.start();
      away = false;
    },
    dispose: async () => {
      if (away) await broker.start();
      await stranger.close();
    },
  };
}

busSuite('Kafka, topics made by the agent', () => makeWorld(0));
busSuite('Kafka, topics of five partitions', () => makeWorld(5));
policySuite('Kafka', () => makeWorld(1));
