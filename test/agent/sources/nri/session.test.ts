// One NRI connection without a socket: what is registered and answered, what is taken of pods, and every refusal at its
// limit, whatever pieces the bytes come in.
import type { PodFacts } from '../../../../agent/core/podfacts';
import { MAX_MUX_BYTES, MAX_TTRPC_BYTES } from '../../../../agent/sources/nri/frames';
import { MAX_PODS, NriSession } from '../../../../agent/sources/nri/session';
import { randomBytes, seeded } from '../../core/random';
import {
  asked,
  mux,
  podMessage,
  readSaid,
  registered,
  request,
  stateChange,
  synchronize,
  type TestPod,
  ttrpc,
} from './runtime';

const POD: TestPod = {
  id: 'c0ffee',
  netnsPath: '/run/netns/cni-1',
  labels: { app: 'web', tier: 'front' },
  annotations: { note: 'ä' },
};
const FACTS: PodFacts = {
  sandboxId: 'c0ffee',
  netnsPath: '/run/netns/cni-1',
  name: 'web',
  namespace: 'shop',
  uid: 'uid-1',
  labels: { app: 'web', tier: 'front' },
  annotations: { note: 'ä' },
};

function bench() {
  const sent: Buffer[] = [];
  const synchronized: (readonly PodFacts[])[] = [];
  const started: PodFacts[] = [];
  const refused: string[] = [];
  const session = new NriSession({
    send: (frame) => sent.push(frame),
    synchronized: (pods) => synchronized.push(pods),
    started: (pod) => started.push(pod),
    refused: (reason, detail) => refused.push(`${reason}: ${detail}`),
  });
  session.begin();
  const said = () => readSaid(Buffer.concat(sent));
  return { session, said, synchronized, started, refused };
}

const OPEN = { ok: true, value: 'open' };

test('1 registers on the second connection', () => {
  const { said, session } = bench();
  expect(said()).toHaveLength(1);
  const [{ connection, stream, type, fields } = said()[0] ?? never()] = said();
  expect([connection, stream, type]).toEqual([2, 1, 1]);
  expect([fields.text(1), fields.text(2)]).toEqual(['nri.pkg.api.v1alpha1.Runtime', 'RegisterPlugin']);
  expect([fields.message(3).text(1), fields.message(3).text(2)]).toEqual(['vxseal', '90']);
  expect(session.receive(registered())).toEqual(OPEN);
});

const never = (): never => {
  throw new Error('nothing was said');
};

test('2 asks for started pods only, and answers everything on its stream', () => {
  const { said, session, synchronized, started } = bench();
  const bytes = [
    registered(),
    asked(1, request('Configure', { 2: 'containerd', 3: '2.1.5' })),
    asked(3, synchronize([POD])),
    asked(5, stateChange(1, { ...POD, id: 'next' })),
    asked(7, stateChange(2, POD)),
    asked(9, request('RunPodSandbox', { 1: podMessage({ ...POD, id: 'newer' }) })),
    asked(11, request('CreateContainer', {})),
    asked(13, request('Configure', {}, 'another.Service')),
  ];
  expect(session.receive(Buffer.concat(bytes))).toEqual(OPEN);
  const answers = said().slice(1);
  expect(answers.map(({ connection, stream, type }) => [connection, stream, type])).toEqual(
    [1, 3, 5, 7, 9, 11, 13].map((stream) => [1, stream, 2]),
  );
  expect(answers.map(({ fields }) => fields.message(1).number(1))).toEqual([0, 0, 0, 0, 0, 12, 12]);
  expect(answers[0]?.fields.message(2).number(2)).toBe(1);
  expect(synchronized).toEqual([[FACTS]]);
  expect(started.map(({ sandboxId }) => sandboxId)).toEqual(['next', 'newer']);
});

test('3 a list in parts is one list, and each part is asked for', () => {
  const { said, session, synchronized } = bench();
  session.receive(asked(1, synchronize([POD], true)));
  expect(synchronized).toEqual([]);
  session.receive(asked(3, synchronize([{ ...POD, id: 'other' }])));
  expect(
    said()
      .slice(1)
      .map(({ fields }) => fields.message(2).number(2)),
  ).toEqual([1, 0]);
  expect(synchronized.map((pods) => pods.map(({ sandboxId }) => sandboxId))).toEqual([['c0ffee', 'other']]);
});

