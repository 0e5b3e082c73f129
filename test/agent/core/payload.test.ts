import {
  MAX_OLDER_EPOCHS,
  type NodeAnnouncement,
  type NodeWithdrawal,
} from '../../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../../agent/core/ids';
import { decodePayload, encodePayload, MAX_RECORD_BYTES } from '../../../agent/core/payload';

const KEY = Buffer.alloc(32, 9).toString('base64url');
const record: NodeAnnouncement = {
  kind: 'node',
  node: 'node1' as NodeName,
  bootId: '0123456789abcdef',
  generation: 5,
  sequence: 6,
  notBeforeMs: 1000,
  notAfterMs: 2000,
  vteps: ['192.0.2.1' as IpAddress, 'fd00::1' as IpAddress],
  port: 4500,
  prefixes: [
    { vni: 42 as Vni, prefixes: ['10.1.0.0/24', 'fd00:1::/64'] as Prefix[] },
    { vni: 43 as Vni, prefixes: [] },
  ],
  suites: ['chacha20-poly1305'],
  epoch: { number: 9, publicKey: new Uint8Array(32).fill(9) },
  olderEpochs: [{ number: 8, publicKey: new Uint8Array(32).fill(8) }],
  agentVersion: '0.1.0',
};
const withdrawal: NodeWithdrawal = {
  kind: 'withdrawal',
  node: 'node1' as NodeName,
  generation: 5,
  sequence: 7,
  notAfterMs: 2000,
};
const text = (value: NodeAnnouncement | NodeWithdrawal): string =>
  Buffer.from(encodePayload(value)).toString();
const json = (): Record<string, unknown> => JSON.parse(text(record));
const decode = (payload: string, kind: 'node' | 'withdrawal' = 'node'): string => {
  const result = decodePayload(Buffer.from(payload), kind);
  return result.ok ? 'accepted' : result.reason;
};

test('the text of version 1', () => {
  expect(text(record)).toBe(
    `{"v":1,"node":"node1","bootId":"0123456789abcdef","generation":5,"sequence":6,"notBeforeMs":1000,"notAfterMs":2000,` +
      `"vteps":["192.0.2.1","fd00::1"],"port":4500,"prefixes":[{"vni":42,"prefixes":["10.1.0.0/24","fd00:1::/64"]},` +
      `{"vni":43,"prefixes":[]}],"suites":["chacha20-poly1305"],"epoch":{"number":9,"publicKey":"${KEY}"},` +
      `"olderEpochs":[{"number":8,"publicKey":"${Buffer.alloc(32, 8).toString('base64url')}"}],"agentVersion":"0.1.0"}`,
  );
  expect(text(withdrawal)).toBe('{"v":1,"node":"node1","generation":5,"sequence":7,"notAfterMs":2000}');
});

test('decoding is the inverse', () => {
  expect(decodePayload(encodePayload(record), 'node')).toEqual({ ok: true, value: record });
  expect(decodePayload(encodePayload(withdrawal), 'withdrawal')).toEqual({ ok: true, value: withdrawal });
  const { olderEpochs: _, ...without } = record;
  expect(decodePayload(encodePayload({ ...without, olderEpochs: [] }), 'node')).toEqual({
    ok: true,
    value: without,
  });
});

test('prefixes are sorted on the way out', () => {
  const unsorted = [
    { vni: 43 as Vni, prefixes: [] },
    { vni: 42 as Vni, prefixes: ['fd00:1::/64', '10.1.0.0/24'] as Prefix[] },
  ];
  expect(text({ ...record, prefixes: unsorted })).toBe(text(record));
});

