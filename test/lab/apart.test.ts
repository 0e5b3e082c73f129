// A lab of two tenants whose pods have the same addresses: what keeps them apart, and that both reach their own.
import { randomBytes } from 'node:crypto';
import { logTail } from './agents';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { type LabShape, labLayout, PLAIN_SHAPE } from './layout';
import { TENANT_PROOFS } from './proofs/all';
import { reachUnseen } from './proofs/reach';
import { teardown } from './teardown';

const NAME = `a${randomBytes(3).toString('hex')}`;
const SHAPE: LabShape = { ...PLAIN_SHAPE, tenants: 2, overlay: [4, 6], underlay: [4, 6] };
const TIMEOUT_MS = 180_000;
let context: Context | undefined;

beforeAll(async () => {
  const lab = await bringUp(NAME, 2, 1, () => undefined, SHAPE).catch((cause: unknown) => {
    const logs = labLayout(NAME, 2, 1, SHAPE).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause });
  });
  context = new Context(lab);
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

test.each([...TENANT_PROOFS, reachUnseen].map((proof) => [proof.name, proof] as const))(
  '%s',
  async (_name, proof) => {
    if (context === undefined) throw new Error('there is no lab');
    const { ok, detail } = await prove(context, proof);
    expect({ ok, detail }).toEqual({ ok: true, detail });
  },
  TIMEOUT_MS,
);
