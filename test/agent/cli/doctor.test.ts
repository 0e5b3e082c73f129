// doctor on machines that lack one thing each: the level, the remedy and the exit code.
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DeviceFacts } from '../../../agent/cli/checks';
import { type DoctorParts, examine } from '../../../agent/cli/doctor';
import { readBus, readText } from '../../../agent/cli/machine';
import { runCli } from '../../../agent/cli/program';
import type { IpAddress, NodeName, Prefix } from '../../../agent/core/ids';
import { VxsealError } from '../../../agent/errors';
import { listenUnix } from '../../../agent/http/server';
import type { LinkInfo } from '../../../agent/ports';
import { apiParts } from '../../fakes/api';
import { FakeAgent, sampleStatus } from '../../fakes/status';

const NOW_MS = Date.UTC(2026, 5, 1);
const DAY_MS = 86_400_000;
const folder = mkdtempSync(join(tmpdir(), 'vxseal-doctor-'));
afterAll(() => rmSync(folder, { recursive: true }));

const FLAGS = {
  nodeName: 'node1',
  runDir: '/nonexistent',
  'identity.trustDomain': 'lab',
  'overlay.prefixes': '10.244.1.0/24',
  'overlay.protectedPrefixes': '10.244.0.0/16',
};
const eth0: LinkInfo = {
  ifindex: 2,
  name: 'eth0',
  kind: '',
  mac: '02:00:00:00:00:01',
  mtuBytes: 1500,
  up: true,
  loopback: false,
  linkIndex: 0,
  linkNsid: -1,
  gsoMaxSegs: 65535,
};
const VTEP = '192.0.2.1' as IpAddress;
const DEVICES: DeviceFacts = {
  links: [eth0, { ...eth0, ifindex: 3, name: 'eth1' }],
  addresses: [{ ifindex: 2, address: VTEP, prefixLength: 24 }],
};
const GRANT = {
  node: 'node1' as NodeName,
  trustDomain: 'lab',
  vteps: [VTEP],
  prefixes: ['10.244.1.0/24' as Prefix],
};
const FILES: Readonly<Record<string, string>> = {
  '/proc/self/status': 'Name:\tnode\nCapEff:\t000001ffffffffff\n',
  '/proc/sys/net/ipv4/ip_forward': '1\n',
  '/proc/sys/net/ipv6/conf/all/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/all/rp_filter': '0\n',
  '/proc/sys/net/ipv4/conf/eth0/rp_filter': '1\n',
  '/sys/class/net/eth0/threaded': '1\n',
  '/sys/class/net/eth1/threaded': '1\n',
};

function machine(changes: Partial<DoctorParts> = {}, files: Record<string, string> = {}): DoctorParts {
  return {
    probeKernel: async () => ({
      release: '6.18',
      checks: [{ name: 'tcx', ok: true, detail: 'd', remedy: '' }],
    }),
    readIdentity: async () => ({ grant: GRANT, notAfterMs: NOW_MS + 20 * DAY_MS }),
    readDevices: async () => DEVICES,
    readText: (path) => ({ ...FILES, ...files })[path],
    readBus: () => ({ records: 3, newestMs: NOW_MS }),
    ...changes,
  };
}

async function unwell(parts: DoctorParts, flags: Record<string, string> = {}): Promise<string[]> {
  const sources = { file: '/dev/null', environment: {}, flags: { ...FLAGS, ...flags } };
  const found = await examine(sources, parts, NOW_MS);
  // No agent runs in these tests.
  const noted = found.filter(({ level, name }) => level !== 'ok' && name !== 'agent');
  for (const check of noted) expect(check.remedy).not.toBe('');
  return noted.map(({ level, name, detail }) => `${level} ${name}: ${detail}`);
}

test('a machine that lacks nothing', async () => {
  expect(await unwell(machine())).toEqual([]);
});

