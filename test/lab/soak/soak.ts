// A soak: traffic without a pause while everything happens to the nodes that happens in months, and an account of what
// was lost to what. What may not be: a packet lost but to a node that is off, a frame in clear, a (key, IV) twice.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { status } from '../api';
import type { LabLayout, NodeLayout, PodLayout } from '../layout';
import { grown, overflow, readCounters } from './counters';
import { configure, EVENTS, type SoakEvent, type SoakLab, waitSteady } from './events';
import { type FlowOutcome, Traffic } from './traffic';
import { type WireReport, watchWire } from './wire';

/** Echoes may take a moment; and what is still under way when an event ends belongs to it. */
const SETTLE_MS = 1000;
/** Of an event that lost while queues were full. */
const MAX_ATTEMPTS = 4;
/** The busiest key is at its end after some twenty seconds; its last quarter is time enough for another one. */
const PACKET_LIMIT = 48_000;

export interface EventOutcome {
  readonly name: string;
  readonly note: string;
  readonly ms: number;
  readonly flows: readonly FlowOutcome[];
  /** Lost on the way by flows that had no right to: not counted is what a pod's own socket had no room for. */
  readonly lost: number;
  /** Lost by flows of the node that was off. */
  readonly excused: number;
  /** Longest silence of those flows. */
  readonly downMs: number;
  /** Counters of drops that grew meanwhile. */
  readonly counted: string;
  /** How many of them are of devices and queues that were full. */
  readonly overflow: number;
  readonly failure: string;
}

export interface SoakReport {
  readonly events: readonly EventOutcome[];
  readonly wire: WireReport;
  /** SPIs seen with more than one key on the nodes. */
  readonly sharedSpis: number;
  readonly keys: number;
}

export interface SoakOptions {
  /** Events take at least their share of it. */
  readonly minutes: number;
  readonly tell: (outcome: EventOutcome) => void;
}

/** Everything that there is (events.ts), under short-lived keys. */
export async function soak(
  layout: LabLayout,
  options: SoakOptions & { readonly rotateMs: number },
): Promise<SoakReport & { readonly byPackets: number }> {
  await configure(layout, { keys: { rotateMs: options.rotateMs, packetLimit: PACKET_LIMIT } });
  const report = await endure(layout, EVENTS, options);
  return { ...report, byPackets: layout.nodes.reduce((sum, node) => sum + epochsByPackets(node), 0) };
}

/** Epochs that began because a key came near its packet limit, by the agent's log. */
const epochsByPackets = (node: NodeLayout): number =>
  readFileSync(node.logFile, 'utf8')
    .split('\n')
    .filter((line) => line.includes('"message":"new epoch"') && line.includes('"why":"packets"')).length;

/** One event after the other under traffic; all of it seen on the wire. */
export async function endure(
  layout: LabLayout,
  events: readonly SoakEvent[],
  options: SoakOptions,
): Promise<SoakReport> {
  const lab: SoakLab = {
    layout,
    node: (index) => {
      const node = layout.nodes[index - 1];
      if (node === undefined) throw new Error(`a soak needs node${index}`);
      return node;
    },
  };
  const marker = randomBytes(16);
  const keys = new KeyBook();
  const wire = await watchWire(layout, marker);
  const traffic = await Traffic.start(podsOf(layout), marker);
  const outcomes: EventOutcome[] = [];
  try {
    const eventMs = (options.minutes * 60_000) / events.length;
    for (const event of events) {
      const outcome = await tryEvent(lab, event, traffic, marker, eventMs, options.tell);
      await keys.note(layout);
      outcomes.push(outcome);
      options.tell(outcome);
    }
  } finally {
    await traffic.stop();
  }
  return { events: outcomes, wire: await wire.stop(), sharedSpis: keys.shared(), keys: keys.size };
}

/**
 * A machine that has other things to do overflows its queues now and then, whatever happens on it: an event that lost
 * while queues were full happens again. What loses by itself loses each time.
 */
async function tryEvent(
  lab: SoakLab,
  event: SoakEvent,
  traffic: Traffic,
  marker: Buffer,
  leastMs: number,
  tell: SoakOptions['tell'],
): Promise<EventOutcome> {
  for (let attempt = 1; ; attempt++) {
    const outcome = await runEvent(lab, event, traffic, marker, leastMs);
    if (outcome.lost === 0 || outcome.overflow === 0 || attempt === MAX_ATTEMPTS) return outcome;
    tell({ ...outcome, name: `${outcome.name}, queues full` });
  }
}

