// The rules of docs/keys.md §4 one by one. Interleavings are rotation-model.test.ts'.
import {
  type EpochBook,
  lifeMs,
  noteEpochs,
  type OwnEpoch,
  type SeenEpoch,
} from '../../../agent/core/epochs';
import type { IpAddress, NodeName, PeerNumber, Spi, Vni } from '../../../agent/core/ids';
import type { DerivedSa } from '../../../agent/core/keyschedule';
import type { FoundRxSa, FoundTxSa, RotationInput } from '../../../agent/core/pairs';
import { type Rotation, rotate } from '../../../agent/core/rotation';

const TIMING = { idleMs: 10, hardLimitMs: 1_000, stalemateMs: 100, rotateMs: 1_000_000, silentMs: 100_000 };
const ms = (n: number): bigint => BigInt(n) * 1_000_000n;
const NOW = ms(1_000_000);
const ME = 'me' as NodeName;
const LIFE_MS = lifeMs(ME, 7, TIMING);
const PEER = 3 as PeerNumber;
const SOURCE = '192.0.2.3' as IpAddress;
const VNI = 42 as Vni;

/** Keys by name: "me2>you1/42". */
const names: string[] = [];
function derived(name: string, vni: Vni): DerivedSa {
  if (!names.includes(name)) names.push(name);
  const spi = (256 + names.indexOf(name)) as Spi;
  return { vni, spi, key: new Uint8Array(32), salt: new Uint8Array(4), fingerprint: name };
}
const secrets: RotationInput['secrets'] = {
  tx: (ours, theirs, vnis) =>
    vnis.map((vni) => derived(`me${ours.epoch.number}>you${theirs.epoch.number}/${vni}`, vni)),
  rx: (ours, theirs, vnis) =>
    vnis.map((vni) => derived(`you${theirs.epoch.number}>me${ours.epoch.number}/${vni}`, vni)),
};
const nameOf = (spi: Spi): string => names[spi - 256] ?? '?';

/** Ages in milliseconds; undefined: not published, or not superseded. */
const own = (number: number, publishedAgo?: number, supersededAgo?: number): OwnEpoch => ({
  number,
  publicKey: Uint8Array.of(1, number),
  secretKey: new Uint8Array(32),
  publishedNs: publishedAgo === undefined ? undefined : NOW - ms(publishedAgo),
  supersededNs: supersededAgo === undefined ? undefined : NOW - ms(supersededAgo),
});
const seen = (number: number, supersededAgo?: number, firstAgo = 500): SeenEpoch => ({
  number,
  publicKey: Uint8Array.of(2, number),
  firstSeenNs: NOW - ms(firstAgo),
  supersededNs: supersededAgo === undefined ? undefined : NOW - ms(supersededAgo),
  psk: '',
});
const rx = (name: string, packets = 0, openedAgo?: number): FoundRxSa => ({
  vni: Number(name.split('/')[1]) as Vni,
  peer: PEER,
  spi: derived(name, VNI).spi,
  source: SOURCE,
  fingerprint: name,
  packets: BigInt(packets),
  lastOpenedNs: openedAgo === undefined ? 0n : NOW - ms(openedAgo),
});
const tx = (name: string, sequence = 1n): FoundTxSa => ({
  vni: Number(name.split('/')[1]) as Vni,
  peer: PEER,
  fingerprint: name,
  sequence,
  limit: 800n,
});

interface Situation {
  readonly own: readonly OwnEpoch[];
  readonly seen: readonly SeenEpoch[];
  readonly rx?: readonly FoundRxSa[];
  readonly tx?: readonly FoundTxSa[];
  readonly installed?: readonly string[];
  readonly vnis?: readonly number[];
  readonly startedAgo?: number;
}

function choose(situation: Situation): Rotation {
  const { rx: foundRx = [], tx: foundTx = [] } = situation;
  return rotate({
    node: ME,
    nowNs: NOW,
    startedNs: NOW - ms(situation.startedAgo ?? 500),
    own: situation.own,
    peers: [
      {
        node: 'you' as NodeName,
        number: PEER,
        source: SOURCE,
        vnis: (situation.vnis ?? [42]) as Vni[],
        epochs: situation.seen,
      },
    ],
    rx: foundRx,
    tx: foundTx,
    installed: new Set(situation.installed ?? []),
    psk: '',
    packetLimit: 800n,
    timing: TIMING,
    secrets,
  });
}