test.each<[string, DoctorParts, Record<string, string>, string[]]>([
  [
    'a kernel feature',
    machine({
      probeKernel: async () => ({
        release: '5.4',
        checks: [
          { name: 'program seal', ok: false, detail: 'refused', remedy: 'newer' },
          { name: 'tcx', ok: true, detail: 'clsact instead', remedy: 'none needed' },
        ],
      }),
    }),
    {},
    ['fail program seal: refused', 'warn tcx: clsact instead'],
  ],
  [
    'SYS_ADMIN',
    machine({}, { '/proc/self/status': 'CapEff:\t000001ffffdfffff\n' }),
    {},
    ['fail pod namespaces: may not be entered: pods cannot be attached'],
  ],
  [
    'threaded NAPI',
    machine({}, { '/sys/class/net/eth0/threaded': '0\n' }),
    {},
    ['warn threaded NAPI on eth0: off: the agent switches it on when it runs and may'],
  ],
  [
    'leave to tune',
    machine({}, { '/sys/class/net/eth0/threaded': '0\n' }),
    { 'underlay.tune': 'off' },
    ['warn threaded NAPI on eth0: off, and underlay.tune is off: one core decrypts'],
  ],
  [
    'its own certificate',
    machine({
      readIdentity: async () => ({ grant: { ...GRANT, node: 'node2' as NodeName }, notAfterMs: NOW_MS * 2 }),
    }),
    {},
    ['fail certificate: is for node2, but this node is node1'],
  ],
  [
    'a certificate for its prefixes',
    machine(),
    { 'overlay.prefixes': '10.244.1.0/24,10.244.2.0/24' },
    ['fail certificate: does not grant 10.244.2.0/24'],
  ],
  [
    'time on the certificate',
    machine({ readIdentity: async () => ({ grant: GRANT, notAfterMs: NOW_MS + 3 * DAY_MS - 1 }) }),
    {},
    ['warn certificate: ends in 2d'],
  ],
  [
    'a certificate that is valid',
    machine({ readIdentity: async () => ({ grant: GRANT, notAfterMs: NOW_MS }) }),
    {},
    ['fail certificate: expired 0s ago'],
  ],
  [
    'any certificate, with the address configured',
    machine({ readIdentity: () => Promise.reject(new VxsealError('identity', 'no file', 'issue')) }),
    { 'underlay.vteps': '192.0.2.1' },
    ['fail certificate: no file'],
  ],
  [
    'its address',
    machine({ readDevices: async () => ({ ...DEVICES, addresses: [] }) }),
    {},
    ['fail VTEP address: none of 192.0.2.1 is configured on this node'],
  ],
  [
    'the underlay device',
    machine(),
    { 'underlay.devices': 'eth7' },
    ['fail underlay eth7: there is no such device'],
  ],
  [
    'an underlay that is up',
    machine({ readDevices: async () => ({ ...DEVICES, links: [{ ...eth0, up: false }] }) }),
    {},
    ['fail underlay eth0: is down'],
  ],
  [
    'room for IPv6 inside',
    machine({ readDevices: async () => ({ ...DEVICES, links: [{ ...eth0, mtuBytes: 1371 }] }) }),
    {},
    ['warn underlay eth0: MTU 1371, so 1276 for pods: below 1280, IPv6 cannot be used'],
  ],
  [
    'forwarding',
    machine({}, { '/proc/sys/net/ipv4/ip_forward': '0\n', '/proc/sys/net/ipv6/conf/all/forwarding': '0\n' }),
    {},
    ['fail sysctl ipv4/ip_forward: off: packets of pods are not passed on'],
  ],
  [
    'forwarding of IPv6, which it uses',
    machine(
      {
        readIdentity: async () => ({
          grant: { ...GRANT, prefixes: ['fd00::/64' as Prefix] },
          notAfterMs: NOW_MS * 2,
        }),
      },
      { '/proc/sys/net/ipv6/conf/all/forwarding': '0\n' },
    ),
    { 'overlay.prefixes': 'fd00::/64', 'overlay.protectedPrefixes': 'fd00::/48' },
    ['fail sysctl ipv6/conf/all/forwarding: off: packets of pods are not passed on'],
  ],
  [
    'a loose rp_filter with two devices',
    machine(),
    { 'underlay.devices': 'eth0,eth1' },
    ['warn sysctl rp_filter: strict on eth0 with 2 underlay devices: paths may not differ by direction'],
  ],
  [
    'the time',
    machine({ readBus: () => ({ records: 1, newestMs: NOW_MS + 60_001 }) }),
    {},
    ['warn clock: 2026-06-01T00:00:00.000Z, but a record on the bus is 1m newer'],
  ],
  [
    'a bus',
    machine({
      readBus: () => {
        throw new VxsealError('bus', 'folder cannot be used (ENOENT)', 'make it');
      },
    }),
    {},
    ['fail bus /var/lib/vxseal/bus: folder cannot be used (ENOENT)'],
  ],
  [
    'protection of its own prefix',
    machine(),
    { 'overlay.protectedPrefixes': '10.245.0.0/16' },
    [
      'fail configuration overlay.protectedPrefixes: of VNI 1 do not hold 10.244.1.0/24, which this node has there (flag --overlay-protected-prefixes)',
    ],
  ],
  [
    'a right configuration',
    machine(),
    { 'overlay.vni': '0', 'log.level': 'x' },
    [
      'fail configuration overlay.vni: "0" is not from 1 to 16777215 (flag --overlay-vni)',
      'fail configuration log.level: "x" is none of: debug, info, warn, error (flag --log-level)',
    ],
  ],
])('a machine without %s', async (_name, parts, flags, expected) => {
  expect(await unwell(parts, flags)).toEqual(expected);
});

