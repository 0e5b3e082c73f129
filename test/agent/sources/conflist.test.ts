// Our plugin in the runtime's lists: put in, put back, taken out, and nothing else touched.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../agent/clock';
import {
  ConflistKeeper,
  type ConflistTarget,
  installConflist,
  installPlugin,
  removeConflist,
} from '../../../agent/sources/conflist';
import { QuietLog } from '../../fakes/log';

const flannel = {
  name: 'cbr0',
  cniVersion: '0.3.1',
  plugins: [
    { type: 'flannel', delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
};
const entry = { type: 'vxseal', capabilities: { 'io.kubernetes.cri.pod-annotations': true } };

let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-net.d-'));
  file = join(dir, '10-flannel.conflist');
});
afterEach(() => rmSync(dir, { recursive: true }));

const target = (changes: Partial<ConflistTarget> = {}): ConflistTarget => ({
  dir,
  network: undefined,
  socket: '/run/vxseal/agent.sock',
  vni: undefined,
  dropIn: false,
  ...changes,
});
const put = (value: unknown, path = file): void =>
  writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
const read = (path = file): unknown => JSON.parse(readFileSync(path, 'utf8'));

test('1 install appends, keeps what is there with its mode, and changes nothing the second time', async () => {
  put(flannel);
  chmodSync(file, 0o640);
  expect(await installConflist(target())).toEqual({ file, network: 'cbr0', changed: true, entry });
  expect(read()).toEqual({ ...flannel, plugins: [...flannel.plugins, entry] });
  expect(statSync(file).mode & 0o777).toBe(0o640);
  const { ino } = statSync(file);
  expect((await installConflist(target())).changed).toBe(false);
  expect(statSync(file).ino).toBe(ino);
  expect(readdirSync(dir)).toEqual(['10-flannel.conflist']);
});

test('2 an entry that is older, doubled or not the last becomes the one that is wanted', async () => {
  put({ ...flannel, plugins: [{ type: 'vxseal', vni: 3 }, ...flannel.plugins, { type: 'vxseal' }] });
  await installConflist(target({ vni: 7, socket: '/run/other.sock' }));
  expect(read()).toEqual({
    ...flannel,
    plugins: [...flannel.plugins, { ...entry, socket: '/run/other.sock', vni: 7 }],
  });
});

test('3 a link stays a link', async () => {
  const real = join(dir, 'real');
  put(flannel, real);
  symlinkSync(real, file);
  await installConflist(target());
  expect(read(real)).toMatchObject({ plugins: [{}, {}, entry] });
  expect(readFileSync(file, 'utf8')).toBe(readFileSync(real, 'utf8'));
});

test('4 the list is the first, or the one of that name', async () => {
  put(flannel);
  put({ ...flannel, name: 'other' }, join(dir, '20-other.conflist'));
  expect(await installConflist(target())).toMatchObject({ network: 'cbr0' });
  expect(await installConflist(target({ network: 'other' }))).toMatchObject({ network: 'other' });
  await expect(installConflist(target({ network: 'third' }))).rejects.toMatchObject({
    code: 'not-ready',
    message: `${dir}: no network third`,
  });
});

describe('5 what cannot be used is said, and left as it is', () => {
  test.each([
    ['half a file', '{"name":', /no JSON object/],
    ['a single plugin', { cniVersion: '0.4.0', name: 'a', type: 'bridge' }, /holds a single plugin/],
    ['no name', { ...flannel, name: undefined }, /has no name/],
    ['an old version', { ...flannel, cniVersion: '0.2.0' }, /"0.2.0" is none of/],
    ['only our plugin', { ...flannel, plugins: [entry] }, /no plugin that makes the pod its network/],
    ['a plugin that is none', { ...flannel, plugins: ['bridge'] }, /no object/],
  ])('%s', async (_name, content, message) => {
    put(content);
    // Behind it one that could be used: the runtime would take the first.
    put(flannel, join(dir, '20-good.conflist'));
    const before = readFileSync(file, 'utf8');
    await expect(installConflist(target())).rejects.toMatchObject({
      code: 'config',
      message: expect.stringMatching(message),
    });
    expect(readFileSync(file, 'utf8')).toBe(before);
    expect(read(join(dir, '20-good.conflist'))).toEqual(flannel);
  });

  test('no folder', async () => {
    const none = join(dir, 'none');
    await expect(installConflist(target({ dir: none }))).rejects.toMatchObject({ code: 'not-ready' });
    expect(await removeConflist(none, undefined)).toEqual([]);
  });
});

test('6 remove takes out our entry only, everywhere or in the network named', async () => {
  const other = join(dir, '20-other.conflist');
  put({ ...flannel, plugins: [...flannel.plugins, entry] });
  put({ ...flannel, name: 'other', plugins: [...flannel.plugins, entry] }, other);
  put('{', join(dir, '30-broken.conflist'));
  expect(await removeConflist(dir, 'other')).toEqual([other]);
  expect(await removeConflist(dir, undefined)).toEqual([file]);
  expect(read()).toEqual(flannel);
  expect(read(other)).toEqual({ ...flannel, name: 'other' });
  expect(await removeConflist(dir, undefined)).toEqual([]);
});

