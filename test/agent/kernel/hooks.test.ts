import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Expedite } from '../../../agent/kernel/graceperiods';
import { Hooks, type XdpChoice } from '../../../agent/kernel/hooks';
import { Pins } from '../../../agent/kernel/pins';
import { ATTACH_POINTS, type LoadedPrograms } from '../../../agent/kernel/programs';
import { errno, FakeKernel, type FakeLink, fakeNative } from '../../fakes/native';

const DEVICE = 7;

let root: string;
let kernel: FakeKernel;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vxseal-hooks-'));
  kernel = new FakeKernel({});
  kernel.devices.add(DEVICE);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A process of its own: new programs, the same pins and kernel. */
function start(xdp: XdpChoice = 'auto', expedite?: Expedite): { hooks: Hooks; pins: Pins } {
  const native = fakeNative(kernel, () => []);
  const names = Object.values(ATTACH_POINTS).flatMap(({ tc, xdp: name }) => [tc, ...(name ? [name] : [])]);
  const ids = new Map(names.map((name) => [name, kernel.add({ program: name })]));
  const programs: LoadedPrograms = {
    program: (name) => ({ fd: ids.get(name) ?? -1, close: () => undefined }),
    map: () => ({ fd: -1, close: () => undefined }),
    names,
    copy: (_of, name) => ({ fd: kernel.add({ program: name }), close: () => undefined }),
    close: () => undefined,
  };
  const pins = new Pins(native, root);
  pins.prepare();
  return { hooks: new Hooks(native, pins, programs, xdp, expedite), pins };
}

const links = (): FakeLink[] =>
  [...kernel.objects.values()].filter((object): object is FakeLink => 'attachedTo' in object);
const live = () =>
  links()
    .filter((link) => link.ifindex !== 0)
    .map((link) => `${link.kind} ${kernel.programName(link.programId)}`);
const pinned = () => [...readdirSync(join(root, 'links')), ...readdirSync(join(root, 'filters'))].sort();

describe('the way of attaching', () => {
  // kernel has tcx | XDP modes of the driver | configured | -> mode of open, mode of seal
  const table = [
    [1, true, ['native', 'generic'], 'auto', 'xdp-native', 'tcx'],
    [2, true, ['generic'], 'auto', 'tc-open', 'tcx'],
    [3, true, [], 'auto', 'tc-open', 'tcx'],
    [4, false, [], 'auto', 'tc-open', 'clsact'],
    [5, false, ['native'], 'auto', 'xdp-native', 'clsact'],
    [6, true, ['native', 'generic'], 'tc', 'tc-open', 'tcx'],
    [7, false, ['native', 'generic'], 'tc', 'tc-open', 'clsact'],
  ] as const;
  test.each(table)('%i: tcx %s, XDP %j, configured %s -> %s, %s', (_n, tcx, xdp, choice, open, seal) => {
    kernel.tcx = tcx;
    kernel.xdp = [...xdp];
    const { hooks } = start(choice);
    expect(hooks.attach({ program: 'open', ifindex: DEVICE }).mode).toBe(open);
    expect(hooks.attach({ program: 'seal', ifindex: DEVICE }).mode).toBe(seal);
    expect(hooks.list()).toEqual(
      expect.arrayContaining([
        { program: 'open', ifindex: DEVICE, mode: open },
        { program: 'seal', ifindex: DEVICE, mode: seal },
      ]),
    );
    expect(hooks.list()).toHaveLength(2);
  });

  test('a mode asked for by name is not replaced by another', () => {
    kernel.xdp = ['generic'];
    const { hooks } = start('native');
    expect(() => hooks.attach({ program: 'open', ifindex: DEVICE })).toThrow(
      /attach open to device 7 as native XDP.*EOPNOTSUPP/,
    );
    expect(hooks.list()).toEqual([]);
  });

  test.each(Object.entries(ATTACH_POINTS))('%s attaches at its direction', (name, point) => {
    const { hooks } = start('tc');
    hooks.attach({ program: name as keyof typeof ATTACH_POINTS, ifindex: DEVICE });
    expect(live()).toEqual([`tcx-${point.direction} ${point.tc}`]);
  });

  test('an error other than "not possible" does not fall back to clsact', () => {
    kernel.fail = (call) => (call.startsWith('attachTcx') ? errno('EPERM', 1) : undefined);
    const { hooks } = start();
    expect(() => hooks.attach({ program: 'seal', ifindex: DEVICE })).toThrow(
      /attach seal at device 7: EPERM/,
    );
    expect(pinned()).toEqual([]);
  });

  test.each([true, false])('a device that is not there is an error that may pass (tcx %s)', (tcx) => {
    kernel.tcx = tcx;
    const { hooks } = start();
    for (const program of ['seal', 'open'] as const) {
      expect(() => hooks.attach({ program, ifindex: 99 })).toThrow(
        expect.objectContaining({ errnoName: 'ENODEV', retriable: true }),
      );
    }
    expect(pinned()).toEqual([]);
  });
});

