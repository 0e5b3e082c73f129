// Proofs on bad cables between nodes 1 and 2: each fault alone, all at once, a cable that is pulled, and one that lets
// nothing through whole. Each counts the fault that was made beside the counter that must have seen it.
import { waitAllUp } from '../agents';
import { drops, risen, status } from '../api';
import { attachments, replaced } from '../attachments';
import { inNetns, ipBatch, run, until } from '../command';
import { type Context, expectNone, type ProofOf } from '../context';
import { Cable, type Chances } from './cable';
import { type Outcome, trafficOver } from './traffic';

const STALL_MS = 30_000;
const RECOVERY_MS = 60_000;
const FLAPS = 10;
const ATTEMPTS = 3;
/** Reasons that a bad cable may make rise. Any other would be traffic that we made wrong, or took for something else. */
const OF_THE_CABLE = ['bad_icv', 'replay'];

async function withCables<T>(
  context: Context,
  body: (cables: readonly [Cable, Cable]) => Promise<T>,
): Promise<T> {
  const cables = [Cable.to(context.lab, context.node(1)), Cable.to(context.lab, context.node(2))] as const;
  try {
    return await body(cables);
  } finally {
    for (const cable of cables) cable.mend();
  }
}

/** What must hold whatever the cable does. */
function expectSound({ tally, brokenStreams, numbered, echoed, leaks, dropped }: Outcome): void {
  expectNone('frames in clear', leaks);
  expectNone('streams did not come back whole', brokenStreams);
  if (tally.failed > 0) throw new Error(`${tally.failed} faults could not be made`);
  const received = numbered.altered + numbered.twice + echoed.duplicates;
  if (received > 0)
    throw new Error(
      `${numbered.altered} datagrams arrived altered, ${numbered.twice} + ${echoed.duplicates} twice`,
    );
  const strange = [...dropped].filter(([reason]) => !OF_THE_CABLE.includes(reason));
  expectNone(
    'reasons rose that have nothing to do with it',
    strange.map(([reason, by]) => `${reason} by ${by}`),
  );
}

const rose = ({ dropped }: Outcome, reason: string): number => dropped.get(reason) ?? 0;
const missing = ({ numbered, echoed }: Outcome): number => numbered.missing + echoed.lost;

function expectSame(what: string, counted: number, made: number): void {
  if (made === 0) throw new Error(`the cable did nothing: ${what} was not tried`);
  if (counted !== made) throw new Error(`${what}: ${counted} counted, ${made} made`);
}

function expectNothingMissing(outcome: Outcome): void {
  const { numbered, echoed, counted } = outcome;
  if (missing(outcome) > 0)
    throw new Error(`${numbered.missing} + ${echoed.lost} datagrams did not arrive; counted: ${counted}`);
}

const excused = (outcome: Outcome): boolean =>
  outcome.tally.lost + outcome.tally.altered === 0 && missing(outcome) > 0 && outcome.overflown > 0;

const overBadCables = (name: string, chances: Chances, judge: (outcome: Outcome) => string): ProofOf => ({
  name,
  body: (context) =>
    withCables(context, async (cables) => {
      let outcome = await trafficOver(context, cables, chances);
      // What a busy machine has no room for is lost whatever the cable does: then once more.
      for (let again = 1; again < ATTEMPTS && excused(outcome); again++)
        outcome = await trafficOver(context, cables, chances);
      expectSound(outcome);
      const judged = judge(outcome);
      await waitAllUp(context.lab, RECOVERY_MS);
      return `${outcome.tally.seen} packets, ${judged}; streams whole, 0 frames in clear`;
    }),
});

const lossy = overBadCables('3 % of the packets are lost', { lose: 0.03 }, (outcome) => {
  const { lost } = outcome.tally;
  if (lost === 0) throw new Error('the cable lost nothing');
  // Each datagram and each echo is one packet; the rest of what was lost belonged to streams and probes.
  if (missing(outcome) === 0 || missing(outcome) > lost)
    throw new Error(`${missing(outcome)} datagrams are missing, ${lost} packets were lost`);
  expectSame('drops beside them', outcome.dropped.size + 1, 1);
  return `${lost} lost, ${missing(outcome)} of them datagrams`;
});

const copied = overBadCables('every fifth packet comes twice', { copy: 0.2 }, (outcome) => {
  expectSame('replay', rose(outcome, 'replay'), outcome.tally.copied);
  expectNothingMissing(outcome);
  return `${outcome.tally.copied} copies, as many counted as replay`;
});

const altered = overBadCables('in 3 % of the packets one bit is turned', { alter: 0.03 }, (outcome) => {
  expectSame('bad_icv', rose(outcome, 'bad_icv'), outcome.tally.altered);
  if (missing(outcome) === 0 || missing(outcome) > outcome.tally.altered)
    throw new Error(`${missing(outcome)} datagrams are missing, ${outcome.tally.altered} were altered`);
  return `${outcome.tally.altered} altered, as many counted as bad_icv`;
});