const rxOf = (rotation: Rotation): string[] => rotation.rxSas.map((sa) => nameOf(sa.spi)).sort();
const txOf = (rotation: Rotation): string[] => [
  ...rotation.txSas.map((sa) => nameOf(sa.spi)),
  ...rotation.keptTxSas.map((sa) => `kept ${sa.fingerprint}`),
];

describe('R1: receive first, then publish', () => {
  test('every pair in every VNI is installed; published only when all are read back', () => {
    const situation = { own: [own(2), own(1, 50)], seen: [seen(1)], vnis: [7, 42] };
    const all = ['you1>me1/42', 'you1>me1/7', 'you1>me2/42', 'you1>me2/7'];
    const rotation = choose({ ...situation, rx: all.slice(0, 3).map((name) => rx(name)) });
    expect(rxOf(rotation)).toEqual(all);
    expect(rotation.readyToPublish).toBe(false);
    expect(rotation.announce?.epoch.number).toBe(1);
    const later = choose({ ...situation, rx: all.map((name) => rx(name)) });
    expect(later.readyToPublish).toBe(true);
    expect(later.announce).toMatchObject({ epoch: { number: 2 }, olderEpochs: [{ number: 1 }] });
  });

  test('what is missing under an older epoch does not hold the newest back', () => {
    expect(
      choose({ own: [own(2), own(1, 50)], seen: [seen(1)], rx: [rx('you1>me2/42')] }).readyToPublish,
    ).toBe(true);
  });

  test('a record never holds a secret', () => {
    const { announce } = choose({ own: [own(2, 10), own(1, 50, 10)], seen: [seen(1)] });
    expect(JSON.stringify(announce)).not.toContain('secretKey');
  });

  test('without any epoch one is wished for', () => {
    const rotation = choose({ own: [], seen: [seen(1)] });
    expect(rotation).toMatchObject({ wish: 'first', readyToPublish: false, announce: undefined });
    expect(rotation.peers[0]).toMatchObject({ state: 'no-key', why: 'our own epoch is not published yet' });
  });
});

