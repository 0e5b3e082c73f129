import { execFileSync } from 'node:child_process';
import { chmod, copyFile, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { registerCa } from '../../../agent/cli/ca';
import type { Io } from '../../../agent/cli/io';
import { NODES_TOPIC } from '../../../agent/core/announcement';
import type { NodeName, Vni } from '../../../agent/core/ids';
import { loadAuthor } from '../../../agent/identity/author';
import { DAY_MS } from '../../../agent/identity/ca';
import { type CaArguments, runCa } from '../../../agent/identity/commands';
import { type IdentityFiles, loadIdentity, readCertificates } from '../../../agent/identity/local';
import { decodePem } from '../../../agent/identity/pem';

const NOW_MS = Date.UTC(2026, 5, 1);
let base: string;
const at = (...parts: readonly string[]): string => join(base, ...parts);

const init = (changes: object = {}): Promise<unknown> =>
  runCa(
    {
      action: 'init',
      dir: at('ca'),
      trustDomain: 'lab.vxseal',
      prefixes: [],
      days: undefined,
      parent: undefined,
      ...changes,
    },
    NOW_MS,
  );

const issue = (changes: object = {}): Promise<{ readonly text: string; readonly json: object }> =>
  runCa(
    {
      action: 'issue',
      dir: at('ca'),
      node: 'node1',
      vteps: ['192.0.2.1', 'fd00:c0de::1'],
      prefixes: ['10.1.1.0/24', 'fd00:1::/64'],
      days: undefined,
      out: at('node1'),
      ...changes,
    },
    NOW_MS,
  );

const renew = (
  nowMs: number,
  changes: object = {},
): Promise<{ readonly text: string; readonly json: object }> => {
  const args: CaArguments = {
    action: 'renew',
    dir: at('ca'),
    out: at('node1'),
    days: undefined,
    onlyIfDue: false,
  };
  return runCa({ ...args, ...changes }, nowMs);
};

const files = (folder = 'node1'): IdentityFiles => ({
  trustDomain: 'lab.vxseal',
  key: at(folder, 'node.key'),
  chain: at(folder, 'node.crt'),
  roots: at(folder, 'roots.crt'),
  revoked: at(folder, 'revoked'),
});

const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'vxseal-ca-'));
});
afterEach(async () => {
  await rm(base, { recursive: true, force: true });
});

describe('VNIs', () => {
  const grantOf = async (folder = 'node1') => (await loadIdentity(files(folder), NOW_MS)).grant.vnis;

  test('none asked for: none named; asked for: those, rising, and renewal keeps them', async () => {
    await init();
    await issue();
    expect(await grantOf()).toBeUndefined();
    await issue({ node: 'node2', out: at('node2'), vnis: ['70000', '7', '16777215', '128'] });
    expect(await grantOf('node2')).toEqual([7, 128, 70000, 16777215]);
    await runCa(
      { action: 'renew', dir: at('ca'), out: at('node2'), days: undefined, onlyIfDue: false },
      NOW_MS,
    );
    expect(await grantOf('node2')).toEqual([7, 128, 70000, 16777215]);
  });

  test('a CA that is held to VNIs issues no others, and what asks for none gets them all', async () => {
    await init();
    await init({ dir: at('below'), parent: at('ca'), vnis: ['7', '8'] });
    await issue({ dir: at('below'), vnis: ['8'] });
    expect(await grantOf()).toEqual([8]);
    await issue({ dir: at('below'), node: 'node2', out: at('node2') });
    expect(await grantOf('node2')).toEqual([7, 8]);
    await expect(issue({ dir: at('below'), node: 'node3', out: at('node3'), vnis: ['9'] })).rejects.toThrow(
      'certificate 0 has VNI 9, its issuer has not',
    );
  });

  test.each(['0', '16777216', '-1', '1.5', 'x'])('%s is none', async (vni) => {
    await init();
    await expect(issue({ vnis: [vni] })).rejects.toThrow('is not a VNI');
  });
});

