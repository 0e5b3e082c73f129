// The keys of a lab that was made for it open every packet of its wire, taken from the exported line alone; a lab that
// was not refuses; and nothing else that the agents say, write or log holds a byte of them.
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { type EspKeys, openEsp, parseOuter } from '../bpf/esp-decoder';
import { Context } from './context';
import { ipBytes } from './frames';
import { allowKeys, labKeys, nodeKeys } from './keys';
import { bringUp } from './lab';
import type { NodeLayout } from './layout';
import { frameKind } from './pcap';
import { sniff } from './sniffer';
import { teardown } from './teardown';

const NAME = `y${randomBytes(3).toString('hex')}`;
const TIMEOUT_MS = 120_000;
const ECHO_PORT = 7091;
let context: Context;

beforeAll(async () => {
  context = new Context(await bringUp(NAME, 2, 1, () => undefined));
}, TIMEOUT_MS);

afterAll(async () => {
  await context?.close();
  teardown(NAME);
}, TIMEOUT_MS);

interface Line {
  /** "source destination spi", as bytes in hexadecimal. */
  readonly id: string;
  readonly keys: EspKeys;
  readonly high: number;
}

/** As Wireshark reads its file: every field in quotes. */
function readLine(line: string): Line {
  const fields = [...line.matchAll(/"([^"]*)"(?:,|$)/g)].map((match) => match[1] ?? '');
  const [
    protocol,
    source = '',
    destination = '',
    spi = '',
    algorithm,
    key = '',
    auth,
    authKey,
    esn,
    high = '',
  ] = fields;
  expect([fields.length, protocol, algorithm, auth, authKey, esn]).toEqual([
    10,
    'IPv4',
    'ChaCha20 with Poly1305 [RFC7634]',
    'NULL',
    '',
    '64-bit',
  ]);
  const bytes = Buffer.from(key.replace(/^0x/, ''), 'hex');
  expect(bytes).toHaveLength(36);
  const ends = [source, destination].map((address) => ipBytes(address).toString('hex'));
  return {
    id: [...ends, Number(spi)].join(' '),
    keys: { key: bytes.subarray(0, 32), salt: bytes.subarray(32), esn: true },
    high: Number.parseInt(high, 16),
  };
}

function get(node: NodeLayout, path: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: node.socket, path }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(Buffer.concat(chunks)));
    });
    call.on('error', reject);
    call.end();
  });
}

const PATHS = [
  '/v1/status',
  '/v1/sas',
  '/v1/peers',
  '/v1/pods',
  '/v1/drops',
  '/metrics',
  '/openapi.json',
  '/',
];

/** Everything that the node's agent says on request, and what it has written. */
async function said(node: NodeLayout): Promise<Map<string, Buffer>> {
  const texts = new Map<string, Buffer>([[node.logFile, readFileSync(node.logFile)]]);
  for (const path of PATHS) texts.set(path, await get(node, path));
  for (const dir of [node.runDir, node.stateDir])
    for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true }))
      if (entry.isFile())
        texts.set(join(entry.parentPath, entry.name), readFileSync(join(entry.parentPath, entry.name)));
  return texts;
}

const forms = (bytes: Buffer): (Buffer | string)[] => [
  bytes,
  bytes.toString('hex'),
  bytes.toString('base64').replace(/=+$/, ''),
  bytes.toString('base64url'),
  JSON.stringify([...bytes]).slice(1, -1),
];

const holders = (texts: ReadonlyMap<string, Buffer>, secret: Buffer): string[] =>
  [...texts].filter(([, text]) => forms(secret).some((form) => text.includes(form))).map(([name]) => name);

test('refused where the lab was not made for it', () => {
  const { status, stdout, stderr } = nodeKeys(context.node(1));
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toMatch(/keys are shown in a lab only: there is no .*lab-keys\n {2}-> make one for it/);
  expect(() => labKeys(context.lab)).toThrow('node1: vxseal: keys are shown in a lab only');
});

describe('where it was', () => {
  beforeAll(() => allowKeys(context.lab));

  test('the lines open every packet that goes over the wire', async () => {
    await context.endpoint(context.pod(2).netns).echo(ECHO_PORT);
    const sniffer = await sniff(context.lab, context.endpoint(context.lab.wireNetns));
    for (const protocol of ['udp', 'tcp'] as const) {
      const target = context.pod(2).address;
      const back = await context
        .endpoint(context.pod(1).netns)
        .exchange(protocol, target, ECHO_PORT, context.payload(1000));
      expect([protocol, back]).toEqual([protocol, true]);
    }
    const frames = (await sniffer.stop()).filter((frame) => frameKind(frame) === 'esp');
    const lines = new Map(labKeys(context.lab).map((line) => [readLine(line).id, readLine(line)]));
    const opened = frames.map((frame) => {
      const { source, destination, esp } = parseOuter(frame);
      const line = lines.get([source, destination, esp.readUInt32BE(0)].join(' '));
      if (line === undefined) throw new Error(`no line for SPI ${esp.readUInt32BE(0)} from ${source}`);
      return openEsp(esp, line.keys, line.high).payload;
    });
    // There and back, by datagram and by stream; on the wire itself none.
    expect(opened.filter((payload) => payload.includes(context.marker)).length).toBeGreaterThanOrEqual(4);
    expect(frames.filter((frame) => frame.includes(context.marker))).toEqual([]);
  }, 60_000);

  test('no key is in what the agents say, log or write', async () => {
    const secrets = labKeys(context.lab).map((line) => readLine(line).keys.key);
    expect(secrets.length).toBeGreaterThanOrEqual(2);
    for (const node of context.lab.nodes) {
      const texts = await said(node);
      expect(texts.size).toBeGreaterThan(PATHS.length);
      for (const secret of secrets) expect(holders(texts, secret)).toEqual([]);
      // The control: the same search finds what is there.
      const known = Buffer.concat([...texts.values()]).subarray(0, 32);
      expect(holders(texts, known).length).toBeGreaterThan(0);
    }
  }, 60_000);
});
