// What the last runs found, one file a kernel below build/kernels/results: a run of some steps renews those, and
// docs/kernel-support.md is written from all of them.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../lab/layout';
import { compareReleases } from './packages';
import { failuresOf, type KernelResult } from './report';

const folder = (): string => join(packageRoot(), 'build/kernels/results');
const fileOf = (release: string): string => join(folder(), `${release}.json`);
const readResult = (file: string): KernelResult => JSON.parse(readFileSync(file, 'utf8')) as KernelResult;

/** Steps and files of tests that did not run leave what an earlier run found. */
export function renewed(earlier: KernelResult | undefined, result: KernelResult): KernelResult {
  const ran = Object.entries(result).filter(([, found]) => found !== undefined);
  const suite = result.suite === undefined ? earlier?.suite : { ...earlier?.suite, ...result.suite };
  return { ...earlier, ...(Object.fromEntries(ran) as unknown as KernelResult), suite };
}

export function keep(result: KernelResult): void {
  const file = fileOf(result.release);
  const earlier = existsSync(file) ? readResult(file) : undefined;
  mkdirSync(folder(), { recursive: true });
  writeFileSync(file, `${JSON.stringify(renewed(earlier, result))}\n`);
}

/** Oldest kernel first. Throws where there is nothing, or what is there did not hold: no document comes of that. */
export function kept(): KernelResult[] {
  const names = existsSync(folder()) ? readdirSync(folder()) : [];
  const results = names.map((name) => readResult(join(folder(), name)));
  if (results.length === 0) throw new Error('no run yet: scripts/test-kernels first');
  const failures = results.flatMap((result) =>
    failuresOf(result).map((text) => `${result.release}: ${text}`),
  );
  if (failures.length > 0) throw new Error(`the last runs failed: ${failures.join('; ')}`);
  return results.sort((a, b) => compareReleases(a.release, b.release));
}
