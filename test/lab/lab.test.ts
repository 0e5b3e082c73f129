// The lab's proofs, one test each, on a lab of three nodes with real agents. Throughput is measured, not asserted:
// machines that run tests do other things too.

import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { logTail } from './agents';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { LABS_DIR, labLayout } from './layout';
import { ALL_PROOFS } from './proofs/all';
import { speed } from './proofs/speed';
import { labNamespaces, teardown } from './teardown';

const NAME = `j${randomBytes(3).toString('hex')}`;
const BRING_UP_TIMEOUT_MS = 180_000;
const PROOF_TIMEOUT_MS = 180_000;
let context: Context | undefined;

beforeAll(async () => {
  try {
    context = new Context(await bringUp(NAME, 3, 1, () => undefined));
  } catch (error) {
    const logs = labLayout(NAME, 3, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
  }
}, BRING_UP_TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, BRING_UP_TIMEOUT_MS);

test.each(ALL_PROOFS.filter((proof) => proof !== speed).map((proof) => [proof.name, proof] as const))(
  '%s',
  async (_name, proof) => {
    if (context === undefined) throw new Error('there is no lab');
    const { ok, detail } = await prove(context, proof);
    expect({ ok, detail }).toEqual({ ok: true, detail });
  },
  PROOF_TIMEOUT_MS,
);

test('taking the lab down leaves nothing behind', async () => {
  await context?.close();
  expect(labNamespaces(NAME)).toHaveLength(7);
  expect(teardown(NAME)).toBe(true);
  expect(labNamespaces(NAME)).toEqual([]);
  expect(existsSync(join(LABS_DIR, NAME))).toBe(false);
  expect(readFileSync('/proc/self/mounts', 'utf8')).not.toContain(`${LABS_DIR}/${NAME}/`);
  expect(teardown(NAME)).toBe(false);
});