test('7 a drop-in stands beside the list and goes without it', async () => {
  put(flannel);
  const installed = await installConflist(target({ dropIn: true, vni: 7 }));
  const path = join(dir, 'cbr0', '90-vxseal.conf');
  expect(installed).toMatchObject({ file: path, changed: true });
  expect(read(path)).toEqual({ cniVersion: '0.3.1', name: 'cbr0', ...entry, vni: 7 });
  expect(read()).toEqual(flannel);
  expect((await installConflist(target({ dropIn: true, vni: 7 }))).changed).toBe(false);
  mkdirSync(join(dir, 'foreign'));
  put({ type: 'other' }, join(dir, 'foreign', '90-vxseal.conf'));
  expect(await removeConflist(dir, undefined)).toEqual([path]);
  expect(existsSync(join(dir, 'cbr0'))).toBe(false);
  expect(existsSync(join(dir, 'foreign', '90-vxseal.conf'))).toBe(true);
});

test('8 the plugin is copied once, and again when it differs', async () => {
  const from = join(dir, 'built');
  const bin = join(dir, 'opt/cni/bin');
  put('one', from);
  expect(await installPlugin(from, bin)).toBe(join(bin, 'vxseal'));
  expect(statSync(join(bin, 'vxseal')).mode & 0o777).toBe(0o755);
  expect(await installPlugin(from, bin)).toBeUndefined();
  put('two', from);
  await installPlugin(from, bin);
  expect(readFileSync(join(bin, 'vxseal'), 'utf8')).toBe('two');
  await expect(installPlugin(join(dir, 'none'), bin)).rejects.toMatchObject({ code: 'config' });
});

describe('9 the keeper', () => {
  const until = async (what: () => boolean): Promise<void> => {
    for (let round = 0; !what(); round++) {
      if (round > 1000) throw new Error('did not come');
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const holds = (wanted: object) => (): boolean => {
    const list = read() as { readonly plugins: readonly object[] };
    return JSON.stringify(list.plugins.at(-1)) === JSON.stringify(wanted);
  };

  test('puts our entry back as it was, whoever writes the list anew', async () => {
    put(flannel);
    const keeper = new ConflistKeeper(target(), new SystemClock(), new QuietLog(), 60_000);
    await keeper.start();
    try {
      expect(holds(entry)()).toBe(true);
      put(flannel);
      await until(holds(entry));
      await installConflist(target({ vni: 9 }));
      await keeper.settled();
      expect(holds({ ...pluginEntryOf(9) })()).toBe(true);
      rmSync(file);
      put({ ...flannel, plugins: [{ type: 'calico' }] });
      await until(holds(pluginEntryOf(9)));
      expect(read()).toMatchObject({ plugins: [{ type: 'calico' }, {}] });
    } finally {
      await keeper.stop();
    }
    put(flannel);
    await keeper.settled();
    expect(read()).toEqual(flannel);
  });

  test('waits for a folder that is not there yet, and says so once', async () => {
    const log = new QuietLog();
    const late = join(dir, 'late');
    const keeper = new ConflistKeeper(target({ dir: late }), new SystemClock(), log, 10);
    await keeper.start();
    try {
      mkdirSync(late);
      const path = join(late, '10-a.conflist');
      put(flannel, path);
      await until(() => readFileSync(path, 'utf8').includes('vxseal'));
    } finally {
      await keeper.stop();
    }
    expect(log.matching('no network configuration')).toHaveLength(1);
  });
});

const pluginEntryOf = (vni: number) => ({ type: 'vxseal', vni, capabilities: entry.capabilities });

test('10 drop-ins: the runtime, which watches the folder alone, is told of each change and of nothing else', async () => {
  put(flannel);
  const seen: string[] = [];
  const watcher = watch(dir, (_, name) => seen.push(String(name)));
  /** Whatever was told before a file of our own is told. */
  const told = async (): Promise<string[]> => {
    put('', join(dir, 'mark'));
    while (!seen.includes('mark')) await new Promise<void>((resolve) => setImmediate(resolve));
    rmSync(join(dir, 'mark'));
    return [...new Set(seen.splice(0).filter((name) => name.startsWith('.')))];
  };
  await installConflist(target({ dropIn: true }));
  expect(await told()).toEqual(['.vxseal-changed']);
  await installConflist(target({ dropIn: true }));
  expect(await told()).toEqual([]);
  await removeConflist(dir, undefined);
  expect(await told()).toEqual(['.vxseal-changed']);
  expect(readdirSync(dir)).toEqual(['10-flannel.conflist']);
  watcher.close();
});
