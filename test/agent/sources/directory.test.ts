import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../agent/clock';
import { MAX_RECORD_BYTES } from '../../../agent/core/payload';
import { DirectoryBus } from '../../../agent/sources/directory';
import { decodeFileName, encodeFileName } from '../../../agent/sources/filename';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';
import { type BusWorld, busSuite, NODES, Received, TOPICS } from './bus-suite';
import { policySuite } from './policy-suite';

async function makeWorld(): Promise<BusWorld & { readonly path: string }> {
  const base = await mkdtemp(join(tmpdir(), 'vxseal-bus-'));
  const path = join(base, 'bus');
  return {
    path,
    client: () =>
      new DirectoryBus({ path, topics: TOPICS, clock: new SystemClock(), log: new QuietLog(), rescanMs: 50 }),
    write: async (topic, key, value) => {
      const file = join(path, topic, encodeFileName(key) ?? '');
      await mkdir(join(path, topic), { recursive: true });
      if (value === undefined) await rm(file);
      else await writeFile(file, value);
    },
    vanish: () => rename(path, `${path}-away`),
    comeBack: () => rename(`${path}-away`, path),
    dispose: () => rm(base, { recursive: true, force: true }),
  };
}

busSuite('directory', makeWorld);
policySuite('directory', makeWorld);

