// What was announced once stays adopted: over lost records, and over restarts through the real file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Adoption } from '../../../agent/control/adoption';
import { Problems } from '../../../agent/control/problems';
import type { IpAddress, Prefix, Vni } from '../../../agent/core/ids';
import type { RemotePod } from '../../../agent/core/podroster';
import type { RosterNode } from '../../../agent/core/roster';
import { AdoptedFile } from '../../../agent/sources/adopted';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';

const HOST = 42 as Vni;
let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-adopted-'));
});
afterEach(() => rmSync(dir, { recursive: true }));
const path = () => join(dir, 'adopted.json');

async function begin(...permissive: string[]): Promise<Adoption> {
  const problems = new Problems(new ManualClock(), new QuietLog());
  const settings = { hostVni: HOST, permissivePrefixes: permissive as Prefix[] };
  return new Adoption(settings, await AdoptedFile.open(path()), problems);
}

const node = (vni: number, ...prefixes: string[]): RosterNode =>
  ({ state: 'expired', record: { prefixes: [{ vni: vni as Vni, prefixes }] } }) as unknown as RosterNode;

async function written(): Promise<unknown> {
  for (const endMs = Date.now() + 10_000; Date.now() < endMs; ) {
    await new Promise((resolve) => setImmediate(resolve));
    try {
      return JSON.parse(readFileSync(path(), 'utf8'));
    } catch {
      // not yet
    }
  }
  throw new Error('nothing was written');
}

test('1 an announced range stays adopted when its record is gone, and after a restart', async () => {
  const adoption = await begin('10.4.0.0/16');
  expect(adoption.look([])).toEqual([]);
  expect(adoption.look([node(42, '10.4.3.0/24'), node(42, '10.9.0.0/24'), node(7, '10.4.5.0/24')])).toEqual([
    '10.4.3.0/24',
  ]);
  expect(adoption.look([])).toEqual(['10.4.3.0/24']);
  expect(await written()).toEqual({ v: 1, prefixes: ['10.4.3.0/24'] });
  expect((await begin('10.4.0.0/16')).look([])).toEqual(['10.4.3.0/24']);
});

test('2 what no configured prefix touches is forgotten', async () => {
  writeFileSync(path(), JSON.stringify({ v: 1, prefixes: ['10.4.3.0/24', '10.5.0.0/24'] }));
  expect((await begin('10.5.0.0/16')).list()).toEqual(['10.5.0.0/24']);
  expect((await begin()).list()).toEqual([]);
});

test.each(['', '{}', '{"v":1,"prefixes":["x"]}', '{"v":1,"prefixes":[7]}', '{"v":2,"prefixes":[]}'])(
  '3 a damaged file stops the start instead of opening what was adopted: %s',
  async (text) => {
    writeFileSync(path(), text);
    await expect(begin('10.4.0.0/16')).rejects.toMatchObject({ code: 'state' });
  },
);

test('a single address of a node adopts the whole range around it; a flood of prefixes does too', async () => {
  const pod = { record: { vni: HOST, address: '10.4.7.9' as IpAddress } } as unknown as RemotePod;
  const one = await begin('10.4.0.0/16', '10.5.0.0/16');
  expect(one.look([], [pod])).toEqual(['10.4.0.0/16']);
  expect(one.look([])).toEqual(['10.4.0.0/16']);
  const prefixes = Array.from({ length: 1025 }, (_, index) => `10.5.${index >> 5}.${(index & 31) * 8}/29`);
  one.look([node(42, ...prefixes)]);
  expect(one.look([])).toContain('10.5.0.0/16');
  // Nothing within it is new any more.
  const size = one.list().length;
  expect(one.look([node(42, '10.5.200.0/24')])).toHaveLength(size);
});
