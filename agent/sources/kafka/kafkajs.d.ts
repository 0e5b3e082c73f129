// The parts of kafkajs 2.2.4 that client.ts and requestqueue.ts use and the package does not declare. Its public
// consumer reads only as a member of a group: it needs rights on groups, waits for rebalances, keeps state on the
// broker, and passes over what it cannot decode by ending. The version is pinned exactly, and tests hold what is
// declared here.
declare module 'kafkajs/src/cluster' {
  import type { ISocketFactory, KafkaConfig, Logger, RetryOptions } from 'kafkajs';

  interface PartitionMetadata {
    readonly partitionId: number;
    /** -1 while there is none. */
    readonly leader: number;
  }

  interface OffsetsResponse {
    readonly responses: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
    }[];
  }

  interface ProtocolRequest<T> {
    readonly request: object;
    readonly response: {
      readonly decode: (bytes: Buffer) => Promise<T>;
      readonly parse: (decoded: T) => Promise<T>;
    };
  }

  interface Broker {
    readonly connectionPool: { send<T>(request: ProtocolRequest<T>): Promise<T> };
    listOffsets(question: {
      readonly replicaId: -1;
      readonly isolationLevel: 0;
      readonly topics: readonly {
        readonly topic: string;
        readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[];
      }[];
    }): Promise<OffsetsResponse>;
  }

  class Cluster {
    constructor(
      options: Omit<KafkaConfig, 'retry'> & {
        readonly logger: Logger;
        readonly retry: RetryOptions;
        readonly socketFactory: ISocketFactory;
        readonly allowAutoTopicCreation: false;
      },
    );
    connect(): Promise<void>;
    disconnect(): Promise<void>;
    addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
    refreshMetadata(): Promise<void>;
    findTopicPartitionMetadata(topic: string): readonly PartitionMetadata[];
    findBroker(which: { readonly nodeId: string }): Promise<Broker>;
  }

  export = Cluster;
}

declare module 'kafkajs/src/protocol/requests/fetch/v4/request' {
  function fetchRequest(question: {
    readonly replicaId: -1;
    readonly isolationLevel: 0;
    readonly maxWaitTime: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly topics: readonly {
      readonly topic: string;
      readonly partitions: readonly {
        readonly partition: number;
        readonly fetchOffset: string;
        readonly maxBytes: number;
      }[];
    }[];
  }): object;

  export = fetchRequest;
}

declare module 'kafkajs/src/network/requestQueue' {
  import type { Logger } from 'kafkajs';

  class RequestQueue {
    constructor(options: { readonly requestTimeout: number; readonly logger: Logger });
    readonly pending: readonly object[];
    scheduleCheckPendingRequests(): void;
    /** The broker has said for how long nothing is to be sent. */
    maybeThrottle(ms: number): void;
    push(request: {
      readonly entry: {
        readonly correlationId: number;
        readonly resolve: (answer: object) => void;
        readonly reject: (error: Error) => void;
      };
      readonly expectResponse: boolean;
      readonly sendRequest: () => void;
    }): void;
    fulfillRequest(answer: {
      readonly correlationId: number;
      readonly payload: Buffer;
      readonly size: number;
    }): void;
    destroy(): void;
  }

  export = RequestQueue;
}
