// The runtime's calls against a gate of pods: what reaches the pods, and what is answered by which code.
import { type AskedMode, chooseMode, type PodMode, type WeakerMode } from '../../../agent/core/adoption';
import { KernelError, VxsealError } from '../../../agent/errors';
import type { PodGate, PodRequest } from '../../../agent/ports';
import { CniSource } from '../../../agent/sources/cni';
import { ManualClock } from '../../fakes/clock';
import { QuietLog } from '../../fakes/log';
import { NO_MEASURES } from '../../fakes/node';

class FakeGate implements PodGate {
  readonly calls: unknown[][] = [];
  failure: Error | undefined;
  faults: readonly string[] | undefined = [];
  blocked: readonly string[] = [];
  allowed: readonly WeakerMode[] = [];

  async attach(request: PodRequest): Promise<{ readonly mtuBytes: number }> {
    return this.note({ mtuBytes: 1408 }, 'attach', request);
  }
  async leave(request: PodRequest): Promise<void> {
    this.note(undefined, 'leave', request);
  }
  choose(asked: AskedMode): PodMode {
    const chosen = chooseMode(asked, this.allowed);
    if (chosen.ok) return chosen.value;
    throw new VxsealError('request', chosen.detail, 'allow it');
  }
  async detach(...args: unknown[]): Promise<boolean> {
    return this.note(true, 'detach', ...args);
  }
  async check(...args: unknown[]): Promise<readonly string[] | undefined> {
    return this.note(this.faults, 'check', ...args);
  }
  async collect(...args: unknown[]): Promise<number> {
    return this.note(2, 'collect', ...args);
  }
  blockers(): readonly string[] {
    return this.blocked;
  }
  private note<T>(value: T, ...call: unknown[]): T {
    this.calls.push(call);
    if (this.failure !== undefined) throw this.failure;
    return value;
  }
}

const attachment = { network: 'cbr0', containerId: 'abc', ifname: 'eth0' };
const prevResult = { cniVersion: '0.4.0', ips: [{ address: '10.1.0.5/24' }] };

let gate: FakeGate;
let source: CniSource;
const measured: [string, number][] = [];
beforeEach(() => {
  gate = new FakeGate();
  measured.length = 0;
  const answeredCni = (command: string, durationMs: number) => void measured.push([command, durationMs]);
  source = new CniSource(gate, {
    log: new QuietLog(),
    clock: new ManualClock(),
    measures: { ...NO_MEASURES, answeredCni },
  });
});

async function call(
  command: string,
  config: object = {},
  more = '',
): Promise<{ ok: boolean; body: unknown }> {
  const variables = `CNI_COMMAND=${command}\0CNI_CONTAINERID=abc\0CNI_IFNAME=eth0\0CNI_NETNS=/run/netns/p\0${more}`;
  const text = JSON.stringify({ cniVersion: '0.4.0', name: 'cbr0', type: 'vxseal', prevResult, ...config });
  const { ok, body } = await source.answer(Buffer.from(`${variables}\0${text}`));
  return { ok, body: body === '' ? '' : (JSON.parse(body) as unknown) };
}

test('1 ADD attaches and passes the result on', async () => {
  const args = 'CNI_ARGS=K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u\0';
  const runtimeConfig = { 'io.kubernetes.cri.pod-annotations': { team: 'a' } };
  expect(await call('ADD', { vni: 9, runtimeConfig }, args)).toEqual({ ok: true, body: prevResult });
  const runtime = { attachment, uid: 'u', annotations: { team: 'a' } };
  expect(gate.calls).toEqual([
    [
      'attach',
      { netnsPath: '/run/netns/p', device: 'eth0', name: 'web', namespace: 'shop', vni: 9, runtime },
    ],
  ]);
});

test('2 DEL, CHECK, GC and STATUS answer without words when all is well', async () => {
  const valid = [{ containerID: 'x', ifname: 'eth0' }];
  expect(await call('DEL', { prevResult: undefined })).toEqual({ ok: true, body: '' });
  expect(await call('CHECK')).toEqual({ ok: true, body: '' });
  expect(await call('GC', { 'cni.dev/valid-attachments': valid })).toEqual({ ok: true, body: '' });
  expect(await call('STATUS')).toEqual({ ok: true, body: '' });
  expect(gate.calls).toEqual([
    ['detach', attachment],
    ['check', attachment, '/run/netns/p'],
    ['collect', 'cbr0', [{ containerId: 'x', ifname: 'eth0' }]],
  ]);
});

test('2a GC without a list collects nothing: libcni may call it so', async () => {
  expect(await call('GC')).toEqual({ ok: true, body: '' });
  expect(gate.calls).toEqual([]);
});

