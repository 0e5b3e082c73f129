import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { box } from 'tweetnacl';
import { Epochs, StateDirEpochFile } from '../../../agent/control/epochs';
import { ManualClock } from '../../fakes/clock';

let stateDir: string;
let path: string;
beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'vxseal-epochs-'));
  path = join(stateDir, 'epoch.json');
});
afterEach(() => rmSync(stateDir, { recursive: true }));

let seed = 1;
const epochs = (): Epochs =>
  new Epochs(new StateDirEpochFile(path), new ManualClock(), () => new Uint8Array(32).fill(seed++));

async function rotate(made: Epochs): Promise<number> {
  const { number } = await made.begin();
  made.published(number);
  return number;
}

test('1 each epoch of each process has a greater number than all before', async () => {
  const first = epochs();
  expect([await rotate(first), await rotate(first)]).toEqual([1, 2]);
  expect((await epochs().begin()).number).toBe(3);
  expect((await epochs().begin()).number).toBe(4);
});

test('2 the public key belongs to the secret, and the file holds the number alone', async () => {
  const { secretKey, publicKey } = await epochs().begin();
  expect(box.keyPair.fromSecretKey(secretKey).publicKey).toEqual(publicKey);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ v: 1, number: 1 });
});

test('3 pending until published; the older ones are superseded then and not before', async () => {
  const made = epochs();
  await made.begin();
  expect(made.pending()?.number).toBe(1);
  expect(made.announced()).toBeUndefined();
  made.published(1);
  expect(made.pending()).toBeUndefined();
  await made.begin();
  expect(made.announced()?.number).toBe(1);
  expect(made.live().map((epoch) => epoch.supersededNs === undefined)).toEqual([true, true]);
  made.published(2);
  expect(made.live().map((epoch) => epoch.supersededNs === undefined)).toEqual([true, false]);
});

test('4 no second epoch while one is pending, none beyond what a record can announce', async () => {
  const made = epochs();
  await made.begin();
  await expect(made.begin()).rejects.toThrow(/waiting to be published/);
  made.published(1);
  const both = await Promise.allSettled([made.begin(), made.begin()]);
  expect(both.map(({ status }) => status)).toEqual(['fulfilled', 'rejected']);
  made.published(2);
  made.retire(1);
  for (let i = 0; i < 3; i++) await rotate(made);
  await expect(made.begin()).rejects.toThrow(/4 epochs are still in use/);
  made.retire(2);
  expect((await made.begin()).number).toBe(6);
});

test('5 retiring overwrites the secret; the newest cannot be retired; wipe() overwrites all', async () => {
  const made = epochs();
  await rotate(made);
  const old = made.newest()?.secretKey;
  await rotate(made);
  made.retire(2);
  expect(made.newest()?.number).toBe(2);
  made.retire(1);
  expect(made.live()).toHaveLength(1);
  expect(old?.every((byte) => byte === 0)).toBe(true);
  const last = made.newest()?.secretKey;
  made.wipe();
  expect(last?.every((byte) => byte === 0)).toBe(true);
});

test.each(['', '{', '{"v":2,"number":1}', '{"v":1,"number":1.5}', '{"v":1}'])(
  '6 file %j is refused with its path',
  async (text) => {
    writeFileSync(path, text);
    await expect(epochs().begin()).rejects.toThrow(/epoch file .*epoch\.json: cannot read it/);
  },
);
