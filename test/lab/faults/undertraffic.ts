// A steady stream between two pods while something happens to a machine: what happens may cost none of it.
import type { Context } from '../context';
import { expectWhole } from '../proofs/restart';

const ECHO_PORT = 7084;
const PACKETS_PER_SECOND = 300;
const PACKETS_LEAST = 900;

const listening = new WeakSet<Context>();

/** A stream between the pods of nodes 1 and 2 while `body` runs; none of it may be lost. @returns how many were sent */
export async function underTraffic(context: Context, body: () => Promise<void>): Promise<number> {
  const [from, to] = [context.endpoint(context.pod(1).netns), context.pod(2)];
  if (!listening.has(context)) await context.endpoint(to.netns).echo(ECHO_PORT);
  listening.add(context);
  await from.startStream(to.address, ECHO_PORT, PACKETS_PER_SECOND);
  // Stopped also when the body fails: the worker keeps one stream at a time.
  const failure = await body().then(
    () => undefined,
    (error: unknown) => error,
  );
  const stream = await from.stopStream(PACKETS_LEAST);
  if (failure !== undefined) throw failure;
  expectWhole(stream);
  return stream.sent;
}
