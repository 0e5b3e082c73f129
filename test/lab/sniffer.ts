// A capture of everything on the underlay, whole frames, taken on the bridge between the nodes: on a node's own
// device received packets would be seen after decryption. Knows when it began to see and that it saw to the end.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inNetns, until } from './command';
import type { Endpoint } from './endpoint';
import { macBytes } from './frames';
import type { LabLayout } from './layout';
import { readPcap } from './pcap';

const READY_TIMEOUT_MS = 15_000;
/** IEEE 802 local experimental 2: no traffic of the lab's. */
const SENTINEL_TYPE = Buffer.from([0x88, 0xb6]);

export interface Sniffer {
  /** Stops, and returns what went over the wire since it began. Throws if a frame was missed. */
  stop(): Promise<Buffer[]>;
}

function sentinel(): Buffer {
  return Buffer.concat([macBytes('ffffffffffff'), macBytes('021ab0ff0001'), SENTINEL_TYPE, randomBytes(64)]);
}

/**
 * @param wire worker in the wire's namespace, to send the frames that mark beginning and end.
 * @param device in that namespace
 */
export async function sniff(lab: LabLayout, wire: Endpoint, device = 'wire'): Promise<Sniffer> {
  const file = join(lab.captureDir, `${randomBytes(4).toString('hex')}.pcap`);
  // Not --immediate-mode: that gives each frame a slot as large as the largest there can be, and there are 256 of them.
  const tcpdump = ['tcpdump', '-i', device, '-w', file, '-U', '-s', '0', '-B', '65536', '-Z', 'root'];
  const [program = '', ...args] = inNetns(lab.wireNetns, tcpdump);
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += chunk;
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));

  const frames = (): Buffer[] => (existsSync(file) ? readPcap(readFileSync(file)) : []);
  const mark = async (): Promise<void> => {
    const frame = sentinel();
    await wire.sendFrames(device, [frame], false);
    await until('the sniffer sees its own mark', READY_TIMEOUT_MS, () =>
      frames().some((seen) => seen.equals(frame)) ? true : undefined,
    );
  };

  await until('tcpdump listens', READY_TIMEOUT_MS, () => {
    if (child.exitCode !== null) throw new Error(`tcpdump ended: ${said}`);
    return said.includes('listening on') ? true : undefined;
  });
  await mark();
  return {
    stop: async () => {
      await mark();
      child.kill('SIGINT');
      await ended;
      const missed = Number(/(\d+) packets? dropped by kernel/.exec(said)?.[1] ?? 0);
      if (missed > 0) throw new Error(`the sniffer missed ${missed} frames`);
      return frames().filter((frame) => !frame.subarray(12, 14).equals(SENTINEL_TYPE));
    },
  };
}
