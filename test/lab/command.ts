// Runs commands, here and in network namespaces. Owns the way a failed command is reported; knows nothing of labs.
import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { NETNS_DIR } from './layout';
import { patient } from './patience';

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class CommandError extends Error {
  constructor(argv: readonly string[], outcome: Outcome) {
    const said = outcome.stderr.trim() || outcome.stdout.trim() || 'no message';
    super(`${argv.join(' ')}: exit code ${outcome.status}: ${said}`);
    this.name = 'CommandError';
  }
}

/**
 * nsenter, not `ip netns exec`: that one remounts /sys, and the pins on a bpffs vanish from view.
 */
export function inNetns(netns: string, argv: readonly string[]): string[] {
  return ['nsenter', `--net=${join(NETNS_DIR, netns)}`, '--', ...argv];
}

/** Never throws for an exit code. */
export function tryRun(argv: readonly string[], input = '', timeoutMs = patient(60_000)): Outcome {
  const [file = '', ...rest] = argv;
  const done = spawnSync(file, rest, { input, encoding: 'utf8', timeout: timeoutMs, maxBuffer: 64 << 20 });
  const failure = done.error === undefined ? '' : `${done.error.message}\n`;
  return { status: done.status ?? 255, stdout: done.stdout ?? '', stderr: `${failure}${done.stderr ?? ''}` };
}

/** Standard output. Throws CommandError. */
export function run(argv: readonly string[], input = '', timeoutMs = patient(60_000)): string {
  const outcome = tryRun(argv, input, timeoutMs);
  if (outcome.status !== 0) throw new CommandError(argv, outcome);
  return outcome.stdout;
}

/** Throws where there is no such device. */
export function linkMac(netns: string, device: string): string {
  const [link] = JSON.parse(run(['ip', '-n', netns, '-j', 'link', 'show', 'dev', device])) as {
    address: string;
  }[];
  if (link === undefined) throw new Error(`no device ${device} in ${netns}`);
  return link.address;
}

/** Like tryRun, leaving the event loop free: several at once, or beside running traffic. */
export function start(argv: readonly string[], timeoutMs = patient(60_000)): Promise<Outcome> {
  const [file = '', ...rest] = argv;
  return new Promise((resolve) => {
    const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('error', (error) => resolve({ status: 255, stdout, stderr: error.message }));
    child.on('close', (code) => resolve({ status: code ?? 255, stdout, stderr }));
  });
}

/** `ip -batch` in a namespace: one process for many lines. */
export function ipBatch(netns: string, lines: readonly string[]): void {
  run(['ip', '-n', netns, '-batch', '-'], `${lines.join('\n')}\n`);
}

/** Waits for a condition, trying every `intervalMs`; throws `what` with the last detail at the deadline. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  attempt: () => T | undefined | Promise<T | undefined>,
  detail: () => string = () => '',
  intervalMs = 50,
): Promise<T> {
  const deadline = performance.now() + patient(timeoutMs);
  for (;;) {
    const value = await attempt();
    if (value !== undefined) return value;
    if (performance.now() > deadline)
      throw new Error(`${what}: not within ${patient(timeoutMs)} ms. ${detail()}`.trim());
    await new Promise((resolve) => setTimeout(resolve, intervalMs));
  }
}
