// The tests of the programs and of the kernel room, run by jest in a test machine; prints their counts as one line of
// JSON. What a kernel cannot do is skipped by the tests themselves, and named here. Arguments: how long it may take, in
// milliseconds, and jest's patterns.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryRun } from '../lab/command';
import { packageRoot } from '../lab/layout';

export interface Suite {
  readonly passed: number;
  readonly skipped: readonly string[];
  /** "file › test: first line of what went wrong" */
  readonly failed: readonly string[];
  /** By file, in seconds: what an emulated processor makes of it. */
  readonly seconds: Readonly<Record<string, number>>;
}

interface JestReport {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly startTime: number;
    readonly endTime: number;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** A suite that does not load has no test of its own: it counts as one failure. */
export function summarize({ testResults }: JestReport): Suite {
  const tests = testResults.flatMap((file) =>
    file.assertionResults.map((test) => ({ ...test, file: file.name })),
  );
  const short = (file: string) => file.replace(`${packageRoot()}/`, '');
  const dead = testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
  );
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    skipped: tests.flatMap(({ fullName, status }) =>
      status === 'pending' || status === 'todo' ? [fullName] : [],
    ),
    seconds: Object.fromEntries(
      testResults.map(({ name, startTime, endTime }) => [
        short(name),
        Math.round((endTime - startTime) / 1000),
      ]),
    ),
    failed: [
      ...dead.map(({ name, message }) => `${short(name)}: ${message.slice(0, 300)}`),
      ...tests
        .filter(({ status }) => status === 'failed')
        .map(
          ({ file, fullName, failureMessages }) =>
            `${short(file)} › ${fullName}: ${failureMessages.join(' ').slice(0, 400)}`,
        ),
    ],
  };
}

function main([limit, ...patterns]: readonly string[]): void {
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-suite-'));
  const report = join(dir, 'report.json');
  const jest = join(packageRoot(), 'node_modules/jest/bin/jest.js');
  const argv = [process.execPath, jest, '--runInBand', '--json', `--outputFile=${report}`, ...patterns];
  const { stderr } = tryRun(argv, '', Number(limit));
  try {
    console.log(JSON.stringify(summarize(JSON.parse(readFileSync(report, 'utf8')) as JestReport)));
  } catch {
    console.log(
      JSON.stringify({
        passed: 0,
        skipped: [],
        seconds: {},
        failed: [`jest: ${stderr.slice(-1000)}`],
      } satisfies Suite),
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (require.main === module) main(process.argv.slice(2));
