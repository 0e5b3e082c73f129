// The informer: asks the container runtime, over its NRI socket, for what CNI does not say of pods. It gates nothing:
// while the socket is away pods come and go as ever, and what was missed is told again at the next connection.
import { createConnection, type Socket } from 'node:net';
import type { InformerStatus, PodFacts, PodFactsSink, PodInformer } from '../core/podfacts';
import type { Clock, Log } from '../ports';
import { MAX_PODS, type NriReason, NriSession } from './nri/session';

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;
/** From the connection to the list of pods, for which the runtime waits until no pod is just being started. */
const SYNCHRONIZE_TIMEOUT_MS = 60_000;
/** Answers that the runtime does not take. */
const MAX_UNREAD_BYTES = 1 << 20;

export interface InformerParts {
  readonly clock: Clock;
  readonly log: Log;
  /** From 0 to 1. */
  readonly random?: () => number;
}

export const NO_INFORMER: PodInformer = {
  start: () => {},
  status: () => ({ socket: '', connected: false, reason: '', refused: [] }),
  stop: async () => {},
};

export class NriInformer implements PodInformer {
  private readonly refused = new Map<NriReason, number>();
  /** Not handed on yet, by sandbox: the newest word counts. */
  private readonly waiting = new Map<string, PodFacts>();
  private work: Promise<void> = Promise.resolve();
  private handing = false;
  private pods: PodFactsSink | undefined;
  private socket: Socket | undefined;
  private cancel: () => void = () => {};
  private connected = false;
  private reason = 'not asked yet';
  private told = '';
  private failures = 0;

  constructor(
    private readonly path: string,
    private readonly parts: InformerParts,
  ) {}

  start(pods: PodFactsSink): void {
    this.pods = pods;
    this.connect();
  }

  status(): InformerStatus {
    const refused = [...this.refused].map(([reason, count]) => ({ reason, count }));
    return { socket: this.path, connected: this.connected, reason: this.reason, refused };
  }

  async stop(): Promise<void> {
    this.pods = undefined;
    this.cancel();
    this.socket?.destroy();
    this.socket = undefined;
    await this.work;
  }

  private connect(): void {
    const socket = createConnection({ path: this.path });
    this.socket = socket;
    const lose = (reason: string): void => this.lose(socket, reason);
    const refuse = (reason: NriReason, detail: string): void => {
      if (socket !== this.socket) return;
      this.count(reason);
      lose(`${reason}: ${detail}`);
    };
    const session = new NriSession({
      send: (frame) => {
        socket.write(frame);
        if (socket.writableLength > MAX_UNREAD_BYTES) refuse('unread', 'the runtime does not read');
      },
      synchronized: (pods) => {
        if (socket === this.socket) this.synchronized(pods);
      },
      started: (pod) => {
        if (!this.tell([pod])) refuse('flood', `more than ${MAX_PODS} pods wait`);
      },
      refused: (reason, detail) => {
        this.count(reason);
        this.parts.log.debug({ reason, detail }, 'NRI: a pod is passed over');
      },
    });
    this.cancel = this.parts.clock.after(SYNCHRONIZE_TIMEOUT_MS, () =>
      refuse('silent', 'the runtime has not sent its pods'),
    );
    socket.on('connect', () => session.begin());
    socket.on('data', (bytes: Buffer) => {
      if (socket !== this.socket) return;
      const outcome = session.receive(bytes);
      if (!outcome.ok) refuse(outcome.reason, outcome.detail);
      else if (outcome.value === 'over') lose('the runtime shuts down');
    });
    socket.on('error', (error) => lose(error.message));
    socket.on('close', () => lose('the runtime has closed the connection'));
  }

  private synchronized(pods: readonly PodFacts[]): void {
    this.cancel();
    // What waits is older than the list.
    this.waiting.clear();
    this.tell(pods);
    this.failures = 0;
    this.connected = true;
    this.reason = '';
    this.told = '';
    this.parts.log.info({ socket: this.path, pods: pods.length }, 'NRI connected');
  }

  /** One hand-over at a time. @returns false when too much waits. */
  private tell(told: readonly PodFacts[]): boolean {
    for (const facts of told) this.waiting.set(facts.sandboxId, facts);
    if (this.waiting.size > MAX_PODS) return false;
    if (!this.handing) this.work = this.handOver();
    return true;
  }

  private async handOver(): Promise<void> {
    this.handing = true;
    while (this.waiting.size > 0 && this.pods !== undefined) {
      const facts = [...this.waiting.values()];
      this.waiting.clear();
      await this.pods.inform(facts);
    }
    this.handing = false;
  }

  /** Only the first word on a connection's end counts. Longer each time, and different on each node. */
  private lose(socket: Socket, reason: string): void {
    if (socket !== this.socket) return;
    this.cancel();
    this.socket = undefined;
    socket.destroy();
    this.connected = false;
    this.reason = reason;
    if (this.pods === undefined) return;
    if (reason !== this.told)
      this.parts.log.info({ socket: this.path, reason }, 'NRI is not connected: pods go without labels');
    this.told = reason;
    this.failures += 1;
    const { clock, random = Math.random } = this.parts;
    const longestMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(this.failures - 1, 10));
    this.cancel = clock.after(longestMs * (0.5 + random() / 2), () => this.connect());
  }

  private count(reason: NriReason): void {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
  }
}
