// A process of ours in one of the lab's namespaces (worker.ts), and the requests it understands.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inNetns, run } from './command';
import { packageRoot } from './layout';
import { patient } from './patience';

interface Target {
  readonly to: string;
  readonly port: number;
  /** Base64. */
  readonly payload: string;
}

type Operation =
  | { readonly op: 'echo' | 'collect' | 'collected'; readonly port: number }
  | ({ readonly op: 'tcp' | 'udp'; readonly timeoutMs: number } & Target)
  | ({ readonly op: 'cast' } & Target)
  | { readonly op: 'stream'; readonly to: string; readonly port: number; readonly packetsPerSecond: number }
  | { readonly op: 'stop'; readonly atLeast: number; readonly timeoutMs: number }
  | {
      readonly op: 'frames';
      readonly ifindex: number;
      readonly frames: readonly string[];
      readonly bypassQdisc: boolean;
    };

export type Request = Operation & { readonly id: number };
export type Answer =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

export interface StreamReport {
  readonly sent: number;
  readonly lost: number;
  /** Number of the first lost datagram, -1 if none was. */
  readonly firstLost: number;
  readonly duplicates: number;
  readonly ms: number;
}

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Endpoint {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiting = new Map<number, Waiter>();
  private last = 0;
  private complaint = '';

  constructor(readonly netns: string) {
    const program = join(packageRoot(), 'build/test/lab/worker.js');
    if (!existsSync(program)) throw new Error('the lab is not built: run ./scripts/build');
    const [file = '', ...args] = inNetns(netns, [process.execPath, program]);
    this.child = spawn(file, args, { stdio: 'pipe' });
    this.child.stderr.on('data', (chunk) => {
      this.complaint = `${this.complaint}${chunk}`.slice(-2000);
    });
    this.child.on('close', () => this.fail(new Error(`the worker in ${netns} ended: ${this.complaint}`)));
    this.child.on('error', (error) => this.fail(error));
    this.child.stdin.on('error', () => undefined);
    createInterface({ input: this.child.stdout }).on('line', (line) =>
      this.settle(JSON.parse(line) as Answer),
    );
  }

  /** Answers UDP and TCP on the port with what it got. */
  async echo(port: number): Promise<void> {
    await this.ask({ op: 'echo', port });
  }

  /** Collects datagrams on the port. */
  async collect(port: number): Promise<void> {
    await this.ask({ op: 'collect', port });
  }

  /** Payloads (latin1) that arrived on the port since collect(). */
  async collected(port: number): Promise<string[]> {
    return (await this.ask({ op: 'collected', port })) as string[];
  }

  /** True if the same bytes came back. */
  async exchange(
    protocol: 'tcp' | 'udp',
    to: string,
    port: number,
    payload: Buffer,
    timeoutMs = patient(5000),
  ): Promise<boolean> {
    const target = { to, port, payload: payload.toString('base64') };
    return (await this.ask({ op: protocol, ...target, timeoutMs })) === true;
  }

  /** Sends one datagram; false if the kernel refused it. */
  async cast(to: string, port: number, payload: Buffer): Promise<boolean> {
    return (await this.ask({ op: 'cast', to, port, payload: payload.toString('base64') })) === true;
  }

  /** Numbered datagrams to an echo port until stopStream(). */
  async startStream(to: string, port: number, packetsPerSecond: number): Promise<void> {
    await this.ask({ op: 'stream', to, port, packetsPerSecond });
  }

  /** @param atLeast datagrams to send before it ends. */
  async stopStream(atLeast: number, timeoutMs = patient(3000)): Promise<StreamReport> {
    return (await this.ask({ op: 'stop', atLeast, timeoutMs })) as StreamReport;
  }

  /**
   * Raw frames out of a device. Past the queueing discipline (PACKET_QDISC_BYPASS) they also pass every egress
   * hook of this namespace, and its captures, unseen.
   */
  async sendFrames(device: string, frames: readonly Buffer[], bypassQdisc = true): Promise<void> {
    const [link] = JSON.parse(run(['ip', '-n', this.netns, '-j', 'link', 'show', 'dev', device])) as {
      ifindex: number;
    }[];
    if (link === undefined) throw new Error(`no device ${device} in ${this.netns}`);
    const encoded = frames.map((frame) => frame.toString('base64'));
    await this.ask({ op: 'frames', ifindex: link.ifindex, frames: encoded, bypassQdisc });
  }

  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    await new Promise((resolve) => {
      this.child.once('close', resolve);
      this.child.stdin.end();
    });
  }

  private ask(operation: Operation): Promise<unknown> {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      if (this.child.exitCode !== null) {
        reject(new Error(`the worker in ${this.netns} ended: ${this.complaint}`));
        return;
      }
      this.waiting.set(id, { resolve, reject });
      this.child.stdin.write(`${JSON.stringify({ ...operation, id })}\n`);
    });
  }

  private settle(answer: Answer): void {
    const waiter = this.waiting.get(answer.id);
    this.waiting.delete(answer.id);
    if ('error' in answer) waiter?.reject(new Error(`${this.netns}: ${answer.error}`));
    else waiter?.resolve(answer.value);
  }

  private fail(error: Error): void {
    for (const waiter of this.waiting.values()) waiter.reject(error);
    this.waiting.clear();
  }
}