describe('directory bus', () => {
  let world: Awaited<ReturnType<typeof makeWorld>>;
  let bus: DirectoryBus;
  let received: Received;

  beforeEach(async () => {
    world = await makeWorld();
    received = new Received();
  });

  afterEach(async () => {
    await bus?.stop();
    await world.dispose();
  });

  /** A clock that stands still: only the folder's watch can tell of a change. */
  async function start(clock = new ManualClock(Date.now() + 3_600_000)): Promise<ManualClock> {
    bus = new DirectoryBus({ path: world.path, topics: TOPICS, clock, log: new QuietLog() });
    bus.onStatus(received.check);
    await bus.start(received.receive);
    return clock;
  }

  const put = (name: string, text: string): Promise<void> => writeFile(join(world.path, NODES, name), text);

  test('changes are told by the watch, without waiting for the next look', async () => {
    await start();
    await put('node1', 'one');
    await received.until(() => received.state(NODES).node1 === 'one');
    await put('node1', 'two');
    await received.until(() => received.state(NODES).node1 === 'two');
    await rm(join(world.path, NODES, 'node1'));
    await received.until(() => received.state(NODES).node1 === null);
  });

  test('garbage beside the records is passed over', async () => {
    await start();
    await put('.hidden', 'x');
    await put('.vxseal-1-1', 'half a record');
    await put('not an encoding', 'x');
    await put('%2f', 'lower case is another name for %2F');
    await put('%zz', 'x');
    await mkdir(join(world.path, NODES, 'folder'));
    await symlink('/etc/hostname', join(world.path, NODES, 'link'));
    await symlink('loop', join(world.path, NODES, 'loop'));
    execFileSync('mkfifo', [join(world.path, NODES, 'fifo')]);
    await put('good', 'yes');
    await received.until(() => received.state(NODES).good === 'yes');
    const other = new Received();
    const fresh = world.client();
    await fresh.start(other.receive);
    await fresh.stop();
    expect(other.state(NODES)).toEqual({ good: 'yes' });
    expect(Object.keys(received.state(NODES))).toEqual(['good']);
  });

  test('a record that becomes a link is gone', async () => {
    await start();
    await put('node1', 'one');
    await received.until(() => received.state(NODES).node1 === 'one');
    await symlink('/etc/hostname', join(world.path, 'link'));
    await rename(join(world.path, 'link'), join(world.path, NODES, 'node1'));
    await received.until(() => received.state(NODES).node1 === null);
  });

  test.each([
    ['1', MAX_RECORD_BYTES, MAX_RECORD_BYTES],
    ['2', MAX_RECORD_BYTES + 1, MAX_RECORD_BYTES + 1],
    ['3', 2 ** 33, MAX_RECORD_BYTES + 1],
  ])('%s: of a file of %d bytes, %d are delivered', async (_, size, delivered) => {
    await start();
    const file = join(world.path, 'big');
    await writeFile(file, '');
    await truncate(file, size);
    await rename(file, join(world.path, NODES, 'big'));
    await received.until(() => received.records.length > 0);
    expect(received.records[0]?.value?.length).toBe(delivered);
  });

  test('a file touched without a change is not delivered again', async () => {
    const clock = await start();
    await put('node1', 'one');
    await received.until(() => received.state(NODES).node1 === 'one');
    await utimes(join(world.path, NODES, 'node1'), 1, 1);
    await put('node2', 'two');
    await received.until(() => received.state(NODES).node2 === 'two');
    await clock.advance(10_000);
    expect(received.records.filter((record) => record.key === 'node1')).toHaveLength(1);
  });

  test('a change within one timestamp is found at the next look', async () => {
    // The wall clock of the folder's own time: stamps are fresh and must not be trusted.
    const clock = await start(new ManualClock(Date.now()));
    const file = join(world.path, NODES, 'node1');
    await put('node1', 'one');
    await received.until(() => received.state(NODES).node1 === 'one');
    await writeFile(file, 'two');
    await lookUntil(clock, () => received.state(NODES).node1 === 'two');
  });

  /** The next look is due when the last one has ended, which is a matter of the disk. */
  async function lookUntil(clock: ManualClock, done: () => boolean): Promise<void> {
    while (!done()) await clock.advance(10_000);
  }

  test('a folder that comes back as another one is watched again', async () => {
    const clock = await start();
    await put('node1', 'one');
    await received.until(() => received.state(NODES).node1 === 'one');
    await world.vanish();
    await lookUntil(clock, () => !bus.status().connected);
    expect(received.state(NODES)).toEqual({ node1: 'one' });
    for (const topic of TOPICS) await mkdir(join(world.path, topic), { recursive: true });
    // The folder is there and empty now: that is a hint to every record.
    await lookUntil(clock, () => bus.status().connected && received.state(NODES).node1 === null);
    await put('node2', 'two');
    await received.until(() => received.state(NODES).node2 === 'two');
  });

  test('a path that cannot be a folder is a status, not an end', async () => {
    await writeFile(world.path, 'a file');
    const clock = await start();
    expect(bus.status()).toMatchObject({ connected: false, inSync: false });
    expect(bus.status().error).toContain(world.path);
    await rm(world.path);
    for (const topic of TOPICS) await mkdir(join(world.path, topic), { recursive: true });
    await lookUntil(clock, () => bus.status().inSync);
  });

  test('a key that cannot be a file name, and a topic that is none, are refused', async () => {
    await start();
    for (const [topic, key] of [
      [NODES, ''],
      [NODES, 'x'.repeat(300)],
      ['../etc', 'passwd'],
    ] as const) {
      await expect(bus.publish(topic, key, new Uint8Array(1))).rejects.toMatchObject({ code: 'bus' });
    }
  });
});

describe('file names', () => {
  test.each([
    ['1', 'node1', 'node1'],
    ['2', '1/10.0.0.1', '1%2F10.0.0.1'],
    ['3', '.', '%2E'],
    ['4', '..', '%2E.'],
    ['5', '%', '%25'],
    ['6', 'a:b', 'a%3Ab'],
    ['7', 'ä', '%C3%A4'],
    ['8', 'x'.repeat(240), 'x'.repeat(240)],
    ['9', 'x'.repeat(241), undefined],
    ['10', '', undefined],
  ])('%s: %j is %j and back', (_, key, name) => {
    expect(encodeFileName(key)).toBe(name);
    if (name !== undefined) expect(decodeFileName(name)).toBe(key);
  });

  test.each(['', '.x', '%2f', '%41', 'a/b', '%', '%FF', 'a%00'.slice(0, 3), 'ä'])(
    '%j is no name of ours',
    (name) => {
      expect(decodeFileName(name)).toBeUndefined();
    },
  );
});
