// One session with a Kafka cluster: connections, metadata, offsets, fetches, publications. The only file that calls
// kafkajs, as requestqueue.ts mends it. It keeps nothing between sessions; whoever holds one closes it at the first
// failure and opens another.
import { type Admin, Kafka, logLevel, Partitioners, type Producer, type RetryOptions } from 'kafkajs';
import Cluster from 'kafkajs/src/cluster';
import fetchRequest from 'kafkajs/src/protocol/requests/fetch/v4/request';
import type { Credentials } from './credentials';
import { decodeFetchResponse, type FetchedPartition } from './fetch';
import type { LogEnds } from './partition';
import './requestqueue';
import { type BrokerAddress, BrokerSockets, toSeed } from './sockets';

export interface PartitionPlace {
  readonly topic: string;
  readonly partition: number;
  readonly leader: number;
}

export interface ClientSettings {
  readonly brokers: readonly BrokerAddress[];
  readonly clientId: string;
}

const CONNECT_TIMEOUT_MS = 5000;
const REQUEST_TIMEOUT_MS = 10_000;
/** A fetch is answered at once when there is something, and after this when there is not. */
export const FETCH_WAIT_MS = 2000;
const FETCH_BYTES = 1024 * 1024;
const EARLIEST = -2;
const LATEST = -1;

export class KafkaClient {
  readonly admin: Admin;
  readonly #sockets: BrokerSockets;
  readonly #cluster: Cluster;
  readonly #producer: Producer;

  constructor({ brokers, clientId }: ClientSettings, { tls, sasl }: Credentials) {
    // Each broker of the list has its turn; going on for ever is the session's owner's.
    const retry: RetryOptions = {
      retries: Math.max(2, brokers.length),
      initialRetryTime: 100,
      maxRetryTime: 500,
    };
    const sockets = new BrokerSockets(tls);
    const common = {
      brokers: brokers.map(toSeed),
      clientId,
      ...(sasl === undefined ? {} : { sasl }),
      connectionTimeout: CONNECT_TIMEOUT_MS,
      authenticationTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      enforceRequestTimeout: true,
      retry,
      socketFactory: ({ host, port, onConnect }: BrokerAddress & { onConnect: () => void }) =>
        sockets.open({ host, port }, onConnect),
    };
    const kafka = new Kafka({ ...common, logLevel: logLevel.NOTHING });
    this.#sockets = sockets;
    this.admin = kafka.admin();
    this.#producer = kafka.producer({
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
    });
    this.#cluster = new Cluster({ ...common, logger: kafka.logger(), allowAutoTopicCreation: false });
  }

  async connect(): Promise<void> {
    await this.#cluster.connect();
    await this.admin.connect();
    await this.#producer.connect();
  }

  /** The topics must exist. */
  async partitions(topics: readonly string[]): Promise<PartitionPlace[]> {
    await this.#cluster.addMultipleTargetTopics(topics);
    await this.#cluster.refreshMetadata();
    return topics.flatMap((topic) =>
      this.#cluster
        .findTopicPartitionMetadata(topic)
        .map(({ partitionId, leader }) => ({ topic, partition: partitionId, leader }))
        .sort((a, b) => a.partition - b.partition),
    );
  }

  async ends({ topic, partition, leader }: PartitionPlace): Promise<LogEnds> {
    const broker = await this.#cluster.findBroker({ nodeId: String(leader) });
    const offset = async (timestamp: number): Promise<bigint> => {
      const topics = [{ topic, partitions: [{ partition, timestamp }] }];
      const { responses } = await broker.listOffsets({ replicaId: -1, isolationLevel: 0, topics });
      return BigInt(responses[0]?.partitions[0]?.offset ?? -1);
    };
    return { earliest: await offset(EARLIEST), latest: await offset(LATEST) };
  }

  /** From partitions of one leader. Resolves with nothing in any of them when nothing came within FETCH_WAIT_MS. */
  async fetch(
    leader: number,
    from: readonly (PartitionPlace & { readonly offset: bigint })[],
  ): Promise<FetchedPartition[]> {
    const broker = await this.#cluster.findBroker({ nodeId: String(leader) });
    const topics = from.map(({ topic, partition, offset }) => ({
      topic,
      partitions: [{ partition, fetchOffset: String(offset), maxBytes: FETCH_BYTES }],
    }));
    const request = fetchRequest({
      replicaId: -1,
      isolationLevel: 0,
      maxWaitTime: FETCH_WAIT_MS,
      minBytes: 1,
      maxBytes: FETCH_BYTES,
      topics,
    });
    return await broker.connectionPool.send({
      request,
      response: { decode: async (bytes) => decodeFetchResponse(bytes), parse: async (decoded) => decoded },
    });
  }

  /** Resolves once every replica in sync has it. */
  async publish(topic: string, key: string, value: Uint8Array): Promise<void> {
    await this.#producer.send({
      topic,
      acks: -1,
      timeout: REQUEST_TIMEOUT_MS,
      messages: [{ key, value: Buffer.from(value) }],
    });
  }

  /** At once; whatever is under way fails. */
  async close(): Promise<void> {
    this.#sockets.close();
    await Promise.allSettled([
      this.#cluster.disconnect(),
      this.admin.disconnect(),
      this.#producer.disconnect(),
    ]);
  }
}
