// docs/configuration.md holds the table that the code makes.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { referenceTable } from '../../../agent/config/reference';

test('the reference lists every key as it is (vxseal config reference prints the table)', () => {
  const text = readFileSync(join(__dirname, '../../../docs/configuration.md'), 'utf8');
  expect(text).toContain(`\n${referenceTable()}\n`);
});
