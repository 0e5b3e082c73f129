// A lab whose agents learn of each other from Kafka. What the overlay carries is proved by lab.test.ts, whatever the
// bus; here is what only a broker can do to it.
import { randomBytes } from 'node:crypto';
import { logTail, vxsealArgv } from './agents';
import { killBroker, startBroker } from './broker';
import { start, until } from './command';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { labLayout, PLAIN_SHAPE } from './layout';
import { busOutage } from './proofs/outage';
import { reachUnseen } from './proofs/reach';
import { teardown } from './teardown';

const NAME = `k${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 180_000;
const STATUS_MS = 30_000;
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

test(
  'Kafka down: `vxseal status` says so, why, and what to do; and that all is well when it is back',
  async () => {
    if (context === undefined) throw new Error('there is no lab');
    const { lab } = context;
    const says = async (status: number, ...patterns: readonly RegExp[]): Promise<void> => {
      for (const node of lab.nodes) {
        let text = '';
        await until(
          `status of ${node.name}`,
          STATUS_MS,
          async () => {
            const said = await start(vxsealArgv(node, ['status']));
            text = said.stdout;
            const all = said.status === status && patterns.every((pattern) => pattern.test(text));
            return all ? true : undefined;
          },
          () => text,
          500,
        );
      }
    };
    await says(0, /bus +kafka: in sync/);
    killBroker(lab);
    await says(
      1,
      /bus +kafka: not connected, .*last seen/,
      /bus: .*\d+\.\d+\.\d+\.\d+:\d+/,
      /-> check that it can be reached; what stands goes on/,
      /PEERS {2}2 of 2 up/,
    );
    startBroker(lab);
    await says(0, /bus +kafka: in sync/);
  },
  TIMEOUT_MS,
);