const heldBack = overBadCables(
  'a third of the packets is held back and overtaken',
  { hold: 1 / 3 },
  (outcome) => {
    const { tally, numbered } = outcome;
    if (tally.held === 0 || numbered.overtaken === 0) throw new Error('the cable kept the order');
    expectNone(
      'reasons rose',
      [...outcome.dropped].map(([reason, by]) => `${reason} by ${by}`),
    );
    expectNothingMissing(outcome);
    return `${tally.held} held back, ${numbered.overtaken} numbered datagrams overtaken, none missing`;
  },
);

const allAtOnce = overBadCables(
  'loss, copies, altered bits and another order at once',
  { lose: 0.01, alter: 0.01, copy: 0.1, hold: 0.2 },
  (outcome) => {
    const { tally } = outcome;
    expectSame('bad_icv', rose(outcome, 'bad_icv'), tally.altered);
    expectSame('replay', rose(outcome, 'replay'), tally.copied);
    if (outcome.numbered.overtaken === 0) throw new Error('the cable kept the order');
    return `${tally.lost} lost, ${tally.altered} altered, ${tally.copied} copied, ${tally.held} held back`;
  },
);

const carrier = (context: Context, up: boolean): void =>
  ipBatch(context.lab.wireNetns, [`link set ${context.node(2).name} ${up ? 'up' : 'down'}`]);

/** Node 1 has told that it misses node 2. @returns in which words */
async function told(context: Context): Promise<string> {
  const [node, peer] = [context.node(1), context.node(2).name];
  return await until(`${node.name} says that ${peer} is stalled`, STALL_MS, async () => {
    const view = (await status(node)).peers.find((candidate) => candidate.node === peer);
    if (view?.state !== 'stalled') return undefined;
    if (view.remedy === '') throw new Error(`no remedy for: ${view.why}`);
    return view.why;
  });
}

const PULLED_PORT = 7083;

/** Pulled and put back in ten times, then pulled until it is missed. */
const pulled: ProofOf = {
  name: 'a cable is pulled again and again, then for long',
  body: async (context) => {
    const before = attachments(context.node(2));
    const [one, two] = [context.pod(1), context.pod(2)];
    await context.endpoint(two.netns).echo(PULLED_PORT);
    const stream = context
      .endpoint(one.netns)
      .exchange('tcp', two.address, PULLED_PORT, context.payload(8 << 20), STALL_MS);
    for (let round = 0; round < FLAPS; round++)
      for (const up of [false, true]) {
        carrier(context, up);
        const state = up ? 'LOWER_UP' : 'NO-CARRIER';
        await until(`eth0 of node2 is ${state}`, STALL_MS, () =>
          flagsOf(context).includes(state) ? true : undefined,
        );
      }
    if (!(await stream)) throw new Error('the stream did not come back whole');
    carrier(context, false);
    const why = await told(context).finally(() => carrier(context, true));
    await waitAllUp(context.lab, RECOVERY_MS);
    expectNone('programs were detached', replaced(before, attachments(context.node(2))));
    return `${FLAPS} times, a stream of 8 MiB whole; then told: ${why}`;
  },
};

function flagsOf(context: Context): readonly string[] {
  const [link] = JSON.parse(
    run(inNetns(context.node(2).netns, ['ip', '-j', 'link', 'show', 'dev', 'eth0'])),
  ) as { flags: string[] }[];
  return link?.flags ?? [];
}

/** Nothing arrives as it was sent: nothing may be taken for it, and the peer is named. */
const nothingWhole: ProofOf = {
  name: 'no packet arrives as it was sent',
  body: (context) =>
    withCables(context, async (cables) => {
      const before = await drops(context.node(1));
      for (const cable of cables) cable.set({ alter: 1 });
      const why = await told(context);
      const answered = await context
        .endpoint(context.pod(1).netns)
        .exchange('udp', context.pod(2).address, PULLED_PORT, context.payload(500), 1000);
      if (answered) throw new Error('an altered datagram was answered');
      for (const cable of cables) cable.set({});
      await waitAllUp(context.lab, RECOVERY_MS);
      const bad = risen(before, await drops(context.node(1))).get('bad_icv') ?? 0;
      expectSame('bad_icv on node1', bad, cables[0].tally().altered);
      return `${bad} packets refused as bad_icv; told: ${why}`;
    }),
};

export const WIRE_FAULTS: readonly ProofOf[] = [
  lossy,
  copied,
  altered,
  heldBack,
  allAtOnce,
  pulled,
  nothingWhole,
];