/** [number, why, situation, expected tx] */
const SENDING: readonly (readonly [number, string, Situation, readonly string[]])[] = [
  [
    1,
    'R3: nobody can know an unpublished epoch',
    { own: [own(1)], seen: [seen(1)], rx: [rx('you1>me1/42')] },
    [],
  ],
  [2, 'R2: not before we can open the answer', { own: [own(1, 9)], seen: [seen(1)] }, []],
  [
    3,
    'R3: bootstrap at once',
    { own: [own(1, 9)], seen: [seen(1)], rx: [rx('you1>me1/42')] },
    ['me1>you1/42'],
  ],
  [
    4,
    'R3: of two published the older one: who knows the newer knows it too',
    { own: [own(2, 9), own(1, 50, 9)], seen: [seen(1)], rx: [rx('you1>me1/42'), rx('you1>me2/42')] },
    ['me1>you1/42'],
  ],
  [
    5,
    'R2: no proof of the newer, stay',
    {
      own: [own(2, 9), own(1, 50, 9)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 5, 1), rx('you1>me2/42')],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me1>you1/42'],
  ],
  [
    6,
    'R2: one packet is proof',
    {
      own: [own(2, 9), own(1, 50, 9)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 5, 1), rx('you1>me2/42', 1, 0)],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me2>you1/42'],
  ],
  [
    7,
    "R2: the peer's new epoch at once, without proof of it",
    {
      own: [own(1, 50)],
      seen: [seen(2), seen(1, 5)],
      rx: [rx('you1>me1/42', 5, 1), rx('you2>me1/42')],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me1>you2/42'],
  ],
  [
    8,
    "R2: not the peer's new epoch while we cannot open it",
    {
      own: [own(1, 50)],
      seen: [seen(2), seen(1, 5)],
      rx: [rx('you1>me1/42', 5, 1)],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me1>you1/42'],
  ],
  [
    9,
    'R4: what a former process installed goes on without proof',
    { own: [own(2, 9)], seen: [seen(1, undefined, 9)], rx: [rx('you1>me2/42')], tx: [tx('old/42')] },
    ['kept old/42'],
  ],
  [
    10,
    'R4: until the proof',
    { own: [own(2, 9)], seen: [seen(1)], rx: [rx('you1>me2/42', 1, 0)], tx: [tx('old/42')] },
    ['me2>you1/42'],
  ],
  [
    11,
    'both restarted: not before the stalemate time, seen from the later of the two',
    { own: [own(2, 500)], seen: [seen(1, undefined, 99)], rx: [rx('you1>me2/42')], tx: [tx('old/42')] },
    ['kept old/42'],
  ],
  [
    12,
    'both restarted: then unproven',
    { own: [own(2, 500)], seen: [seen(1, undefined, 100)], rx: [rx('you1>me2/42')], tx: [tx('old/42')] },
    ['me2>you1/42'],
  ],
  [
    13,
    'R5: an adopted SA ends at the hard limit',
    {
      own: [own(2, 9)],
      seen: [seen(1, undefined, 9)],
      rx: [rx('you1>me2/42')],
      tx: [tx('old/42')],
      startedAgo: 1_000,
    },
    ['me2>you1/42'],
  ],
  [
    14,
    'R5: a superseded epoch ends at the hard limit',
    {
      own: [own(2, 1_000), own(1, 2_000, 1_000)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 5, 1), rx('you1>me2/42')],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me2>you1/42'],
  ],
  [
    15,
    'R5: and not a moment before',
    {
      own: [own(2, 999), own(1, 2_000, 999)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 5, 1), rx('you1>me2/42')],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42'],
    },
    ['me1>you1/42'],
  ],
  [
    16,
    'a spent SA is not installed again',
    { own: [own(1, 9)], seen: [seen(1)], rx: [rx('you1>me1/42', 1, 0)], installed: ['me1>you1/42'] },
    [],
  ],
  [
    17,
    'each VNI for itself',
    {
      own: [own(2, 9), own(1, 50, 9)],
      seen: [seen(1)],
      vnis: [7, 42],
      rx: ['you1>me1/42', 'you1>me1/7', 'you1>me2/42', 'you1>me2/7'].map((name) => rx(name, 1, 0)),
      tx: [tx('me2>you1/42'), tx('me1>you1/7')],
      installed: ['me2>you1/42', 'me1>you1/7'],
    },
    ['me2>you1/7', 'me2>you1/42'],
  ],
];

test.each(SENDING)('sending %i: %s', (_, __, situation, expected) => {
  expect(txOf(choose(situation))).toEqual(expected);
});

/** [number, why, situation, SAs to stand, adopted ones to stay] */
const RECEIVING: readonly (readonly [number, string, Situation, readonly string[], readonly string[]])[] = [
  [
    1,
    'an obsolete SA of ours stays while it is used',
    {
      own: [own(2, 50), own(1, 90, 50)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 9, 9), rx('you1>me2/42', 1, 0)],
    },
    ['you1>me1/42', 'you1>me2/42'],
    [],
  ],
  [
    2,
    'and goes when idle',
    {
      own: [own(2, 50), own(1, 90, 50)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 9, 10), rx('you1>me2/42', 1, 0)],
    },
    ['you1>me2/42'],
    [],
  ],
  [
    3,
    'idle alone is no reason',
    { own: [own(2, 50), own(1, 90, 50)], seen: [seen(1)], rx: [rx('you1>me1/42', 9, 99), rx('you1>me2/42')] },
    ['you1>me1/42', 'you1>me2/42'],
    [],
  ],
  [
    4,
    "the same for the peer's epochs",
    {
      own: [own(1, 90)],
      seen: [seen(2), seen(1, 50)],
      rx: [rx('you1>me1/42', 9, 10), rx('you2>me1/42', 1, 0)],
    },
    ['you2>me1/42'],
    [],
  ],
  [
    5,
    'never used: idle since its epoch was superseded',
    { own: [own(2, 9), own(1, 90, 9)], seen: [seen(1)], rx: [rx('you1>me1/42'), rx('you1>me2/42', 1, 0)] },
    ['you1>me1/42', 'you1>me2/42'],
    [],
  ],
  [
    6,
    'an obsolete SA that is not there is not wanted',
    { own: [own(2, 1), own(1, 90, 1)], seen: [seen(1)], rx: [rx('you1>me2/42', 1, 0)] },
    ['you1>me2/42'],
    [],
  ],
  [
    7,
    'the hard limit comes later for rx than for tx',
    { own: [own(2, 1_009), own(1, 5_000, 1_009)], seen: [seen(1)], rx: [rx('you1>me1/42', 9, 0)] },
    ['you1>me1/42', 'you1>me2/42'],
    [],
  ],
  [
    8,
    'and is hard',
    { own: [own(2, 1_010), own(1, 5_000, 1_010)], seen: [seen(1)], rx: [rx('you1>me1/42', 9, 0)] },
    ['you1>me2/42'],
    [],
  ],
  [
    9,
    'R4: SAs of a former process stay',
    { own: [own(2, 9)], seen: [seen(1)], rx: [rx('old/42', 9, 400)], startedAgo: 500 },
    ['you1>me2/42'],
    ['old/42'],
  ],
  [
    10,
    'R5: until the peer sends under ours and they are idle',
    {
      own: [own(2, 9)],
      seen: [seen(1)],
      rx: [rx('old/42', 9, 10), rx('older/42', 9, 9), rx('you1>me2/42', 1, 0)],
    },
    ['you1>me2/42'],
    ['older/42'],
  ],
  [
    11,
    'R5: or until the hard limit',
    { own: [own(2, 9)], seen: [seen(1)], rx: [rx('old/42', 9, 0)], startedAgo: 1_010 },
    ['you1>me2/42'],
    [],
  ],
  [
    12,
    'what this process installed under an epoch it forgot is not adopted',
    { own: [own(2, 9)], seen: [seen(1)], rx: [rx('old/42', 9, 0)], installed: ['old/42'] },
    ['you1>me2/42'],
    [],
  ],
  [
    13,
    'a used SA that vanished is spent: replays would pass',
    { own: [own(2, 9)], seen: [seen(1)], installed: ['you1>me2/42'] },
    [],
    [],
  ],
  [
    14,
    'under an epoch nobody knows yet it may come back',
    { own: [own(2)], seen: [seen(1)], installed: ['you1>me2/42'] },
    ['you1>me2/42'],
    [],
  ],
];

