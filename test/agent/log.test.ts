// What the log writes, and what it never does.
import { createLog } from '../../agent/log';

function logged(fields: object): Record<string, unknown> {
  const lines: string[] = [];
  const log = createLog({ level: 'info', stream: { write: (line) => void lines.push(line) } });
  log.info(fields, 'm');
  const { level, time, message, ...rest } = JSON.parse(lines.join('')) as Record<string, unknown>;
  expect({ level, message }).toEqual({ level: 'info', message: 'm' });
  expect(typeof time).toBe('string');
  return rest;
}

test.each<[string, boolean]>([
  ['key', true],
  ['keys', true],
  ['salt', true],
  ['secret', true],
  ['privateKey', true],
  ['private_key', true],
  ['txSalt', true],
  ['epochSecrets', true],
  ['KEY', true],
  ['password', true],
  ['accessToken', true],
  ['publicKey', false],
  ['publicKeyFingerprint', false],
  ['keyId', false],
  ['monkey', true], // rather too much than too little
  ['saltLake', false],
  ['peer', false],
])('%s is redacted: %s', (name, redacted) => {
  const marker = 'c0ffee';
  expect(logged({ [name]: marker })).toEqual({ [name]: redacted ? '[redacted]' : marker });
  const deep = JSON.stringify(logged({ a: [{ b: new Map([['c', { [name]: marker }]]) }] }));
  expect(deep.includes(marker)).toBe(!redacted);
});

test('bytes are counted, never written', () => {
  const bytes = Buffer.from('c0ffee', 'hex');
  expect(logged({ a: bytes, b: new Uint8Array(32), c: [bytes.buffer] })).toEqual({
    a: '[3 bytes]',
    b: '[32 bytes]',
    c: [`[${bytes.buffer.byteLength} bytes]`],
  });
});

test('errors keep codes and causes, without secrets', () => {
  const cause = Object.assign(new Error('inner'), { key: 'c0ffee', errno: 2 });
  const found = logged({ error: new Error('outer', { cause }) });
  expect(found).toMatchObject({
    error: { type: 'Error', message: 'outer', cause: { message: 'inner', errno: 2, key: '[redacted]' } },
  });
});

test('bigint and cycles can be logged', () => {
  const cyclic: { self?: object; n: bigint } = { n: 1n << 64n };
  cyclic.self = cyclic;
  expect(logged(cyclic)).toMatchObject({ n: '18446744073709551616', self: { n: '18446744073709551616' } });
});

test.each([
  ['debug', ['d', 'i', 'w', 'e']],
  ['info', ['i', 'w', 'e']],
  ['warn', ['w', 'e']],
  ['error', ['e']],
] as const)('level %s', (level, expected) => {
  const lines: string[] = [];
  const log = createLog({ level, stream: { write: (line) => void lines.push(line) } });
  log.debug({}, 'd');
  log.info({}, 'i');
  log.warn({}, 'w');
  log.error({}, 'e');
  expect(lines.map((line) => (JSON.parse(line) as { message: string }).message)).toEqual(expected);
});