describe('policy authors', () => {
  const issueAuthor = (changes: object = {}) =>
    issue({ node: undefined, policyAuthor: 'ops', vteps: [], prefixes: [], out: at('ops'), ...changes });

  test('what is issued loads as an author, is no node, and is renewed as what it is', async () => {
    await init();
    await issueAuthor({ vnis: ['7'] });
    const author = await loadAuthor(at('ops'), NOW_MS);
    expect(author.grant).toMatchObject({ author: 'ops', trustDomain: 'lab.vxseal', vnis: [7] });
    expect(await modeOf(at('ops', 'author.key'))).toBe(0o600);
    const asNode = { ...files('ops'), key: at('ops', 'author.key'), chain: at('ops', 'author.crt') };
    await expect(loadIdentity(asNode, NOW_MS)).rejects.toThrow('bad-name');
    const later = NOW_MS + 25 * DAY_MS;
    expect(await renew(later, { out: at('ops') })).toMatchObject({ json: { renewed: true } });
    const renewed = await loadAuthor(at('ops'), later);
    expect(renewed.grant).toMatchObject({ author: 'ops', vnis: [7], notAfterMs: later + 30 * DAY_MS });
    expect((await runCa({ action: 'show', path: at('ops') })).text).toMatch(
      /policy author spiffe:\/\/lab\.vxseal\/policy\/ops\n {2}vnis +7\n/,
    );
    await expect(loadAuthor(at('ops'), later + 31 * DAY_MS)).rejects.toMatchObject({
      code: 'identity',
      remedy: expect.stringContaining('ca renew'),
    });
  });

  test.each<[string, object, string]>([
    ['both at once', { node: 'node1' }, 'said twice'],
    ['neither', { policyAuthor: undefined }, 'for whom'],
    ['with a VTEP', { vteps: ['192.0.2.1'] }, 'has no addresses'],
    ['with a prefix', { prefixes: ['10.1.0.0/24'] }, 'has no addresses'],
    ['with a name that is none', { policyAuthor: 'a/b' }, '--policy-author'],
  ])('%s: refused', async (_, changes, message) => {
    await init();
    await expect(issueAuthor(changes)).rejects.toThrow(message);
  });

  test('a certificate of a node is none of an author', async () => {
    await init();
    await issue();
    await copyFile(at('node1', 'node.key'), at('node1', 'author.key'));
    await copyFile(at('node1', 'node.crt'), at('node1', 'author.crt'));
    await expect(loadAuthor(at('node1'), NOW_MS)).rejects.toThrow('not the SPIFFE id of a policy author');
  });
});

