// Keys are shown on a node of a lab that was made for it, and nowhere else: each thing that is missing is a refusal with
// its reason, and the keys are not even read.
import { chmodSync, chownSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DoctorParts } from '../../../agent/cli/doctor';
import { LAB_MARKER, LAB_TRUST_DOMAIN, labMarkerText } from '../../../agent/cli/labkeys';
import { runCli } from '../../../agent/cli/program';

let dir: string;
let marker: string;
let asked: string[];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vxseal-labkeys-'));
  marker = join(dir, LAB_MARKER);
  asked = [];
  writeFileSync(marker, labMarkerText('node1'), { mode: 0o600 });
});
afterEach(() => rmSync(dir, { recursive: true }));

const run = async (
  changes: { readonly trustDomain?: string; readonly environment?: Record<string, string> } = {},
): Promise<{ code: number; out: string; err: string }> => {
  const [out, err]: [string[], string[]] = [[], []];
  const none = async (): Promise<void> => {};
  const args = ['lab-keys', '--config', '/dev/null', '--node-name', 'node1', '--state-dir', dir];
  const more = ['--pin-dir', '/pins', '--overlay-protected-prefixes', '10.244.0.0/16'];
  const domain = ['--identity-trust-domain', changes.trustDomain ?? LAB_TRUST_DOMAIN];
  const code = await runCli(
    [...args, ...more, ...domain],
    {
      out: (text) => void out.push(text),
      err: (text) => void err.push(text),
      colour: false,
      environment: changes.environment ?? {},
      nowMs: () => 0,
    },
    {
      version: '1.2.3',
      agent: { run: none, cleanup: none },
      doctor: {} as DoctorParts,
      labKeys: {
        lines: async (pinDir) => {
          asked.push(pinDir);
          return ['"IPv4","a line"'];
        },
      },
      register: [],
    },
  );
  return { code, out: out.join('\n'), err: err.join('\n') };
};

test("in the lab: the node's keys, from its pins", async () => {
  expect(await run()).toEqual({ code: 0, out: '"IPv4","a line"', err: '' });
  expect(asked).toEqual(['/pins']);
});

test.each<[string, Parameters<typeof run>[0], RegExp]>([
  ['in a Kubernetes cluster', { environment: { KUBERNETES_SERVICE_HOST: '10.0.0.1' } }, /Kubernetes/],
  ['under another trust domain', { trustDomain: 'prod.example' }, /trust domain is prod\.example/],
])('refused %s', async (_name, changes, reason) => {
  expectRefused(await run(changes), reason);
});

test.each<[string, () => void, RegExp]>([
  ['without the marker', () => rmSync(marker), /there is no .*lab-keys/],
  ["with another node's marker", () => writeFileSync(marker, labMarkerText('node2')), /is not this node's/],
  ['with an empty marker', () => writeFileSync(marker, ''), /is not this node's/],
  ['with a marker that others can read', () => chmodSync(marker, 0o640), /not root's alone/],
  ['with a marker that is not of root', () => chownSync(marker, 12_345, 0), /not root's alone/],
  [
    'with a link as marker',
    () => {
      writeFileSync(join(dir, 'other'), labMarkerText('node1'), { mode: 0o600 });
      rmSync(marker);
      symlinkSync(join(dir, 'other'), marker);
    },
    /is no file/,
  ],
])('refused %s', async (_name, spoil, reason) => {
  spoil();
  expectRefused(await run(), reason);
});

function expectRefused({ code, out, err }: Awaited<ReturnType<typeof run>>, reason: RegExp): void {
  expect([code, out]).toEqual([1, '']);
  expect(err).toMatch(reason);
  expect(err).toContain('-> make one for it: scripts/lab up --keys');
  expect(asked).toEqual([]);
}
