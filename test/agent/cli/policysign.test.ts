// `vxseal policy apply | withdraw` against a real folder, with real certificates: what stands on the bus afterwards, and
// that nothing does when anything of it is wrong.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ExitCode } from '../../../agent/cli/io';
import { type ProgramParts, runCli } from '../../../agent/cli/program';
import type { Vni } from '../../../agent/core/ids';
import { POLICIES_TOPIC } from '../../../agent/core/policyrecord';
import { runCa } from '../../../agent/identity/commands';
import { readCertificates } from '../../../agent/identity/local';
import { verifyPolicy } from '../../../agent/identity/policyrecord';

const POLICY = 'kind: NetworkPolicy\nmetadata: {namespace: x, name: p}\nspec: {podSelector: {}}\n';
let dir: string;
const at = (...parts: string[]): string => join(dir, ...parts);

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-sign-'));
  const ca = { dir: at('ca'), days: undefined, prefixes: [] };
  await runCa({ action: 'init', ...ca, trustDomain: 'lab.vxseal', parent: undefined });
  const author = { policyAuthor: 'ops', vteps: [], vnis: ['42', '7'], out: at('ops') };
  await runCa({ action: 'issue', ...ca, ...author });
  writeFileSync(at('config.yaml'), `bus: {path: ${at('bus')}}\noverlay: {vni: 42}\n`, { mode: 0o600 });
});
afterEach(() => rmSync(dir, { recursive: true }));

async function policy(...args: string[]): Promise<{ code: ExitCode; out: string; err: string }> {
  const [out, err]: [string[], string[]] = [[], []];
  const io = {
    out: (text: string) => void out.push(text),
    err: (text: string) => void err.push(text),
    colour: false,
    environment: {},
    nowMs: () => Date.now(),
  };
  const parts = { version: '1', register: [] } as unknown as ProgramParts;
  const agent = { run: async () => {}, cleanup: async () => {} };
  const common = ['--identity', at('ops'), '--config', at('config.yaml')];
  const code = await runCli(['policy', ...args, ...common], io, { ...parts, agent });
  return { code, out: out.join('\n'), err: err.join('\n') };
}

function file(text: string, name = 'policy.yaml'): string {
  writeFileSync(at(name), text);
  return at(name);
}

const standing = (): string[] =>
  (existsSync(at('bus')) ? readdirSync(at('bus', POLICIES_TOPIC)) : [])
    .map((name) => decodeURIComponent(name))
    .sort();

async function verified(key: string) {
  const value = new Uint8Array(readFileSync(at('bus', POLICIES_TOPIC, key.replaceAll('/', '%2F'))));
  const roots = await readCertificates(at('ca', 'roots.crt'), 'roots');
  const context = { roots, trustDomain: 'lab.vxseal', nowMs: Date.now(), hostVni: 42 as Vni };
  const result = await verifyPolicy({ topic: POLICIES_TOPIC, key, value }, context);
  if (!result.ok) throw new Error(`${result.reason}: ${result.detail}`);
  return result.value.record;
}

test('what is applied stands there signed, and is withdrawn by its key', async () => {
  const namespace = 'kind: Namespace\nmetadata: {name: x, labels: {team: a}}\n';
  expect(await policy('apply', file(`${POLICY}---\n${namespace}`))).toMatchObject({
    code: 0,
    out: 'applied 42/x/p\napplied 42/x',
  });
  expect(standing()).toEqual(['42/x', '42/x/p']);
  const first = await verified('42/x/p');
  expect(first).toMatchObject({ author: 'ops', document: { kind: 'NetworkPolicy' } });
  expect(await policy('withdraw', '42/x/p')).toMatchObject({ code: 0, out: 'withdrew 42/x/p' });
  const last = await verified('42/x/p');
  expect(last.document).toBeUndefined();
  expect([last.generation, last.sequence] > [first.generation, first.sequence]).toBe(true);
  expect((await policy('withdraw', '42/x/p', '--json')).out).toContain('"known": false');
});

test.each([
  [
    'by the annotation of the namespace',
    [],
    `kind: Namespace\nmetadata: {name: x, annotations: {vxseal/vni: "7"}}\n---\n${POLICY}`,
  ],
  ['by --vni', ['--vni', '7'], `kind: Namespace\nmetadata: {name: x}\n---\n${POLICY}`],
])('a tenant is named %s', async (_, args, text) => {
  expect((await policy('apply', file(text), ...args)).code).toBe(0);
  expect(standing()).toEqual(['7/x', '7/x/p']);
  expect((await policy('withdraw', '--file', at('policy.yaml'), ...args)).out).toBe(
    'withdrew 7/x\nwithdrew 7/x/p',
  );
});

test.each<[string, string[], string, RegExp]>([
  ['a file that is no manifest', [], 'kind: Service\nmetadata: {name: x}', /only NetworkPolicy/],
  [
    'a good and a bad document',
    [],
    `${POLICY}---\nkind: NetworkPolicy\nmetadata: {name: q}\nspec: {order: 1}`,
    /spec.order is not known/,
  ],
  ['a VNI that the author has not', ['--vni', '8'], POLICY, /outside-grant/],
  [
    'one that may be signed and one that may not',
    [],
    `${POLICY}---\nkind: Namespace\nmetadata: {name: y, annotations: {vxseal/vni: "8"}}\n`,
    /8\/y: .*outside-grant/,
  ],
  ['a VNI that is none', ['--vni', '0'], POLICY, /is not a VNI/],
  ['a name that is none', [], POLICY.replace('name: p', 'name: P_'), /no key of a policy record/],
])('%s is refused, and nothing is published', async (_, args, text, message) => {
  const outcome = await policy('apply', file(text), ...args);
  expect(outcome).toMatchObject({ code: 1, out: '' });
  expect(outcome.err).toMatch(message);
  expect(standing()).toEqual([]);
});

test('without a certificate of an author nothing is signed', async () => {
  rmSync(at('ops', 'author.crt'));
  const outcome = await policy('apply', file(POLICY));
  expect(outcome.code).toBe(1);
  expect(outcome.err).toContain('author.crt');
});

test('a bus that cannot be read is an error', async () => {
  file('in its place', 'bus');
  const outcome = await policy('apply', file(POLICY));
  expect(outcome.code).toBe(1);
  expect(outcome.err).toMatch(/the topology bus is not read|cannot be read/);
});

test.each([['withdraw'], ['withdraw', 'x/p/../q'], ['withdraw', 'nonsense']])(
  '%s %s: says what is missing',
  async (...args) => {
    expect((await policy(...args)).code).toBe(1);
  },
);