test('4 byte by byte and in random pieces it is the same', () => {
  const bytes = Buffer.concat([registered(), asked(1, synchronize([POD])), asked(3, stateChange(1, POD))]);
  for (let seed = 0; seed < 50; seed++) {
    const random = seeded(seed);
    const { session, synchronized, started } = bench();
    for (let at = 0; at < bytes.length; ) {
      const size = seed === 0 ? 1 : 1 + Math.floor(random() * 40);
      expect(session.receive(bytes.subarray(at, at + size))).toEqual(OPEN);
      at += size;
    }
    expect([synchronized, started]).toEqual([[[FACTS]], [FACTS]]);
  }
});

test('5 a ttrpc message may be spread over frames, and frames of other connections are passed over', () => {
  const { session, synchronized } = bench();
  const message = ttrpc(1, 1, synchronize([POD]));
  const bytes = [
    mux(1, message.subarray(0, 3)),
    mux(7, Buffer.from('nobody opened this')),
    mux(1, Buffer.alloc(0)),
    mux(1, message.subarray(3, 40)),
    mux(1, message.subarray(40)),
  ];
  expect(session.receive(Buffer.concat(bytes))).toEqual(OPEN);
  expect(synchronized).toEqual([[FACTS]]);
});

test('6 Shutdown is answered and ends it', () => {
  const { said, session } = bench();
  expect(session.receive(asked(1, request('Shutdown', {})))).toEqual({ ok: true, value: 'over' });
  expect(said()).toHaveLength(2);
});

describe('7 what ends the connection, by reason', () => {
  const many = (count: number): TestPod[] => Array.from({ length: count }, (_, i) => ({ id: `p${i}` }));
  const padded = (size: number): Buffer => {
    const bare = request('CreateContainer', Buffer.alloc(0), '');
    const body = Buffer.concat([bare, Buffer.from([0x7a, 0, 0, 0, 0]), Buffer.alloc(size)]).subarray(0, size);
    let left = size - bare.length - 5;
    for (let i = 1; i <= 4; i++, left >>>= 7) body[bare.length + i] = (left & 0x7f) | (i < 4 ? 0x80 : 0);
    return body;
  };
  test.each<[string, Buffer, string | undefined]>([
    ['a ttrpc message of the full size', asked(1, padded(MAX_TTRPC_BYTES)), undefined],
    ['one byte more', mux(1, ttrpc(1, 1, Buffer.alloc(0), MAX_TTRPC_BYTES + 1)), 'oversize'],
    ['a frame one byte over the full size', mux(1, Buffer.alloc(0), MAX_MUX_BYTES + 1), 'oversize'],
    ['a frame of 4 GiB', mux(9, Buffer.alloc(0), 0xffffffff), 'oversize'],
    ['a request on an even stream', asked(2, request('Configure', {})), 'frame'],
    ['an answer where a request was due', mux(1, ttrpc(1, 2, Buffer.alloc(0))), 'frame'],
    ['stream data', mux(1, ttrpc(1, 3, Buffer.alloc(0))), 'frame'],
    ['a request where the answer was due', mux(2, ttrpc(1, 1, Buffer.alloc(0))), 'frame'],
    ['an answer to nothing', mux(2, ttrpc(3, 2, Buffer.alloc(0))), 'frame'],
    ['two answers', Buffer.concat([registered(), registered()]), 'frame'],
    ['a registration that is refused', registered({ 1: 2, 2: 'no plugins here' }), 'rejected'],
    ['an envelope that is cut off', asked(1, Buffer.from([0x0a, 5, 1])), 'protobuf'],
    ['a message that is cut off', asked(1, request('StateChange', Buffer.from([0x12, 9]))), 'protobuf'],
    ['a pod that is cut off', asked(1, request('Synchronize', Buffer.from([0x0a, 2, 0x0a, 9]))), 'protobuf'],
    ['a group', asked(1, request('Synchronize', Buffer.from([0x23, 0x24]))), 'protobuf'],
    ['field 0', asked(1, request('Synchronize', Buffer.from([0x02, 0]))), 'protobuf'],
    ['an endless number', asked(1, request('Synchronize', Buffer.alloc(20, 0xff))), 'protobuf'],
    ['as many pods as there may be', asked(1, synchronize(many(MAX_PODS))), undefined],
    ['one more', asked(1, synchronize(many(MAX_PODS + 1))), 'flood'],
    ['millions', asked(1, request('Synchronize', Buffer.alloc(2e6, Buffer.from([0x0a, 0])))), 'protobuf'],
  ])('%s', (_name, bytes, reason) => {
    const { session } = bench();
    const outcome = session.receive(bytes);
    expect(outcome.ok ? undefined : outcome.reason).toBe(reason);
  });
});

