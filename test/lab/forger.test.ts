// The control of the forgery proofs: on machines without agents, where the node's overlay device is an ordinary
// kernel VXLAN device, the same forgeries by the same code do reach the pod. Without this, a forger that sends
// rubbish would prove that everything is refused.
import { randomBytes } from 'node:crypto';
import { ipBatch, until } from './command';
import { Context } from './context';
import { buildMachines } from './lab';
import { VNI, VXLAN_PORT } from './layout';
import { PLAIN_FORGERIES } from './proofs/clear';
import { listen, received } from './proofs/sink';
import { teardown } from './teardown';

const NAME = `c${randomBytes(3).toString('hex')}`;
let context: Context | undefined;

beforeAll(async () => {
  context = new Context(buildMachines(NAME, 2, 1));
  ipBatch(context.node(2).netns, [
    `link add vxseal0 type vxlan id ${VNI} dstport ${VXLAN_PORT}`,
    'link set vxseal0 up',
  ]);
  await listen(context);
});

afterAll(async () => {
  await context?.close();
  teardown(NAME);
});

test.each(PLAIN_FORGERIES.map((forgery) => [forgery.name, forgery] as const))(
  'nobody refuses it, and it arrives: %s',
  async (_name, forgery) => {
    if (context === undefined) throw new Error('there is no lab');
    const here = context;
    const tag = randomBytes(40);
    const sent = await forgery.send(here, tag);
    const payload = tag.toString('latin1');
    await until(`${sent} forgeries arrive`, 5000, async () =>
      (await received(here)).filter((arrived) => arrived.includes(payload)).length >= sent ? true : undefined,
    );
  },
);
