// Preloaded into an agent that is measured (node -r): how long its event loop stood still, its processor time and its
// memory. On SIGUSR2 writes them to the file that BENCH_GAUGE names, and begins anew. With BENCH_PROFILE=FOLDER also a
// profile of the processor's time up to each of these moments, and one of the heap at the last of them so far.
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { dirname, join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { writeHeapSnapshot } from 'node:v8';

export interface Reading {
  /** Milliseconds beyond the resolution. */
  readonly stallMs: { readonly p50: number; readonly p99: number; readonly max: number };
  readonly cpuMs: number;
  readonly residentBytes: number;
  readonly sinceMs: number;
}

const RESOLUTION_MS = 2;

function begin(file: string): void {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let cpu = process.cpuUsage();
  let sinceMs = performance.now();
  const ms = (ns: number): number => Math.max(0, ns / 1e6 - RESOLUTION_MS);
  process.on('SIGUSR2', () => {
    const { user, system } = process.cpuUsage(cpu);
    const reading: Reading = {
      stallMs: {
        p50: ms(histogram.percentile(50)),
        p99: ms(histogram.percentile(99)),
        max: ms(histogram.max),
      },
      cpuMs: (user + system) / 1000,
      residentBytes: process.memoryUsage.rss(),
      sinceMs: performance.now() - sinceMs,
    };
    histogram.reset();
    cpu = process.cpuUsage();
    sinceMs = performance.now();
    writeFileSync(`${file}.next`, JSON.stringify(reading));
    renameSync(`${file}.next`, file);
  });
}

const SAMPLE_US = 1000;
const LOOK_MS = 50;

/** @param socket of the agent: once it is there, its programs are loaded, which the profiler's signals would hinder */
function profile(folder: string, socket: string): void {
  const session = new Session();
  session.connect();
  let count = 0;
  const waiting = setInterval(() => {
    if (!existsSync(socket)) return;
    clearInterval(waiting);
    session.post('Profiler.enable');
    session.post('Profiler.setSamplingInterval', { interval: SAMPLE_US });
    session.post('Profiler.start');
    process.on('SIGUSR2', () => {
      session.post('Profiler.stop', (_, { profile }) => {
        count += 1;
        writeFileSync(join(folder, `${count}.cpuprofile`), JSON.stringify(profile));
        writeHeapSnapshot(join(folder, 'last.heapsnapshot'));
        session.post('Profiler.start');
      });
    });
  }, LOOK_MS);
}

const { BENCH_GAUGE: file, BENCH_PROFILE: folder } = process.env;
if (file !== undefined) {
  begin(file);
  if (folder !== undefined) profile(folder, join(dirname(file), 'run/agent.sock'));
}