describe('8 pods that are passed over, alone', () => {
  const labels = (count: number, value = 'x') =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, value]));
  const taken = 'taken';
  const none = 'none';
  const counted = 'counted';
  test.each<[string, TestPod, string]>([
    ['a pod of the host network', { id: 'a' }, none],
    ['a relative path', { id: 'a', netnsPath: 'run/netns/x' }, counted],
    ['a path of 4096', { id: 'a', netnsPath: `/${'x'.repeat(4095)}` }, taken],
    ['a path of 4097', { id: 'a', netnsPath: `/${'x'.repeat(4096)}` }, counted],
    ['a path with a zero byte', { id: 'a', netnsPath: '/run/\0' }, counted],
    ['no id', { ...POD, id: '' }, counted],
    ['an id that is a path', { ...POD, id: '../x' }, counted],
    ['1000 labels', { ...POD, labels: labels(1000) }, taken],
    ['1001 labels', { ...POD, labels: labels(1001) }, counted],
    ['a label of 1024', { ...POD, labels: labels(1, 'x'.repeat(1024)) }, taken],
    ['a label of 1025', { ...POD, labels: labels(1, 'x'.repeat(1025)) }, counted],
    ['a name of 512', { ...POD, labels: { ['k'.repeat(512)]: '' } }, taken],
    ['a name of 513', { ...POD, labels: { ['k'.repeat(513)]: '' } }, counted],
    ['annotations of 256 KiB', { ...POD, annotations: { a: 'x'.repeat(256 * 1024 - 1) } }, taken],
    ['and a byte', { ...POD, annotations: { a: 'x'.repeat(256 * 1024) } }, counted],
  ])('%s', (_name, pod, expected) => {
    const { session, started, synchronized, refused } = bench();
    expect(session.receive(asked(1, stateChange(1, pod)))).toEqual(OPEN);
    expect(session.receive(asked(3, synchronize([pod, { ...POD, id: 'sound' }])))).toEqual(OPEN);
    expect(started).toHaveLength(expected === taken ? 1 : 0);
    expect(synchronized[0]).toHaveLength(expected === taken ? 2 : 1);
    expect(refused).toHaveLength(expected === counted ? 2 : 0);
  });
});

test('9 labels of the runtime itself are none of the pod', () => {
  const { session, started } = bench();
  const labels = { app: 'web', 'io.cri-containerd.kind': 'sandbox' };
  session.receive(asked(1, stateChange(1, { ...POD, labels })));
  expect(started[0]?.labels).toEqual({ app: 'web' });
});

test('10 a label named __proto__ is a label, and a name that is none is left out', () => {
  const { session, started } = bench();
  const labels = JSON.parse('{"__proto__": "x", "constructor": "y"}') as Record<string, string>;
  session.receive(asked(1, stateChange(1, { ...POD, labels, name: '../etc', namespace: '' })));
  expect(Object.entries(started[0]?.labels ?? {})).toEqual([
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ]);
  expect(started[0]).toMatchObject({ name: '', namespace: '', uid: 'uid-1' });
  expect(({} as Record<string, unknown>).x).toBeUndefined();
});

test('11 garbage of any kind is a refusal or nothing, never a throw', () => {
  const sound = Buffer.concat([
    registered(),
    asked(1, request('Configure', {})),
    asked(3, synchronize([POD])),
    asked(5, stateChange(1, POD)),
  ]);
  const reasons = new Set<string>();
  for (let seed = 1; seed <= 3000; seed++) {
    const random = seeded(seed);
    const { session } = bench();
    const garbage =
      seed % 3 === 0 ? Buffer.from(randomBytes(Math.floor(random() * 300), random)) : Buffer.from(sound);
    for (let flips = seed % 3 === 0 ? 0 : 1 + Math.floor(random() * 6); flips > 0; flips--)
      garbage[Math.floor(random() * garbage.length)] = Math.floor(random() * 256);
    const body = seed % 3 === 1 ? asked(1, request('Synchronize', garbage)) : garbage;
    const outcome = session.receive(body);
    reasons.add(outcome.ok ? outcome.value : outcome.reason);
  }
  expect([...reasons].sort()).toEqual(['frame', 'open', 'oversize', 'protobuf']);
});