describe('3 failures by their code', () => {
  test.each<[string, Error, number]>([
    ['what the operator must change', new VxsealError('request', 'why', 'do this'), 7],
    ['not hooked at the deadline', new VxsealError('not-ready', 'why', 'do this'), 11],
    ['a kernel that may do better', new KernelError('op', 11, 'EAGAIN'), 11],
    ['a kernel that will not', new KernelError('op', 22, 'EINVAL'), 999],
    ['a bug', new TypeError('undefined is not a function'), 999],
  ])('%s', async (_name, failure, code) => {
    gate.failure = failure;
    const { ok, body } = await call('ADD');
    expect(ok).toBe(false);
    expect(body).toMatchObject({ code, msg: expect.stringMatching(/./) });
    expect(JSON.stringify(body)).not.toContain('undefined is not');
    expect(measured).toEqual([['ADD', 0]]);
  });
});

test('4 CHECK of a pod that is unknown, or not as it was left', async () => {
  gate.faults = undefined;
  expect(await call('CHECK')).toMatchObject({ ok: false, body: { code: 3 } });
  gate.faults = ['hook steer is not attached', 'MTU 1500 of eth0'];
  expect(await call('CHECK')).toEqual({
    ok: false,
    body: { code: 100, msg: 'container abc: hook steer is not attached; MTU 1500 of eth0' },
  });
});

test('5 STATUS says what is in the way', async () => {
  gate.blocked = ['records are not read', 'no keys'];
  expect(await call('STATUS')).toEqual({
    ok: false,
    body: { code: 50, msg: 'records are not read; no keys' },
  });
});

const annotated = (mode: string) => ({
  runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'vxseal.io/mode': mode } },
});

describe('5a the mode of a pod', () => {
  // network, annotation, allowed -> what the pods are asked for, or the code
  const table: [object, object, readonly WeakerMode[], string | number][] = [
    [{}, {}, [], 'strict'],
    [{ mode: 'strict' }, annotated('strict'), [], 'strict'],
    [{ mode: 'permissive' }, {}, [], 7],
    [{ mode: 'off' }, {}, ['permissive'], 7],
    [{ mode: 'permissive' }, {}, ['permissive'], 'permissive'],
    [{}, annotated('permissive'), [], 7],
    [{}, annotated('permissive'), ['off'], 7],
    [{}, annotated('permissive'), ['permissive'], 'permissive'],
    [{ mode: 'permissive' }, annotated('strict'), [], 'strict'],
    [{ mode: 'strict' }, annotated('off'), ['permissive'], 7],
    [{ mode: 'strict' }, annotated('off'), ['off'], 'off'],
    [{}, annotated('Permissive'), ['permissive', 'off'], 7],
    [{}, annotated(''), ['permissive', 'off'], 7],
    [{ mode: 'open' }, {}, ['permissive', 'off'], 7],
    [{ mode: 7 }, {}, ['permissive', 'off'], 7],
  ];
  test.each(table)(
    'network %j, annotation %j, allowed %j: %s',
    async (network, annotation, allowed, expected) => {
      gate.allowed = allowed;
      const answer = await call('ADD', { ...network, ...annotation });
      const [asked] = gate.calls.map(([verb, request]) =>
        verb === 'leave' ? 'off' : ((request as PodRequest).mode ?? 'strict'),
      );
      if (typeof expected === 'number') expect(answer).toMatchObject({ ok: false, body: { code: expected } });
      else expect(answer).toEqual({ ok: true, body: prevResult });
      expect(asked).toBe(typeof expected === 'string' ? expected : undefined);
    },
  );

  test('off: the result goes on untouched, CHECK and DEL are content', async () => {
    gate.allowed = ['off'];
    const large = { cniVersion: '0.4.0', interfaces: [{ name: 'eth0', sandbox: '/run/netns/p', mtu: 9000 }] };
    expect(await call('ADD', { mode: 'off', prevResult: large })).toEqual({ ok: true, body: large });
    expect(gate.calls).toEqual([['leave', expect.objectContaining({ netnsPath: expect.any(String) })]]);
    gate.faults = undefined;
    expect(await call('CHECK', { mode: 'off' })).toEqual({ ok: true, body: '' });
    expect(await call('CHECK', {})).toMatchObject({ ok: false, body: { code: 3 } });
    expect(await call('DEL', { mode: 'off' })).toEqual({ ok: true, body: '' });
  });

  test('off: what cannot be held to its own addresses is not let in', async () => {
    gate.allowed = ['off'];
    gate.failure = new VxsealError('not-ready', 'its device is not guarded yet', 'try again');
    expect(await call('ADD', { mode: 'off' })).toMatchObject({ ok: false, body: { code: 11 } });
  });
});

test('6 what cannot be read is refused before it reaches a pod', async () => {
  expect(await call('ADD', { vni: 'x' })).toMatchObject({ ok: false, body: { code: 7 } });
  expect(await call('ADD', { cniVersion: '0.2.0' })).toMatchObject({ ok: false, body: { code: 1 } });
  expect(await call('ADD', { vin: 3 })).toMatchObject({ ok: false, body: { code: 2 } });
  expect(await call('VERSION')).toMatchObject({ ok: false, body: { code: 4 } });
  expect(JSON.parse((await source.answer(Buffer.from('x'))).body)).toMatchObject({ code: 6 });
  expect(gate.calls).toEqual([]);
  expect(measured).toEqual([]);
});
