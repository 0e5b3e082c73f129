// The topology bus on Apache Kafka: keeps a session with the brokers, for ever, and delivers what stands on the topics
// and then what comes. Owns sessions and status; believes nothing it reads. There is no consumer group and no offset
// on the broker: every agent reads all, from the beginning, and knows itself where it stands.
import type { Config } from '../config';
import { VxsealError } from '../errors';
import type { BusRecord, BusStatus, Clock, Log, TopologyBus } from '../ports';
import { KafkaClient } from './kafka/client';
import { type Credentials, credentialStamp, readCredentials } from './kafka/credentials';
import { Delivery } from './kafka/delivery';
import { Session, Shelf } from './kafka/session';
import { ensureTopics, isMoving, typeOf } from './kafka/topics';

export interface KafkaBusParts {
  readonly settings: Config['kafka'];
  /** Our names, without the prefix. */
  readonly topics: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** How often partitions, leaders and credential files are looked at. */
  readonly refreshMs?: number;
  /** From 0 to 1, for pauses that differ between nodes. */
  readonly random?: () => number;
}

const DEFAULT_REFRESH_MS = 30_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 10_000;
const BEGIN_AGAIN_MS = 100;
const MAX_BEGINNINGS = 30;
const NO_WAIT = async (): Promise<void> => undefined;
const NEVER: BusStatus = { connected: false, inSync: false, lastSeenMs: 0, error: 'not started' };

export class KafkaBus implements TopologyBus {
  readonly #shelf = new Shelf();
  readonly #listeners: (() => void)[] = [];
  /** Names on the brokers to our names. */
  readonly #topics: ReadonlyMap<string, string>;
  #status = NEVER;
  #running: Promise<void> | undefined;
  /** While there is a session. */
  #client: KafkaClient | undefined;
  #stopped = false;
  #wake: () => void = () => undefined;
  /** Publications that wait for the next session. */
  readonly #waiting: (() => void)[] = [];
  #cancelWatch: () => void = () => undefined;
  #failures = 0;
  #ready = NO_WAIT;

  constructor(private readonly parts: KafkaBusParts) {
    const { settings, topics } = parts;
    this.#topics = new Map(topics.map((topic) => [`${settings.topicPrefix}${topic}`, topic]));
  }

