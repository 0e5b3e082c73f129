// One agent per run directory: a file that names the process holding it. A process is its pid and its start time,
// so that the file of a dead agent is recognised also when its pid lives again as something else, and while it is a
// zombie that nobody has collected. It does not guard against an agent in another pid namespace: the API's socket,
// which only one can listen on, does.
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { VxsealError } from '../errors';

export interface RunLock {
  release(): void;
}

/**
 * Field 22 of /proc/<pid>/stat in clock ticks since boot (proc(5)), or undefined when there is no such process. One that
 * has ended (state Z or X) is none: it stands there until its parent looks and its last thread has let go of its mounts,
 * which takes a while in a mount namespace of its own.
 */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command, field 2, may hold blanks and brackets: count from behind its last bracket.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Boot, pid and start time: differs for every process that ever ran on this machine. */
function processMark(pid: number): string | undefined {
  const started = startTime(pid);
  if (started === undefined) return undefined;
  return `${pid} ${started} ${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}\n`;
}

function holder(path: string): { readonly pid: number; readonly alive: boolean } | undefined {
  try {
    const mark = readFileSync(path, 'utf8');
    const pid = Number(mark.split(' ')[0]);
    return { pid, alive: Number.isSafeInteger(pid) && pid > 0 && processMark(pid) === mark };
  } catch {
    return undefined;
  }
}

/** Throws VxsealError 'not-ready' when a living agent holds the directory, 'state' when it cannot be written. */
export function lockRunDir(runDir: string): RunLock {
  const path = join(runDir, 'agent.pid');
  const mine = join(runDir, `agent.pid.${process.pid}`);
  const mark = processMark(process.pid) ?? `${process.pid}\n`;
  try {
    const fd = openSync(mine, 'w', 0o644);
    writeFileSync(fd, mark);
    fsyncSync(fd);
    closeSync(fd);
    takeOver(path, mine, runDir);
  } catch (error) {
    if (error instanceof VxsealError) throw error;
    throw new VxsealError('state', `run directory ${runDir} cannot be locked`, 'check that it is writable', {
      cause: error,
    });
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    release: () => {
      if (holder(path)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}

function takeOver(path: string, mine: string, runDir: string): void {
  for (let attempt = 0; ; attempt++) {
    try {
      // link() fails if the name exists, and shows the whole content at once: a half-written mark is never seen.
      linkSync(mine, path);
      return;
    } catch (error) {
      const other = holder(path);
      if (other?.alive) {
        throw new VxsealError(
          'not-ready',
          `run directory ${runDir} is used by the agent with pid ${other.pid}`,
          'stop that agent first, or give this one its own runDir',
        );
      }
      if (attempt > 2) throw error;
      rmSync(path, { force: true });
    }
  }
}
