import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NODES_TOPIC, PODS_TOPIC } from '../../../agent/core/announcement';
import { MAX_RECORD_BYTES } from '../../../agent/core/payload';
import type { RecordOrder } from '../../../agent/core/roster';
import { MAX_LEASE_MS, MAX_SKEW_MS } from '../../../agent/core/verify';
import type { BusRecord } from '../../../agent/ports';
import { TopologyCache } from '../../../agent/sources/topology-cache';
import { TopologyLog } from '../../../agent/sources/topology-log';
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
  const file = () => join(path, 'records.log');
  /** A process that finds everything good, in the order of `orders`. */
  async function open(orders: Record<string, RecordOrder> = {}): Promise<TopologyCache> {
    const cache = new TopologyCache({ path, clock, log });
    await cache.load(async (found) => cache.holds(found, orders[found.key] ?? order(0)));
    return cache;
  }
  const entries = async () => {
    const found: [string, string][] = [];
    await new TopologyCache({ path, clock, log }).load(async ({ key, value }) => {
      found.push([key, Buffer.from(value ?? []).toString()]);
    });
    return found;
  };
  const texts = async () => Object.fromEntries(await entries());
  /** In the file, also what a later entry has replaced. */
  const written = async (): Promise<string[]> => {
    const found: string[] = [];
    await new TopologyLog(file()).load(async ({ value }) => {
      found.push(Buffer.from(value).toString());
    });
    return found;
  };

  beforeEach(async () => {
    base = await mkdtemp(join(tmpdir(), 'vxseal-topology-'));
    path = join(base, 'topology');
    log.lines.length = 0;
  });
  afterEach(() => rm(base, { recursive: true }));

  test('an empty one is made, for its owner alone', async () => {
    expect(await new TopologyCache({ path, clock, log }).load(async () => undefined)).toBe(0);
    expect(await entries()).toEqual([]);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    await (await open()).keep(record('a', 'a'), order(1));
    expect((await stat(file())).mode & 0o777).toBe(0o600);
  });

  test('what is kept comes back, the last of each key', async () => {
    const cache = await open();
    await Promise.all([
      cache.keep(record('a', 'a1'), order(1, 1)),
      cache.keep(record('a', 'a2'), order(1, 2)),
      cache.keep(record('b/../c', 'b'), order(1)),
    ]);
    expect(await texts()).toEqual({ a: 'a2', 'b/../c': 'b' });
    expect(await readdir(path)).toEqual(['records.log']);
  });

  test('of a key the last one is handed out and nothing before it, which would count as a replay', async () => {
    const cache = await open();
    for (const [at, text] of ['a1', 'a2', 'a3'].entries()) await cache.keep(record('a', text), order(1, at));
    await cache.keep(record('b', 'b1'), order(1));
    await cache.keep(record('a', 'a4'), order(2));
    expect(await written()).toEqual(['a1', 'a2', 'a3', 'b1', 'a4']);
    expect(await entries()).toEqual([
      ['b', 'b1'],
      ['a', 'a4'],
    ]);
  });

  test('of an address that two nodes claim both come back, also from a file written anew', async () => {
    const claim = (node: string, text: string): BusRecord => {
      const payload = Buffer.from(JSON.stringify({ v: 1, node })).toString('base64url');
      return {
        topic: PODS_TOPIC,
        key: '1/10.0.0.9',
        value: new Uint8Array(Buffer.from(`e30.${payload}.${text}`)),
      };
    };
    const ends = async () => (await entries()).map(([, text]) => text.slice(text.lastIndexOf('.') + 1));
    const cache = await open();
    await cache.keep(claim('node1', 'one'), order(1));
    await cache.keep(claim('node2', 'two'), order(7));
    await cache.keep(claim('node1', 'three'), order(2));
    expect(await ends()).toEqual(['two', 'three']);
    for (let sequence = 1; sequence <= 1030; sequence++)
      await cache.keep(record('a', `x.${sequence}`), order(1, sequence));
    expect((await written()).length).toBeLessThan(1030);
    expect(await ends()).toEqual(['two', 'three', '1030']);
  });

  test.each([
    ['1 a later sequence', order(2, 3), 'new'],
    ['2 a later generation', order(3, 0), 'new'],
    ['3 the same order', order(2, 2), 'new'],
    ['4 an earlier sequence', order(2, 1), 'old'],
    ['5 an earlier generation', order(1, 9), 'old'],
  ])('%s', async (_, next, expected) => {
    const first = await open();
    await first.keep(record('a', 'old'), order(2, 2));
    await first.keep(record('a', 'new'), next);
    expect(await texts()).toEqual({ a: expected });
    // In one write.
    await Promise.all([first.keep(record('b', 'old'), order(2, 2)), first.keep(record('b', 'new'), next)]);
    expect(await texts()).toEqual({ a: expected, b: expected });
    // And by the next process, which was told what the file holds.
    await first.keep(record('a', 'old'), order(9, 9));
    const second = await open({ a: order(2, 2) });
    await second.keep(record('a', 'new'), next);
    expect((await texts()).a).toBe(expected);
  });

  test('what could not be verified any more gives way to whatever could', async () => {
    await (await open()).keep(record('a', 'old'), order(9, 9));
    const cache = new TopologyCache({ path, clock, log });
    await cache.load(async () => undefined);
    await cache.keep(record('a', 'new'), order(1));
    expect(await texts()).toEqual({ a: 'new' });
  });

  test('what is judged while the file is read is in it: nothing is written, nothing lost', async () => {
    const first = await open();
    await first.keep(record('a', 'old'), order(1, 1));
    await first.keep(record('b', 'b'), order(1, 1));
    await first.keep(record('a', 'new'), order(1, 2));
    const cache = new TopologyCache({ path, clock, log });
    const before = await readFile(file(), 'hex');
    const found: string[] = [];
    await cache.load(async (each) => {
      found.push(each.key);
      await cache.keep(record('a', 'again'), order(9));
      cache.holds(each, order(1, each.key === 'a' ? 2 : 1));
    });
    expect(found).toEqual(['b', 'a']);
    expect(await readFile(file(), 'hex')).toBe(before);
    await cache.keep(record('c', 'c'), order(1));
    expect(await texts()).toEqual({ a: 'new', b: 'b', c: 'c' });
    expect(log.lines).toEqual([]);
  });

  test('what it holds already is not written again', async () => {
    const cache = await open();
    await cache.keep(record('a', 'one'), order(1));
    await cache.keep(record('a', 'one'), order(1));
    expect(await written()).toHaveLength(1);
    await cache.keep(record('a', 'two'), order(2)); // the control: another one is
    expect(await written()).toHaveLength(2);
  });

  test('wherever a killed process left the file, what is whole before it comes back, and more is kept behind it', async () => {
    const cache = await open();
    const ends: number[] = [];
    for (const key of ['a', 'b', 'c']) {
      await cache.keep(record(key, `value of ${key}`), order(1));
      ends.push((await stat(file())).size);
    }
    const whole = await readFile(file());
    for (let size = 0; size <= whole.length; size++) {
      await writeFile(file(), whole.subarray(0, size));
      const expected = ['a', 'b', 'c'].filter((_, index) => (ends[index] ?? 0) <= size);
      expect(Object.keys(await texts())).toEqual(expected);
      await (await open()).keep(record('d', 'behind it'), order(1));
      expect(Object.keys(await texts())).toEqual([...expected, 'd']);
    }
  });

  test('nothing behind damage is believed, and the next write goes before it', async () => {
    const cache = await open();
    await cache.keep(record('a', 'one'), order(1));
    const { size } = await stat(file());
    await cache.keep(record('b', 'two'), order(1));
    const whole = await readFile(file());
    for (let at = size; at < whole.length; at++) {
      const bent = Buffer.from(whole);
      bent[at] = (bent[at] ?? 0) ^ 0x10;
      await writeFile(file(), bent);
      expect(await entries()).toEqual([['a', 'one']]);
    }
    await (await open()).keep(record('c', 'three'), order(1));
    expect(await texts()).toEqual({ a: 'one', c: 'three' });
  });

  test('half an entry that a failed write left is cut off by the next', async () => {
    const cache = await open();
    await cache.keep(record('a', 'one'), order(1));
    await appendFile(file(), Buffer.alloc(100, 7));
    await cache.keep(record('b', 'two'), order(1));
    expect(await entries()).toEqual([
      ['a', 'one'],
      ['b', 'two'],
    ]);
  });

  test('a file of something else is begun anew', async () => {
    await mkdir(path, { recursive: true });
    await writeFile(file(), 'vxseal topology 2\nwho knows');
    expect(await entries()).toEqual([]);
    await (await open()).keep(record('a', 'one'), order(1));
    expect(await texts()).toEqual({ a: 'one' });
  });

  test('what is of no use any more goes when it is more than the rest', async () => {
    const cache = await open();
    await cache.keep(record('still', 'here'), order(1));
    // As many as are in use and 1024.
    for (let sequence = 1; sequence <= 1027; sequence++)
      await cache.keep(record('a', `a${sequence}`), order(1, sequence));
    expect(await written()).toHaveLength(1028);
    await cache.keep(record('a', 'a1028'), order(1, 1028));
    expect(await written()).toEqual(['here', 'a1028']);
    expect(await texts()).toEqual({ still: 'here', a: 'a1028' });
    expect(await readdir(path)).toEqual(['records.log']);
    // It goes on behind it.
    await cache.keep(record('b', 'b'), order(1));
    expect(await texts()).toEqual({ still: 'here', a: 'a1028', b: 'b' });
  });

  test('the largest record comes back, a larger one is not kept', async () => {
    const cache = await open();
    const large = (bytes: number) => ({
      topic: NODES_TOPIC,
      key: `of ${bytes}`,
      value: new Uint8Array(bytes),
    });
    for (const bytes of [0, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1]) await cache.keep(large(bytes), order(1));
    // More than is read at a time.
    for (let number = 0; number < 50; number++)
      await cache.keep({ ...large(MAX_RECORD_BYTES), key: `${number}` }, order(1));
    const found = await entries();
    expect(found.slice(0, 2).map(([key]) => key)).toEqual(['of 0', `of ${MAX_RECORD_BYTES}`]);
    expect(found).toHaveLength(52);
    expect(found.every(([, { length }], index) => length === (index === 0 ? 0 : MAX_RECORD_BYTES))).toBe(
      true,
    );
  });

  test('records of dead leases are passed over, and forgotten with the next compaction', async () => {
    const cache = await open();
    await cache.keep(record('dead', 'dead'), order(1));
    await clock.advance(2000);
    await cache.keep(record('living', 'living'), order(1));
    await clock.advance(MAX_LEASE_MS + MAX_SKEW_MS - 1000);
    expect(Object.keys(await texts())).toEqual(['living']);
    for (let sequence = 0; sequence < 1100; sequence++)
      await cache.keep(record('living', `${sequence}`), order(2, sequence));
    expect((await readFile(file())).includes('dead')).toBe(false);
  });

  test('files that an older agent or a killed one left are removed', async () => {
    await mkdir(join(path, NODES_TOPIC), { recursive: true });
    await writeFile(join(path, NODES_TOPIC, 'node1'), 'a record');
    await writeFile(join(path, '.vxseal-17'), 'half');
    expect(await entries()).toEqual([]);
    expect(await readdir(path)).toEqual([]);
  });

  test('the sign of life is that of the last time the bus was alive', async () => {
    const cache = await open();
    let alive = true;
    cache.watch(() => alive);
    await clock.advance(120_000);
    alive = false;
    const lastMs = clock.nowMs();
    await clock.advance(600_000);
    await cache.stop();
    const aliveMs = await new TopologyCache({ path, clock, log }).load(async () => undefined);
    expect(lastMs - aliveMs).toBeGreaterThanOrEqual(0);
    expect(lastMs - aliveMs).toBeLessThanOrEqual(30_000);
    expect(clock.pending).toBe(0);
  });

  test('a folder that cannot be written is told once, and stops nothing', async () => {
    const cache = await open();
    await cache.keep(record('a', '1'), order(1));
    await rm(path, { recursive: true });
    await writeFile(path, 'in the way');
    await cache.keep(record('a', '2'), order(2));
    await cache.keep(record('a', '3'), order(3));
    expect(log.matching('cannot be kept')).toHaveLength(1);
  });

  test.each([
    ['taken away', () => rm(path, { recursive: true })],
    ['cut', () => truncate(file(), 30)],
  ])('a file that was %s is told, and begun anew', async (_, spoil) => {
    const cache = await open();
    await cache.keep(record('a', '1'), order(1));
    await spoil();
    await cache.keep(record('b', '1'), order(1));
    expect(log.matching('cannot be kept')).toHaveLength(1);
    await cache.keep(record('b', '1'), order(1));
    await cache.keep(record('a', '1'), order(1));
    expect(await texts()).toEqual({ a: '1', b: '1' });
  });

  test('a folder that cannot be read is an error with its name', async () => {
    await symlink('topology', path); // a loop
    await expect(open()).rejects.toMatchObject({
      code: 'state',
      message: expect.stringContaining(path),
    });
  });
});
