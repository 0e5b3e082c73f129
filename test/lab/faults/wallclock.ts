// Loaded into an agent before its own code (node --require): its wall clock is that of the system and what a file says,
// milliseconds, as if somebody had set it. CLOCK_MONOTONIC goes on, as it does then.
import { readFileSync } from 'node:fs';

export const WALL_CLOCK_FILE = 'LAB_WALL_CLOCK';

const file = process.env[WALL_CLOCK_FILE];
const SystemDate = Date;

function aheadMs(): number {
  try {
    return Number(readFileSync(file ?? '', 'utf8')) || 0;
  } catch {
    return 0;
  }
}

if (file !== undefined) {
  const nowMs = (): number => SystemDate.now() + aheadMs();
  globalThis.Date = new Proxy(SystemDate, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [nowMs()] : args, newTarget),
    apply: () => new SystemDate(nowMs()).toString(),
    get: (target, name) => (name === 'now' ? nowMs : Reflect.get(target, name)),
  });
}
