// docs/configuration.md holds the table that the code makes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { KEY_PATHS } from '../../../agent/config/keys';
import { referenceEntries, referenceTable } from '../../../agent/config/reference';

test('the reference lists every key as it is (vxseal config reference prints the table)', () => {
  const text = readFileSync(join(__dirname, '../../../docs/configuration.md'), 'utf8');
  expect(text).toContain(`\n${referenceTable()}\n`);
});

test('the same for programs: every key once, with its other names', () => {
  const entries = referenceEntries();
  expect(entries.map(({ key }) => key)).toEqual(KEY_PATHS);
  expect(entries).toContainEqual({
    key: 'underlay.espPort',
    environment: 'VXSEAL_UNDERLAY_ESP_PORT',
    flag: '--underlay-esp-port',
    type: expect.stringMatching(/./),
    default: '4500',
    meaning: expect.stringMatching(/./),
  });
});
