// The traffic of a soak: which flows run between which pods, and what was lost of each in a span of time. A flow lives
// in a process in its pod (flow.ts); ping floods for one span at a time, since it tells only sums.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inNetns, start } from '../command';
import { type PodLayout, packageRoot } from '../layout';

const PORT = 7100;

export type FlowRequest =
  | { readonly op: 'serve'; readonly port: number; readonly marker: string }
  | {
      readonly op: 'datagrams';
      readonly flow: number;
      readonly to: string;
      readonly port: number;
      readonly packetsPerSecond: number;
    }
  | { readonly op: 'stream'; readonly flow: number; readonly to: string; readonly port: number }
  | { readonly op: 'halt' | 'drops' }
  | { readonly op: 'report'; readonly flow: number; readonly fromMs: number; readonly toMs: number }
  | { readonly op: 'state'; readonly flow: number };

export interface FlowReport {
  readonly sent: number;
  readonly lost: number;
  /** When the first and the last of the lost were sent, wall clock; 0 for none. */
  readonly firstLostMs: number;
  readonly lastLostMs: number;
  /** Since the beginning. */
  readonly duplicates: number;
}

export interface StreamState {
  readonly broken: number;
  readonly echoedBytes: number;
  readonly wrongBytes: number;
  /** Since the last question. */
  readonly longestStallMs: number;
}

/** Counters of a namespace since its beginning. */
export interface SocketDrops {
  readonly udp: number;
  readonly tcpRetransmits: number;
}

/** The process in one pod. */
class FlowEnd {
  private readonly child: ChildProcessWithoutNullStreams;
  private readonly waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (error: Error) => void }
  >();
  private last = 0;
  private complaint = '';

  constructor(private readonly netns: string) {
    const [file = '', ...args] = inNetns(netns, [
      process.execPath,
      join(packageRoot(), 'build/test/lab/soak/flow.js'),
    ]);
    this.child = spawn(file, args, { stdio: 'pipe' });
    this.child.stderr.on('data', (chunk) => {
      this.complaint = `${this.complaint}${chunk}`.slice(-2000);
    });
    this.child.stdin.on('error', () => undefined);
    this.child.on('close', () => {
      for (const { reject } of this.waiting.values())
        reject(new Error(`the flows of ${netns} ended: ${this.complaint}`));
      this.waiting.clear();
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const { id, value, error } = JSON.parse(line) as { id: number; value?: unknown; error?: string };
      const waiter = this.waiting.get(id);
      this.waiting.delete(id);
      if (error === undefined) waiter?.resolve(value);
      else waiter?.reject(new Error(`${netns}: ${error}`));
    });
  }

  ask(request: FlowRequest): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.child.exitCode !== null) {
        reject(new Error(`the flows of ${this.netns} ended: ${this.complaint}`));
        return;
      }
      this.last += 1;
      this.waiting.set(this.last, { resolve, reject });
      this.child.stdin.write(`${JSON.stringify({ ...request, id: this.last })}\n`);
    });
  }

  async close(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    await new Promise((resolve) => {
      this.child.once('close', resolve);
      this.child.stdin.end();
    });
  }
}

interface Flow {
  readonly number: number;
  readonly kind: 'udp' | 'tcp' | 'ping';
  readonly from: PodLayout;
  readonly to: PodLayout;
}

/** What became of one flow in one span. */
export interface FlowOutcome {
  readonly flow: string;
  readonly nodes: readonly [number, number];
  readonly kind: Flow['kind'];
  readonly sent: number;
  readonly lost: number;
  /** UDP: what lies between the sending of the first and the last one lost. */
  readonly outageMs: number;
  /** One clause for the report: retransmits, a broken connection. */
  readonly note: string;
}

export interface Span {
  readonly fromMs: number;
  readonly pings: readonly Ping[];
}

/** One flow's floods, one short one after the other: only a ping that sends its number waits for the last echo. */
interface Ping {
  readonly flow: Flow;
  readonly ended: Promise<void>;
  stop: boolean;
  sent: number;
  lost: number;
  duplicates: number;
}

/** Echoes of one flood. */
const FLOOD_ECHOES = 250;

export class Traffic {
  private readonly ends = new Map<string, FlowEnd>();
  private readonly broken = new Map<number, number>();
  private retransmits = new Map<string, number>();

  private constructor(
    private readonly pods: readonly PodLayout[],
    private readonly flows: readonly Flow[],
  ) {}

  /** Begins all flows between three pods: 1,000 datagrams a second one way, fewer on the others; TCP; floods of ping. */
  static async start(pods: readonly [PodLayout, PodLayout, PodLayout], marker: Buffer): Promise<Traffic> {
    const [one, two, three] = pods;
    const flows: Flow[] = [
      { number: 1, kind: 'udp', from: one, to: two },
      { number: 2, kind: 'udp', from: three, to: one },
      { number: 3, kind: 'udp', from: two, to: three },
      { number: 4, kind: 'tcp', from: two, to: one },
      { number: 5, kind: 'tcp', from: one, to: three },
      { number: 6, kind: 'ping', from: two, to: one },
      { number: 7, kind: 'ping', from: three, to: two },
    ];
    const traffic = new Traffic(pods, flows);
    for (const pod of pods)
      await traffic.end(pod).ask({ op: 'serve', port: PORT, marker: marker.toString('hex') });
    for (const { number, kind, from, to } of flows) {
      const target = { flow: number, to: to.address, port: PORT };
      if (kind === 'udp')
        await traffic
          .end(from)
          .ask({ op: 'datagrams', ...target, packetsPerSecond: number === 1 ? 1000 : 200 });
      if (kind === 'tcp') await traffic.end(from).ask({ op: 'stream', ...target });
    }
    return traffic;
  }

