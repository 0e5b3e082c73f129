// Where a forgery is aimed and what it must not reach: the victim's sockets, honest traffic as the positive control,
// and what a forgery is.
import { randomBytes } from 'node:crypto';
import { until } from '../command';
import type { Context } from '../context';
import { ethernet } from '../frames';
import type { NodeLayout } from '../layout';

export const SINK_PORT = 7037;
export const SETTLE_TIMEOUT_MS = 10_000;
/** An address on the underlay that is no node's. */
export const strangerOf = (vtep: string): string => (vtep.includes(':') ? 'fd00:c0de::c8' : '192.0.2.200');

export interface Forgery {
  readonly name: string;
  /** Label of the counter that must rise. */
  readonly reason: string;
  /** Where it must rise. */
  readonly at: (context: Context) => NodeLayout;
  /** Sends the forgeries with `tag` as their payload; returns how many. */
  readonly send: (context: Context, tag: Buffer) => Promise<number>;
}

export const victim = (context: Context): NodeLayout => context.node(2);

/** Puts IP packets on node 2's cable, as the wire would. */
export async function sendFromWire(
  context: Context,
  sourceMac: string,
  packets: readonly Buffer[],
): Promise<number> {
  const node = victim(context);
  const frames = packets.map((packet) => ethernet(sourceMac, node.mac, packet));
  await context.endpoint(context.lab.wireNetns).sendFrames(node.name, frames);
  return frames.length;
}

/** Payloads (latin1) that reached the victim's pod or node. */
export async function received(context: Context): Promise<string[]> {
  const pod = await context.endpoint(context.pod(2).netns).collected(SINK_PORT);
  return [...pod, ...(await context.endpoint(victim(context).netns).collected(SINK_PORT))];
}

export async function arrival(context: Context, tag: Buffer): Promise<void> {
  const payload = tag.toString('latin1');
  await until('an honest datagram arrives', SETTLE_TIMEOUT_MS, async () =>
    (await received(context)).includes(payload) ? true : undefined,
  );
}

/** Through the tunnel and behind everything sent before: the positive control of each "nothing arrived". */
export async function honestDatagram(context: Context): Promise<void> {
  const tag = randomBytes(100);
  await context.endpoint(context.pod(1).netns).cast(context.pod(2).address, SINK_PORT, tag);
  await arrival(context, tag);
}

const listening = new WeakSet<Context>();

export async function listen(context: Context): Promise<void> {
  if (listening.has(context)) return;
  listening.add(context);
  await context.endpoint(context.pod(2).netns).collect(SINK_PORT);
  await context.endpoint(victim(context).netns).collect(SINK_PORT);
}
