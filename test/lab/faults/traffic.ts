// Traffic between two pods whose every byte can be told: streams both ways, datagrams that are echoed, datagrams with
// numbers in one direction. Says what became of it; judges nothing.
import { drops, risen } from '../api';
import { until } from '../command';
import type { Context } from '../context';
import type { StreamReport } from '../endpoint';
import { leaks } from '../proofs/reach';
import { sniff } from '../sniffer';
import { grown, overflow, readCounters } from '../soak/counters';
import { between, type Cable, type Chances, type Tally } from './cable';

const [ECHO_PORT, SINK_PORT] = [7081, 7082];
const PACKETS_PER_SECOND = 300;
const ECHOED = 900;
const NUMBERED = 400;
const NUMBERED_BYTES = 1000;
const [TOGETHER, PAUSE_MS] = [25, 200];
const STREAM_BYTES = 1 << 20;
/** Of silence: a stream that lost its last segment again and again waits for seconds. */
const STREAM_SILENCE_MS = 30_000;
/** What is held back may wait for seconds. */
const DRAIN_MS = 20_000;

export interface Outcome {
  /** Of both cables. */
  readonly tally: Tally;
  /** Directions in which a stream did not come back the same. */
  readonly brokenStreams: readonly string[];
  readonly echoed: StreamReport;
  /** Of the datagrams with numbers. */
  readonly numbered: {
    readonly sent: number;
    readonly missing: number;
    readonly twice: number;
    readonly altered: number;
    /** Arrived behind a later one. */
    readonly overtaken: number;
  };
  readonly leaks: readonly string[];
  /** Packets that queues, devices and sockets of a busy machine had no room for. */
  readonly overflown: number;
  /** Everything that was counted anywhere, for a report. */
  readonly counted: string;
  /** Reason -> packets, of both nodes. */
  readonly dropped: ReadonlyMap<string, number>;
}

const ready = new WeakSet<Context>();

async function listen(context: Context): Promise<void> {
  if (ready.has(context)) return;
  ready.add(context);
  for (const index of [1, 2]) {
    await context.endpoint(context.pod(index).netns).echo(ECHO_PORT);
    await context.endpoint(context.pod(index).netns).collect(SINK_PORT);
  }
}

async function droppedBy(context: Context): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  for (const index of [1, 2])
    for (const [reason, count] of await drops(context.node(index)))
      counts.set(reason, (counts.get(reason) ?? 0) + count);
  return counts;
}

/** The number, then a text that follows from it. */
function numberedPayload(context: Context, number: number): Buffer {
  const payload = context.payload(NUMBERED_BYTES);
  payload.writeUInt32BE(number, 0);
  payload.writeUInt32BE((number ^ 0xffff_ffff) >>> 0, NUMBERED_BYTES - 4);
  return payload;
}

function judgeNumbered(context: Context, arrived: readonly string[]): Outcome['numbered'] {
  const seen = new Set<number>();
  const result = { sent: NUMBERED, missing: 0, twice: 0, altered: 0, overtaken: 0 };
  let highest = -1;
  for (const text of arrived) {
    const payload = Buffer.from(text, 'latin1');
    const number = payload.length < 4 ? -1 : payload.readUInt32BE(0);
    if (number < 0 || number >= NUMBERED || !payload.equals(numberedPayload(context, number)))
      result.altered++;
    else if (seen.has(number)) result.twice++;
    seen.add(number);
    if (number < highest) result.overtaken++;
    highest = Math.max(highest, number);
  }
  for (let number = 0; number < NUMBERED; number++) if (!seen.has(number)) result.missing++;
  return result;
}

const add = (a: Tally, b: Tally): Tally =>
  Object.fromEntries(
    Object.entries(a).map(([key, value]) => [key, value + b[key as keyof Tally]]),
  ) as unknown as Tally;

async function exchange(context: Context): Promise<Pick<Outcome, 'brokenStreams' | 'echoed'>> {
  const [one, two] = [context.pod(1), context.pod(2)];
  const [a, b] = [context.endpoint(one.netns), context.endpoint(two.netns)];
  const text = context.payload(STREAM_BYTES);
  await a.startStream(two.address, ECHO_PORT, PACKETS_PER_SECOND);
  const streams = [
    a.exchange('tcp', two.address, ECHO_PORT, text, STREAM_SILENCE_MS),
    b.exchange('tcp', one.address, ECHO_PORT, text, STREAM_SILENCE_MS),
  ];
  for (let number = 0; number < NUMBERED; number++) {
    await a.cast(two.address, SINK_PORT, numberedPayload(context, number));
    // A socket's buffer holds a hundred: the sender waits for the receiver now and then, answered or not.
    if (number % TOGETHER === 0)
      await a.exchange('udp', two.address, ECHO_PORT, context.payload(32), PAUSE_MS);
  }
  const whole = await Promise.all(streams);
  const echoed = await a.stopStream(ECHOED, DRAIN_MS);
  const names = [`${one.name} -> ${two.name}`, `${two.name} -> ${one.name}`];
  return { echoed, brokenStreams: names.filter((_, index) => whole[index] !== true) };
}

/** All of it over bad cables; then the cables are good again, and what they held back has arrived. */
export async function trafficOver(
  context: Context,
  cables: readonly [Cable, Cable],
  chances: Chances,
): Promise<Outcome> {
  await listen(context);
  const sink = context.endpoint(context.pod(2).netns);
  const already = (await sink.collected(SINK_PORT)).length;
  const [tallies, before] = [cables.map((cable) => cable.tally()), await droppedBy(context)];
  const counters = await readCounters(context.lab);
  const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
  for (const cable of cables) cable.set(chances);
  const { echoed, brokenStreams } = await exchange(context).finally(() => {
    for (const cable of cables) cable.set({});
  });
  await until('the cables are empty', DRAIN_MS, () =>
    cables.every((cable) => cable.waiting() === 0) ? true : undefined,
  );
  const flushed = await context
    .endpoint(context.pod(1).netns)
    .exchange('udp', context.pod(2).address, ECHO_PORT, context.payload(100));
  if (!flushed) throw new Error('a datagram over good cables was not answered');
  const now = await readCounters(context.lab);
  const [first, second] = cables.map((cable, index) => between(tallies[index] as Tally, cable.tally()));
  return {
    tally: add(first as Tally, second as Tally),
    brokenStreams,
    echoed,
    numbered: judgeNumbered(context, (await sink.collected(SINK_PORT)).slice(already)),
    leaks: leaks(await sniffer.stop(), context.marker),
    overflown: overflow(counters, now),
    counted: grown(counters, now),
    dropped: risen(before, await droppedBy(context)),
  };
}
