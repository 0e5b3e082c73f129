// Bad cables under a lab of two nodes with real agents: loss, copies, altered bits, another order, pulled cables.
// The same proofs again and again, and faults of the machines: scripts/lab faults.
import { randomBytes } from 'node:crypto';
import { logTail } from './agents';
import { Context, prove } from './context';
import { WIRE_FAULTS } from './faults/wire';
import { bringUp } from './lab';
import { labLayout } from './layout';
import { teardown } from './teardown';

const NAME = `w${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 180_000;
let context: Context | undefined;

beforeAll(async () => {
  try {
    context = new Context(await bringUp(NAME, 2, 1, () => undefined));
  } catch (error) {
    const logs = labLayout(NAME, 2, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
  }
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

test.each(WIRE_FAULTS.map((proof) => [proof.name, proof] as const))(
  '%s',
  async (_name, proof) => {
    if (context === undefined) throw new Error('there is no lab');
    const { ok, detail } = await prove(context, proof);
    expect({ ok, detail }).toEqual({ ok: true, detail });
  },
  TIMEOUT_MS,
);
