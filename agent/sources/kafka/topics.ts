// The topics on the brokers: made where they are missing, put right where they are wrong, and where we may do neither,
// an error that says what to do. Knows nothing of records but their largest size.
import { type Admin, ConfigResourceTypes, type DescribeConfigResponse } from 'kafkajs';
import { MAX_RECORD_BYTES } from '../../core/payload';
import { VxsealError } from '../../errors';
import type { Clock, Log } from '../../ports';

/** Of one batch: a record, its key and the frame around both. */
const LEAST_BATCH_BYTES = MAX_RECORD_BYTES + 2048;
const LOOK_MS = 100;
const MAX_LOOKS = 50;

interface Requirement {
  readonly name: string;
  /** What a topic of ours is made with. */
  readonly value: string;
  readonly holds: (value: string) => boolean;
}

export const REQUIREMENTS: readonly Requirement[] = [
  // "compact,delete" would take away records of nodes that have had nothing to say for a while.
  { name: 'cleanup.policy', value: 'compact', holds: (value) => value === 'compact' },
  {
    name: 'max.message.bytes',
    value: String(2 * MAX_RECORD_BYTES),
    holds: (value) => Number(value) >= LEAST_BATCH_BYTES,
  },
  // Batches are read only as their producers wrote them, uncompressed: batch.ts.
  {
    name: 'compression.type',
    value: 'uncompressed',
    holds: (value) => /^(producer|uncompressed)$/.test(value),
  },
];

export interface TopicsParts {
  readonly admin: Admin;
  readonly clock: Clock;
  readonly log: Log;
  /** 0: what the brokers have as default. */
  readonly replicationFactor: number;
}

/** Throws VxsealError 'bus' with a remedy for a topic that is missing or wrong and may not be changed by us. */
export async function ensureTopics(topics: readonly string[], parts: TopicsParts): Promise<void> {
  for (const topic of topics) {
    if (!(await exists(topic, parts.admin))) {
      await create(topic, parts);
      await appearance(topic, parts);
    }
    await check(topic, parts);
  }
}

async function exists(topic: string, admin: Admin): Promise<boolean> {
  try {
    await admin.fetchTopicMetadata({ topics: [topic] });
    return true;
  } catch (error) {
    if (typeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return false;
    if (typeOf(error) !== 'TOPIC_AUTHORIZATION_FAILED') throw error;
    throw new VxsealError(
      'bus',
      `Kafka topic ${topic}: it is not there, or this client may not see it`,
      `create it: ${createCommand(topic)}; and give this client the rights Describe, DescribeConfigs, Read and Write on it`,
      { cause: error },
    );
  }
}

async function create(topic: string, { admin, log, replicationFactor }: TopicsParts): Promise<void> {
  const configEntries = REQUIREMENTS.map(({ name, value }) => ({ name, value }));
  try {
    await admin.createTopics({
      waitForLeaders: false, // appearance() does, and bears brokers that do not know of it yet
      topics: [{ topic, numPartitions: 1, replicationFactor: replicationFactor || -1, configEntries }],
    });
    log.info({ topic }, 'Kafka topic created');
  } catch (error) {
    if (!isCoded(error)) throw error;
    throw new VxsealError(
      'bus',
      `Kafka topic ${topic}: it does not exist and cannot be created: ${reasonOf(error)}`,
      `create it: ${createCommand(topic)}`,
      { cause: error },
    );
  }
}

/** Brokers tell each other of a new topic in their own time. */
async function appearance(topic: string, { admin, clock }: TopicsParts): Promise<void> {
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    const there = await exists(topic, admin).catch((error: unknown) => {
      if (typeOf(error) === 'LEADER_NOT_AVAILABLE') return false;
      throw error;
    });
    if (there) return;
    await new Promise<void>((resolve) => clock.after(LOOK_MS, resolve));
  }
}

async function check(topic: string, { admin, log }: TopicsParts): Promise<void> {
  let entries: Entries;
  try {
    const described = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }],
    });
    entries = described.resources[0]?.configEntries ?? [];
  } catch (error) {
    if (!isRefusal(error)) throw error;
    log.warn({ topic }, 'settings of the Kafka topic cannot be checked: no right to DescribeConfigs on it');
    return;
  }
  const wrong = REQUIREMENTS.filter(({ name, holds }) => {
    const entry = entries.find(({ configName }) => configName === name);
    return entry !== undefined && !holds(entry.configValue);
  });
  if (wrong.length === 0) return;
  const found = wrong.map(
    ({ name }) => `${name} is ${entries.find((e) => e.configName === name)?.configValue}`,
  );
  await correct(topic, wrong, entries, admin).catch((error: unknown) => {
    if (!isCoded(error)) throw error;
    const settings = wrong.map(({ name, value }) => `${name}=${value}`).join(',');
    throw new VxsealError(
      'bus',
      `Kafka topic ${topic}: ${found.join(', ')}, and this client may not change it: ${reasonOf(error)}`,
      `kafka-configs.sh --bootstrap-server … --alter --entity-type topics --entity-name ${topic} --add-config ${settings}`,
      { cause: error },
    );
  });
  log.warn({ topic, found }, 'settings of the Kafka topic corrected');
}

type Entries = DescribeConfigResponse['resources'][number]['configEntries'];
/** DescribeConfigs: set on this topic, not inherited. */
const SOURCE_TOPIC = 1;

/** The request replaces all settings of the topic, so those that others made go along. */
async function correct(
  topic: string,
  wrong: readonly Requirement[],
  entries: Entries,
  admin: Admin,
): Promise<void> {
  const kept = entries
    .filter((entry) => Number(entry.configSource) === SOURCE_TOPIC && !entry.readOnly && !entry.isSensitive)
    .filter(({ configName }) => !wrong.some(({ name }) => name === configName))
    .map(({ configName, configValue }) => ({ name: configName, value: configValue }));
  const configEntries = [...kept, ...wrong.map(({ name, value }) => ({ name, value }))];
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries }],
  });
}

const createCommand = (topic: string): string =>
  `kafka-topics.sh --bootstrap-server … --create --topic ${topic} --partitions 1 ${REQUIREMENTS.map(
    ({ name, value }) => `--config ${name}=${value}`,
  ).join(' ')}`;

/** The broker's error code by name, '' for what is none. Of several errors the first. */
export function typeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null) return '';
  if ('type' in error && typeof error.type === 'string') return error.type;
  if ('errors' in error && Array.isArray(error.errors) && error.errors.length > 0)
    return typeOf(error.errors[0]);
  return 'cause' in error ? typeOf(error.cause) : '';
}

/** The partition is there, but not where the broker thought, or not yet. */
export const isMoving = (error: unknown): boolean =>
  ['NOT_LEADER_FOR_PARTITION', 'LEADER_NOT_AVAILABLE', 'UNKNOWN_TOPIC_OR_PARTITION'].includes(typeOf(error));

const isRefusal = (error: unknown): boolean => typeOf(error).endsWith('AUTHORIZATION_FAILED');

/** A broker answered and refused: another attempt will not help. */
const isCoded = (error: unknown): boolean =>
  isRefusal(error) || /^(INVALID_|POLICY_VIOLATION|UNSUPPORTED_)/.test(typeOf(error));

const reasonOf = (error: unknown): string => typeOf(error).toLowerCase().replaceAll('_', ' ');
