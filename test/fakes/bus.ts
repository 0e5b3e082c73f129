// A bus in memory: what stands on it and who listens. It believes and checks nothing, as a real broker would.
import type { BusRecord, BusStatus, TopologyBus } from '../../agent/ports';

export class MemoryTopics {
  readonly records = new Map<string, BusRecord>();
  readonly listeners = new Set<(record: BusRecord) => void>();

  write(record: BusRecord): void {
    this.records.set(`${record.topic}\n${record.key}`, record);
    for (const listener of this.listeners) listener(record);
  }
}

export class FakeBus implements TopologyBus {
  private receive: ((record: BusRecord) => void) | undefined;
  private state: BusStatus = { connected: false, inSync: false, lastSeenMs: 0, error: '' };
  private watchers: (() => void)[] = [];
  /** Publications fail while this holds. */
  refuse = false;

  constructor(
    private readonly topics: MemoryTopics,
    private readonly nowMs: () => number,
    /** False: start() leaves the bus out of sync until finishReading(). */
    private readonly syncAtStart = true,
  ) {}

  async start(receive: (record: BusRecord) => void): Promise<void> {
    this.receive = receive;
    this.topics.listeners.add(receive);
    for (const record of this.topics.records.values()) receive(record);
    this.change({ connected: true, inSync: this.syncAtStart });
  }

  finishReading(): void {
    this.change({ inSync: true });
  }

  async publish(topic: string, key: string, value: Uint8Array): Promise<void> {
    if (this.refuse || !this.state.connected) throw new Error('bus: not connected');
    this.topics.write({ topic, key, value });
  }

  disconnect(): void {
    if (this.receive) this.topics.listeners.delete(this.receive);
    this.change({ connected: false, error: 'broker unreachable' });
  }

  reconnect(): void {
    const receive = this.receive;
    if (!receive) return;
    this.topics.listeners.add(receive);
    for (const record of this.topics.records.values()) receive(record);
    this.change({ connected: true, error: '' });
  }

  /** The process that held it was killed: it hears nothing any more. */
  kill(): void {
    if (this.receive) this.topics.listeners.delete(this.receive);
    this.watchers = [];
  }

  status(): BusStatus {
    return this.state;
  }

  onStatus(listener: () => void): void {
    this.watchers.push(listener);
  }

  async stop(): Promise<void> {
    if (this.receive) this.topics.listeners.delete(this.receive);
    this.watchers = [];
  }

  private change(change: Partial<BusStatus>): void {
    this.state = { ...this.state, ...change, lastSeenMs: this.nowMs() };
    for (const watcher of this.watchers) watcher();
  }
}