  /** @param marker of ping's payload, hex, at most 16 bytes */
  begin(marker: string): Span {
    const pings = this.flows.filter((flow) => flow.kind === 'ping').map((flow) => flood(flow, marker));
    return { fromMs: Date.now(), pings };
  }

  /** Ends the span now, and waits a moment for the last echoes. */
  async finish(span: Span, settleMs: number): Promise<readonly FlowOutcome[]> {
    const pinged = await Promise.all(span.pings.map(endPing));
    const toMs = Date.now();
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    const retransmits = await this.readRetransmits();
    const outcomes: FlowOutcome[] = [];
    for (const flow of this.flows) {
      const { number, kind, from, to } = flow;
      const common = {
        flow: `${kind} ${from.name} > ${to.name}`,
        nodes: [from.node, to.node] as const,
        kind,
      };
      if (kind === 'udp') {
        const report = (await this.end(from).ask({
          op: 'report',
          flow: number,
          fromMs: span.fromMs,
          toMs,
        })) as FlowReport;
        const { sent, lost, firstLostMs, lastLostMs, duplicates } = report;
        const note = duplicates === 0 ? '' : `${duplicates} twice`;
        outcomes.push({ ...common, sent, lost, outageMs: lastLostMs - firstLostMs, note });
      } else if (kind === 'tcp') {
        const state = (await this.end(from).ask({ op: 'state', flow: number })) as StreamState;
        const broken = state.broken - (this.broken.get(number) ?? 0);
        this.broken.set(number, state.broken);
        const again = (retransmits.get(from.name) ?? 0) - (this.retransmits.get(from.name) ?? 0);
        const note = `${again} segments sent again, longest silence ${state.longestStallMs} ms`;
        outcomes.push({ ...common, sent: 1, lost: broken + state.wrongBytes, outageMs: 0, note });
      }
    }
    this.retransmits = new Map(retransmits);
    return [...outcomes, ...pinged];
  }

  /** Datagrams that the pods' own sockets had no room for, all in all. */
  async socketDrops(): Promise<number> {
    const drops = await Promise.all(this.pods.map((pod) => this.end(pod).ask({ op: 'drops' })));
    return drops.reduce<number>((sum, each) => sum + (each as SocketDrops).udp, 0);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.ends.values()].map((end) => end.close()));
    this.ends.clear();
  }

  private async readRetransmits(): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (const pod of this.pods) {
      const drops = (await this.end(pod).ask({ op: 'drops' })) as SocketDrops;
      counts.set(pod.name, drops.tcpRetransmits);
    }
    return counts;
  }

  private end(pod: PodLayout): FlowEnd {
    const known = this.ends.get(pod.netns);
    if (known !== undefined) return known;
    const made = new FlowEnd(pod.netns);
    this.ends.set(pod.netns, made);
    return made;
  }
}

function flood(flow: Flow, marker: string): Ping {
  // -i as well: a flood without it would measure this machine's cores, not what is lost.
  const argv = ['ping', '-n', '-f', '-q', '-i', '0.004', '-c', String(FLOOD_ECHOES), '-W', '1', '-s', '300'];
  const command = inNetns(flow.from.netns, [...argv, '-p', marker, flow.to.address]);
  const run = async (): Promise<void> => {
    do {
      const { stdout, stderr } = await start(command);
      const sums = /(\d+) packets transmitted, (\d+) received(?:, \+(\d+) duplicates)?/.exec(stdout);
      if (sums === null) throw new Error(`ping in ${flow.from.name} told nothing: ${stdout}${stderr}`);
      ping.sent += Number(sums[1]);
      ping.lost += Number(sums[1]) - Number(sums[2]);
      ping.duplicates += Number(sums[3] ?? 0);
    } while (!ping.stop);
  };
  const ping: Ping = { flow, ended: Promise.resolve(), stop: false, sent: 0, lost: 0, duplicates: 0 };
  return Object.assign(ping, { ended: run() });
}

/** Ends with the flood that runs. */
async function endPing(ping: Ping): Promise<FlowOutcome> {
  ping.stop = true;
  await ping.ended;
  const { flow, sent, lost, duplicates } = ping;
  return {
    flow: `ping ${flow.from.name} > ${flow.to.name}`,
    nodes: [flow.from.node, flow.to.node],
    kind: 'ping',
    sent,
    lost,
    outageMs: 0,
    note: duplicates === 0 ? '' : `${duplicates} twice`,
  };
}
