import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CONSTANTS, DROP_REASONS, LAYOUT, MAPS } from '../../../agent/abi/layout.gen';

const root = join(__dirname, '../../..');

test('layout.gen.ts is what the headers give today', () => {
  const fresh = execFileSync(join(root, 'scripts/gen-layout'), ['--print'], { encoding: 'utf8' });
  expect(readFileSync(join(root, 'agent/abi/layout.gen.ts'), 'utf8')).toBe(fresh);
});

test('no structure has implicit padding: keys compare by their bytes', () => {
  for (const [name, { size, fields }] of Object.entries(LAYOUT)) {
    let end = 0;
    for (const [field, place] of Object.entries(fields)) {
      expect([name, field, place.offset]).toEqual([name, field, end]);
      end += place.size;
    }
    expect([name, size]).toEqual([name, end]);
  }
});

test('maps have the sizes of the structures they hold', () => {
  for (const [map, key, value] of [
    ['overlay', 'overlay_key', 'overlay_value'],
    ['tx_sa', 'tx_key', 'tx_sa'],
    ['rx_sa', 'rx_key', 'rx_sa'],
    ['endpoints', 'endpoint_key', 'endpoint_value'],
    ['drops', 'drop_key', 'counter'],
  ] as const) {
    expect([map, MAPS[map].keySize, MAPS[map].valueSize]).toEqual([
      map,
      LAYOUT[key].size,
      LAYOUT[value].size,
    ]);
  }
});

test('constants above 2^31 keep their value; reasons are labels', () => {
  expect(CONSTANTS.PEER_NONE).toBe(0xffffffff);
  expect(CONSTANTS.PROBE_ETHERTYPE).toBe(0x88b5);
  expect(DROP_REASONS[0]).toBe('none');
  expect(new Set(DROP_REASONS).size).toBe(DROP_REASONS.length);
  for (const reason of DROP_REASONS) expect(reason).toMatch(/^[a-z][a-z_]*$/);
});