describe('a restart', () => {
  test.each([true, false])('moves what is attached to the new programs without detaching (tcx %s)', (tcx) => {
    kernel.tcx = tcx;
    const first = start();
    first.hooks.attach({ program: 'seal', ifindex: DEVICE });
    first.hooks.attach({ program: 'open', ifindex: DEVICE });
    const before = [...links().map((link) => link.programId), ...kernel.filters.values()];
    kernel.calls.length = 0;
    const second = start();
    second.hooks.adopt();
    const after = [...links().map((link) => link.programId), ...kernel.filters.values()];
    expect(after).toHaveLength(before.length);
    for (const id of before) expect(after).not.toContain(id);
    expect(kernel.calls.filter((call) => /^(pin|detach|attachTcx|attachXdp)/.test(call))).toEqual([]);
    expect(second.hooks.list()).toHaveLength(2);
  });

  test('attach() of what is attached updates nothing when the program is current', () => {
    const { hooks } = start();
    hooks.attach({ program: 'seal', ifindex: DEVICE });
    kernel.calls.length = 0;
    expect(hooks.attach({ program: 'seal', ifindex: DEVICE }).mode).toBe('tcx');
    expect(kernel.calls).toEqual([]);
  });

  test('a configured change from XDP to tc attaches the new before it removes the old', () => {
    start().hooks.attach({ program: 'open', ifindex: DEVICE });
    kernel.calls.length = 0;
    const { hooks } = start('tc');
    hooks.adopt();
    const calls = kernel.calls.filter((call) => !/^(updateLink|pin) /.test(call));
    expect(calls).toEqual([`attachTcx open_tc ${DEVICE} ingress`, `detachLink ${DEVICE}`]);
    expect(live()).toEqual(['tcx-ingress open_tc']);
    expect(hooks.list()).toEqual([{ program: 'open', ifindex: DEVICE, mode: 'tc-open' }]);
  });

  test.each([
    [1, ['generic'], 'auto', 'tc-open', 'tcx-ingress open_tc'],
    [2, ['generic'], 'native', 'tc-open', 'tcx-ingress open_tc'],
    [3, ['native', 'generic'], 'tc', 'tc-open', 'tcx-ingress open_tc'],
    [4, ['native', 'generic'], 'auto', 'xdp-native', 'xdp-native open_xdp'],
    [5, ['native', 'generic'], 'native', 'xdp-native', 'xdp-native open_xdp'],
  ] as const)(
    '%i: generic XDP of an older agent (driver: %j, configured: %s) -> %s, never without',
    (_n, xdp, choice, mode, left) => {
      kernel.xdp = ['generic'];
      const native = fakeNative(kernel, () => []);
      const older = kernel.add({ program: 'open_xdp' });
      const link = native.attachXdp({ fd: older, close: () => undefined }, DEVICE, 'generic');
      kernel.xdp = [...xdp];
      const { hooks, pins } = start(choice);
      pins.pinLink({ hook: { program: 'open', ifindex: DEVICE }, kind: 'link', variant: 'generic' }, link);
      kernel.calls.length = 0;
      hooks.adopt();
      const calls = kernel.calls.filter((call) => /^(attachTcx|detachLink)/.test(call));
      expect(calls.slice(0, 2)).toEqual([`attachTcx open_tc ${DEVICE} ingress`, `detachLink ${DEVICE}`]);
      expect(hooks.list()).toEqual([{ program: 'open', ifindex: DEVICE, mode }]);
      expect(live()).toEqual([left]);
      expect(pinned()).toHaveLength(1);
    },
  );
});

