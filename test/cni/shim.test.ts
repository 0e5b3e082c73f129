// The plugin's binary against an agent that is made up: what it sends, what it prints, and what it does when the agent
// is gone, slow, or talks nonsense. Each case runs the static build and the one with sanitizers.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { decodeCniCall } from '../../agent/core/cni';
import { seeded } from '../agent/core/random';
import { tryRun } from '../lab/command';
import { packageRoot } from '../lab/layout';
import { runPlugin } from './chain';

const BUILDS = ['build/cni/vxseal', 'build/native-asan/cni/vxseal'].map((path) => join(packageRoot(), path));
const ENVIRONMENT = { CNI_CONTAINERID: 'abc', CNI_NETNS: '/run/netns/p', CNI_IFNAME: 'eth0', OTHER: 'no' };

let dir: string;
let socket: string;
let server: Server | undefined;
beforeEach(() => {
  // Short: a socket's path has 107 bytes.
  dir = mkdtempSync('/tmp/vxs-');
  socket = join(dir, 's');
});
afterEach(async () => {
  await new Promise((resolve) => (server === undefined ? resolve(undefined) : server.close(resolve)));
  server = undefined;
  rmSync(dir, { recursive: true });
});

/** An agent that, once it has a whole request, does `react`. @returns the requests */
async function agent(react: (socket: Socket, request: Buffer) => void): Promise<Buffer[]> {
  const requests: Buffer[] = [];
  server = createServer((client) => {
    let got = Buffer.alloc(0);
    client.on('error', () => undefined);
    client.on('data', (chunk) => {
      got = Buffer.concat([got, chunk]);
      const head = got.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(got.subarray(0, head).toString())?.[1]);
      if (head < 0 || got.length < head + 4 + length) return;
      requests.push(got.subarray(head + 4));
      react(client, got);
    });
  });
  await new Promise<void>((resolve) => server?.listen(socket, resolve));
  return requests;
}

const reply = (status: number, body: string, length = Buffer.byteLength(body)): string =>
  `HTTP/1.1 ${status} X\r\nX-Other: y\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`;

const config = (more: object = {}): string =>
  JSON.stringify({ cniVersion: '0.4.0', name: 'cbr0', type: 'vxseal', socket, ...more });

async function call(
  build: string,
  command: string,
  stdin: string | Buffer = config(),
): Promise<{ status: number; answer: unknown; stderr: string }> {
  const { status, stdout, stderr } = await runPlugin(
    undefined,
    build,
    { ...ENVIRONMENT, CNI_COMMAND: command },
    stdin,
  );
  return { status, answer: stdout === '' ? '' : (JSON.parse(stdout) as unknown), stderr };
}

test('the binary that is shipped needs nothing of the host', () => {
  const headers = tryRun(['readelf', '--program-headers', BUILDS[0] ?? '']).stdout;
  expect(headers).toContain('LOAD');
  expect(headers).not.toContain('INTERP');
  expect(headers).not.toContain('DYNAMIC');
});

