// Identity files that change under a running agent, as a person, a cron job or a mounted secret would change them.
import { copyFile, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SystemClock } from '../../../agent/clock';
import type { NodeName } from '../../../agent/core/ids';
import type { VxsealError } from '../../../agent/errors';
import { type CaArguments, runCa } from '../../../agent/identity/commands';
import { type IdentityChange, RenewableIdentity } from '../../../agent/identity/renewal';
import type { Clock } from '../../../agent/ports';

/** Real time for certificates; looks happen when the test says so. */
class SteppedClock extends SystemClock implements Clock {
  private waiting: (() => void) | undefined;

  override after(_delayMs: number, run: () => void): () => void {
    this.waiting = run;
    return () => {
      this.waiting = undefined;
    };
  }

  get pending(): boolean {
    return this.waiting !== undefined;
  }

  /** One look, until the next one is arranged. */
  async look(): Promise<void> {
    const run = this.waiting;
    this.waiting = undefined;
    run?.();
    while (this.waiting === undefined) await new Promise((resolve) => setImmediate(resolve));
  }
}

let base: string;
let clock: SteppedClock;
let identity: RenewableIdentity;
let changes: IdentityChange[];
let told: (VxsealError | undefined)[];

const at = (...names: string[]): string => join(base, ...names);
const files = () => ({
  trustDomain: 'lab.vxseal',
  key: at('node1', 'node.key'),
  chain: at('node1', 'node.crt'),
  roots: at('node1', 'roots.crt'),
  revoked: at('node1', 'revoked'),
});
const ca = (dir: string) =>
  runCa({
    action: 'init',
    dir: at(dir),
    trustDomain: 'lab.vxseal',
    prefixes: [],
    days: undefined,
    parent: undefined,
  });
const issue = (dir: string, node: string) =>
  runCa({
    action: 'issue',
    dir: at(dir),
    node,
    vteps: ['192.0.2.1'],
    prefixes: ['10.1.0.0/24'],
    days: undefined,
    out: at(node),
  });
const renew = (dir: string, changed: Partial<CaArguments> = {}) =>
  runCa({
    action: 'renew',
    dir: at(dir),
    out: at('node1'),
    days: undefined,
    onlyIfDue: false,
    ...changed,
  } as CaArguments);

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'vxseal-renewal-'));
  await ca('ca');
  await issue('ca', 'node1');
  clock = new SteppedClock();
  changes = [];
  told = [];
  identity = await RenewableIdentity.open(files(), 'node1' as NodeName, clock);
  identity.watch({ changed: (change) => changes.push(change), told: (reason) => told.push(reason) });
});
afterEach(async () => {
  identity.stop();
  expect(clock.pending).toBe(false);
  await rm(base, { recursive: true, force: true });
});

test('1 nothing changed: nothing is said, whatever was touched', async () => {
  await clock.look();
  await writeFile(files().chain, await readFile(files().chain));
  await clock.look();
  expect([changes, told]).toEqual([[], []]);
});

test('2 renewed: the new certificate signs from the next look on', async () => {
  const before = identity.current();
  await renew('ca');
  await clock.look();
  expect(changes).toEqual([{ own: true, trust: false }]);
  expect(identity.current().serial).not.toBe(before.serial);
  await clock.look();
  expect(changes).toHaveLength(1);
});

test('3 another root beside the old one: records are judged anew, ours stays', async () => {
  await ca('next');
  await writeFile(
    files().roots,
    (await readFile(files().roots, 'utf8')) + (await readFile(at('next', 'roots.crt'), 'utf8')),
  );
  await clock.look();
  expect(changes).toEqual([{ own: false, trust: true }]);
});

test('4 a whole roll-over: second root, certificate of the new CA, first root taken away', async () => {
  await ca('next');
  const [first, second] = [
    await readFile(files().roots, 'utf8'),
    await readFile(at('next', 'roots.crt'), 'utf8'),
  ];
  await writeFile(files().roots, first + second);
  await clock.look();
  await renew('next');
  await clock.look();
  await writeFile(files().roots, second);
  await clock.look();
  expect(changes).toEqual([
    { own: false, trust: true },
    { own: true, trust: false },
    { own: false, trust: true },
  ]);
  expect(told).toEqual([]);
});

test('5 half replaced: told at the second look and not before, the old identity goes on; whole again: said too', async () => {
  const before = identity.current();
  await issue('ca', 'node2');
  await copyFile(files().key, at('kept.key'));
  await rename(at('node2', 'node.key'), files().key);
  await clock.look();
  expect(told).toEqual([]);
  await clock.look();
  expect(told.map((reason) => reason?.message)).toEqual([expect.stringContaining('is not the private key')]);
  expect(identity.current()).toBe(before);
  await rename(at('kept.key'), files().key);
  await clock.look();
  expect(told.at(-1)).toBeUndefined();
  expect(told).toHaveLength(2);
  expect(changes).toEqual([]);
});

test('6 a certificate of another node is not taken over', async () => {
  await issue('ca', 'node2');
  for (const name of ['node.key', 'node.crt']) await rename(at('node2', name), at('node1', name));
  await clock.look();
  await clock.look();
  expect(told.map((reason) => reason?.message)).toEqual([expect.stringContaining('of node node2')]);
  expect(identity.current().node).toBe('node1');
});

test('7 a list of revocations comes, is broken, is mended, goes: never half a list', async () => {
  const revoked = async (text: string): Promise<void> => {
    await writeFile(at('new'), text);
    await rename(at('new'), files().revoked);
    await clock.look();
  };
  await revoked('node node2\n');
  expect(changes).toEqual([{ own: false, trust: true }]);
  await revoked('node node2\nnonsense\n');
  await clock.look();
  expect(told.map((reason) => reason?.message)).toEqual([expect.stringContaining('revoked:2')]);
  await revoked('node node2\nnode node3\n');
  expect(told.at(-1)).toBeUndefined();
  await rm(files().revoked);
  await clock.look();
  expect(changes).toHaveLength(3);
});