async function runEvent(
  lab: SoakLab,
  event: SoakEvent,
  traffic: Traffic,
  marker: Buffer,
  leastMs: number,
): Promise<EventOutcome> {
  const startedMs = performance.now();
  const roomBefore = await traffic.socketDrops();
  const countersBefore = await readCounters(lab.layout);
  const span = traffic.begin(marker.toString('hex'));
  let note = '';
  let failure = '';
  try {
    note = await event.run(lab);
    await waitSteady(lab.layout);
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error);
  }
  const leftMs = leastMs - (performance.now() - startedMs);
  if (leftMs > 0) await new Promise((resolve) => setTimeout(resolve, leftMs));
  const flows = await traffic.finish(span, SETTLE_MS);
  const countersAfter = await readCounters(lab.layout);
  const noRoom = (await traffic.socketDrops()) - roomBefore;
  const excused = flows.filter((flow) => event.off !== undefined && flow.nodes.includes(event.off));
  const others = flows.filter((flow) => !excused.includes(flow));
  const lostOf = (some: readonly FlowOutcome[]): number => some.reduce((sum, flow) => sum + flow.lost, 0);
  return {
    name: event.name,
    note: noRoom === 0 ? note : `${note}; ${noRoom} had no room in a pod's socket`,
    ms: performance.now() - startedMs,
    flows,
    lost: Math.max(0, lostOf(others) - noRoom),
    excused: lostOf(excused),
    downMs: Math.max(0, ...excused.map((flow) => flow.outageMs)),
    counted: grown(countersBefore, countersAfter),
    overflow: overflow(countersBefore, countersAfter),
    failure,
  };
}

/** Which keys the nodes were seen to hold, by SPI. */
class KeyBook {
  private readonly fingerprints = new Map<string, Set<string>>();

  async note(layout: LabLayout): Promise<void> {
    for (const node of layout.nodes)
      for (const { spi, fingerprint } of (await status(node)).sas) {
        const known = this.fingerprints.get(spi) ?? new Set();
        this.fingerprints.set(spi, known.add(fingerprint));
      }
  }

  get size(): number {
    return this.fingerprints.size;
  }

  shared(): number {
    return [...this.fingerprints.values()].filter((each) => each.size > 1).length;
  }
}

function podsOf({ nodes }: LabLayout): [PodLayout, PodLayout, PodLayout] {
  const [one, two, three] = nodes.flatMap((node) => node.pods.slice(0, 1));
  if (one === undefined || two === undefined || three === undefined)
    throw new Error('a soak needs three nodes with a pod each');
  return [one, two, three];
}

/** What must not be, one clause each; none: the soak has passed. */
export function faultsOf({ events, wire, sharedSpis }: SoakReport): string[] {
  const faults = events.flatMap((event) => [
    ...(event.failure === '' ? [] : [`${event.name}: ${event.failure}`]),
    ...(event.lost === 0 ? [] : [`${event.name}: ${event.lost} packets lost`]),
  ]);
  if (wire.leakCount > 0)
    faults.push(`${wire.leakCount} frames that should not be: ${wire.leaks.join('; ')}`);
  if (wire.repeated > 0) faults.push(`${wire.repeated} pairs of SPI and IV were seen twice`);
  if (wire.missed > 0) faults.push(`the capture missed ${wire.missed} frames`);
  if (sharedSpis > 0) faults.push(`${sharedSpis} SPIs stood for more than one key`);
  if (wire.sealed === 0) faults.push('no sealed frame was seen');
  return faults;
}

const column = (text: string | number, width: number): string => String(text).padStart(width);

/** One line an event. */
export function describeEvent({
  name,
  note,
  ms,
  flows,
  lost,
  excused,
  downMs,
  counted,
  failure,
}: EventOutcome): string {
  const sum = (kind: FlowOutcome['kind'], field: 'sent' | 'lost'): number =>
    flows.filter((flow) => flow.kind === kind).reduce((total, flow) => total + flow[field], 0);
  const tcp = flows.filter((flow) => flow.kind === 'tcp').map((flow) => flow.note);
  const parts = [
    `${name.padEnd(42)} ${column((ms / 1000).toFixed(1), 6)} s`,
    `UDP ${column(sum('udp', 'lost'), 5)} of ${column(sum('udp', 'sent'), 7)}`,
    `ping ${column(sum('ping', 'lost'), 5)} of ${column(sum('ping', 'sent'), 6)}`,
    `TCP ${sum('tcp', 'lost')} broken`,
    `lost ${lost}`,
  ];
  if (excused > 0) parts.push(`excused ${excused}, down for ${(downMs / 1000).toFixed(1)} s`);
  if (note !== '') parts.push(note);
  const lines = [parts.join('  ')];
  if (lost > 0)
    lines.push(...flows.map((flow) => `    ${flow.flow}: ${flow.lost} of ${flow.sent} ${flow.note}`));
  else if (tcp.length > 0) lines.push(`    TCP: ${tcp.join('; ')}`);
  if (counted !== '' && (lost > 0 || excused > 0)) lines.push(`    counted: ${counted}`);
  if (failure !== '') lines.push(`    FAILED: ${failure}`);
  return lines.join('\n');
}

export function describeWire({ wire, keys }: SoakReport): string {
  const { frames, sealed, spis, repeated, leakCount, missed } = wire;
  return [
    `${frames} frames on the wire, ${sealed} of them ESP under ${spis.length} SPIs`,
    `${leakCount} in clear, ${repeated} pairs of SPI and IV repeated, ${missed} missed by the capture`,
    `${keys} keys seen on the nodes, each with an SPI of its own`,
  ].join('\n');
}
