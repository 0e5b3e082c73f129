// Who may ask over TCP: truth tables of the headers, and a real listener that a foreign page cannot read.
import { request } from 'node:http';
import { hostOf, isOwnHost, isOwnOrigin } from '../../../agent/http/origin';
import { listenTcp, parseListen, type RunningServer } from '../../../agent/http/server';
import { apiParts } from '../../fakes/api';
import { FakeAgent } from '../../fakes/status';

test.each<[number, string, string | undefined]>([
  [1, '127.0.0.1:9477', '127.0.0.1'],
  [2, '127.0.0.1', '127.0.0.1'],
  [3, '[::1]:9477', '::1'],
  [4, '[::1]', '::1'],
  [5, 'LocalHost:1', 'localhost'],
  [6, 'evil.example', 'evil.example'],
  [7, '', undefined],
  [8, '::1', undefined],
  [9, 'a:b', undefined],
  [10, 'user@127.0.0.1', undefined],
  [11, '127.0.0.1:9477:1', undefined],
  [12, '127.0.0.1/', undefined],
  [13, 'a b', undefined],
])('%d: the host of %j is %j', (_number, header, host) => {
  expect(hostOf(header)).toBe(host);
});

test.each<[number, string | undefined, string, boolean]>([
  [1, '127.0.0.1:9477', '127.0.0.1', true],
  [2, '127.0.0.1:80', '::ffff:127.0.0.1', true],
  [3, 'localhost:9477', '127.0.0.1', true],
  [4, '[::1]:9477', '::1', true],
  [5, '192.0.2.1:9477', '192.0.2.1', true],
  [6, undefined, '127.0.0.1', false],
  [7, 'rebound.example:9477', '127.0.0.1', false],
  [8, '127.0.0.1.nip.example', '127.0.0.1', false],
  [9, 'localhost.evil.example', '127.0.0.1', false],
  [10, '192.0.2.1', '127.0.0.1', false],
  [11, '2130706433', '127.0.0.1', false],
  [12, '0.0.0.0:9477', '127.0.0.1', false],
])('%d: Host %j on a connection to %s: %s', (_number, header, connectedTo, good) => {
  expect(isOwnHost(header, connectedTo)).toBe(good);
});

test.each<[number, string | undefined, boolean]>([
  [1, undefined, true],
  [2, 'http://127.0.0.1:9477', true],
  [3, 'https://127.0.0.1:9477', false],
  [4, 'http://127.0.0.1:80', false],
  [5, 'http://evil.example', false],
  [6, 'null', false],
  [7, '', false],
])('%d: Origin %j: %s', (_number, origin, good) => {
  expect(isOwnOrigin(origin, '127.0.0.1:9477')).toBe(good);
});

describe('the listener', () => {
  const agent = new FakeAgent();
  let running: RunningServer;
  beforeAll(async () => {
    running = await listenTcp(apiParts(agent), { host: '127.0.0.1', port: 0 });
  });
  afterAll(() => running.close());

  function ask(
    method: string,
    path: string,
    headers: Record<string, string> = {},
  ): Promise<[number, string]> {
    const port = Number(running.address.split(':').at(-1));
    return new Promise((resolve, reject) => {
      const outgoing = request(
        { host: '127.0.0.1', port, method, path, headers, agent: false },
        (incoming) => {
          const parts: Buffer[] = [];
          incoming.on('data', (part: Buffer) => parts.push(part));
          incoming.on('end', () => resolve([incoming.statusCode ?? 0, Buffer.concat(parts).toString()]));
        },
      );
      outgoing.on('error', reject);
      outgoing.end();
    });
  }

  test('answers whoever connects to it by address', async () => {
    expect((await ask('GET', '/v1/status'))[0]).toBe(200);
    const port = running.address.split(':').at(-1);
    const own = { host: `127.0.0.1:${port}`, origin: `http://127.0.0.1:${port}` };
    expect((await ask('GET', '/v1/status', own))[0]).toBe(200);
  });

  test.each(['/', '/livez', '/metrics', '/v1/status', '/v1/flows', '/openapi.json', '/none'])(
    'tells a rebound name nothing: %s',
    async (path) => {
      const [status, body] = await ask('GET', path, { host: 'rebound.example' });
      expect([status, JSON.parse(body)]).toEqual([
        403,
        expect.objectContaining({ code: 'forbidden', remedy: expect.stringMatching(/127/) }),
      ]);
    },
  );

  test('tells a foreign page nothing', async () => {
    expect((await ask('GET', '/v1/status', { origin: 'http://evil.example' }))[0]).toBe(403);
  });

  test.each([
    ['POST', '/v1/rotate'],
    ['POST', '/v1/probe'],
    ['POST', '/v1/pods'],
    ['DELETE', '/v1/pods/1:1'],
    ['PUT', '/v1/status'],
  ])('changes nothing: %s %s', async (method, path) => {
    expect((await ask(method, path))[0]).toBe(404);
    expect([agent.rotations, agent.attached, agent.detached]).toEqual([0, [], []]);
  });

  test('a second one cannot have the address, and says what to do', async () => {
    const address = parseListen(running.address);
    expect(address?.host).toBe('127.0.0.1');
    await expect(listenTcp(apiParts(), address ?? { host: '', port: 0 })).rejects.toMatchObject({
      code: 'state',
      message: expect.stringContaining(running.address),
      remedy: expect.stringContaining('http.listen'),
    });
  });
});

test.each<[string, unknown]>([
  ['127.0.0.1:9477', { host: '127.0.0.1', port: 9477 }],
  ['[fd00::1]:80', { host: 'fd00::1', port: 80 }],
  ['', undefined],
])('the configured address %j', (text, address) => expect(parseListen(text)).toEqual(address));
