import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { failure, native, RANGE_ERROR, TEST_FRAME, TYPE_ERROR, Wire } from './scene';

let wire: Wire;
beforeAll(() => {
  wire = new Wire();
});
afterAll(() => wire.close());

const here = (): string => readlinkSync(`/proc/thread-self/ns/net`);

describe('inNetns', () => {
  test('body runs inside and its result comes back; afterwards we are home', () => {
    const home = here();
    const inside = wire.inside(() => here());
    expect(inside).not.toBe(home);
    expect(inside).toBe(`net:[${native.statFd(wire.netns).inode}]`);
    expect(here()).toBe(home);
  });

  test('also when body throws, and what it throws is passed on', () => {
    const home = here();
    const thrown = new Error('from within');
    expect(
      failure(() =>
        wire.inside(() => {
          throw thrown;
        }),
      ),
    ).toBe(thrown);
    expect(here()).toBe(home);
    expect(failure(() => wire.inside(() => native.openNetns('/nonexistent'))).code).toBe('ENOENT');
    expect(here()).toBe(home);
  });

  test('nested', () => {
    const other = new Wire();
    try {
      const seen = wire.inside(() => [here(), other.inside(here), here()]);
      expect(seen[0]).toBe(seen[2]);
      expect(seen[1]).not.toBe(seen[0]);
    } finally {
      other.close();
    }
  });

  test('an asynchronous body is refused: it would go on outside', () => {
    const home = here();
    expect(() => native.inNetns(wire.netns, async () => 1)).toThrow(TYPE_ERROR);
    expect(here()).toBe(home);
  });

  test('wrong arguments', () => {
    const call = native.inNetns as (...args: unknown[]) => unknown;
    expect(() => call(wire.netns)).toThrow(TYPE_ERROR);
    expect(() => call({}, () => 1)).toThrow(TYPE_ERROR);
    const closed = native.openNetns('/proc/self/ns/net');
    closed.close();
    expect(() => native.inNetns(closed, () => 1)).toThrow(TYPE_ERROR);
  });

  test('no descriptor is left behind', () => {
    const open = () => native.inNetns(wire.netns, () => readdirSync('/proc/self/fd').length);
    const before = open();
    for (let i = 0; i < 100; i++) open();
    expect(open()).toBe(before);
  });
});

describe('openNetns', () => {
  test('device and inode are those of the file', () => {
    const fd = native.openNetns('/proc/self/ns/net');
    const file = statSync('/proc/self/ns/net', { bigint: true });
    expect(native.statFd(fd)).toEqual({ device: file.dev, inode: file.ino });
    fd.close();
  });

  test.each([
    ['a file', '/etc/hostname', 'EINVAL'],
    ['another kind of namespace', '/proc/self/ns/mnt', 'EINVAL'],
    ['nothing', '/nonexistent', 'ENOENT'],
  ])('%s', (_what, path, code) => {
    expect(failure(() => native.openNetns(path))).toMatchObject({ code, op: `open ${path}` });
  });

  test('a FIFO without a writer does not block', () => {
    const path = join(tmpdir(), `vxseal-fifo-${process.pid}`);
    execFileSync('mkfifo', [path]);
    try {
      expect(failure(() => native.openNetns(path)).code).toBe('EINVAL');
    } finally {
      rmSync(path);
    }
  });
});

describe('devices', () => {
  test.each(['tx', 'rx', 'sg', 'tso', 'gso', 'gro'] as const)('offload %s off and on again', (feature) => {
    wire.inside(() => {
      // What cannot be had without another comes last: sg needs tx, tso needs sg.
      for (const needed of ['tx', 'sg'] as const) native.setOffload('va', needed, true);
      for (const on of [false, true, false]) {
        native.setOffload('va', feature, on);
        expect([feature, native.getOffload('va', feature)]).toEqual([feature, on]);
      }
    });
  });

  test('what the device does not have, or no such device', () => {
    expect(wire.inside(() => native.getOffload('va', 'lro'))).toBe(false);
    expect(failure(() => wire.inside(() => native.setOffload('nodev', 'tx', true)))).toMatchObject({
      code: 'ENODEV',
      op: 'SIOCETHTOOL tx of nodev',
    });
  });

  test('the device is looked up in the namespace that we are in', () => {
    const ours = Object.keys(networkInterfaces());
    expect(ours).not.toContain('va');
    expect(failure(() => native.getOffload('va', 'tx')).code).toBe('ENODEV');
  });

  test('sendFrame: with and without the queueing discipline', () => {
    const sent = () => JSON.parse(wire.ip('-j', '-s', 'link', 'show', 'va'))[0].stats64.tx.packets as number;
    const before = sent();
    wire.inside(() => {
      for (let i = 0; i < 10; i++) native.sendFrame(wire.a, TEST_FRAME, i % 2 === 0);
    });
    expect(sent() - before).toBeGreaterThanOrEqual(10);
    expect(failure(() => wire.inside(() => native.sendFrame(9999, TEST_FRAME))).code).toBe('ENXIO');
    expect(failure(() => wire.inside(() => native.sendFrame(wire.a, Buffer.alloc(2000)))).code).toBe(
      'EMSGSIZE',
    );
  });

  test('wrong arguments', () => {
    const call = native as unknown as Record<string, (...args: unknown[]) => unknown>;
    expect(() => call.setOffload?.('a-name-of-16-byt', 'tx', true)).toThrow(RANGE_ERROR);
    expect(() => call.setOffload?.('', 'tx', true)).toThrow(RANGE_ERROR);
    expect(() => call.setOffload?.('va', 'warp', true)).toThrow(RANGE_ERROR);
    expect(() => call.setOffload?.('va', 'tx', 1)).toThrow(TYPE_ERROR);
    expect(() => call.sendFrame?.(1, Buffer.alloc(13))).toThrow(RANGE_ERROR);
    expect(() => call.sendFrame?.(1, Buffer.alloc(65536))).toThrow(RANGE_ERROR);
    expect(() => call.sendFrame?.(1, 'frame')).toThrow(TYPE_ERROR);
    expect(() => call.sendFrame?.(0, TEST_FRAME)).toThrow(RANGE_ERROR);
  });
});