test.each(RECEIVING)('receiving %i: %s', (_, __, situation, expected, kept) => {
  const rotation = choose(situation);
  expect(rxOf(rotation)).toEqual(expected);
  expect(rotation.keptRxSas.map((sa) => sa.fingerprint)).toEqual(kept);
});

describe('R6: a peer that is off holds no old epoch', () => {
  const LONG_AGO = TIMING.silentMs;
  /** It proved epoch 1 and was heard last that long ago; epoch 3 is our newest published one, 4 is pending. */
  const heard = (openedAgo: number, startedAgo = LONG_AGO, firstAgo = LONG_AGO) =>
    choose({
      own: [own(4), own(3, 300), own(2, 600, 300), own(1, 900, 600)],
      seen: [seen(1, undefined, firstAgo)],
      rx: [rx('you1>me1/42', 5, openedAgo), rx('you1>me2/42'), rx('you1>me3/42'), rx('you1>me4/42')],
      tx: [tx('me1>you1/42')],
      installed: ['me1>you1/42', 'you1>me1/42', 'you1>me2/42', 'you1>me3/42', 'you1>me4/42'],
      startedAgo,
    });
  const all = ['you1>me1/42', 'you1>me2/42', 'you1>me3/42', 'you1>me4/42'];

  test.each([
    ['1 heard a moment less than that ago', LONG_AGO - 1, LONG_AGO, LONG_AGO, false],
    ['2 heard that long ago', LONG_AGO, LONG_AGO, LONG_AGO, true],
    ['3 we began less than that ago', LONG_AGO, LONG_AGO - 1, LONG_AGO, false],
    ['4 it came less than that ago', LONG_AGO, LONG_AGO, LONG_AGO - 1, false],
  ] as const)('%s', (_, openedAgo, startedAgo, firstAgo, off) => {
    const rotation = heard(openedAgo, startedAgo, firstAgo);
    expect(rxOf(rotation)).toEqual(off ? all.slice(2) : all);
    expect(txOf(rotation)).toEqual([off ? 'me3>you1/42' : 'me1>you1/42']);
    expect(rotation.retirable).toEqual(off ? [2, 1] : []);
    expect(rotation.laggards).toEqual(off ? [] : ['you']);
  });
});

