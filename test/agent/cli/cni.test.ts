// `vxseal cni`: what an operator sees, and what is left of it on disk.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoctorParts } from '../../../agent/cli/doctor';
import { runCli } from '../../../agent/cli/program';

const list = { cniVersion: '1.0.0', name: 'cbr0', plugins: [{ type: 'bridge' }] };
let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-cli-cni-'));
  mkdirSync(join(dir, 'net.d'));
  file = join(dir, 'net.d/10-cbr0.conflist');
  writeFileSync(file, JSON.stringify(list));
});
afterEach(() => rmSync(dir, { recursive: true }));

async function cni(...args: string[]): Promise<{ code: number; out: string }> {
  const out: string[] = [];
  const write = (text: string): void => void out.push(text);
  const io = { out: write, err: write, colour: false, environment: {}, nowMs: () => 0 };
  const code = await runCli(['cni', ...args, '--dir', join(dir, 'net.d')], io, {
    version: '1.2.3',
    agent: { run: async () => undefined, cleanup: async () => undefined },
    doctor: {} as DoctorParts,
    labKeys: { lines: async () => [] },
    register: [],
  });
  return { code, out: out.join('\n') };
}
const install = (...args: string[]) => cni('install', '--bin-dir', join(dir, 'bin'), ...args);

test('install copies the plugin and appends it, twice says that it stands, remove takes it out', async () => {
  const plugin = join(dir, 'bin/vxseal');
  expect(await install('--socket', '/run/x.sock', '--vni', '7')).toEqual({
    code: 0,
    out: `plugin copied: ${plugin}\nnetwork cbr0: plugin put in: ${file}`,
  });
  expect(existsSync(plugin)).toBe(true);
  expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({
    plugins: [{ type: 'bridge' }, { type: 'vxseal', socket: '/run/x.sock', vni: 7 }],
  });
  expect((await install('--socket', '/run/x.sock', '--vni', '7')).out).toBe(
    `network cbr0: plugin stands: ${file}`,
  );
  expect(await cni('remove')).toEqual({ code: 0, out: `taken out of ${file}` });
  expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(list);
  expect(await cni('remove')).toEqual({ code: 0, out: 'our plugin is in no list' });
  expect(existsSync(plugin)).toBe(true);
});

test('as JSON, and as a drop-in', async () => {
  const { code, out } = await install('--json', '--drop-in', '--name', 'cbr0');
  const dropIn = join(dir, 'net.d/cbr0/90-vxseal.conf');
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ file: dropIn, network: 'cbr0', changed: true });
  expect(JSON.parse((await cni('remove', '--json')).out)).toEqual({ files: [dropIn] });
});

test('a mode is written as it was asked for, and taken out by an install without', async () => {
  const written = () => JSON.parse(readFileSync(file, 'utf8')).plugins[1];
  for (const mode of ['permissive', 'off', 'strict']) {
    expect((await install('--mode', mode)).code).toBe(0);
    expect(written()).toMatchObject({ type: 'vxseal', mode });
  }
  expect((await install('--mode', 'strict')).out).toContain('plugin stands');
  expect((await install()).out).toContain('plugin put in');
  expect(written()).not.toHaveProperty('mode');
  await install('--mode', 'off', '--drop-in');
  expect(JSON.parse(readFileSync(join(dir, 'net.d/cbr0/90-vxseal.conf'), 'utf8'))).toMatchObject({
    type: 'vxseal',
    mode: 'off',
  });
});

test('what is wrong is said with its remedy', async () => {
  expect(await install('--name', 'other')).toEqual({
    code: 1,
    out: expect.stringContaining('no network other\n  -> install the cluster'),
  });
  expect((await install('--vni', '0')).code).toBe(2);
  expect(await install('--mode', 'weak')).toEqual({
    code: 2,
    out: expect.stringContaining('Allowed choices are strict, permissive, off'),
  });
});
