import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockRunDir } from '../../../agent/control/lock';

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'vxseal-lock-'));
});
afterEach(() => rmSync(runDir, { recursive: true }));

test('1 a second agent is refused with the pid of the first, and may start after it', () => {
  const first = lockRunDir(runDir);
  expect(() => lockRunDir(runDir)).toThrow(new RegExp(`pid ${process.pid}`));
  first.release();
  expect(readdirSync(runDir)).toEqual([]);
  lockRunDir(runDir).release();
});

test('2 a stale lock of a dead process is taken over', () => {
  writeFileSync(join(runDir, 'agent.pid'), '4194304 1 gone\n');
  lockRunDir(runDir);
  expect(readFileSync(join(runDir, 'agent.pid'), 'utf8')).toMatch(new RegExp(`^${process.pid} `));
});

test('3 a stale lock whose pid lives again as another process is taken over', () => {
  writeFileSync(join(runDir, 'agent.pid'), `${process.pid} 1 an-earlier-boot\n`);
  expect(() => lockRunDir(runDir)).not.toThrow();
});

test('4 a killed agent that its parent has not collected yet holds nothing', async () => {
  // The shell becomes a process that collects no children; the child tells its pid, waits to be killed, and stays.
  const script = 'sleep 600 & echo $!; exec sleep 600';
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  try {
    const [line] = (await once(parent.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    const stat = (): string[] => {
      const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
      return text.slice(text.lastIndexOf(')') + 2).split(' ');
    };
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    writeFileSync(join(runDir, 'agent.pid'), `${pid} ${stat()[19]} ${bootId}\n`);
    expect(() => lockRunDir(runDir)).toThrow(new RegExp(`pid ${pid}`));
    process.kill(pid, 'SIGKILL');
    while (stat()[0] !== 'Z') await new Promise(setImmediate);
    expect(() => lockRunDir(runDir)).not.toThrow();
  } finally {
    if (parent.pid !== undefined) process.kill(-parent.pid, 'SIGKILL');
  }
});

test.each(['', 'garbage', '-1 0 x\n'])('5 a lock with content %j is stale', (content) => {
  writeFileSync(join(runDir, 'agent.pid'), content);
  expect(() => lockRunDir(runDir)).not.toThrow();
});

test('6 a run directory that does not exist is an error that names it', () => {
  expect(() => lockRunDir(join(runDir, 'none'))).toThrow(/run directory .*none cannot be locked/);
});
