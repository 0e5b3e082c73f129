import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeName } from '../../../agent/core/ids';
import type { RecordOrder } from '../../../agent/core/roster';
import { GenerationFile } from '../../../agent/sources/generation';
import { nodeNames, SeenStore } from '../../../agent/sources/seen';

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vxseal-state-'));
  path = join(folder, 'state.json');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

const NOW_MS = 1_700_000_000_000;
const YEAR_MS = 365 * 24 * 3600_000;

describe('generation', () => {
  test.each([
    ['1 the first is the time', undefined, NOW_MS, 0, NOW_MS],
    ['2 the clock has gone on', NOW_MS - 5, NOW_MS, 0, NOW_MS],
    ['3 the clock stands', NOW_MS, NOW_MS, 0, NOW_MS + 1],
    ['4 the clock went back', NOW_MS + 5, NOW_MS, 0, NOW_MS + 6],
    ['5 a higher one was seen', undefined, NOW_MS, NOW_MS + 10, NOW_MS + 11],
    ['6 a lower one was seen', NOW_MS + 5, NOW_MS, NOW_MS - 10, NOW_MS + 6],
    ['7 the time has fractions', undefined, NOW_MS + 0.7, 0, NOW_MS],
  ])('%s', async (_, last, nowMs, above, expected) => {
    if (last !== undefined) await writeFile(path, JSON.stringify({ v: 1, generation: last }));
    expect(await new GenerationFile(path).next(nowMs, above)).toBe(expected);
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ v: 1, generation: expected });
  });
});

test.each([
  ['8 a year ahead', YEAR_MS - 1, 0, YEAR_MS],
  ['9 one more', YEAR_MS, 0, undefined],
  ['10 a year ahead was seen', undefined, YEAR_MS - 1, YEAR_MS],
  ['11 one more', undefined, YEAR_MS, undefined],
  ['12 the end of exact numbers', Number.MAX_SAFE_INTEGER - NOW_MS, 0, undefined],
])('generation: %s', async (_, lastAhead, aboveAhead, expectedAhead) => {
  const before = JSON.stringify({ v: 1, generation: NOW_MS + (lastAhead ?? 0) });
  if (lastAhead !== undefined) await writeFile(path, before);
  const next = new GenerationFile(path).next(NOW_MS, NOW_MS + aboveAhead);
  if (expectedAhead !== undefined) {
    expect(await next).toBe(NOW_MS + expectedAhead);
    return;
  }
  await expect(next).rejects.toMatchObject({
    code: 'state',
    remedy: expect.stringContaining('set the clock'),
  });
  // Not used, so not given out either.
  if (lastAhead === undefined) expect(await readdir(folder)).toEqual([]);
  else expect(await readFile(path, 'utf8')).toBe(before);
});

describe('orders seen', () => {
  const highest = (...entries: readonly [string, number, number][]): ReadonlyMap<NodeName, RecordOrder> =>
    new Map(entries.map(([node, generation, sequence]) => [node as NodeName, { generation, sequence }]));

  test('what was remembered is there after a restart, mode 0600, nothing unfinished left', async () => {
    const store = await SeenStore.open(path, nodeNames);
    expect(store.highest.size).toBe(0);
    const seen = highest(['node1', 5, 6], ['node2', Number.MAX_SAFE_INTEGER, 0]);
    await store.remember(seen);
    expect((await SeenStore.open(path, nodeNames)).highest).toEqual(seen);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(folder)).toEqual(['state.json']);
  });

  test('of many calls at once the last is on disk when any of them after it resolves', async () => {
    const store = await SeenStore.open(path, nodeNames);
    const calls = Array.from({ length: 50 }, (_, index) => store.remember(highest(['node1', 1, index])));
    await calls[0];
    await Promise.all(calls);
    expect((await SeenStore.open(path, nodeNames)).highest).toEqual(highest(['node1', 1, 49]));
  });

  test('a failed write is told to all that share it, and the next one works', async () => {
    const store = await SeenStore.open(path, nodeNames);
    await rm(folder, { recursive: true });
    const failed = await Promise.allSettled([
      store.remember(highest(['a', 1, 1])),
      store.remember(highest(['a', 1, 2])),
    ]);
    expect(failed.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    folder = await mkdtemp(join(tmpdir(), 'vxseal-state-'));
    path = join(folder, 'state.json');
    await expect(
      (await SeenStore.open(path, nodeNames)).remember(highest(['a', 1, 3])),
    ).resolves.toBeUndefined();
  });
});

describe.each([
  ['generation', (file: string) => new GenerationFile(file).next(0)],
  ['orders seen', (file: string) => SeenStore.open(file, nodeNames)],
])('a damaged file: %s', (_, open) => {
  test.each([
    ['1', ''],
    ['2', '{"v":1,"nodes":[["node1",1,'],
    ['3', 'null'],
    ['4', '[]'],
    ['5', '{"v":2,"generation":1,"nodes":[]}'],
    ['6', '{"v":1,"generation":-1,"nodes":{}}'],
    ['7', '{"v":1,"generation":1.5,"nodes":[["node1",1]]}'],
    ['8', '{"v":1,"generation":"1","nodes":[["NODE",1,1]]}'],
    ['9', '{"v":1,"generation":9007199254740992,"nodes":[["a",1,9007199254740992]]}'],
  ])('%s is refused with its path and the remedy, and left as it is', async (__, text) => {
    await writeFile(path, text);
    const failure = await open(path).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'state', remedy: expect.stringContaining('restore') });
    expect(String(failure)).toContain(path);
    expect(await readFile(path, 'utf8')).toBe(text);
  });
});
