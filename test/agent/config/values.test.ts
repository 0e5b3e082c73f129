// Truth tables of the configuration's value types, at their limits.
import { sharedServices } from '../../../agent/config/sharedvalues';
import * as values from '../../../agent/config/values';

const NO = Symbol('refused');

function parsed(type: values.ValueType<unknown>, raw: unknown): unknown {
  const result = type.parse(raw);
  return result.ok ? result.value : NO;
}

test.each<[number, unknown, unknown]>([
  [1, 0, NO],
  [2, 1, 1],
  [3, 65535, 65535],
  [4, 65536, NO],
  [5, '1', 1],
  [6, '01', 1],
  [7, '+1', NO],
  [8, '1.0', NO],
  [9, 1.5, NO],
  [10, 1n, 1],
  [11, '', NO],
  [12, ' 1', NO],
  [13, '0x10', NO],
  [14, true, NO],
  [15, null, NO],
  [16, [1], NO],
  [17, '-1', NO],
  [18, '9'.repeat(400), NO],
  [19, Number.NaN, NO],
])('port %i', (_number, raw, expected) => {
  expect(parsed(values.port, raw)).toBe(expected);
});

test.each<[number, unknown, unknown]>([
  [1, '999ms', NO],
  [2, '1s', 1000],
  [3, '1000', 1000],
  [4, 1000, 1000],
  [5, 999, NO],
  [6, '1h', 3_600_000],
  [7, '1h1ms', NO],
  [8, '59m60s', 3_600_000],
  [9, '1.5s', 1500],
  [10, '1.0001s', NO],
  [11, '1 s', NO],
  [12, '5', NO],
  [13, 's', NO],
  [14, '', NO],
  [15, '1w', NO],
  [16, '-5s', NO],
  [17, '0.5h', 1_800_000],
  [18, true, NO],
])('duration 1s to 1h %i', (_number, raw, expected) => {
  expect(parsed(values.duration(1000, 3_600_000), raw)).toBe(expected);
});

test.each<[number, unknown, unknown]>([
  [1, true, true],
  [2, 'true', true],
  [3, false, false],
  [4, 'false', false],
  [5, 'yes', NO],
  [6, 1, NO],
  [7, 'TRUE', NO],
  [8, '', NO],
])('boolean %i', (_number, raw, expected) => {
  expect(parsed(values.boolean, raw)).toBe(expected);
});

test.each<[number, unknown, unknown]>([
  [1, 'eth0', 'eth0'],
  [2, 'a'.repeat(15), 'a'.repeat(15)],
  [3, 'a'.repeat(16), NO],
  [4, '', NO],
  [5, '.', NO],
  [6, '..', NO],
  [7, '...', '...'],
  [8, 'a/b', NO],
  [9, 'a b', NO],
  [10, 'eth0:1', NO],
  [11, 'eth0.5', 'eth0.5'],
  [12, 7, NO],
])('device name %i', (_number, raw, expected) => {
  expect(parsed(values.deviceName, raw)).toBe(expected);
});

test.each<[number, unknown, unknown]>([
  [1, '/', '/'],
  [2, '/a//b/', '/a/b'],
  [3, '/a/../b', '/b'],
  [4, 'a', NO],
  [5, '', NO],
  [6, './a', NO],
  [7, '/a\0b', NO],
  [8, '~/a', NO],
])('absolute path %i', (_number, raw, expected) => {
  expect(parsed(values.absolutePath, raw)).toBe(expected);
});

test.each<[number, unknown, unknown]>([
  [1, '', []],
  [2, [], []],
  [3, '192.0.2.1', ['192.0.2.1']],
  [4, '192.0.2.1, 2001:db8:0::1', ['192.0.2.1', '2001:db8::1']],
  [5, ['192.0.2.1', '192.0.2.2'], NO],
  [6, ['2001:db8::1', '2001:db8::2'], NO],
  [7, '192.0.2.1,192.0.2.1', NO],
  [8, '192.0.2.1/32', NO],
  [9, 'node1', NO],
  [10, '192.0.2.1,', NO],
  [11, 3, NO],
  [12, { a: 1 }, NO],
])('VTEPs %i', (_number, raw, expected) => {
  expect(parsed(values.vtepAddresses, raw)).toEqual(expected);
});

