// A lab whose agents learn of each other from Kafka. What the overlay carries is proved by lab.test.ts, whatever the
// bus; here is what only a broker can do to it.
import { randomBytes } from 'node:crypto';
import { logTail } from './agents';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { labLayout, PLAIN_SHAPE } from './layout';
import { busOutage } from './proofs/outage';
import { reachUnseen } from './proofs/reach';
import { teardown } from './teardown';

const NAME = `k${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 180_000;
let context: Context | undefined;

beforeAll(async () => {
  try {
    context = new Context(await bringUp(NAME, 3, 1, () => undefined, { ...PLAIN_SHAPE, bus: 'kafka' }));
  } catch (error) {
    const logs = labLayout(NAME, 3, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
    throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause: error });
  }
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

test.each([reachUnseen, busOutage].map((proof) => [proof.name, proof] as const))(
  '%s',
  async (_name, proof) => {
    if (context === undefined) throw new Error('there is no lab');
    const { ok, detail } = await prove(context, proof);
    expect({ ok, detail }).toEqual({ ok: true, detail });
  },
  TIMEOUT_MS,
);