describe.each(BUILDS.map((path) => [path.replace(packageRoot(), ''), path] as const))(
  '%s',
  (_name, build) => {
    test('1 a call arrives whole, and the answer is printed', async () => {
      const requests = await agent((client) => client.end(reply(200, '{"cniVersion":"0.4.0"}\n')));
      expect(await call(build, 'ADD', config({ prevResult: { a: 'é\\"' } }))).toMatchObject({
        status: 0,
        answer: { cniVersion: '0.4.0' },
      });
      const decoded = decodeCniCall(requests[0] ?? Buffer.alloc(0));
      expect(decoded).toMatchObject({
        ok: true,
        value: {
          command: 'ADD',
          attachment: { network: 'cbr0', containerId: 'abc', ifname: 'eth0' },
          prevResult: { a: 'é\\"' },
        },
      });
      expect(requests[0]?.toString()).not.toContain('OTHER');
    });

    test('2 a refusal is printed, with exit code 1; success may be without words', async () => {
      await agent((client, request) =>
        client.end(
          request.includes('CNI_COMMAND=DEL') ? reply(200, '') : reply(422, '{"code":11,"msg":"not yet"}'),
        ),
      );
      expect(await call(build, 'ADD')).toMatchObject({ status: 1, answer: { code: 11, msg: 'not yet' } });
      expect(await call(build, 'DEL')).toMatchObject({ status: 0, answer: '' });
    });

    test('3 without an agent: DEL succeeds, STATUS is not available, everything else later', async () => {
      expect(await call(build, 'DEL')).toMatchObject({
        status: 0,
        answer: '',
        stderr: expect.stringContaining('No such file'),
      });
      expect(await call(build, 'STATUS')).toMatchObject({
        status: 1,
        answer: { cniVersion: '0.4.0', code: 50 },
      });
      for (const command of ['ADD', 'CHECK', 'GC'])
        expect(await call(build, command)).toMatchObject({
          status: 1,
          answer: { cniVersion: '0.4.0', code: 11, msg: expect.stringContaining(socket) },
        });
    });

    test.each([
      ['nothing', ''],
      ['half a header', 'HTTP/1.1 200 OK\r\nContent-Le'],
      ['no length', 'HTTP/1.1 200 OK\r\n\r\n{}'],
      ['less than announced', reply(200, '{"a":1}', 8)],
      ['more than announced', reply(200, '{"a":1}', 6)],
      ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n\r\n'],
      ['noise', '\0\x01\r\n\r\n\r\n'],
      ['a status of its own', reply(404, '{"code":"not-found"}')],
      ['a fault of its own', reply(500, 'oops')],
    ])('4 an agent that answers %s: ADD is to be tried again', async (_what, text) => {
      await agent((client) => client.end(text));
      expect(await call(build, 'ADD')).toMatchObject({ status: 1, answer: { code: 11 } });
    });

    test('5 VERSION is answered without an agent, in the words of the caller', async () => {
      const versions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
      expect(await call(build, 'VERSION')).toMatchObject({
        status: 0,
        answer: { cniVersion: '0.4.0', supportedVersions: versions },
      });
      expect(await call(build, 'VERSION', '')).toMatchObject({ status: 0, answer: { cniVersion: '1.1.0' } });
    });

    test.each([
      ['no JSON', 'x', 6],
      ['nothing', '', 6],
      ['a list', '[{}]', 6],
      ['cut off', '{"cniVersion":"1.1.0"', 6],
      ['cut off in a string', '{"cniVersion":"1.0', 6],
      ['a key without a value', '{"a"}', 6],
      ['more than a mebibyte', `{"a":"${'b'.repeat(1 << 20)}"}`, 5],
    ])('6 configuration that is %s is refused', async (_what, stdin, code) => {
      expect(await call(build, 'ADD', stdin)).toMatchObject({
        status: 1,
        answer: { cniVersion: '1.1.0', code },
      });
    });

    test('7 what is at the limit passes: a mebibyte of configuration, and a mebibyte back', async () => {
      const body = `{"a":"${'c'.repeat(1 << 20)}"}`;
      const requests = await agent((client) => client.end(reply(200, body)));
      const frame = config({ a: '' }).length;
      const stdin = config({ a: 'b'.repeat((1 << 20) - frame) });
      expect(stdin).toHaveLength(1 << 20);
      const { status, answer } = await call(build, 'ADD', stdin);
      expect({ status, length: JSON.stringify(answer).length }).toEqual({ status: 0, length: body.length });
      expect(requests[0]?.subarray(-stdin.length).toString()).toBe(stdin);
    });

    test('8 commands that there are not', async () => {
      for (const command of ['', 'add', 'A"\\\n', 'X'.repeat(10_000)])
        expect(await call(build, command)).toMatchObject({ status: 1, answer: { code: 4 } });
      const { status, stdout } = await runPlugin(undefined, build, {}, '{}');
      expect({ status, answer: JSON.parse(stdout) as unknown }).toMatchObject({
        status: 1,
        answer: { code: 4 },
      });
    });

    test('9 whose socket, and which version: only the top level counts, and the last one', async () => {
      const requests = await agent((client) => client.end(reply(200, '{}')));
      const nested = {
        socket: '/none',
        cniVersion: '9',
        deep: [{ socket: '/none', text: '"socket":"/none"}' }],
      };
      expect(
        (await call(build, 'ADD', JSON.stringify({ prevResult: nested, socket, z: nested }))).status,
      ).toBe(0);
      expect(requests).toHaveLength(1);
      const strange = JSON.stringify({ cniVersion: '1.0.0","x":"', socket: `/${'s'.repeat(108)}` });
      expect(await call(build, 'STATUS', strange)).toMatchObject({
        answer: { cniVersion: '1.1.0', msg: expect.stringContaining('/run/vxseal/agent.sock') },
      });
    });

    test('10 an agent that never answers: the plugin ends by its own deadline', async () => {
      await agent(() => undefined);
      const [added, deleted] = await Promise.all([call(build, 'ADD'), call(build, 'DEL')]);
      expect(added).toMatchObject({
        status: 1,
        answer: { code: 11, msg: expect.stringContaining('timed out') },
      });
      expect(deleted).toMatchObject({ status: 0, answer: '' });
    }, 40_000);
  },
);

test('noise on stdin and on the socket: an answer that is JSON, or none, and never a crash', async () => {
  const build = BUILDS[1] ?? '';
  const random = seeded(11);
  const noisy = (text: string): Buffer => {
    const bytes = Buffer.from(text);
    for (let change = 0; change <= random() * 6; change++)
      bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    return bytes.subarray(0, Math.ceil(bytes.length * (random() < 0.5 ? 1 : random())));
  };
  await agent((client) => client.end(noisy(reply(random() < 0.5 ? 200 : 422, '{"code":7,"msg":"no"}'))));
  const nested = config({
    prevResult: { ips: [{ address: '10.1.0.5/24' }] },
    a: [[], {}, '\\"', -1e3, null],
  });
  const codes = new Map<number, number>();
  for (let round = 0; round < 40; round++) {
    const runs = Array.from({ length: 10 }, () => {
      const environment = { ...ENVIRONMENT, CNI_COMMAND: 'ADD' };
      return runPlugin(undefined, build, environment, random() < 0.3 ? nested : noisy(nested));
    });
    for (const { status, stderr } of await Promise.all(runs)) {
      codes.set(status, (codes.get(status) ?? 0) + 1);
      expect(stderr).not.toMatch(/Sanitizer|runtime error/);
    }
  }
  expect([...codes.keys()].filter((code) => code > 1)).toEqual([]);
  expect(codes.get(0)).toBeGreaterThan(5);
  expect(codes.get(1)).toBeGreaterThan(100);
}, 120_000);
