import { mkdir, mkdtemp, readdir, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NODES_TOPIC } from '../../../agent/core/announcement';
import { MAX_RECORD_BYTES } from '../../../agent/core/payload';
import { MAX_LEASE_MS, MAX_SKEW_MS } from '../../../agent/core/verify';
import type { BusRecord } from '../../../agent/ports';
import { TopologyCache } from '../../../agent/sources/topology-cache';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';

const record = (key: string, text: string): BusRecord => ({
  topic: NODES_TOPIC,
  key,
  value: new Uint8Array(Buffer.from(text)),
});
const order = (generation: number, sequence = 0) => ({ generation, sequence });

describe('topology cache', () => {
  let base: string;
  let path: string;
  const log = new QuietLog();
  const clock = new ManualClock(Date.now());
  const open = () => new TopologyCache({ path, topics: [NODES_TOPIC], clock, log });
  const texts = async () =>
    Object.fromEntries(
      (await open().load()).records.map(({ key, value }) => [key, Buffer.from(value ?? []).toString()]),
    );

  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'vxseal-topology-'));
    path = join(base, 'topology');
    log.lines.length = 0;
  });
  afterEach(() => rm(base, { recursive: true }));

  test('an empty one is made, for its owner alone', async () => {
    expect(await open().load()).toEqual({ records: [], aliveMs: 0 });
    expect((await stat(join(path, NODES_TOPIC))).mode & 0o777).toBe(0o700);
  });

  test('what is kept comes back, the last of each key', async () => {
    const cache = open();
    await cache.load();
    await Promise.all([
      cache.keep(record('a', 'a1'), order(1, 1)),
      cache.keep(record('a', 'a2'), order(1, 2)),
      cache.keep(record('b/../c', 'b'), order(1)),
    ]);
    expect(await texts()).toEqual({ a: 'a2', 'b/../c': 'b' });
    expect(await readdir(join(path, NODES_TOPIC))).toHaveLength(2);
  });

  test.each([
    ['1 a later sequence', order(2, 3), 'new'],
    ['2 a later generation', order(3, 0), 'new'],
    ['3 the same order', order(2, 2), 'new'],
    ['4 an earlier sequence', order(2, 1), 'old'],
    ['5 an earlier generation', order(1, 9), 'old'],
  ])('%s', async (_, next, expected) => {
    const first = open();
    await first.load();
    await first.keep(record('a', 'old'), order(2, 2));
    await first.keep(record('a', 'new'), next);
    expect(await texts()).toEqual({ a: expected });
    // And by the next process, which was told what the file holds.
    await first.keep(record('a', 'old'), order(9, 9));
    const second = open();
    await second.load();
    second.holds(record('a', 'old'), order(2, 2));
    await second.keep(record('a', 'new'), next);
    expect(await texts()).toEqual({ a: expected });
  });

  test('what it holds already is not written again', async () => {
    const cache = open();
    await cache.load();
    await cache.keep(record('a', 'one'), order(1));
    await rm(join(path, NODES_TOPIC, 'a'));
    await cache.keep(record('a', 'one'), order(1));
    expect(await texts()).toEqual({});
    await cache.keep(record('a', 'two'), order(2)); // the control: another one is
    expect(await texts()).toEqual({ a: 'two' });
  });

  test('files that are no records are passed over, those of dead leases removed', async () => {
    const folder = join(path, NODES_TOPIC);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'good'), 'good');
    await writeFile(join(folder, 'full'), Buffer.alloc(MAX_RECORD_BYTES));
    await writeFile(join(folder, 'large'), Buffer.alloc(MAX_RECORD_BYTES + 1));
    await writeFile(join(folder, '.vxseal-1-1'), 'half');
    await writeFile(join(folder, 'not an encoding'), 'x');
    await mkdir(join(folder, 'folder'));
    for (const [name, ageMs] of [
      ['living', MAX_LEASE_MS + MAX_SKEW_MS - 1000],
      ['dead', MAX_LEASE_MS + MAX_SKEW_MS + 1000],
    ] as const) {
      await writeFile(join(folder, name), name);
      const at = new Date(clock.nowMs() - ageMs);
      await utimes(join(folder, name), at, at);
    }
    expect(Object.keys(await texts()).sort()).toEqual(['full', 'good', 'living']);
    expect((await readdir(folder)).sort()).toEqual([
      'folder',
      'full',
      'good',
      'large',
      'living',
      'not an encoding',
    ]);
  });

  test('the sign of life is that of the last time the bus was alive', async () => {
    const cache = open();
    await cache.load();
    let alive = true;
    cache.watch(() => alive);
    await clock.advance(120_000);
    alive = false;
    const lastMs = clock.nowMs();
    await clock.advance(600_000);
    await cache.stop();
    const { aliveMs } = await open().load();
    expect(lastMs - aliveMs).toBeGreaterThanOrEqual(0);
    expect(lastMs - aliveMs).toBeLessThanOrEqual(30_000);
    expect(clock.pending).toBe(0);
  });

  test('a folder that cannot be written is told once, and stops nothing', async () => {
    const cache = open();
    await cache.load();
    await rm(path, { recursive: true });
    await cache.keep(record('a', '1'), order(1));
    await cache.keep(record('a', '2'), order(2));
    expect(log.matching('cannot be kept')).toHaveLength(1);
  });

  test('a folder that cannot be read is an error with its name', async () => {
    await symlink('topology', path); // a loop
    await expect(open().load()).rejects.toMatchObject({
      code: 'state',
      message: expect.stringContaining(path),
    });
  });
});
