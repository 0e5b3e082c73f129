// Proofs that forged input is refused, each with its reason. A forgery counts as refused when nothing reached the
// victim's socket, the counter of exactly that reason rose by what was sent, and an honest datagram sent afterwards
// arrived.
import { randomBytes } from 'node:crypto';
import { drops, risen } from '../api';
import { until } from '../command';
import { expectNone, type ProofOf } from '../context';
import { alteredEspForgeries, replayed } from './altered';
import { BARE_FORGERIES } from './bare';
import { PLAIN_FORGERIES, spoofingPod } from './clear';
import { type Forgery, honestDatagram, listen, received, SETTLE_TIMEOUT_MS } from './sink';

export const refused = (forgery: Forgery): ProofOf => ({
  name: `forged: ${forgery.name}`,
  body: async (context) => {
    await listen(context);
    await honestDatagram(context);
    const at = forgery.at(context);
    const before = await drops(at);
    const tag = Buffer.concat([Buffer.from('forged-'), randomBytes(40)]);
    const sent = await forgery.send(context, tag);
    let seen = 0;
    await until(
      `${forgery.reason} rises by ${sent} on ${at.name}`,
      SETTLE_TIMEOUT_MS,
      async () => {
        seen = risen(before, await drops(at)).get(forgery.reason) ?? 0;
        return seen >= sent ? true : undefined;
      },
      () => `It rose by ${seen}.`,
    );
    await honestDatagram(context);
    const arrived = (await received(context)).filter((payload) => payload.includes(tag.toString('latin1')));
    expectNone(
      `of ${sent} forgeries arrived`,
      arrived.map((payload) => `${payload.length} B`),
    );
    return `${sent} sent, 0 arrived, ${forgery.reason} +${seen}`;
  },
});

export const FORGERIES: readonly ProofOf[] = [
  ...PLAIN_FORGERIES,
  ...BARE_FORGERIES,
  spoofingPod,
  ...alteredEspForgeries,
  replayed,
].map(refused);
