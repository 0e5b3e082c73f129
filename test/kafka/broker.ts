// A real Kafka broker for a test file, through scripts/kafka, on a free port of the loopback; and what a stranger with
// its tools can do to it. Its data is in a folder of its own and goes with it.
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Admin, Kafka, type KafkaConfig, logLevel, Partitioners, type Producer } from 'kafkajs';
import { SystemClock } from '../../agent/clock';
import type { Config } from '../../agent/config';
import { NODES_TOPIC, PODS_TOPIC } from '../../agent/core/announcement';
import { POLICIES_TOPIC } from '../../agent/core/policyrecord';
import { KafkaBus } from '../../agent/sources/kafka';
import { QuietLog } from '../fakes/log';
import { packageRoot } from '../lab/layout';

const SCRIPT = join(packageRoot(), 'scripts/kafka');

export class Broker {
  readonly dir = mkdtempSync(join(tmpdir(), 'vxseal-kafka-'));
  port = 0;
  private prefixes = 0;

  /** @param options of scripts/kafka start */
  constructor(private readonly options: readonly string[] = []) {}

  /** @param properties lines that come after the usual ones */
  async start(properties = ''): Promise<void> {
    const file = join(this.dir, 'extra.properties');
    writeFileSync(file, properties);
    const extra = properties === '' ? [] : ['--properties', file];
    const address = await this.run('start', '--port', String(this.port), ...extra, ...this.options);
    this.port = Number(address.trim().split(':')[1]);
  }

  async stop(): Promise<void> {
    await this.run('stop');
  }

  /** As a crash. */
  async kill(): Promise<void> {
    await this.run('stop', '--kill');
  }

  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.dir, { recursive: true, force: true });
  }

  /** A copy of all data as it is; the broker must be stopped. */
  saveData(name: string): void {
    cpSync(join(this.dir, 'data'), join(this.dir, name), { recursive: true });
  }

  restoreData(name: string): void {
    rmSync(join(this.dir, 'data'), { recursive: true });
    cpSync(join(this.dir, name), join(this.dir, 'data'), { recursive: true });
  }

  /** Topics of one test are kept apart from those of others. */
  nextPrefix(): string {
    this.prefixes += 1;
    return `t${this.prefixes}.`;
  }

  settings(topicPrefix: string, changes: Partial<Config['kafka']> = {}): Config['kafka'] {
    return {
      brokers: [{ host: '127.0.0.1', port: this.port }],
      clientId: 'vxseal-test',
      topicPrefix,
      replicationFactor: 0,
      tls: false,
      tlsCa: '',
      tlsCert: '',
      tlsKey: '',
      saslMechanism: 'none',
      saslUsername: '',
      saslPasswordFile: '',
      ...changes,
    };
  }

  bus(topicPrefix: string, changes: Partial<Config['kafka']> = {}, log = new QuietLog()): KafkaBus {
    return new KafkaBus({
      settings: this.settings(topicPrefix, changes),
      topics: [NODES_TOPIC, PODS_TOPIC, POLICIES_TOPIC],
      clock: new SystemClock(),
      log,
      refreshMs: 200,
    });
  }

  stranger(config: Partial<KafkaConfig> = {}): Stranger {
    return new Stranger(
      new Kafka({
        brokers: [`127.0.0.1:${this.port}`],
        logLevel: logLevel.NOTHING,
        retry: { retries: 10, initialRetryTime: 100, maxRetryTime: 1000 },
        ...config,
      }),
    );
  }

  private async run(verb: string, ...args: string[]): Promise<string> {
    const { stdout } = await promisify(execFile)(SCRIPT, [verb, '--dir', this.dir, ...args]);
    return stdout;
  }
}

/** Someone else with a client: may write whatever the broker lets it. */
export class Stranger {
  readonly admin: Admin;
  readonly producer: Producer;
  private connected: Promise<void> | undefined;

  constructor(readonly kafka: Kafka) {
    this.admin = kafka.admin();
    this.producer = kafka.producer({
      allowAutoTopicCreation: false,
      createPartitioner: Partitioners.DefaultPartitioner,
    });
  }

  async connect(): Promise<void> {
    this.connected ??= Promise.all([this.admin.connect(), this.producer.connect()]).then(() => undefined);
    await this.connected;
  }

  async write(topic: string, key: string, value: Uint8Array | undefined): Promise<void> {
    await this.connect();
    await this.producer.send({
      topic,
      messages: [{ key, value: value === undefined ? null : Buffer.from(value) }],
    });
  }

  async writeAll(
    topic: string,
    records: readonly { key: string; value: Uint8Array | null }[],
  ): Promise<void> {
    await this.connect();
    const messages = records.map(({ key, value }) => ({
      key,
      value: value === null ? null : Buffer.from(value),
    }));
    // Batches that a topic of ours takes.
    for (let at = 0; at < messages.length; at += 10)
      await this.producer.send({ topic, messages: messages.slice(at, at + 10) });
  }

  async createTopic(topic: string, partitions = 1, settings: Record<string, string> = {}): Promise<void> {
    await this.connect();
    const configEntries = Object.entries({ 'cleanup.policy': 'compact', ...settings }).map(
      ([name, value]) => ({
        name,
        value,
      }),
    );
    await this.admin.createTopics({
      topics: [{ topic, numPartitions: partitions, configEntries }],
      waitForLeaders: false,
    });
    // Brokers tell each other of it in their own time.
    const known = (): Promise<boolean> =>
      this.admin.fetchTopicMetadata({ topics: [topic] }).then(
        ({ topics }) => topics[0]?.partitions.every(({ leader }) => leader >= 0) === true,
        () => false,
      );
    while (!(await known())) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.admin.disconnect(), this.producer.disconnect()]);
  }
}
