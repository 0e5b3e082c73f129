// The CNI plugin's binary, built with sanitizers, between a runtime and an agent that both talk nonsense: whatever comes
// in on standard input, in the environment and on the socket, it answers JSON, what the agent said, or nothing, and ends by itself.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { runPlugin } from '../cni/chain';
import { packageRoot } from '../lab/layout';
import { anyJson, below, mutateBytes, mutateJson, pick, type Random } from './mutate';
import type { Target } from './target';

const BUILD = 'build/native-asan/cni/vxseal';
const COMMANDS = ['ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'add', ''];
const BODIES = ['{}', '{"code":7,"msg":"no"}', '{"cniVersion":"1.0.0","ips":[]}'];

/** One whose answer is ready before the request is. */
function createAgent(path: string): Promise<{ readonly server: Server; answerWith(bytes: Buffer): void }> {
  let answer: Buffer = Buffer.alloc(0);
  const server = createServer((client) => {
    client.on('error', () => undefined);
    client.once('data', () => client.end(answer));
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    server.listen(path, () =>
      resolve({
        server,
        answerWith: (bytes) => {
          answer = bytes;
        },
      }),
    );
  });
}

function anyAnswer(random: Random): Buffer {
  const body = pick(random, BODIES);
  const length = random() < 0.8 ? Buffer.byteLength(body) : below(random, 2 ** 32);
  const status = pick(random, [200, 200, 422, 503, 0]);
  const reply = Buffer.from(
    `HTTP/1.1 ${status} X\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${body}`,
  );
  return random() < 0.5 ? reply : mutateBytes(reply, random);
}

function anyStdin(socket: string, random: Random): Buffer {
  const config = { cniVersion: '0.4.0', name: 'cbr0', type: 'vxseal', socket, prevResult: { ips: [] } };
  // The socket stays as it is: a plugin that finds no agent would see nothing of what the agent says.
  const value = random() < 0.5 ? { ...(mutateJson(config, random) as object), socket } : config;
  const text = Buffer.from(JSON.stringify(value) ?? '');
  return random() < 0.5 ? text : mutateBytes(text, random);
}

const word = (random: Random, usual: string): string =>
  random() < 0.8 ? usual : String(anyJson(random)).replaceAll('\0', '');

/** A refusal is the plugin's own, with a code; or what the agent gave as one, as it was. */
function refusal(stdout: string, answer: Buffer): string {
  const code = codeOf(stdout);
  if (code !== undefined) return `code ${code}`;
  if (answer.toString().includes(stdout.trimEnd())) return "the agent's own words";
  throw new Error(`neither a code nor what the agent said: ${JSON.stringify(stdout)}`);
}

function codeOf(text: string): number | undefined {
  try {
    return (JSON.parse(text) as { code?: number }).code;
  } catch {
    return undefined;
  }
}

export async function pluginTarget(): Promise<Target> {
  const build = join(packageRoot(), BUILD);
  if (!existsSync(build)) throw new Error(`${BUILD} is missing: run ./scripts/build asan`);
  // Short: a socket's path has 107 bytes.
  const dir = mkdtempSync('/tmp/vxs-');
  const socket = join(dir, 's');
  const { server, answerWith } = await createAgent(socket);
  return {
    name: 'cni-plugin',
    fire: async (random) => {
      const answer = anyAnswer(random);
      answerWith(answer);
      const environment = {
        CNI_COMMAND: pick(random, COMMANDS),
        CNI_CONTAINERID: word(random, 'abc123'),
        CNI_NETNS: word(random, '/run/netns/x'),
        CNI_IFNAME: word(random, 'eth0'),
      };
      const { status, stdout, stderr } = await runPlugin(
        undefined,
        build,
        environment,
        anyStdin(socket, random),
      );
      if (/Sanitizer|runtime error/.test(stderr)) throw new Error(stderr);
      if (status > 1) throw new Error(`exit code ${status}: ${stderr}`);
      return status === 0 ? 'accepted' : refusal(stdout, answer);
    },
    close: () => {
      server.close();
      rmSync(dir, { recursive: true });
    },
  };
}
