// The reading of all partitions while the connections hold: one fetch after the other from each leader, until something
// fails or has changed. Where the reading stands outlives it (Shelf).
import { decodeBatches } from './batch';
import type { KafkaClient, PartitionPlace } from './client';
import type { Delivery, Origin } from './delivery';
import { digestOf } from './delivery';
import type { FetchedPartition } from './fetch';
import { PartitionReading } from './partition';

const OFFSET_OUT_OF_RANGE = 1;

/** Where the reading of each partition stands, over all sessions. */
export class Shelf {
  readonly #readings = new Map<string, PartitionReading>();

  of({ topic, partition }: Pick<PartitionPlace, 'topic' | 'partition'>): PartitionReading {
    const key = `${topic}/${partition}`;
    const reading = this.#readings.get(key) ?? new PartitionReading(digestOf);
    this.#readings.set(key, reading);
    return reading;
  }
}

export interface SessionParts {
  readonly client: KafkaClient;
  /** Names on the brokers to our names. */
  readonly topics: ReadonlyMap<string, string>;
  readonly shelf: Shelf;
  readonly delivery: Delivery;
  /** Waited for before more is fetched. */
  readonly ready: () => Promise<void>;
  /** A broker has answered a fetch. */
  readonly answered: () => void;
}

export class Session {
  #places: readonly PartitionPlace[] = [];

  constructor(private readonly parts: SessionParts) {}

  /** Finds partitions, leaders and the ends of the logs. Throws when one has no leader. */
  async begin(): Promise<void> {
    this.#places = await this.#look();
    for (const place of this.#places) {
      this.parts.shelf.of(place).begin(await this.parts.client.ends(place));
    }
  }

  /** All that stood there when the session began has been read. */
  get done(): boolean {
    return this.#places.every((place) => this.parts.shelf.of(place).done);
  }

  /** Reads until it fails; never resolves. */
  async read(): Promise<never> {
    const leaders = [...new Set(this.#places.map(({ leader }) => leader))];
    return await Promise.race(leaders.map((leader) => this.#readFrom(leader)));
  }

  /** Partitions or leaders are others than when the session began. */
  async changed(): Promise<boolean> {
    return describe(await this.#look()) !== describe(this.#places);
  }

  async #look(): Promise<PartitionPlace[]> {
    const places = await this.parts.client.partitions([...this.parts.topics.keys()]);
    const orphan = places.find(({ leader }) => leader < 0);
    if (orphan !== undefined) {
      const message = `partition ${orphan.topic}/${orphan.partition} has no leader`;
      throw Object.assign(new Error(message), { type: 'LEADER_NOT_AVAILABLE' });
    }
    return places;
  }

  async #readFrom(leader: number): Promise<never> {
    const places = this.#places.filter((place) => place.leader === leader);
    for (;;) {
      const from = places.map((place) => ({ ...place, offset: this.parts.shelf.of(place).position }));
      const fetched = await this.parts.client.fetch(leader, from);
      const nothing = fetched.every(({ errorCode, batches }) => errorCode === 0 && batches.length === 0);
      for (const place of places) {
        const found = fetched.find((one) => one.topic === place.topic && one.partition === place.partition);
        if (found === undefined)
          throw new Error(`broker ${leader} passes over ${place.topic}/${place.partition}`);
        this.#take(place, found, nothing);
      }
      this.parts.answered();
      await this.parts.ready();
    }
  }

  #take(place: PartitionPlace, found: FetchedPartition, nothing: boolean): void {
    const reading = this.parts.shelf.of(place);
    if (found.errorCode === OFFSET_OUT_OF_RANGE)
      throw new Error(`the log of ${describe([place])} has changed`);
    if (found.errorCode !== 0)
      throw new Error(`fetch of ${describe([place])}: protocol error ${found.errorCode}`);
    if (found.batches.length > 0) {
      const { records, next, unusable } = decodeBatches(found.batches, reading.position);
      if (next <= reading.position) throw new Error(`fetch of ${describe([place])}: not one whole batch`);
      const fresh = reading.take(records, next);
      const origin = this.#originOf(place, reading);
      for (const record of fresh) this.parts.delivery.take(origin, record);
      for (let count = 0; count < unusable; count++) this.parts.delivery.takeUnusable(origin);
    } else if (nothing) {
      reading.takeNothing();
    }
    if (reading.rereading && reading.done) {
      this.parts.delivery.finishRereading(this.#originOf(place, reading));
      reading.finishRereading();
    }
  }

  #originOf({ topic, partition }: PartitionPlace, { round, rereading }: PartitionReading): Origin {
    return { topic: this.parts.topics.get(topic) ?? topic, partition, round, rereading };
  }
}

const describe = (places: readonly PartitionPlace[]): string =>
  places.map(({ topic, partition, leader }) => `${topic}/${partition} at broker ${leader}`).join(', ');
