// Where packets of a lab end without arriving, as far as anybody counts it: our programs by reason, devices, queues,
// sockets. Read before and after an event, the difference says where to look for what it lost.
import { readFileSync } from 'node:fs';
import { drops } from '../api';
import { inNetns, run, tryRun } from '../command';
import type { LabLayout } from '../layout';

export type Counters = ReadonlyMap<string, number>;

interface Queue {
  readonly dev: string;
  readonly kind: string;
  readonly drops: number;
}

/**
 * By device. A discipline with classes counts what its leaves drop as well, so the largest number is the whole. Hooks of
 * programs are listed too, and what those drop had room.
 */
export function droppedByQueues(queues: readonly Queue[]): ReadonlyMap<string, number> {
  const dropped = new Map<string, number>();
  for (const { dev, kind, drops: count } of queues)
    if (kind !== 'clsact' && kind !== 'ingress') dropped.set(dev, Math.max(count, dropped.get(dev) ?? 0));
  return dropped;
}

export async function readCounters({ nodes, wireNetns }: LabLayout): Promise<Counters> {
  const counters = new Map<string, number>();
  for (const node of nodes) {
    // A node that is off counts nothing.
    const counted = await drops(node).catch(() => new Map<string, number>());
    for (const [reason, count] of counted) counters.set(`${node.name} ${reason}`, count);
  }
  for (const netns of [
    wireNetns,
    ...nodes.flatMap((node) => [node.netns, ...node.pods.map((pod) => pod.netns)]),
  ]) {
    const links = JSON.parse(run(['ip', '-n', netns, '-s', '-j', 'link'])) as {
      ifname: string;
      stats64: { rx: { dropped: number }; tx: { dropped: number } };
    }[];
    for (const { ifname, stats64 } of links) {
      counters.set(`${netns} ${ifname} rx dropped`, stats64.rx.dropped);
      counters.set(`${netns} ${ifname} tx dropped`, stats64.tx.dropped);
    }
    counters.set(`${netns} sockets dropped`, socketDrops(netns));
    const queues = JSON.parse(tryRun(['tc', '-n', netns, '-s', '-j', 'qdisc']).stdout || '[]') as Queue[];
    for (const [dev, dropped] of droppedByQueues(queues)) counters.set(`${netns} ${dev} queue`, dropped);
  }
  counters.set('backlog of a CPU', softnetDrops());
  return counters;
}

/** Datagrams for which sockets had no room (SNMP, RFC 4113). */
function socketDrops(netns: string): number {
  const [names, values] = run(inNetns(netns, ['cat', '/proc/net/snmp']))
    .split('\n')
    .filter((line) => line.startsWith('Udp: '))
    .map((line) => line.split(' '));
  return Number(values?.[names?.indexOf('RcvbufErrors') ?? -1] ?? 0);
}

/** Second column of /proc/net/softnet_stat, of all CPUs: packets for which the backlog had no room. */
const softnetDrops = (): number =>
  readFileSync('/proc/net/softnet_stat', 'utf8')
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number.parseInt(line.split(' ')[1] ?? '0', 16), 0);

/** Packets that devices, queues, backlogs and sockets had no room for. */
export function overflow(before: Counters, after: Counters): number {
  return [...after]
    .filter(([name]) => /( dropped| queue|^backlog of a CPU)$/.test(name))
    .reduce((sum, [name, count]) => sum + Math.max(0, count - (before.get(name) ?? 0)), 0);
}

/** "node1 no_sa 3, …": what grew. */
export function grown(before: Counters, after: Counters): string {
  return [...after]
    .map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const)
    .filter(([, by]) => by > 0)
    .map(([name, by]) => `${name} ${by}`)
    .join(', ');
}