describe('a device that is about to go', () => {
  const steer = { program: 'steer', ifindex: DEVICE } as const;
  const leaving = { ...steer, leaving: true } as const;
  const filters = () => [...kernel.filters.values()].map((id) => kernel.programName(id));
  const foreign = () => {
    const id = kernel.add({ program: 'foreign' });
    fakeNative(kernel, () => []).attachTcx({ fd: id, close: () => undefined }, DEVICE, 'ingress');
    return id;
  };

  test('a filter takes the place of the link, and there is always one of both', () => {
    const { hooks } = start();
    hooks.attach(steer);
    const seen: number[] = [];
    kernel.fail = () => void seen.push(live().length + filters().length);
    expect(hooks.attach(leaving).mode).toBe('clsact');
    expect(seen.length).toBeGreaterThan(1);
    expect(Math.min(...seen)).toBe(1);
    expect([live(), filters(), pinned()]).toEqual([[], ['steer'], [`steer-${DEVICE}`]]);
    expect(hooks.list()).toEqual([{ ...steer, mode: 'clsact', passing: true }]);
    const calls = kernel.calls.length;
    hooks.attach(leaving);
    expect(kernel.calls.slice(calls)).toEqual([`attachClsact steer ${DEVICE} ingress`]);
  });

  test('that stays after all, the link is back, in front of whatever came', () => {
    const { hooks } = start();
    hooks.attach(steer);
    hooks.attach(leaving);
    expect(hooks.attach(steer).mode).toBe('tcx');
    expect([live(), filters()]).toEqual([['tcx-ingress steer'], []]);
    expect(hooks.list()).toEqual([{ ...steer, mode: 'tcx' }]);
  });

  test("where somebody else's tcx program would run first the link stays, or comes back", () => {
    const { hooks } = start();
    hooks.attach(steer);
    hooks.attach(leaving);
    const id = foreign();
    expect(hooks.list()).toEqual([{ ...steer, mode: 'clsact', passing: true, behind: id }]);
    expect(hooks.attach(leaving).mode).toBe('tcx');
    expect(kernel.running(DEVICE, 'ingress').map((each) => kernel.programName(each))).toEqual([
      'steer',
      'foreign',
    ]);
    expect([hooks.attach(leaving).mode, filters()]).toEqual(['tcx', []]);
  });

  test('where there are no filters the link stays; a device that went is told', () => {
    const { hooks } = start();
    hooks.attach(steer);
    kernel.fail = (call) => (call.startsWith('attachClsact') ? errno('ENOENT', 2) : undefined);
    expect(() => hooks.attach(leaving)).toThrow(/ENOENT/);
    kernel.fail = (call) => (call.startsWith('attachClsact') ? errno('EOPNOTSUPP', 95) : undefined);
    expect(hooks.attach(leaving).mode).toBe('tcx');
    expect([live(), filters(), pinned()]).toEqual([['tcx-ingress steer'], [], [`steer-${DEVICE}`]]);
  });

  test('that stays after all, but a link cannot be had: the filter stays', () => {
    const { hooks } = start();
    hooks.attach(steer);
    hooks.attach(leaving);
    kernel.fail = (call) => (call.startsWith('attachTcx') ? errno('EOPNOTSUPP', 95) : undefined);
    expect(hooks.attach(steer).mode).toBe('clsact');
    expect([live(), filters()]).toEqual([[], ['steer']]);
  });

  test('a kernel without tcx has filters anyway', () => {
    kernel.tcx = false;
    const { hooks } = start();
    hooks.attach(steer);
    expect(hooks.list()).toEqual([{ ...steer, mode: 'clsact' }]);
    expect(hooks.attach(leaving).mode).toBe('clsact');
    expect(hooks.attach(steer).mode).toBe('clsact');
    expect(hooks.list()).toEqual([{ ...steer, mode: 'clsact' }]);
  });
});