  /** Resolves after the first attempt to connect, also when that failed: status() says so and it goes on trying. */
  async start(receive: (record: BusRecord) => void, ready = NO_WAIT): Promise<void> {
    this.#ready = ready;
    const delivery = new Delivery((record) => {
      if (!this.#stopped) receive(record);
    });
    await new Promise<void>((tried) => {
      this.#running = this.#keepUp(delivery, tried).finally(tried);
    });
  }

  /**
   * Resolves once the record is on every replica in sync. Also before start(), over connections of its own.
   * Errors: VxsealError 'bus'; the record may be there all the same.
   */
  async publish(topic: string, key: string, value: Uint8Array): Promise<void> {
    const name = `${this.parts.settings.topicPrefix}${topic}`;
    try {
      if (this.#running === undefined) return await this.#publishAlone(name, key, value);
      const client = await this.#session();
      await client.publish(name, key, value);
    } catch (error) {
      throw new VxsealError(
        'bus',
        `${name}: record ${key} cannot be published: ${reasonOf(error)}`,
        remedyOf(error) || 'check that the brokers can be reached; it is tried again',
        { cause: error },
      );
    }
  }

  status(): BusStatus {
    return this.#status;
  }

  onStatus(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    this.#stopWaiting();
    await this.#client?.close();
    await this.#running;
  }

  /** Of the session there is, or, while that is being begun anew, of the next one. */
  async #session(): Promise<KafkaClient> {
    if (this.#client === undefined && this.#status.connected && !this.#stopped)
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.#client === undefined) throw new VxsealError('bus', this.#status.error || 'not connected');
    return this.#client;
  }

  #stopWaiting(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async #publishAlone(topic: string, key: string, value: Uint8Array): Promise<void> {
    const client = new KafkaClient(this.parts.settings, await readCredentials(this.parts.settings));
    try {
      await client.connect();
      await client.publish(topic, key, value);
    } finally {
      await client.close();
    }
  }

  /** One session after the other. @param tried told when the first is there, or has failed */
  async #keepUp(delivery: Delivery, tried: () => void): Promise<void> {
    while (!this.#stopped) {
      try {
        await this.#hold(delivery, tried);
      } catch (error) {
        if (this.#stopped) break;
        this.#lost(error);
        tried();
        await this.#pause();
      }
    }
  }

  /** A session from its beginning to its end. Throws what ended it; resolves when it is to be begun anew. */
  async #hold(delivery: Delivery, tried: () => void): Promise<void> {
    const { settings, log } = this.parts;
    const stopped = new Promise<never>((_, reject) => {
      this.#wake = () => reject(new Error('stopped'));
    });
    stopped.catch(() => undefined);
    const credentials = await readCredentials(settings);
    const client = new KafkaClient(settings, credentials);
    try {
      const session = new Session({
        client,
        topics: this.#topics,
        shelf: this.#shelf,
        delivery,
        ready: () => this.#ready(),
        answered: () => this.#answered(session),
      });
      await Promise.race([stopped, this.#open(client, session)]);
      this.#client = client;
      this.#stopWaiting();
      this.#report({ ...this.#status, connected: true, lastSeenMs: this.parts.clock.nowMs(), error: '' });
      if (this.#failures > 0) log.info({ failures: this.#failures }, 'Kafka is reached again');
      this.#answered(session); // empty logs are read already
      tried();
      await Promise.race([stopped, session.read(), this.#watch(session, credentials)]);
    } finally {
      this.#client = undefined;
      this.#cancelWatch();
      await client.close();
    }
  }

  async #open(client: KafkaClient, session: Session): Promise<void> {
    const { settings, clock, log } = this.parts;
    await client.connect();
    await ensureTopics([...this.#topics.keys()], {
      admin: client.admin,
      clock,
      log,
      replicationFactor: settings.replicationFactor,
    });
    for (let tries = 1; ; tries++) {
      try {
        return await session.begin();
      } catch (error) {
        // A topic just made, a broker just started: brokers hear of leaders in their own time.
        if (tries === MAX_BEGINNINGS || !isMoving(error)) throw error;
        await new Promise<void>((resolve) => clock.after(BEGIN_AGAIN_MS, resolve));
      }
    }
  }

  #answered(session: Session): void {
    const lastSeenMs = this.parts.clock.nowMs();
    this.#status = { ...this.#status, lastSeenMs };
    if (!session.done) return;
    this.#failures = 0;
    if (!this.#status.inSync) this.#report({ ...this.#status, inSync: true });
  }

  /** Resolves when the session is to be begun anew: other partitions, leaders or credentials. */
  async #watch(session: Session, { stamp }: Credentials): Promise<void> {
    const { settings, clock, log, refreshMs } = this.parts;
    let seen = stamp;
    for (;;) {
      await new Promise<void>((resolve) => {
        this.#cancelWatch = clock.after(refreshMs ?? DEFAULT_REFRESH_MS, resolve);
      });
      if (await session.changed()) return;
      const now = await credentialStamp(settings);
      if (now === seen) continue;
      seen = now;
      try {
        // Files that are being replaced, or are wrong, are no reason to give up connections that work.
        await readCredentials(settings);
        log.info({}, 'credentials for Kafka have changed: connecting anew');
        return;
      } catch (error) {
        log.warn({ reason: reasonOf(error) }, 'new credentials for Kafka cannot be used: the old ones go on');
      }
    }
  }

  #lost(error: unknown): void {
    const reason = [reasonOf(error), remedyOf(error)].filter((text) => text !== '').join('. ');
    // The first failure is told, and another reason; the rest is counted.
    if (this.#failures === 0 || reason !== this.#status.error)
      this.parts.log.warn({ error: reason }, 'Kafka cannot be used');
    this.#failures += 1;
    this.#report({ ...this.#status, connected: false, error: reason });
    this.#stopWaiting();
  }

  /** Longer each time, and different on each node, so that a broker that comes back is not run over. */
  async #pause(): Promise<void> {
    const { clock, random = Math.random } = this.parts;
    const longestMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.#failures - 1, 10));
    await new Promise<void>((resolve) => {
      const cancel = clock.after(longestMs * (0.5 + random() / 2), resolve);
      this.#wake = () => {
        cancel();
        resolve();
      };
    });
  }

  #report(status: BusStatus): void {
    const { connected, inSync, error } = this.#status;
    this.#status = status;
    if (status.connected === connected && status.inSync === inSync && status.error === error) return;
    for (const listener of this.#listeners) listener();
  }
}

/** Of kafkajs's errors the innermost tells most: "connect ECONNREFUSED 127.0.0.1:9092". */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const type = typeOf(error);
  return error instanceof VxsealError || type === '' ? error.message : `${error.message} (${type})`;
}

function remedyOf(error: unknown): string {
  if (error instanceof VxsealError) return error.remedy;
  const type = typeOf(error);
  if (type.endsWith('AUTHORIZATION_FAILED')) return 'give this client its rights: docs/kafka.md';
  return isLogin(error) ? 'check kafka.saslMechanism, kafka.saslUsername and the password file' : '';
}

const isLogin = (error: unknown): boolean =>
  error instanceof Error && (error.name === 'KafkaJSSASLAuthenticationError' || isLogin(error.cause));
