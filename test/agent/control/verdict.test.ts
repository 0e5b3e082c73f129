import type { Liveness } from '../../../agent/control/liveness';
import { judgePeer, type PeerFacts } from '../../../agent/control/verdict';
import type { IpAddress, NodeName, PeerNumber } from '../../../agent/core/ids';
import type { Peer } from '../../../agent/core/peers';
import type { RosterNode } from '../../../agent/core/roster';
import type { PeerKeyState } from '../../../agent/core/rotation';

const name = 'node2' as NodeName;
const node: RosterNode = {
  node: name,
  state: 'live',
  why: '',
  record: undefined,
  certificateNotAfterMs: 1,
  duplicateIdentity: false,
};
const peer: Peer = {
  node: name,
  entry: {
    number: 1 as PeerNumber,
    identity: 'aa',
    vtep: '192.0.2.2' as IpAddress,
    local: '192.0.2.1' as IpAddress,
    mac: '02:00:00:00:00:02',
  },
  vnis: [],
  prefixes: [],
  vteps: [],
};
const keys: PeerKeyState = {
  node: name,
  number: 1 as PeerNumber,
  state: 'up',
  why: '',
  provenEpoch: 1,
  txEpochs: { ours: 1, theirs: 1 },
  adopted: false,
};
const liveness: Liveness = { rttMs: 1, loss: 0, verdict: 'answers', sinceMs: 0, lastAnswerMs: 1 };
const well: PeerFacts = {
  node,
  peer,
  keys,
  liveness,
  packetsLeft: 10n,
  lastOpenedAgeMs: 100,
  timeoutMs: 15_000,
  unknownKeys: false,
  ownVteps: ['192.0.2.1' as IpAddress],
  espPort: 4500,
  mtuBytes: 1408,
};

test.each<[string, Partial<PeerFacts>, string, RegExp]>([
  ['1 all well', {}, 'up', /^$/],
  [
    '2 rotating is a note, not a state',
    { keys: { ...keys, state: 'rotating', why: 'moving' } },
    'up',
    /^moving$/,
  ],
  [
    '3 quarantined wins over all',
    { node: { ...node, state: 'quarantined', why: 'clash' }, keys: undefined },
    'quarantined',
    /^clash$/,
  ],
  [
    '4 expired',
    { node: { ...node, state: 'expired', why: 'its lease ended' }, peer: undefined },
    'expired',
    /lease/,
  ],
  [
    '5 no family in common',
    { peer: undefined, keys: undefined },
    'no-route',
    /no VTEP, we have 192\.0\.2\.1/,
  ],
  ['6 no keys known', { keys: undefined }, 'no-key', /derived/],
  [
    '7 rotation says no key, and why',
    { keys: { ...keys, state: 'no-key', why: 'spent' } },
    'no-key',
    /^spent$/,
  ],
  ['8 the key is not in the kernel', { packetsLeft: undefined }, 'no-key', /not installed/],
  ['9 one packet left', { packetsLeft: 1n }, 'up', /^$/],
  ['10 none left', { packetsLeft: 0n }, 'no-key', /packet limit/],
  ['11 not probed yet', { liveness: undefined }, 'no-key', /no probe/],
  ['12 no answer yet', { liveness: { ...liveness, verdict: 'new' } }, 'no-key', /no probe/],
  [
    '13 silent, and its packets come: our direction',
    { liveness: { ...liveness, verdict: 'silent' }, lastOpenedAgeMs: 14_999 },
    'stalled',
    /from here to it/,
  ],
  [
    '14 silent, and its packets came too long ago',
    { liveness: { ...liveness, verdict: 'silent' }, lastOpenedAgeMs: 15_000 },
    'stalled',
    /no packet from it/,
  ],
  [
    '15 silent, never heard',
    { liveness: { ...liveness, verdict: 'silent' }, lastOpenedAgeMs: undefined },
    'stalled',
    /no packet from it/,
  ],
  [
    '17 silent, and it sends under keys that are not ours',
    { liveness: { ...liveness, verdict: 'silent' }, unknownKeys: true },
    'stalled',
    /keys that we do not have/,
  ],
  ['18 such packets beside a tunnel that answers', { unknownKeys: true }, 'up', /^$/],
  ['16 only small probes', { liveness: { ...liveness, verdict: 'small-only' } }, 'mtu', /1408/],
])('%s', (_, change, state, why) => {
  const verdict = judgePeer({ ...well, ...change });
  expect(verdict).toMatchObject({ state, why: expect.stringMatching(why) });
  expect(verdict.remedy === '').toBe(state === 'up');
});