describe('wishes for a new epoch', () => {
  test.each([
    [1, 599n, 'none'],
    [2, 600n, 'packets'],
    [3, 800n, 'packets'],
  ] as const)('%i: at %i of 800 packets: %s', (_, sequence, wish) => {
    const found = {
      rx: [rx('you1>me1/42', 1, 0)],
      tx: [tx('me1>you1/42', sequence)],
      installed: ['me1>you1/42', 'you1>me1/42'],
    };
    expect(choose({ own: [own(1, 9)], seen: [seen(1)], ...found }).wish).toBe(wish);
    // With a newer epoch on its way there is nothing to wish for.
    expect(choose({ own: [own(2), own(1, 9)], seen: [seen(1)], ...found }).wish).toBe('none');
  });

  test.each([
    [4, LIFE_MS - 1, 'none'],
    [5, LIFE_MS, 'time'],
    [6, LIFE_MS * 10, 'time'],
  ] as const)('%i: %i ms after publication: %s', (_, publishedAgo, wish) => {
    expect(choose({ own: [own(7, publishedAgo)], seen: [seen(1)] }).wish).toBe(wish);
    expect(choose({ own: [own(8), own(7, publishedAgo)], seen: [seen(1)] }).wish).toBe('none');
  });

  test('an epoch lives for half to all of the longest time; 5,000 nodes that began at once spread over it', () => {
    const timing = { ...TIMING, rotateMs: 3_600_000 };
    const lives = Array.from({ length: 5000 }, (_, i) => lifeMs(`node${i}` as NodeName, 1, timing));
    expect(Math.min(...lives)).toBeGreaterThanOrEqual(1_800_000);
    expect(Math.max(...lives)).toBeLessThanOrEqual(3_600_000);
    const perMinute = new Map<number, number>();
    for (const life of lives)
      perMinute.set(Math.floor(life / 60_000), (perMinute.get(Math.floor(life / 60_000)) ?? 0) + 1);
    // 167 on average; the draw is fixed, so this holds for ever or never.
    expect(Math.max(...perMinute.values())).toBeLessThan(230);
    expect(new Set([1, 2, 3].map((number) => lifeMs(ME, number, timing))).size).toBe(3);
  });

  test('spent keys, to receive or to send', () => {
    expect(choose({ own: [own(1, 9)], seen: [seen(1)], installed: ['you1>me1/42'] }).wish).toBe('spent');
    const rotation = choose({
      own: [own(1, 9)],
      seen: [seen(1)],
      rx: [rx('you1>me1/42')],
      installed: ['me1>you1/42', 'you1>me1/42'],
    });
    expect(rotation.wish).toBe('spent');
    expect(rotation.peers[0]?.why).toBe('keys of our epoch are spent: a new epoch is needed');
  });

  test('an SPI that is in use by another key', () => {
    const taken = { ...rx('you1>me1/42', 4, 0), fingerprint: 'other' };
    const rotation = choose({ own: [own(1, 9)], seen: [seen(1)], rx: [taken] });
    expect(rotation.wish).toBe('spi-clash');
    expect(rxOf(rotation)).toEqual([]);
    expect(rotation.keptRxSas).toHaveLength(1);
  });
});

