import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readPreSharedKey } from '../../../agent/identity/psk';

const KEY = '4b75ac8c654dedaf718c91bb1ef82940589a4173727a3b11a04c74f82821cea4';
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vxseal-psk-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function read(text: string, mode: number): Promise<string | undefined> {
  const path = join(folder, 'psk');
  await writeFile(path, text);
  await chmod(path, mode);
  return (await readPreSharedKey(path))?.id;
}

test.each([
  ['1 as openssl writes it', `${KEY}\n`, 0o600],
  ['2 without a line end', KEY, 0o400],
  ['3 in capitals, for a group of readers', KEY.toUpperCase(), 0o640],
])('%s', async (_, text, mode) => {
  expect(await read(text, mode)).toBe('2e13e19a');
});

test.each([
  ['4 readable by all', KEY, 0o604, 'open to other users'],
  ['5 writable by the group', KEY, 0o620, 'open to other users'],
  ['6 one digit too few', KEY.slice(1), 0o600, 'not a key'],
  ['7 one digit too many', `${KEY}0`, 0o600, 'not a key'],
  ['8 a passphrase', 'correct horse battery staple', 0o600, 'not a key'],
  ['9 nothing', '', 0o600, 'not a key'],
])('%s is refused, and not shown', async (_, text, mode, reason) => {
  const refused = await read(text, mode).then(
    () => '',
    (error: Error) => error.message,
  );
  expect(refused).toContain(reason);
  if (text !== '') expect(refused).not.toContain(text.slice(0, 12));
});

test('10 none is configured; one that is missing is an error', async () => {
  expect(await readPreSharedKey('')).toBeUndefined();
  await expect(readPreSharedKey(join(folder, 'none'))).rejects.toMatchObject({ code: 'identity' });
});