describe('a program of somebody else', () => {
  /** Attached the way ours are: in front. */
  function foreign(direction: 'ingress' | 'egress'): number {
    const native = fakeNative(kernel, () => []);
    const id = kernel.add({ program: 'foreign' });
    native.attachTcx({ fd: id, close: () => undefined }, DEVICE, direction);
    return id;
  }
  const order = (direction: 'ingress' | 'egress') =>
    kernel.running(DEVICE, direction).map((id) => kernel.programName(id));
  const seal = { program: 'seal', ifindex: DEVICE } as const;
  const deliver = { program: 'deliver', ifindex: DEVICE } as const;

  test('in front is told, by its id, and overtaken; behind it is nothing to us', () => {
    const { hooks } = start();
    foreign('egress');
    hooks.attach(seal);
    expect(hooks.list()).toEqual([{ ...seal, mode: 'tcx' }]);
    const id = foreign('egress');
    expect(order('egress')).toEqual(['foreign', 'seal', 'foreign']);
    expect(hooks.list()).toEqual([{ ...seal, mode: 'tcx', behind: id }]);
    hooks.attach(seal);
    expect(order('egress')).toEqual(['seal', 'foreign', 'foreign']);
    expect(hooks.list()).toEqual([{ ...seal, mode: 'tcx' }]);
    expect(pinned()).toEqual([`seal-${DEVICE}`]);
  });

  test('at no moment of it is there none of ours', () => {
    const { hooks } = start();
    hooks.attach(seal);
    foreign('egress');
    const seen: string[][] = [];
    kernel.fail = () => void seen.push(order('egress'));
    hooks.attach(seal);
    seen.push(order('egress'));
    expect(seen.length).toBeGreaterThan(3);
    for (const each of seen) expect(each).toContain('seal');
    expect(seen).toContainEqual(['seal', 'foreign', 'seal']);
  });

  test('our own are no strangers to each other, in either order', () => {
    const { hooks } = start('tc');
    hooks.attach(deliver);
    hooks.attach({ program: 'open', ifindex: DEVICE });
    expect(order('ingress')).toEqual(['open_tc', 'deliver']);
    expect(hooks.list().map((each) => each.behind)).toEqual([undefined, undefined]);
    const id = foreign('ingress');
    expect(hooks.list().map((each) => each.behind)).toEqual([id, id]);
    hooks.attach(deliver);
    expect(order('ingress')).toEqual(['deliver', 'foreign', 'open_tc']);
    expect(hooks.list()).toEqual([
      { ...deliver, mode: 'tcx' },
      { program: 'open', ifindex: DEVICE, mode: 'tc-open', behind: id },
    ]);
  });

  test('after it, a restart goes on with the link as with any', () => {
    const first = start();
    first.hooks.attach(seal);
    foreign('egress');
    first.hooks.attach(seal);
    const { hooks } = start();
    hooks.adopt();
    expect(order('egress')).toEqual(['seal', 'foreign']);
    hooks.detach(seal);
    expect(order('egress')).toEqual(['foreign']);
    expect(pinned()).toEqual([]);
  });

  test('that cannot be overtaken: ours stays where it is, and the error names the hook', () => {
    const { hooks } = start();
    hooks.attach(seal);
    const id = foreign('egress');
    kernel.fail = (call) => (call.startsWith('attachTcx') ? errno('ERANGE', 34) : undefined);
    expect(() => hooks.attach(seal)).toThrow(/put seal at device 7 in front: ERANGE/);
    kernel.fail = () => undefined;
    expect(order('egress')).toEqual(['foreign', 'seal']);
    expect(hooks.list()).toEqual([{ ...seal, mode: 'tcx', behind: id }]);
  });

  test('a link left half-way by a process that died is let go', () => {
    const { hooks } = start();
    hooks.attach(seal);
    writeFileSync(join(root, 'links', `seal-${DEVICE}-next`), '4711');
    writeFileSync(join(root, 'links', 'other-next'), '');
    start();
    expect(pinned()).toEqual(['other-next', `seal-${DEVICE}`]);
  });
});

