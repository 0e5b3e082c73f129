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
const secrets: Uint8Array[] = [];
function epochs(): Epochs {
  return new Epochs(new StateDirEpochFile(path), new ManualClock(), () => {
    const secret = new Uint8Array(32).fill(seed++);
    secrets.push(secret);
    return secret;
  });
}

test('1 each start begins a new epoch whose number is greater than all before, and keeps the old public keys', () => {
  const first = epochs();
  expect(first.start().number).toBe(1);
  expect(first.begin().number).toBe(2);
  const second = epochs();
  expect(second.start().number).toBe(3);
  expect(second.live().map(({ number, secretKey }) => [number, secretKey !== undefined])).toEqual([
    [1, false],
    [2, false],
    [3, true],
  ]);
  expect(second.live()[1]?.publicKey).toEqual(first.live()[1]?.publicKey);
});

test('2 a lost state directory does not go back behind what the bus has seen', () => {
  expect(epochs().start(17).number).toBe(18);
});

test('3 the public key belongs to the secret, and the secret is not in the file', () => {
  const made = epochs();
  const { secretKey, publicKey } = made.start();
  if (secretKey === undefined) throw new Error('no secret');
  expect(box.keyPair.fromSecretKey(secretKey).publicKey).toEqual(publicKey);
  const text = readFileSync(path, 'utf8');
  for (const encoding of ['base64url', 'hex', 'base64'] as const)
    expect(text).not.toContain(Buffer.from(secretKey).toString(encoding));
});

test('4 pending until published; a later number is pending again', () => {
  const made = epochs();
  made.start();
  expect(made.pending()?.number).toBe(1);
  made.published(1);
  expect(made.pending()).toBeUndefined();
  made.begin();
  expect(made.pending()?.number).toBe(2);
});

test('5 retiring overwrites the secret; the newest cannot be retired; at most four live', () => {
  const made = epochs();
  made.start();
  const old = made.newest()?.secretKey;
  made.begin();
  made.retire(2);
  expect(made.newest()?.number).toBe(2);
  made.retire(1);
  expect(old?.every((byte) => byte === 0)).toBe(true);
  const oldest = made.newest()?.secretKey;
  for (let i = 0; i < 4; i++) made.begin();
  expect(made.live().map(({ number }) => number)).toEqual([3, 4, 5, 6]);
  expect(oldest?.every((byte) => byte === 0)).toBe(true);
  const last = made.newest()?.secretKey;
  made.wipe();
  expect(last?.every((byte) => byte === 0)).toBe(true);
});

test.each(['', '{', '{"v":1}', '{"v":1,"epochs":[{"number":1.5,"publicKey":"AA"}]}'])(
  '6 file %j is refused with its path',
  (text) => {
    writeFileSync(path, text);
    expect(() => epochs().start()).toThrow(/epoch file .*epoch\.json: cannot read it/);
  },
);