describe('what the status says', () => {
  const installed = ['me2>you1/42', 'me1>you1/42'];
  const epochs = [own(2, 9), own(1, 50, 9)];

  test('up: proven, and both at their newest', () => {
    const rotation = choose({
      own: epochs,
      seen: [seen(1)],
      rx: [rx('you1>me2/42', 1, 0)],
      tx: [tx('me2>you1/42')],
      installed,
    });
    expect(rotation.peers).toEqual([
      {
        node: 'you',
        number: 3,
        state: 'up',
        why: '',
        provenEpoch: 2,
        txEpochs: { ours: 2, theirs: 1 },
        adopted: false,
      },
    ]);
    expect(rotation.laggards).toEqual([]);
    expect(rotation.retirable).toEqual([1]);
  });

  test('a laggard keeps its epoch alive', () => {
    const rotation = choose({
      own: epochs,
      seen: [seen(1)],
      rx: [rx('you1>me1/42', 1, 0), rx('you1>me2/42')],
      tx: [tx('me1>you1/42')],
      installed,
    });
    expect(rotation.peers[0]).toMatchObject({
      state: 'rotating',
      why: 'no packet from it yet under our epoch 2',
      provenEpoch: 1,
    });
    expect(rotation.laggards).toEqual(['you']);
    expect(rotation.retirable).toEqual([]);
  });

  test('adopted keys are named', () => {
    const rotation = choose({
      own: [own(2, 9)],
      seen: [seen(1, undefined, 9)],
      rx: [rx('you1>me2/42')],
      tx: [tx('old/42')],
    });
    expect(rotation.peers[0]).toMatchObject({ state: 'rotating', adopted: true, txEpochs: undefined });
  });
});

describe('noteEpochs', () => {
  const key = (n: number): Uint8Array => Uint8Array.of(n);
  const note = (book: EpochBook, at: number, epoch: number, older: readonly number[] = []): EpochBook =>
    noteEpochs(
      book,
      [
        {
          node: ME,
          epoch: { number: epoch, publicKey: key(epoch) },
          olderEpochs: older.map((number) => ({ number, publicKey: key(number) })),
          suites: [],
        },
      ],
      ms(at),
      TIMING,
    );
  const shown = (book: EpochBook): string[] =>
    (book.get(ME) ?? []).map(
      ({ number, firstSeenNs, supersededNs }) =>
        `${number} ${firstSeenNs / 1_000_000n} ${supersededNs === undefined ? '-' : supersededNs / 1_000_000n}`,
    );

  test('newest first, with the times at which we knew', () => {
    const one = note(new Map(), 10, 1);
    expect(shown(one)).toEqual(['1 10 -']);
    const two = note(one, 20, 2, [1]);
    expect(shown(two)).toEqual(['2 20 -', '1 10 20']);
    expect(shown(note(two, 30, 2, [1]))).toEqual(['2 20 -', '1 10 20']);
  });

  test('an epoch that the record lists no more stays until the hard limit', () => {
    const book = note(note(new Map(), 10, 1), 20, 2);
    expect(shown(note(book, 1_029, 2))).toEqual(['2 20 -', '1 10 20']);
    expect(shown(note(book, 1_030, 2))).toEqual(['2 20 -']);
  });

  test('a latecomer learns older epochs', () => {
    expect(shown(note(new Map(), 50, 4, [3, 2]))).toEqual(['4 50 -', '3 50 50', '2 50 50']);
  });

  test('numbers that begin again are another epoch', () => {
    const book = note(new Map(), 10, 7);
    expect(shown(note(book, 20, 1))).toEqual(['1 20 -', '7 10 20']);
  });

  test('a peer that rotates without end is bounded, one that left is forgotten', () => {
    let book: EpochBook = new Map();
    for (let epoch = 1; epoch <= 50; epoch++) book = note(book, epoch, epoch);
    expect(book.get(ME)).toHaveLength(6);
    expect(noteEpochs(book, [], ms(60), TIMING).size).toBe(0);
  });
});