test.each<[number, unknown, unknown]>([
  [1, '', []],
  [2, '10.1.0.0/24', [{ vni: 0, prefixes: ['10.1.0.0/24'] }]],
  [3, '42=10.1.0.0/24', [{ vni: 42, prefixes: ['10.1.0.0/24'] }]],
  [
    4,
    '7=10.2.0.0/24,7=10.1.0.0/24,5=fd00::/64',
    [
      { vni: 5, prefixes: ['fd00::/64'] },
      { vni: 7, prefixes: ['10.1.0.0/24', '10.2.0.0/24'] },
    ],
  ],
  [5, [{ vni: 1n, prefixes: ['10.1.0.0/24'] }, '1=10.1.0.0/24'], [{ vni: 1, prefixes: ['10.1.0.0/24'] }]],
  [6, [{ vni: 0, prefixes: [] }], NO],
  [7, '0=10.1.0.0/24', NO],
  [8, '16777216=10.1.0.0/24', NO],
  [9, '10.1.0.1/24', NO],
  [10, '10.1.0.0', NO],
  [11, [{ vni: 1 }], NO],
  [12, [{ vni: 1, prefixes: ['10.1.0.0/24'], tenant: 'a' }], NO],
  [13, [7], NO],
  [14, [{ vni: 1, prefixes: [10] }], NO],
  [15, { vni: 1, prefixes: [] }, NO],
])('prefix groups %i', (_number, raw, expected) => {
  expect(parsed(values.prefixGroups, raw)).toEqual(expected);
});

test.each([
  [0, '0ms'],
  [1, '1ms'],
  [999, '999ms'],
  [1000, '1s'],
  [90_000, '90s'],
  [3_600_000, '1h'],
  [86_400_000, '1d'],
])('%i ms is written %s and read again', (ms, text) => {
  expect(values.formatDuration(ms)).toBe(text);
  expect(parsed(values.duration(0, 1e9), text)).toBe(ms);
});

test.each<[number, string, unknown]>([
  [1, 'k1:9092', [{ host: 'k1', port: 9092 }]],
  [
    2,
    'a.b-c.d:1,10.0.0.1:65535',
    [
      { host: 'a.b-c.d', port: 1 },
      { host: '10.0.0.1', port: 65535 },
    ],
  ],
  [3, '[FD00:0::1]:9092', [{ host: 'fd00::1', port: 9092 }]],
  [4, '', []],
  [5, 'k1', undefined],
  [6, 'k1:0', undefined],
  [7, 'k1:65536', undefined],
  [8, 'fd00::1:9092', undefined],
  [9, '[10.0.0.1]:9092', undefined],
  [10, '-k:1', undefined],
  [11, 'k..x:1', undefined],
  [12, 'k:1,k:1', undefined],
  [13, 'SASL_SSL://k:1', undefined],
])('brokers %i: %j', (_number, raw, expected) => {
  const parsed = values.brokerAddresses.parse(raw);
  expect(parsed.ok ? parsed.value : undefined).toEqual(expected);
});

const DNS = { name: 'dns', vni: 7, prefixes: ['10.7.0.53/32'], clients: ['8=10.8.0.0/24'] };
const dns = { ...DNS, clients: [{ vni: 8, prefixes: ['10.8.0.0/24'] }] };
test.each<[number, unknown, unknown]>([
  [1, '', []],
  [2, 'dns 7 10.7.0.53/32 from 8=10.8.0.0/24', [dns]],
  [3, [DNS], [dns]],
  [4, [{ ...DNS, vni: '7', clients: dns.clients }], [dns]],
  [
    5,
    ' dns  7 fd07::53/128 10.7.0.53/32 from 9=10.9.0.0/24 8=10.8.0.0/24, log 9 10.9.0.1/32 from 8=10.8.0.0/24',
    [
      {
        name: 'dns',
        vni: 7,
        prefixes: ['10.7.0.53/32', 'fd07::53/128'],
        clients: [...dns.clients, { vni: 9, prefixes: ['10.9.0.0/24'] }],
      },
      { name: 'log', vni: 9, prefixes: ['10.9.0.1/32'], clients: dns.clients },
    ],
  ],
  [6, 'dns 7 10.7.0.53/32', NO],
  [7, 'dns 10.7.0.53/32 from 8=10.8.0.0/24', NO],
  [8, 'dns 0 10.7.0.53/32 from 8=10.8.0.0/24', NO],
  [9, 'dns 7 10.7.0.53 from 8=10.8.0.0/24', NO],
  [10, 'dns 7 10.7.0.53/32 from 10.8.0.0/24', NO],
  [11, 'DNS 7 10.7.0.53/32 from 8=10.8.0.0/24', NO],
  [12, [{ ...DNS, to: [] }], NO],
  [13, [{ ...DNS, clients: [] }], NO],
  [14, [{ ...DNS, prefixes: [] }], NO],
  [15, [{ ...DNS, clients: '8=10.8.0.0/24' }], NO],
  [16, [{ ...DNS, name: 7 }], NO],
  [17, DNS, NO],
  [18, [7], NO],
])('shared services %i', (_number, raw, expected) => {
  expect(parsed(sharedServices, raw)).toEqual(expected);
});