test.each([
  [machine(), 0],
  [machine({ readBus: () => ({ records: 1, newestMs: NOW_MS + 60_001 }) }), 0],
  [machine({}, { '/proc/sys/net/ipv4/ip_forward': '0' }), 1],
])('exit code %#', async (doctor, expected) => {
  const out: string[] = [];
  const io = {
    out: (text: string) => void out.push(text),
    err: () => {},
    colour: false,
    environment: {},
    nowMs: () => NOW_MS,
  };
  const agent = { run: async () => {}, cleanup: async () => {} };
  const flags = Object.entries(FLAGS).flatMap(([path, value]) => [flagOf(path), value]);
  const code = await runCli(['doctor', '--config', '/dev/null', ...flags], io, {
    version: '',
    agent,
    doctor,
    labKeys: { lines: async () => [] },
    register: [],
  });
  expect(code).toBe(expected);
  expect(out.join('\n')).toMatch(
    expected === 0 ? /, 0 failed$/ : /fail {3}sysctl.*\n +-> sysctl -w.*ip_forward=1/,
  );
});

function flagOf(path: string): string {
  return `--${path.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replace('.', '-')}`;
}

test('a running agent says whether it is ready', async () => {
  const agent = new FakeAgent(sampleStatus());
  const socket = join(folder, 'agent.sock');
  const running = await listenUnix(apiParts(agent), socket);
  const sources = { file: '/dev/null', environment: {}, flags: FLAGS };
  const found = async (name: string): Promise<unknown> =>
    (await examine(sources, machine(), NOW_MS, socket)).find((check) => check.name === name);
  const asked = (): Promise<unknown> => found('agent');
  expect(await asked()).toMatchObject({ name: 'agent', level: 'ok' });
  const blockers = [{ name: 'keys' as const, reason: 'node2 has none', remedy: 'wait' }];
  agent.current = sampleStatus({ readiness: { ready: false, blockers } });
  expect(await asked()).toMatchObject({ level: 'warn', detail: 'runs, not ready: keys: node2 has none' });
  const { informer } = agent.current;
  const labels = `labels from ${informer.socket}`;
  expect(await found(labels)).toMatchObject({ level: 'ok', detail: 'the runtime tells them' });
  const reason = 'connect ENOENT';
  agent.current = sampleStatus({ informer: { ...informer, connected: false, reason } });
  expect(await found(labels)).toMatchObject({
    level: 'warn',
    detail: 'not told: connect ENOENT; pods work without',
  });
  agent.current = sampleStatus({ informer: { ...informer, socket: '' } });
  expect(await found('labels from ')).toBeUndefined();
  await running.close();
  expect(await asked()).toMatchObject({ level: 'warn', detail: `agent at ${socket}: is not running` });
});

test('the bus folder as it is read', () => {
  const bus = join(folder, 'bus');
  expect(() => readBus(bus)).toThrow('ENOENT');
  mkdirSync(join(bus, 'vxseal.nodes.v1'), { recursive: true });
  expect(readBus(bus)).toEqual({ records: 0, newestMs: 0 });
  for (const [name, seconds] of [
    ['node1', 1000],
    ['node2', 2000],
    ['.unfinished', 3000],
  ] as const) {
    const path = join(bus, 'vxseal.nodes.v1', name);
    writeFileSync(path, '');
    utimesSync(path, seconds, seconds);
  }
  expect(readBus(bus)).toEqual({ records: 2, newestMs: 2_000_000 });
  expect(readText(join(folder, 'none'))).toBeUndefined();
});
