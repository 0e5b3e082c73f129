// The tests of the programs and of the kernel room, run by jest in a test machine; prints their counts as one line of
// JSON, by file. What a kernel cannot do is skipped by the tests themselves, and named here. Arguments: how long it may
// take, in milliseconds, and jest's patterns.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tryRun } from '../lab/command';
import { packageRoot } from '../lab/layout';

/** By file, so that a run of some files renews what is known of those and leaves the others. */
export type Suite = Readonly<Record<string, FileOfTests>>;

export interface FileOfTests {
  readonly passed: number;
  readonly skipped: readonly string[];
  /** "test: first lines of what went wrong" */
  readonly failed: readonly string[];
  /** What an emulated processor makes of it. */
  readonly seconds: number;
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

/** A file that does not load has no test of its own: it counts as one failure. */
export function summarize({ testResults }: JestReport): Suite {
  return Object.fromEntries(
    testResults.map((file) => [file.name.replace(`${packageRoot()}/`, ''), summarizeFile(file)]),
  );
}

function summarizeFile(file: JestReport['testResults'][number]): FileOfTests {
  const { assertionResults: tests, message, startTime, endTime } = file;
  const failed = tests
    .filter(({ status }) => status === 'failed')
    .map(({ fullName, failureMessages }) => `${fullName}: ${failureMessages.join(' ').slice(0, 400)}`);
  if (file.status === 'failed' && failed.length === 0) failed.push(message.slice(0, 300));
  return {
    passed: tests.filter(({ status }) => status === 'passed').length,
    skipped: tests.flatMap(({ fullName, status }) =>
      status === 'pending' || status === 'todo' ? [fullName] : [],
    ),
    failed,
    seconds: Math.round((endTime - startTime) / 1000),
  };
}

/** Exit code 1 where jest left no report. */
function main([limit, ...patterns]: readonly string[]): number {
  const dir = mkdtempSync(join(tmpdir(), 'vxseal-suite-'));
  const report = join(dir, 'report.json');
  const jest = join(packageRoot(), 'node_modules/jest/bin/jest.js');
  const argv = [process.execPath, jest, '--runInBand', '--json', `--outputFile=${report}`, ...patterns];
  const { stderr } = tryRun(argv, '', Number(limit));
  try {
    console.log(JSON.stringify(summarize(JSON.parse(readFileSync(report, 'utf8')) as JestReport)));
    return 0;
  } catch {
    console.error(`jest: ${stderr.slice(-1000)}`);
    return 1;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

if (require.main === module) process.exitCode = main(process.argv.slice(2));
