// The wire between the two ends: a bridge in a namespace of its own. Sees every frame, and can put frames of its own
// before either end.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNative, type Native } from '../../../agent/kernel/native';
import { inNetns, until } from '../../lab/command';
import { readPcap } from '../../lab/pcap';
import { createNamespace, type Namespace } from '../../netns/namespace';

const CAPTURE_TIMEOUT_MS = 30_000;

export class Wire {
  readonly netns: Namespace = createNamespace();
  private readonly native: Native = loadNative();

  constructor() {
    this.netns.run(
      'sysctl',
      '-q',
      'net.ipv6.conf.all.disable_ipv6=1',
      'net.ipv6.conf.default.disable_ipv6=1',
    );
    this.netns.run(...words('ip link add wire type bridge stp_state 0 forward_delay 0 mcast_snooping 0'));
    this.netns.run(...words('ip link set wire up'));
  }

  /** A machine's end: a tap that qemu opens. */
  addTap(name: string): void {
    this.netns.run(...words(`ip tuntap add ${name} mode tap`));
    this.netns.run(...words(`ip link set ${name} master wire up`));
  }

  /** A namespace's end: its eth0. */
  addVeth(name: string, other: Namespace): void {
    this.netns.run(...words(`ip link add ${name} type veth peer name eth0 netns ${other.name}`));
    this.netns.run(...words(`ip link set ${name} master wire up`));
    other.run(...words('ip link set eth0 up'));
  }

  /** First frame that passes the filter while `provoke` runs. */
  async capture(filter: string, provoke: () => Promise<unknown>): Promise<Buffer> {
    const [frame] = await this.sniff(['-c', '1', filter], provoke);
    if (frame === undefined) throw new Error(`tcpdump ended without a frame for "${filter}"`);
    return frame;
  }

  /** Every frame that passes the filter while `provoke` runs. */
  watch(filter: string, provoke: () => Promise<unknown>): Promise<Buffer[]> {
    return this.sniff([filter], async (end) => {
      await provoke();
      end();
    });
  }

  /** What tcpdump has written when it ends, by itself or because `provoke` ends it. */
  private async sniff(
    options: readonly string[],
    provoke: (end: () => void) => Promise<unknown>,
  ): Promise<Buffer[]> {
    const dir = mkdtempSync(join(tmpdir(), 'vxseal-wire-'));
    const file = join(dir, 'pcap');
    const argv = [...words(`tcpdump --immediate-mode -i wire -w ${file} -U -s 0 -Z root`), ...options];
    const [program = '', ...args] = inNetns(this.netns.name, argv);
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    try {
      let said = '';
      child.stderr.on('data', (chunk) => {
        said += chunk;
      });
      const ended = () => child.exitCode !== null || child.signalCode !== null;
      const seen = () => (said.includes('listening on') || ended() ? true : undefined);
      await until('tcpdump listens', CAPTURE_TIMEOUT_MS, seen, () => said);
      if (ended()) throw new Error(`tcpdump does not run: ${said}`);
      await provoke(() => child.kill('SIGINT'));
      await until(
        'tcpdump ends',
        CAPTURE_TIMEOUT_MS,
        () => (ended() ? true : undefined),
        () => said,
      );
      return readPcap(readFileSync(file)).map((frame) => Buffer.from(frame));
    } finally {
      child.kill('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    }
  }

  /** Puts the frame before the end behind that port. */
  send(port: string, frame: Buffer): void {
    const [{ ifindex }] = JSON.parse(this.netns.run(...words(`ip -j link show dev ${port}`))) as [
      { ifindex: number },
    ];
    const fd = this.native.openNetns(this.netns.path);
    try {
      this.native.inNetns(fd, () => this.native.sendFrame(ifindex, frame, true));
    } finally {
      fd.close();
    }
  }

  close(): void {
    this.netns.remove();
  }
}

const words = (line: string): [string, ...string[]] => {
  const [command = '', ...args] = line.split(' ');
  return [command, ...args];
};
