// Processes by identity, not by number: a pid counts only together with its start time, and a namespace's
// processes are found by looking, so that nothing that a crash left behind is missed and nothing else is hit.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { until } from './command';

export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat, clock ticks since boot (proc(5)). */
  readonly startTicks: string;
}

/** Undefined when there is no such process, or only its zombie. */
export function identify(pid: number): ProcessId | undefined {
  try {
    // The command in parentheses may hold spaces and parentheses itself: count from the last one.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const startTicks = fields[19];
    return fields[0] === 'Z' || fields[0] === 'X' || startTicks === undefined
      ? undefined
      : { pid, startTicks };
  } catch {
    return undefined;
  }
}

export function isAlive(id: ProcessId): boolean {
  return identify(id.pid)?.startTicks === id.startTicks;
}

/** False when it was gone already. */
export function signal(id: ProcessId, name: NodeJS.Signals): boolean {
  if (!isAlive(id)) return false;
  try {
    process.kill(id.pid, name);
    return true;
  } catch {
    return false;
  }
}

export function waitGone(id: ProcessId, timeoutMs: number): Promise<true> {
  return until(`process ${id.pid} ends`, timeoutMs, () => (isAlive(id) ? undefined : true), undefined, 10);
}

/** Inode number of the namespace behind a path such as /run/netns/x or /proc/1/ns/net, 0 if it cannot be read. */
export function netnsInode(path: string): number {
  try {
    return statSync(path).ino;
  } catch {
    return 0;
  }
}

/** Every process, this one excepted, that runs in one of the namespaces. */
export function processesIn(inodes: ReadonlySet<number>): ProcessId[] {
  const found: ProcessId[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    try {
      const inode = Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1]);
      const id = inodes.has(inode) ? identify(pid) : undefined;
      if (id !== undefined) found.push(id);
    } catch {
      // Gone since the listing, or a zombie.
    }
  }
  return found;
}
