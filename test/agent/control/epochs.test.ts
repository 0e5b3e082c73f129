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

function rotate(made: Epochs): number {
  const { number } = made.begin();
  made.published(number);
  return number;
}

test('1 each epoch of each process has a greater number than all before', () => {
  const first = epochs();
  expect([rotate(first), rotate(first)]).toEqual([1, 2]);
  expect(epochs().begin().number).toBe(3);
  expect(epochs().begin().number).toBe(4);
});

test('2 the public key belongs to the secret, and the file holds the number alone', () => {
  const { secretKey, publicKey } = epochs().begin();
  expect(box.keyPair.fromSecretKey(secretKey).publicKey).toEqual(publicKey);
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ v: 1, number: 1 });
});

test('3 pending until published; the older ones are superseded then and not before', () => {
  const made = epochs();
  made.begin();
  expect(made.pending()?.number).toBe(1);
  expect(made.announced()).toBeUndefined();
  made.published(1);
  expect(made.pending()).toBeUndefined();
  made.begin();
  expect(made.announced()?.number).toBe(1);
  expect(made.live().map((epoch) => epoch.supersededNs === undefined)).toEqual([true, true]);
  made.published(2);
  expect(made.live().map((epoch) => epoch.supersededNs === undefined)).toEqual([true, false]);
});

test('4 no second epoch while one is pending, none beyond what a record can announce', () => {
  const made = epochs();
  made.begin();
  expect(() => made.begin()).toThrow(/waiting to be published/);
  made.published(1);
  for (let i = 0; i < 3; i++) rotate(made);
  expect(() => made.begin()).toThrow(/4 epochs are still in use/);
  made.retire(1);
  expect(made.begin().number).toBe(5);
});

test('5 retiring overwrites the secret; the newest cannot be retired; wipe() overwrites all', () => {
  const made = epochs();
  rotate(made);
  const old = made.newest()?.secretKey;
  rotate(made);
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
  (text) => {
    writeFileSync(path, text);
    expect(() => epochs().begin()).toThrow(/epoch file .*epoch\.json: cannot read it/);
  },
);
