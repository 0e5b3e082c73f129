// sendFrame: what it leaves open. A packet socket that is closed waits for every CPU; one of another namespace would
// keep that alive.
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { loadNative } from '../../agent/kernel/native';

const native = loadNative();
const LOOPBACK = 1;
const frame = Buffer.alloc(60);

const sockets = (): number =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
    } catch {
      return false; // the folder's own descriptor
    }
  }).length;

test('one socket serves all frames of the own namespace', () => {
  native.sendFrame(LOOPBACK, frame);
  const before = sockets();
  for (let i = 0; i < 100; i++) native.sendFrame(LOOPBACK, frame);
  expect(sockets()).toBe(before);
});

test('nothing stays open of another namespace, nor of a send past the queue', () => {
  native.sendFrame(LOOPBACK, frame);
  const before = sockets();
  const name = `vxn-frame-${process.pid}`;
  execFileSync('ip', ['netns', 'add', name]);
  try {
    execFileSync('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
    const netns = native.openNetns(`/run/netns/${name}`);
    native.inNetns(netns, () => native.sendFrame(LOOPBACK, frame));
    netns.close();
  } finally {
    execFileSync('ip', ['netns', 'del', name]);
  }
  native.sendFrame(LOOPBACK, frame, true);
  expect(sockets()).toBe(before);
});

test('a device that is not there is said', () => {
  expect(() => native.sendFrame(0x7ffffff0, frame)).toThrow(expect.objectContaining({ code: 'ENXIO' }));
});