describe('what is gone', () => {
  test.each([true, false])('a vanished device leaves no hook and no pin (tcx %s)', (tcx) => {
    kernel.tcx = tcx;
    const { hooks } = start('tc');
    hooks.attach({ program: 'steer', ifindex: DEVICE });
    kernel.removeDevice(DEVICE);
    expect(hooks.list()).toEqual([]);
    expect(pinned()).toEqual([]);
  });

  test('a new device under the old number gets a hook of its own', () => {
    const { hooks } = start();
    hooks.attach({ program: 'steer', ifindex: DEVICE });
    kernel.removeDevice(DEVICE);
    kernel.devices.add(DEVICE);
    expect(hooks.attach({ program: 'steer', ifindex: DEVICE }).mode).toBe('tcx');
    expect(live()).toEqual(['tcx-ingress steer']);
    expect(pinned()).toEqual([`steer-${DEVICE}`]);
  });

  test('a link that another hand detached is not reported', () => {
    const { hooks } = start();
    hooks.attach({ program: 'seal', ifindex: DEVICE });
    for (const link of links()) link.ifindex = 0;
    expect(hooks.list()).toEqual([]);
    expect(hooks.attach({ program: 'seal', ifindex: DEVICE }).mode).toBe('tcx');
    expect(live()).toEqual(['tcx-egress seal']);
  });

  test.each([true, false])('detach() twice, and with the device gone, succeeds (tcx %s)', (tcx) => {
    kernel.tcx = tcx;
    const { hooks } = start();
    hooks.attach({ program: 'seal', ifindex: DEVICE });
    hooks.detach({ program: 'seal', ifindex: DEVICE });
    hooks.detach({ program: 'seal', ifindex: DEVICE });
    expect([live(), [...kernel.filters], pinned()]).toEqual([[], [], []]);
    hooks.attach({ program: 'seal', ifindex: DEVICE });
    kernel.removeDevice(DEVICE);
    hooks.detach({ program: 'seal', ifindex: DEVICE });
    expect(pinned()).toEqual([]);
  });

  test('a foreign file among the pins is left alone', () => {
    const { hooks, pins } = start();
    writeFileSync(join(root, 'links', 'someone-else-x'), '');
    expect(hooks.list()).toEqual([]);
    hooks.detachAll();
    expect(existsSync(join(root, 'links', 'someone-else-x'))).toBe(true);
    expect(pins.hookPins()).toEqual([]);
  });
});

test('what waits for a grace period is expedited, and nothing else', () => {
  let within = false;
  const expedite: Expedite = (call) => {
    within = true;
    try {
      return call();
    } finally {
      within = false;
    }
  };
  const seen: [string, boolean][] = [];
  kernel.fail = (call) => void seen.push([call.split(' ')[0] ?? '', within]);
  const steer = { program: 'steer', ifindex: DEVICE } as const;
  start('auto', expedite).hooks.attach(steer);
  const { hooks } = start('auto', expedite);
  hooks.adopt();
  hooks.attach({ program: 'open', ifindex: DEVICE });
  hooks.detach(steer);
  expect(seen.filter(([call]) => call !== 'pin')).toEqual([
    ['attachTcx', true],
    ['updateLink', false],
    ['attachXdp', false],
    ['detachLink', true],
  ]);
});

test.each(['seal', 'open'] as const)(
  '%s: a pin that cannot be made leaves nothing attached behind',
  (program) => {
    kernel.fail = (call) => (call.startsWith('pin ') ? errno('EPERM', 1) : undefined);
    const { hooks } = start();
    expect(() => hooks.attach({ program, ifindex: DEVICE })).toThrow(/EPERM/);
    expect(live()).toEqual([]);
    kernel.fail = () => undefined;
    hooks.attach({ program, ifindex: DEVICE });
    expect(live()).toHaveLength(1);
  },
);
