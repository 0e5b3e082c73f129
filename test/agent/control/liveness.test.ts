import { Prober, SMALL_FRAME_BYTES } from '../../../agent/control/liveness';
import type { PeerNumber } from '../../../agent/core/ids';
import type { ProbeReply } from '../../../agent/ports';
import { ManualClock } from '../../fakes/clock';

const peer = 7 as PeerNumber;
const intervalMs = 2000;
const timeoutMs = 15_000;
const mtuBytes = 1408;

/** A far end that answers frames for which `answers` holds, after `delayMs`. */
function bench(): {
  clock: ManualClock;
  prober: Prober;
  sent: { peer: PeerNumber; id: bigint; bytes: number }[];
  far: { answers: (bytes: number) => boolean; delayMs: number; breaks: boolean };
  reply: (reply: ProbeReply) => void;
  failures: unknown[];
} {
  const clock = new ManualClock();
  const sent: { peer: PeerNumber; id: bigint; bytes: number }[] = [];
  const far = { answers: (_bytes: number): boolean => true, delayMs: 1, breaks: false };
  const failures: unknown[] = [];
  let listener: (reply: ProbeReply) => void = () => {};
  const datapath = {
    onProbeReply: (take: (reply: ProbeReply) => void): void => {
      listener = take;
    },
    sendProbe: (to: PeerNumber, id: bigint, bytes: number): void => {
      if (far.breaks) throw new Error('no buffer');
      sent.push({ peer: to, id, bytes });
      const sentNs = clock.monotonicNs();
      if (!far.answers(bytes)) return;
      clock.after(far.delayMs, () =>
        listener({ peer: to, id, sentNs, receivedNs: clock.monotonicNs(), bytes }),
      );
    },
  };
  const prober = new Prober(clock, datapath, { intervalMs, timeoutMs }, (_, error) => failures.push(error));
  prober.start();
  return { clock, prober, sent, far, failures, reply: (reply) => listener(reply) };
}

test('1 a new peer is probed at once, small and full, and then at every interval', async () => {
  const { clock, prober, sent } = bench();
  prober.watch([peer], mtuBytes);
  expect(sent.map((probe) => probe.bytes)).toEqual([SMALL_FRAME_BYTES, 14 + mtuBytes]);
  await clock.advance(3 * intervalMs);
  expect(sent).toHaveLength(8);
  expect(new Set(sent.map((probe) => probe.id)).size).toBe(8);
});

test('2 verdicts: new, then answers, with round trip and no loss', async () => {
  const { clock, prober, far } = bench();
  far.delayMs = 4;
  prober.watch([peer], mtuBytes);
  expect(prober.of(peer)).toMatchObject({ verdict: 'new', rttMs: -1, loss: -1 });
  await clock.advance(4);
  expect(prober.of(peer)).toMatchObject({ verdict: 'answers', rttMs: 4, loss: 0 });
  far.delayMs = 12;
  await clock.advance(intervalMs + 12);
  expect(prober.of(peer)?.rttMs).toBeCloseTo(4 + 8 / 8);
});

test.each([
  ['3 never answered, one millisecond before the limit', timeoutMs - 1, 'new'],
  ['4 never answered, at the limit', timeoutMs, 'silent'],
])('%s', async (_, afterMs, verdict) => {
  const { clock, prober, far } = bench();
  far.answers = () => false;
  prober.watch([peer], mtuBytes);
  const startedMs = clock.nowMs();
  await clock.advance(afterMs);
  expect(prober.of(peer)?.verdict).toBe(verdict);
  expect(prober.of(peer)?.sinceMs).toBe(startedMs);
});

test('5 an answering peer that falls silent: at the limit counted from the first lost probe, and back at once', async () => {
  const { clock, prober, far } = bench();
  prober.watch([peer], mtuBytes);
  await clock.advance(intervalMs - 1);
  far.answers = () => false;
  await clock.advance(1 + timeoutMs - 1);
  expect(prober.of(peer)?.verdict).toBe('answers');
  await clock.advance(1);
  expect(prober.of(peer)?.verdict).toBe('silent');
  far.answers = () => true;
  await clock.advance(intervalMs);
  expect(prober.of(peer)?.verdict).toBe('answers');
});

