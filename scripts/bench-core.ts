// One core of scripts/bench cores: a process that is bound to it and runs the real programs over the tables that the
// benchmark has filled. Packets are made before they are timed.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type Fd, loadNative } from '../agent/kernel/native';
import { ethernet, packet, udp, vxlan } from '../test/bpf/frames';
import { packageRoot } from '../test/lab/layout';

export const VNI = 42;
export const NODE = '192.0.2.1';
export const remoteNode = (sa: number): string => `192.0.2.${sa + 2}`;
export const LOCAL = '10.1.0.0/24';
export const REMOTE = (sa: number): string => `10.2.${sa}.0/24`;
export const MTU_BYTES = 1408;

/** Of a round. */
export const PACKETS = 1000;
const XDP_PASS = 2;
const TC_UNSPEC = 0xffffffff;

export interface CoreJob {
  readonly kind: 'seal' | 'open';
  /** Of those between the two nodes. */
  readonly sa: number;
}
export interface CoreResult {
  readonly durationsNs: number[];
}

const native = loadNative();

function program(pinRoot: string, object: string, name: string): Fd {
  const { programs } = native.loadObject(join(packageRoot(), 'build', `${object}.bpf.o`), { pinRoot });
  const found = programs[name];
  if (found === undefined) throw new Error(`${object} has no program ${name}`);
  return found.fd;
}

function serve([sender = '', receiver = '']: readonly string[]): void {
  const seal = program(sender, 'test/bpf/stamped', 'seal_steered');
  const open = program(receiver, 'bpf/open', 'open_xdp');
  const ctx = Buffer.alloc(192); // struct __sk_buff
  ctx.writeUInt32LE(1, 40); // ifindex: loopback stands for the VXLAN device
  const clear = (sa: number): Buffer => {
    const inner = ethernet(packet('10.1.0.2', `10.2.${sa}.2`, Buffer.alloc(MTU_BYTES - 20, 0x5a)));
    return ethernet(packet(NODE, remoteNode(sa), udp(0xc123, 14789, vxlan(VNI, inner))));
  };
  const run = (fd: Fd, data: Buffer, expected: number, context?: Buffer) => {
    const result = native.testRun(fd, { data, ...(context && { ctx: context }) });
    if (result.retval !== expected) throw new Error(`verdict ${result.retval} instead of ${expected}`);
    return result;
  };
  const sealOne = (frame: Buffer) => run(seal, frame, TC_UNSPEC, ctx);
  let timed = (): number[] => [];
  process.on('message', (message: (CoreJob & { readonly cpu: number }) | 'go') => {
    if (message === 'go') {
      process.send?.({ durationsNs: timed() });
      return;
    }
    execFileSync('taskset', ['-cp', String(message.cpu), String(process.pid)], { stdio: 'ignore' });
    const frame = clear(message.sa);
    const times = Array.from({ length: PACKETS });
    if (message.kind === 'seal') timed = () => times.map(() => sealOne(frame).durationNs);
    else {
      const sealed = times.map(() => sealOne(frame).dataOut);
      timed = () => sealed.map((data) => run(open, data, XDP_PASS).durationNs);
    }
    process.send?.('ready');
  });
}

if (require.main === module) serve(process.argv.slice(2));
