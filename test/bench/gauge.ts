// Preloaded into an agent that is measured (node -r): how long its event loop stood still, its processor time and its
// memory. On SIGUSR2 writes them to the file that BENCH_GAUGE names, and begins anew.
import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

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

const file = process.env.BENCH_GAUGE;
if (file !== undefined) begin(file);