test('6 small probes answered, full ones not: small-only, then well again', async () => {
  const { clock, prober, far } = bench();
  far.answers = (bytes) => bytes < 1000;
  prober.watch([peer], mtuBytes);
  await clock.advance(timeoutMs - 1);
  expect(prober.of(peer)?.verdict).toBe('answers');
  await clock.advance(1);
  expect(prober.of(peer)).toMatchObject({ verdict: 'small-only', loss: 0 });
  far.answers = () => true;
  await clock.advance(intervalMs + 1);
  expect(prober.of(peer)?.verdict).toBe('answers');
});

test('7 loss is the share of unanswered small probes over the last twenty', async () => {
  const { clock, prober, far } = bench();
  let small = 0;
  far.answers = (bytes) => bytes > 1000 || small++ % 4 !== 0;
  prober.watch([peer], mtuBytes);
  await clock.advance(40 * intervalMs);
  expect(prober.of(peer)?.loss).toBeCloseTo(0.25, 1);
});

test('8 answers to unknown ids, to another peer, and given twice are not taken', async () => {
  const { clock, prober, sent, far, reply } = bench();
  far.answers = () => false;
  prober.watch([peer], mtuBytes);
  const first = sent[0];
  if (first === undefined) throw new Error('nothing was sent');
  const good = { peer, id: first.id, sentNs: 0n, receivedNs: 2_000_000n, bytes: SMALL_FRAME_BYTES };
  reply({ ...good, id: first.id - 1n });
  reply({ ...good, peer: 8 as PeerNumber });
  expect(prober.of(peer)?.verdict).toBe('new');
  reply(good);
  reply({ ...good, receivedNs: 90_000_000n });
  expect(prober.of(peer)?.rttMs).toBe(2);
  await clock.advance(0);
});

test('9 a probe that cannot be sent is reported and counts as unanswered', async () => {
  const { clock, prober, far, failures } = bench();
  far.breaks = true;
  prober.watch([peer], mtuBytes);
  await clock.advance(timeoutMs);
  expect(failures.length).toBeGreaterThan(2);
  expect(prober.of(peer)?.verdict).toBe('silent');
});

test('10 a peer no longer watched is forgotten; stop() leaves no timer', async () => {
  const { clock, prober, sent } = bench();
  prober.watch([peer], mtuBytes);
  prober.watch([], mtuBytes);
  expect(prober.of(peer)).toBeUndefined();
  prober.stop();
  await clock.advance(10 * intervalMs);
  expect(sent).toHaveLength(2);
  expect(clock.pending).toBe(0);
});

test('11 a probe that is asked for: of that size, answered once, by that peer, and not after it was given up', async () => {
  const { clock, prober, sent, far, reply } = bench();
  far.answers = () => false;
  const rtts: number[] = [];
  const giveUp = prober.ask(peer, 700, (rttMs) => rtts.push(rttMs));
  const [first] = sent;
  if (first === undefined) throw new Error('nothing was sent');
  expect(first).toMatchObject({ peer, bytes: 700 });
  const answer = { peer, id: first.id, sentNs: 0n, receivedNs: 3_000_000n, bytes: 700 };
  reply({ ...answer, peer: 8 as PeerNumber });
  expect(rtts).toEqual([]);
  reply(answer);
  reply(answer);
  expect(rtts).toEqual([3]);
  giveUp();
  prober.ask(peer, 700, (rttMs) => rtts.push(rttMs))();
  reply({ ...answer, id: sent[1]?.id ?? 0n });
  expect(rtts).toEqual([3]);
  await clock.advance(0);
});

test('12 unanswered it changes nothing of what is said of the peer; answered it ends silence', async () => {
  const { clock, prober, far } = bench();
  prober.watch([peer], mtuBytes);
  await clock.advance(2);
  const before = prober.of(peer);
  far.answers = () => false;
  for (const bytes of [SMALL_FRAME_BYTES, 14 + mtuBytes]) prober.ask(peer, bytes, () => undefined);
  expect(prober.of(peer)).toEqual(before);
  await clock.advance(2 * timeoutMs);
  expect(prober.of(peer)?.verdict).toBe('silent');
  far.answers = () => true;
  prober.ask(peer, 700, () => undefined);
  await clock.advance(1);
  expect(prober.of(peer)?.verdict).toBe('silent');
  prober.ask(peer, SMALL_FRAME_BYTES, () => undefined);
  await clock.advance(1);
  expect(prober.of(peer)?.verdict).toBe('small-only');
});
