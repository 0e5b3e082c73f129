// The cables of a lab made bad, by test/bpf/cable.bpf.c on the ports of the wire's bridge: loss, altered bits, copies,
// delay and another order, by chance, each counted. Owns the ports' filter and queueing discipline.
import { join } from 'node:path';
import { type Fd, loadNative } from '../../../agent/kernel/native';
import { inNetns, run } from '../command';
import { type LabLayout, NETNS_DIR, type NodeLayout, packageRoot } from '../layout';

/** Shares of the packets, 0 to 1. */
export interface Chances {
  readonly lose?: number;
  readonly alter?: number;
  readonly copy?: number;
  readonly hold?: number;
}

export interface Tally {
  readonly seen: number;
  readonly lost: number;
  readonly altered: number;
  readonly copied: number;
  readonly held: number;
  /** Faults that the kernel did not let happen. */
  readonly failed: number;
}

const FIELDS = ['seen', 'lost', 'altered', 'copied', 'held', 'failed'] as const;
const WHOLE = 65_536;
const [HANDLE, PRIORITY] = [1, 1];
/** A full packet takes 3 ms: what the rest of the cable sends meanwhile overtakes it. */
const SLOW_RATE = '4mbit';
/** Packets. The cable loses what it is told to and nothing else: streams in this disorder send much of it twice. */
const ROOM = '20000';
const INDEX = Buffer.alloc(4);

/** The cable towards one node. */
export class Cable {
  private constructor(
    private readonly netns: Fd,
    private readonly ifindex: number,
    private readonly wireNetns: string,
    private readonly device: string,
    private readonly fds: { readonly program: Fd; readonly chances: Fd; readonly tally: Fd },
  ) {}

  static to(lab: LabLayout, node: NodeLayout): Cable {
    const native = loadNative();
    const { programs, maps } = native.loadObject(join(packageRoot(), 'build/test/bpf/cable.bpf.o'), {});
    const { chances, tally } = maps;
    const program = programs.cable?.fd;
    if (program === undefined || chances === undefined || tally === undefined)
      throw new Error('cable.bpf.o is not whole');
    const [port] = JSON.parse(
      run(inNetns(lab.wireNetns, ['ip', '-j', 'link', 'show', 'dev', node.name])),
    ) as { ifindex: number }[];
    const netns = native.openNetns(join(NETNS_DIR, lab.wireNetns));
    const ifindex = port?.ifindex ?? 0;
    const cable = new Cable(netns, ifindex, lab.wireNetns, node.name, { program, chances, tally });
    cable.addClasses();
    native.inNetns(netns, () => native.attachClsact(program, ifindex, 'egress', HANDLE, PRIORITY));
    return cable;
  }

  /** From now on. What is left out does not happen. */
  set({ lose = 0, alter = 0, copy = 0, hold = 0 }: Chances): void {
    const value = Buffer.alloc(16);
    for (const [index, share] of [lose, alter, copy, hold].entries())
      value.writeUInt32LE(Math.round(share * WHOLE), 4 * index);
    loadNative().mapUpdate(this.fds.chances, INDEX, value);
  }

  /** Since the cable was made bad. */
  tally(): Tally {
    const value = loadNative().mapLookup(this.fds.tally, INDEX);
    const entries = FIELDS.map((field, index) => [field, Number(value?.readBigUInt64LE(8 * index) ?? 0n)]);
    return Object.fromEntries(entries) as unknown as Tally;
  }

  /** Bytes that wait in the port's queues. */
  waiting(): number {
    const queues = JSON.parse(
      run(inNetns(this.wireNetns, ['tc', '-s', '-j', 'qdisc', 'show', 'dev', this.device])),
    ) as { backlog?: number }[];
    return queues.reduce((sum, { backlog = 0 }) => sum + backlog, 0);
  }

  mend(): void {
    const native = loadNative();
    native.inNetns(this.netns, () => native.detachClsact(this.ifindex, 'egress', HANDLE, PRIORITY));
    run(inNetns(this.wireNetns, ['tc', 'qdisc', 'del', 'dev', this.device, 'root']));
    for (const fd of [...Object.values(this.fds), this.netns]) fd.close();
  }

  /** 1:1 as fast as the device, 1:2 for what the program holds back. */
  private addClasses(): void {
    const at = ['dev', this.device];
    const lines = [
      ['qdisc', 'replace', ...at, 'root', 'handle', '1:', 'htb', 'default', '1'],
      [
        ...['class', 'add', ...at, 'parent', '1:', 'classid', '1:1', 'htb', 'rate', '20gbit'],
        ...['burst', '1m', 'cburst', '1m', 'quantum', '60000'],
      ],
      [
        ...['class', 'add', ...at, 'parent', '1:', 'classid', '1:2', 'htb', 'rate', SLOW_RATE],
        ...['burst', '1600', 'cburst', '1600', 'quantum', '1600'],
      ],
      ['qdisc', 'add', ...at, 'parent', '1:1', 'pfifo', 'limit', ROOM],
      ['qdisc', 'add', ...at, 'parent', '1:2', 'pfifo', 'limit', ROOM],
    ];
    for (const line of lines) run(inNetns(this.wireNetns, ['tc', ...line]));
  }
}

/** By which the second reading exceeds the first. */
export function between(before: Tally, after: Tally): Tally {
  return Object.fromEntries(FIELDS.map((field) => [field, after[field] - before[field]])) as unknown as Tally;
}
