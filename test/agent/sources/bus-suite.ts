// What every topology bus must do, whichever carries the records. A bus is put under it with a BusWorld.
import type { BusRecord, TopologyBus } from '../../../agent/ports';

/** One place where records stand, for as many clients as a test wants. */
export interface BusWorld {
  /** A new client, not started. */
  client(): TopologyBus;
  /** Writes as a stranger would, past every client. Undefined: removes. */
  write(topic: string, key: string, value: Uint8Array | undefined): Promise<void>;
  /** Makes the place unreachable, and brings it back with what stood on it. */
  vanish(): Promise<void>;
  comeBack(): Promise<void>;
  dispose(): Promise<void>;
}

/** Collects what a client receives; waits for a condition, not for time. */
export class Received {
  readonly records: BusRecord[] = [];
  private waiting: { readonly done: () => boolean; readonly resolve: () => void }[] = [];

  readonly receive = (record: BusRecord): void => {
    this.records.push(record);
    this.check();
  };

  /** Last value of each key as text; null for a tombstone. */
  state(topic: string): Record<string, string | null> {
    const entries = this.records
      .filter((record) => record.topic === topic)
      .map(({ key, value }) => [key, value === undefined ? null : Buffer.from(value).toString()]);
    return Object.fromEntries(entries);
  }

  async until(done: () => boolean): Promise<void> {
    if (done()) return;
    await new Promise<void>((resolve) => this.waiting.push({ done, resolve }));
  }

  readonly check = (): void => {
    const ready = this.waiting.filter(({ done }) => done());
    this.waiting = this.waiting.filter((other) => !ready.includes(other));
    for (const { resolve } of ready) resolve();
  };
}

export const NODES = 'vxseal.nodes.v1';
export const PODS = 'vxseal.pods.v1';
export const TOPICS = [NODES, PODS, 'vxseal.policies.v1'];
const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));

export function busSuite(name: string, makeWorld: () => Promise<BusWorld>): void {
  describe(`topology bus: ${name}`, () => {
    let world: BusWorld;
    let buses: TopologyBus[];

    beforeEach(async () => {
      world = await makeWorld();
      buses = [];
    });

    afterEach(async () => {
      for (const bus of buses) await bus.stop();
      await world.dispose();
    });

    async function join(): Promise<{ bus: TopologyBus; received: Received }> {
      const bus = world.client();
      buses.push(bus);
      const received = new Received();
      bus.onStatus(received.check);
      await bus.start(received.receive);
      return { bus, received };
    }

    test('1 an empty bus is in sync at once', async () => {
      const { bus, received } = await join();
      await received.until(() => bus.status().inSync);
      expect(bus.status()).toMatchObject({ connected: true, error: '' });
      expect(bus.status().lastSeenMs).toBeGreaterThan(0);
      expect(received.records).toEqual([]);
    });

    test('2 what stands there is delivered before the bus is in sync', async () => {
      for (let i = 0; i < 50; i++) await world.write(NODES, `node${i}`, bytes(`v${i}`));
      const bus = world.client();
      buses.push(bus);
      const received = new Received();
      let atSync = -1;
      bus.onStatus(() => {
        if (bus.status().inSync && atSync < 0) atSync = received.records.length;
        received.check();
      });
      await bus.start(received.receive);
      await received.until(() => atSync >= 0);
      expect(atSync).toBe(50);
      expect(received.state(NODES)).toMatchObject({ node0: 'v0', node49: 'v49' });
    });

    test('3 a publication reaches others and oneself', async () => {
      const a = await join();
      const b = await join();
      await a.bus.publish(NODES, 'node1', bytes('one'));
      await Promise.all(
        [a, b].map(({ received }) => received.until(() => received.state(NODES).node1 === 'one')),
      );
    });

    test('4 the last value of a key wins, and keys and topics are kept apart', async () => {
      const a = await join();
      const b = await join();
      for (let i = 1; i <= 20; i++) await a.bus.publish(NODES, 'node1', bytes(`v${i}`));
      await a.bus.publish(NODES, 'node2', bytes('two'));
      await a.bus.publish(PODS, 'node1', bytes('pod'));
      await b.received.until(
        () =>
          b.received.state(NODES).node1 === 'v20' &&
          b.received.state(NODES).node2 === 'two' &&
          b.received.state(PODS).node1 === 'pod',
      );
      const order = b.received.records
        .filter((record) => record.topic === NODES && record.key === 'node1')
        .map((record) =>
          Number(
            Buffer.from(record.value ?? bytes('v0'))
              .toString()
              .slice(1),
          ),
        );
      expect(order).toEqual([...order].sort((x, y) => x - y));
    });

    test('5 a removed record is delivered as a tombstone, once', async () => {
      const { received } = await join();
      await world.write(NODES, 'node1', bytes('one'));
      await received.until(() => received.state(NODES).node1 === 'one');
      await world.write(NODES, 'node1', undefined);
      await received.until(() => received.state(NODES).node1 === null);
      await world.write(NODES, 'node1', bytes('again'));
      await received.until(() => received.state(NODES).node1 === 'again');
      expect(received.records.filter((record) => record.value === undefined)).toHaveLength(1);
    });

    test('6 keys of every kind come through unchanged', async () => {
      const { bus, received } = await join();
      const keys = [
        '1/10.0.0.1',
        '16777215/fd00::1',
        'a.b-c',
        '.hidden',
        '..',
        '%2F',
        'ä',
        'a b',
        '1/ns/name',
      ];
      for (const key of keys) await bus.publish(PODS, key, bytes(key));
      await received.until(() => keys.every((key) => received.state(PODS)[key] === key));
      expect(Object.keys(received.state(PODS)).sort()).toEqual([...keys].sort());
    });

    test('7 an unreachable bus is no deletion, and what changed meanwhile comes after', async () => {
      const { bus, received } = await join();
      await world.write(NODES, 'node1', bytes('one'));
      await world.write(NODES, 'node2', bytes('two'));
      await received.until(
        () => received.state(NODES).node1 === 'one' && received.state(NODES).node2 === 'two',
      );
      await world.vanish();
      await received.until(() => !bus.status().connected);
      expect(bus.status()).toMatchObject({ inSync: true });
      expect(bus.status().error).not.toBe('');
      expect(received.state(NODES)).toEqual({ node1: 'one', node2: 'two' });
      await world.comeBack();
      await received.until(() => bus.status().connected);
      await world.write(NODES, 'node1', bytes('new'));
      await received.until(() => received.state(NODES).node1 === 'new');
      expect(received.state(NODES).node2).toBe('two');
    });

    test('8 publishing to an unreachable bus fails with a coded error', async () => {
      const { bus, received } = await join();
      await world.vanish();
      await received.until(() => !bus.status().connected);
      await expect(bus.publish(NODES, 'node1', bytes('x'))).rejects.toMatchObject({ code: 'bus' });
    });

    test('9 nothing is delivered after stop', async () => {
      const { bus, received } = await join();
      const other = await join();
      await bus.stop();
      await world.write(NODES, 'late', bytes('x'));
      await other.received.until(() => other.received.state(NODES).late === 'x');
      expect(received.state(NODES).late).toBeUndefined();
    });

    test('10 a client that joins again reads the whole state', async () => {
      const { bus } = await join();
      await bus.publish(NODES, 'node1', bytes('one'));
      await bus.stop();
      const again = await join();
      await again.received.until(() => again.bus.status().inSync);
      expect(again.received.state(NODES)).toEqual({ node1: 'one' });
    });
  });
}
