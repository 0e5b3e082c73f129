// Removes everything of one lab, from whatever state it is in: whole, half built, or left by a crash. Looks for what
// is there instead of trusting a record, and touches nothing of another lab.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { run, tryRun } from './command';
import { isLabNetns, LABS_DIR, NETNS_DIR } from './layout';
import { identify, isAlive, netnsInode, type ProcessId, processesIn, signal } from './processes';

export function labNamespaces(lab: string): string[] {
  return existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR).filter((name) => isLabNetns(lab, name)) : [];
}

export function labExists(lab: string): boolean {
  return existsSync(join(LABS_DIR, lab)) || labNamespaces(lab).length > 0;
}

function recordedAgents(dir: string): ProcessId[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir)
    .map((entry) => join(dir, entry, 'agent.pid'))
    .filter((file) => existsSync(file))
    .flatMap((file) => {
      const [pid = '', startTicks = ''] = readFileSync(file, 'utf8').trim().split(' ');
      return identify(Number(pid))?.startTicks === startTicks ? [{ pid: Number(pid), startTicks }] : [];
    });
}

/** SIGKILL: nothing is to be saved, and a stopped (SIGSTOP) process would not answer anything else. */
function killAll(find: () => ProcessId[]): void {
  for (let round = 0; round < 200; round++) {
    const alive = find().filter(isAlive);
    if (alive.length === 0) return;
    for (const id of alive) signal(id, 'SIGKILL');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  }
  throw new Error('processes in the lab cannot be killed');
}

function unmountAll(dir: string): void {
  // Newest first; octal escapes as in fstab(5) cannot occur in our names.
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((path) => path.startsWith(`${dir}/`))
    .reverse();
  for (const path of mounted) {
    // Pins first: a shell that holds a copy of the mount would otherwise keep the programs alive.
    // The kernel's own files at the root of a bpffs cannot be removed; ours are folders.
    for (const entry of readdirSync(path, { withFileTypes: true })) {
      if (entry.isDirectory()) rmSync(join(path, entry.name), { recursive: true, force: true });
    }
    if (tryRun(['umount', path]).status !== 0) run(['umount', '-l', path]);
  }
}

/**
 * Synchronous, so that a signal handler can use it. Idempotent. Throws if something resists.
 * @returns what was found: false if there was nothing.
 */
export function teardown(lab: string): boolean {
  const dir = join(LABS_DIR, lab);
  const namespaces = labNamespaces(lab);
  const found = labExists(lab);
  const inodes = new Set(namespaces.map((name) => netnsInode(join(NETNS_DIR, name))));
  inodes.delete(0);
  inodes.delete(netnsInode('/proc/self/ns/net'));
  killAll(() => [...recordedAgents(dir), ...processesIn(inodes)]);
  if (existsSync(dir)) unmountAll(dir);
  for (const name of namespaces) {
    // A half-made namespace is an ordinary file that `ip netns del` refuses.
    if (tryRun(['ip', 'netns', 'del', name]).status !== 0) rmSync(join(NETNS_DIR, name), { force: true });
  }
  // Once more: what was on its way into a namespace when it was looked for.
  killAll(() => processesIn(inodes));
  rmSync(dir, { recursive: true, force: true });
  try {
    if (readdirSync(LABS_DIR).length === 0) rmSync(LABS_DIR, { recursive: true });
  } catch {
    // Never made.
  }
  return found;
}