const epoch = (number: unknown, publicKey: unknown = KEY): object => ({ number, publicKey });
const MAX = Number.MAX_SAFE_INTEGER;
const hosts = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.0.${Math.floor(i / 256)}.${i % 256}/32`).sort();

describe('one field changed', () => {
  test.each<[string, string, unknown, string]>([
    ['1', 'v', 2, 'unknown-version'],
    ['2', 'v', '1', 'unknown-version'],
    ['3', 'v', undefined, 'unknown-version'],
    ['4', 'node', 'NODE', 'malformed'],
    ['5', 'node', 1, 'malformed'],
    ['6', 'node', `${'a'.repeat(63)}`, 'accepted'],
    ['7', 'node', `${'a'.repeat(64)}`, 'malformed'],
    ['8', 'bootId', 'a'.repeat(15), 'malformed'],
    ['9', 'bootId', 'a'.repeat(64), 'accepted'],
    ['10', 'bootId', 'a'.repeat(65), 'malformed'],
    ['11', 'bootId', 'A'.repeat(16), 'malformed'],
    ['12', 'generation', 0, 'accepted'],
    ['13', 'generation', -1, 'malformed'],
    ['14', 'generation', MAX, 'accepted'],
    ['15', 'generation', MAX + 1, 'malformed'],
    ['16', 'sequence', 1.5, 'malformed'],
    ['17', 'sequence', '1', 'malformed'],
    ['18', 'notAfterMs', null, 'malformed'],
    ['19', 'port', 0, 'malformed'],
    ['20', 'port', 1, 'accepted'],
    ['21', 'port', 65535, 'accepted'],
    ['22', 'port', 65536, 'malformed'],
    ['23', 'vteps', [], 'malformed'],
    ['24', 'vteps', ['192.0.2.1'], 'accepted'],
    ['25', 'vteps', ['192.0.2.1', '192.0.2.2'], 'malformed'],
    ['26', 'vteps', ['fd00::1', '192.0.2.1'], 'accepted'],
    ['27', 'vteps', ['FD00::1'], 'malformed'],
    ['28', 'vteps', ['::ffff:192.0.2.1'], 'malformed'],
    ['29', 'vteps', ['192.0.2.01'], 'malformed'],
    ['30', 'vteps', 'fd00::1', 'malformed'],
    ['31', 'prefixes', [{ vni: 0, prefixes: [] }], 'malformed'],
    ['32', 'prefixes', [{ vni: 1, prefixes: [] }], 'accepted'],
    ['33', 'prefixes', [{ vni: 0xffffff, prefixes: [] }], 'accepted'],
    ['34', 'prefixes', [{ vni: 0x1000000, prefixes: [] }], 'malformed'],
    ['35', 'prefixes', [{ vni: 1, prefixes: ['10.0.0.1/24'] }], 'malformed'],
    ['36', 'prefixes', [{ vni: 1, prefixes: ['10.1.0.0/24', '10.0.0.0/24'] }], 'malformed'],
    ['37', 'prefixes', [{ vni: 1, prefixes: ['10.0.0.0/24', '10.0.0.0/24'] }], 'malformed'],
    [
      '38',
      'prefixes',
      [
        { vni: 2, prefixes: [] },
        { vni: 1, prefixes: [] },
      ],
      'malformed',
    ],
    [
      '39',
      'prefixes',
      [
        { vni: 1, prefixes: [] },
        { vni: 1, prefixes: [] },
      ],
      'malformed',
    ],
    ['40', 'prefixes', [{ vni: 1, prefixes: ['::/0'] }], 'malformed'],
    ['41', 'prefixes', [{ vni: 1, prefixes: ['::/97'] }], 'accepted'],
    ['42', 'prefixes', [{ vni: 1, prefixes: [], extra: 1 }], 'malformed'],
    ['43', 'prefixes', [{ vni: 1, prefixes: hosts(256) }], 'accepted'],
    ['44', 'prefixes', [{ vni: 1, prefixes: hosts(257) }], 'malformed'],
    [
      '45',
      'prefixes',
      [
        { vni: 1, prefixes: hosts(200) },
        { vni: 2, prefixes: hosts(57) },
      ],
      'malformed',
    ],
    ['46', 'suites', [], 'accepted'],
    ['47', 'suites', ['Upper'], 'malformed'],
    ['48', 'suites', Array(8).fill('x'), 'accepted'],
    ['49', 'suites', Array(9).fill('x'), 'malformed'],
    ['50', 'epoch', undefined, 'no-key'],
    ['51', 'epoch', null, 'no-key'],
    ['52', 'epoch', {}, 'no-key'],
    ['53', 'epoch', epoch(9, ''), 'no-key'],
    ['54', 'epoch', epoch(9, KEY.slice(0, -1)), 'no-key'],
    ['55', 'epoch', epoch(9, `${KEY}=`), 'no-key'],
    ['56', 'epoch', epoch(9, Buffer.alloc(33).toString('base64url')), 'no-key'],
    ['57', 'epoch', epoch(9, Buffer.alloc(32, 255).toString('base64')), 'no-key'],
    ['58', 'epoch', epoch(-1), 'malformed'],
    ['59', 'epoch', { ...epoch(9), extra: 1 }, 'malformed'],
    ['60', 'epoch', [], 'malformed'],
    ['61', 'olderEpochs', undefined, 'malformed'],
    ['62', 'olderEpochs', [], 'accepted'],
    ['63', 'olderEpochs', [epoch(9)], 'malformed'],
    ['64', 'olderEpochs', [epoch(8), epoch(8)], 'malformed'],
    ['65', 'olderEpochs', [epoch(7), epoch(8)], 'malformed'],
    ['66', 'olderEpochs', [8, 7, 6].map((number) => epoch(number)), 'accepted'],
    ['67', 'olderEpochs', [8, 7, 6, 5].map((number) => epoch(number)), 'malformed'],
    ['68', 'olderEpochs', [epoch(8, 'AA')], 'no-key'],
    ['69', 'agentVersion', '', 'malformed'],
    ['70', 'agentVersion', '1.0 beta', 'malformed'],
    ['71', 'agentVersion', '\u001b[31m', 'malformed'],
    ['72', 'extra', 1, 'malformed'],
    ['73', '__proto__', { port: 1 }, 'malformed'],
  ])('%s %s: %j is %s', (_, field, value, expected) => {
    const fields = Object.entries(json()).map(([key, old]) => [key, key === field ? value : old] as const);
    if (!fields.some(([key]) => key === field)) fields.push([field, value]);
    const parts = fields.filter(([, part]) => part !== undefined);
    const payload = `{${parts.map(([key, part]) => `"${key}":${JSON.stringify(part)}`).join()}}`;
    expect(decode(payload)).toBe(expected);
  });

  test('the limit of older epochs is the one of the table', () => {
    expect(MAX_OLDER_EPOCHS).toBe(3);
  });
});

describe('other texts for the same', () => {
  const good = text(record);
  test.each([
    ['1 as it is', good, 'accepted'],
    ['2 a space', good.replace(':', ': '), 'malformed'],
    ['3 a line end behind', `${good}\n`, 'malformed'],
    ['4 a field twice', good.replace('"port":4500', '"port":1,"port":4500'), 'malformed'],
    ['5 another number form', good.replace('4500', '4.5e3'), 'malformed'],
    ['6 an escape', good.replace('node1', '\\u006eode1'), 'malformed'],
    [
      '7 another order',
      good.replace('"generation":5,"sequence":6', '"sequence":6,"generation":5'),
      'malformed',
    ],
    ['8 a byte order mark', `\ufeff${good}`, 'malformed'],
    ['9 nothing', '', 'malformed'],
    ['10 null', 'null', 'malformed'],
    ['11 a list', '[]', 'malformed'],
    ['12 deep nesting', '['.repeat(30_000), 'malformed'],
    ['13 a withdrawal', text(withdrawal), 'malformed'],
  ])('%s', (_, payload, expected) => {
    expect(decode(payload)).toBe(expected);
  });

  test('14 a node record as withdrawal', () => {
    expect(decode(text(withdrawal), 'withdrawal')).toBe('accepted');
    expect(decode(good, 'withdrawal')).toBe('malformed');
  });

  test('15 not UTF-8', () => {
    expect(decodePayload(Uint8Array.of(0x22, 0xff, 0x22), 'node')).toMatchObject({
      ok: false,
      reason: 'malformed',
    });
  });

  test.each([
    ['16 a byte order mark', `\ufeff${good}`],
    ['17 a letter outside ASCII', good.replace('"agentVersion":"', '"agentVersion":"é')],
    ['18 the same, as one byte', good.replace('"agentVersion":"', '"agentVersion":"\u00e9')],
  ])('%s', (name, payload) => {
    expect(payload).not.toBe(good);
    const encoding = name.endsWith('one byte') ? 'latin1' : 'utf8';
    expect(decodePayload(Buffer.from(payload, encoding), 'node')).toMatchObject({ reason: 'malformed' });
  });

  test('the largest record fits a bus', () => {
    const long = (i: number): Prefix =>
      `fd00:1111:2222:3333:4444:5555:${(4096 + i).toString(16)}:1/128` as Prefix;
    const prefixes = [{ vni: 0xffffff as Vni, prefixes: Array.from({ length: 256 }, (_, i) => long(i)) }];
    const payload = encodePayload({ ...record, prefixes });
    expect(decodePayload(payload, 'node').ok).toBe(true);
    // Payload once and certificates twice in base64, three of them of a kilobyte each.
    expect(payload.length * (4 / 3) + 3 * 1024 * (4 / 3) ** 2).toBeLessThan(MAX_RECORD_BYTES);
  });
});