describe('making and issuing', () => {
  test('what was issued loads as the identity it was issued for, and its records are verified', async () => {
    await init();
    await issue();
    const identity = await loadIdentity(files(), NOW_MS);
    expect(identity).toMatchObject({
      node: 'node1',
      trustDomain: 'lab.vxseal',
      grant: {
        node: 'node1',
        vteps: ['192.0.2.1', 'fd00:c0de::1'],
        prefixes: ['10.1.1.0/24', 'fd00:1::/64'],
      },
      notAfterMs: NOW_MS + 30 * DAY_MS,
    });
    expect(identity.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
    const node = 'node1' as NodeName;
    const value = await identity.sign({
      kind: 'withdrawal',
      node,
      generation: 1,
      sequence: 1,
      notAfterMs: NOW_MS,
    });
    const record = { topic: NODES_TOPIC, key: 'node1', value };
    expect(await identity.verify(record, NOW_MS, 42 as Vni)).toMatchObject({ ok: true });
  });

  test('keys are for their owner alone, and nothing unfinished is left', async () => {
    await init();
    await issue();
    expect(await modeOf(at('ca', 'ca.key'))).toBe(0o600);
    expect(await modeOf(at('node1', 'node.key'))).toBe(0o600);
    expect(await modeOf(at('ca'))).toBe(0o700);
    expect((await readdir(at('ca'))).sort()).toEqual(['ca.crt', 'ca.key', 'roots.crt']);
    expect((await readdir(at('node1'))).sort()).toEqual(['node.crt', 'node.key', 'roots.crt']);
  });

  test('no two serials and no two keys', async () => {
    await init();
    for (let i = 0; i < 5; i++) await issue({ node: `node${i}`, out: at(`n${i}`) });
    const all = await Promise.all([0, 1, 2, 3, 4].map((i) => readCertificates(at(`n${i}`, 'node.crt'), 'x')));
    expect(new Set(all.map(([leaf]) => leaf?.serial)).size).toBe(5);
    expect(new Set(all.map(([leaf]) => leaf?.publicKey.export({ type: 'spki', format: 'pem' }))).size).toBe(
      5,
    );
  });

  test('through two intermediates, held to their prefixes; OpenSSL agrees by its own RFC 3779 checks', async () => {
    await init();
    await init({ dir: at('mid'), parent: at('ca') });
    await init({ dir: at('low'), parent: at('mid'), prefixes: ['10.0.0.0/8'] });
    await issue({ dir: at('low'), prefixes: ['10.1.0.0/24', '10.1.1.0/24', '10.1.4.0/24', '10.1.5.0/25'] });
    const identity = await loadIdentity(files(), NOW_MS);
    expect(identity.grant.prefixes).toEqual(['10.1.0.0/23', '10.1.4.0/24', '10.1.5.0/25']);
    expect(decodePem(await readFile(files().chain, 'utf8'), 'CERTIFICATE')).toHaveLength(3);
    const openssl = execFileSync('openssl', [
      ...['verify', '-x509_strict', '-attime', String(NOW_MS / 1000)],
      ...['-CAfile', files().roots, '-untrusted', files().chain, files().chain],
    ]);
    expect(openssl.toString()).toContain(': OK');
    await expect(issue({ dir: at('low'), prefixes: ['11.0.0.0/24'], out: at('x') })).rejects.toThrow(
      'outside-issuer',
    );
    await expect(init({ dir: at('y'), parent: at('low') })).rejects.toThrow('nodes only');
  });

  test('a certificate does not outlive its CA', async () => {
    await init({ days: 10 });
    await issue({ days: 30 });
    expect((await loadIdentity(files(), NOW_MS)).notAfterMs).toBe(NOW_MS + 10 * DAY_MS);
  });
});

describe('refused, with the remedy', () => {
  test.each<[string, object, string]>([
    ['1 node name', { node: 'Node1' }, '--node'],
    ['2 no VTEP', { vteps: [] }, 'VTEP'],
    ['3 bad VTEP', { vteps: ['192.0.2.256'] }, '--vtep'],
    ['4 bad prefix', { prefixes: ['10.0.0.0/33'] }, '--prefix'],
    ['5 host bits', { prefixes: ['10.0.0.1/24'] }, '10.0.0.0/24 is meant'],
    ['6 no days', { days: 0 }, '0 days'],
    ['7 too many days', { days: 40000 }, '40000 days'],
    ['8 a VTEP twice', { vteps: ['192.0.2.1', '192.0.2.1'] }, 'twice'],
  ])('%s', async (_, changes, text) => {
    await init();
    await expect(issue(changes)).rejects.toMatchObject({
      code: 'request',
      message: expect.stringContaining(text),
    });
    expect(await readdir(base)).not.toContain('node.key');
  });

  test('9 a second CA in the folder, and a second key', async () => {
    await init();
    await issue();
    const before = await readFile(at('ca', 'ca.key'));
    await expect(init()).rejects.toMatchObject({ code: 'request' });
    await expect(issue()).rejects.toMatchObject({
      code: 'request',
      remedy: expect.stringContaining('renew'),
    });
    expect(await readFile(at('ca', 'ca.key'))).toEqual(before);
  });

  test('10 a trust domain that is none, or not the parent’s; prefixes the parent does not have', async () => {
    await expect(init({ trustDomain: 'a/b' })).rejects.toMatchObject({ code: 'request' });
    await init({ prefixes: ['10.0.0.0/8'] });
    const child = { dir: at('child'), parent: at('ca') };
    await expect(init({ ...child, trustDomain: 'other' })).rejects.toThrow('wrong-trust-domain');
    await expect(init({ ...child, prefixes: ['11.0.0.0/8'] })).rejects.toThrow('outside-issuer');
    expect(await readdir(base)).toEqual(['ca']);
  });

  test('11 no CA there, or an expired one', async () => {
    await expect(issue()).rejects.toMatchObject({ code: 'identity' });
    await init({ days: 1 });
    await expect(renew(NOW_MS + DAY_MS)).rejects.toMatchObject({ code: 'identity', message: /expired/ });
  });
});

describe('renewing', () => {
  test('same name, grant and key, new serial and end', async () => {
    await init();
    await issue();
    const key = await readFile(files().key);
    const old = await loadIdentity(files(), NOW_MS);
    await renew(NOW_MS + DAY_MS);
    const renewed = await loadIdentity(files(), NOW_MS + DAY_MS);
    expect(renewed.grant).toEqual(old.grant);
    expect(renewed.serial).not.toBe(old.serial);
    expect(renewed.notAfterMs).toBe(old.notAfterMs + DAY_MS);
    expect(await readFile(files().key)).toEqual(key);
  });

  test('only if due: from two thirds of its life on', async () => {
    await init();
    await issue();
    const [leaf] = await readCertificates(files().chain, 'x');
    const life = (leaf?.notAfterMs ?? 0) - (leaf?.notBeforeMs ?? 0);
    const due = (leaf?.notBeforeMs ?? 0) + Math.floor((life * 2) / 3);
    expect((await renew(due - 1, { onlyIfDue: true })).json).toMatchObject({ renewed: false });
    expect((await renew(due, { onlyIfDue: true })).json).toMatchObject({ renewed: true });
  });

  test('an expired certificate can be renewed', async () => {
    await init();
    await issue({ days: 1 });
    await renew(NOW_MS + 3 * DAY_MS);
    expect((await loadIdentity(files(), NOW_MS + 3 * DAY_MS)).node).toBe('node1');
  });

  test('with another root: it is added to the trusted ones only if the old certificate is of this CA', async () => {
    await init();
    await issue();
    await init({ dir: at('other') });
    await renew(NOW_MS, { dir: at('other') });
    expect(await readCertificates(files().roots, 'x')).toHaveLength(2);
    await init({ dir: at('foreign'), trustDomain: 'foreign' });
    await expect(renew(NOW_MS, { dir: at('foreign') })).rejects.toMatchObject({ code: 'identity' });
  });
});

describe('loading an identity', () => {
  const failure = (changes: Partial<IdentityFiles> = {}, nowMs = NOW_MS): Promise<unknown> =>
    loadIdentity({ ...files(), ...changes }, nowMs).then(
      () => 'loaded',
      (error: unknown) => error,
    );

  beforeEach(async () => {
    await init();
    await issue();
    await issue({ node: 'node2', out: at('node2') });
  });

  test.each<[string, () => Promise<unknown>, string, string]>([
    ['1 no key', () => failure({ key: at('none') }), 'no such file', 'ca issue'],
    ['2 no chain', () => failure({ chain: at('none') }), 'no such file', 'ca issue'],
    ['3 no roots', () => failure({ roots: at('none') }), 'no such file', 'ca issue'],
    ['4 a folder', () => failure({ key: at('node1') }), 'EISDIR', 'owner'],
    [
      '5 the key of another node',
      () => failure({ key: files('node2').key }),
      'not the private key',
      'restore',
    ],
    ['6 a certificate for a key', () => failure({ key: at('junk') }), 'not a private key', 'ca issue'],
    ['7 no certificate in it', () => failure({ chain: files().key }), 'no PEM certificate', 'PEM'],
    ['8 expired', () => failure({}, NOW_MS + 30 * DAY_MS), 'expired', 'ca renew'],
    ['9 not yet valid', () => failure({}, NOW_MS - DAY_MS), 'untrusted', 'roots.crt'],
    [
      '10 another trust domain',
      () => failure({ trustDomain: 'other' }),
      'wrong-trust-domain',
      'identity.trustDomain',
    ],
  ])('%s', async (_, fail, message, remedy) => {
    await writeFile(at('junk'), 'SECRETSECRET', { mode: 0o600 });
    const error = await fail();
    expect(error).toMatchObject({ code: 'identity', message: expect.stringContaining(message) });
    expect(error).toMatchObject({ remedy: expect.stringContaining(remedy) });
    expect(JSON.stringify(error) + String(error)).not.toContain('SECRET');
  });

  test.each([
    ['11', 0o600, true],
    ['12', 0o400, true],
    ['13', 0o640, true],
    ['14', 0o660, false],
    ['15', 0o644, false],
    ['16', 0o601, false],
  ])('%s: a key of mode %o is used: %s', async (_, mode, used) => {
    await chmod(files().key, mode);
    const outcome = await failure();
    if (used) expect(outcome).toBe('loaded');
    else expect(outcome).toMatchObject({ remedy: expect.stringContaining('chmod 600') });
  });

  test('17 a key of another curve', async () => {
    execFileSync('openssl', ['ecparam', '-genkey', '-name', 'secp384r1', '-noout', '-out', at('p384')]);
    await chmod(at('p384'), 0o600);
    expect(await failure({ key: at('p384') })).toMatchObject({ message: expect.stringContaining('P-256') });
  });

  test('18 a chain file with the root in it is sent without', async () => {
    const chain = (await readFile(files().chain, 'utf8')) + (await readFile(files().roots, 'utf8'));
    await writeFile(files().chain, chain);
    const identity = await loadIdentity(files(), NOW_MS);
    const node = 'node1' as NodeName;
    const value = await identity.sign({
      kind: 'withdrawal',
      node,
      generation: 1,
      sequence: 1,
      notAfterMs: NOW_MS,
    });
    const head = Buffer.from(Buffer.from(value).toString().split('.')[0] ?? '', 'base64url').toString();
    expect(JSON.parse(head).x5c).toHaveLength(1);
  });

  test('19 a file that lies about its armour', async () => {
    await copyFile(files().chain, at('cut'));
    const text = await readFile(at('cut'), 'utf8');
    await writeFile(at('cut'), text.replace(/\n.{64}\n/, '\n'));
    expect(await failure({ chain: at('cut') })).toMatchObject({ code: 'identity', message: /certificate 1/ });
  });
});

describe('vxseal ca', () => {
  async function vxseal(...args: readonly string[]): Promise<string> {
    const lines: string[] = [];
    const io: Io = {
      out: (text) => lines.push(text),
      err: (text) => lines.push(text),
      colour: false,
      environment: {},
      nowMs: () => NOW_MS,
    };
    const program = new Command('vxseal').exitOverride().configureOutput({ writeErr: () => undefined });
    registerCa(program, io);
    for (const command of program.commands.flatMap((sub) => [sub, ...sub.commands])) {
      command.exitOverride().configureOutput({ writeErr: () => undefined });
    }
    await program.parseAsync(['ca', ...args], { from: 'user' });
    return lines.join('\n');
  }

  test('init, issue, renew, show', async () => {
    await vxseal('init', '--dir', at('ca'), '--trust-domain', 'lab.vxseal');
    const node = ['--node', 'node1', '--vtep', '192.0.2.1', '--vtep', 'fd00::1', '--prefix', '10.1.0.0/24'];
    const issued = await vxseal('issue', '--dir', at('ca'), ...node, '--out', at('node1'), '--days', '3');
    expect(issued).toContain('spiffe://lab.vxseal/node/node1');
    expect(await vxseal('renew', '--dir', at('ca'), '--out', at('node1'), '--if-due')).toContain(
      'not due yet',
    );
    expect(JSON.parse(await vxseal('show', '--out', at('node1'), '--json'))).toMatchObject({
      certificates: [
        {
          spiffeId: 'spiffe://lab.vxseal/node/node1',
          ca: false,
          vteps: ['192.0.2.1', 'fd00::1'],
          prefixes: ['10.1.0.0/24'],
          notAfter: '2026-06-04T00:00:00Z',
        },
      ],
    });
    expect(await vxseal('show', '--dir', at('ca'))).toContain('CA   spiffe://lab.vxseal');
    expect(await vxseal('show', '--out', at('node1', 'node.crt'))).toContain('10.1.0.0/24');
  });

  test.each([
    ['1', ['init', '--dir', 'x']],
    ['2', ['issue', '--dir', 'x', '--node', 'n']],
    ['3', ['init', '--dir', 'x', '--trust-domain', 'y', '--days', '1.5']],
    ['4', ['init', '--dir', 'x', '--trust-domain', 'y', '--wrong']],
    ['5', ['show']],
  ])('usage %s', async (_, args) => {
    await expect(vxseal(...args)).rejects.toMatchObject({ code: expect.stringContaining('commander') });
  });
});
