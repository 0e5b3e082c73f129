// A broker that goes and comes back, with what it had or with less. Its data is its own folder: an older copy of it is
// what a broker shows that was restored from a backup.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocalIdentity } from '../../agent/identity/local';
import { Broker } from './broker';
import { Authority, contentOf, Member } from './member';

const broker = new Broker();
let authority: Authority;
let prefix: string;
let folder: string;
let members: Member[];
const identities = new Map<number, LocalIdentity>();

beforeAll(async () => {
  await broker.start();
  authority = await Authority.make();
  for (let number = 1; number <= 8; number++) identities.set(number, await authority.identity(number));
});
afterAll(async () => {
  await broker.dispose();
  authority.dispose();
});
beforeEach(async () => {
  prefix = broker.nextPrefix();
  folder = mkdtempSync(join(tmpdir(), 'vxseal-members-'));
  members = [];
});
afterEach(async () => {
  for (const member of members) await member.stop();
  rmSync(folder, { recursive: true });
  await broker.start(); // unless it runs
});

/** Started; in sync or not. */
async function arrive(number: number): Promise<Member> {
  const identity = identities.get(number);
  if (identity === undefined) throw new Error(`no node${number}`);
  const state = join(folder, `node${number}`);
  mkdirSync(state, { recursive: true });
  const member = new Member(number, identity, broker.bus(prefix), state);
  members.push(member);
  await member.start();
  return member;
}

async function leave(member: Member): Promise<void> {
  members = members.filter((other) => other !== member);
  await member.stop();
}

/** Nodes 1 to `count`, each known to all others under epoch 1. */
async function cluster(count: number): Promise<Member[]> {
  const all: Member[] = [];
  for (let number = 1; number <= count; number++) all.push(await arrive(number));
  for (const member of all) await member.announce(1);
  for (const member of all) await member.until(() => member.peers().length === count - 1);
  return all;
}

const view = (all: readonly Member[], of: Member, epochs: Record<number, number>): string[] =>
  all.filter((member) => member !== of).map(({ number }) => `node${number} live ${epochs[number] ?? 1}`);

test('1 killed and started mid-churn: nothing is lost meanwhile, and all is known afterwards', async () => {
  const all = await cluster(4);
  const epochs: Record<number, number> = {};
  const announce = async (member: Member, epoch: number): Promise<void> => {
    // As the control room does: again, until it stands.
    for (;;) {
      const outcome = await member.announcer
        .announce(contentOf(member.number, epoch))
        .catch((error: unknown) => error);
      if (outcome === undefined) break;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    epochs[member.number] = epoch;
  };
  const churn = all.map(async (member) => {
    for (let epoch = 2; epoch <= 12; epoch++) await announce(member, epoch);
  });
  await broker.kill();
  for (const member of all) {
    await member.until(() => !member.bus.status().connected);
    expect(member.peers()).toHaveLength(3);
    expect(member.peers().every((peer) => peer.includes(' live '))).toBe(true);
  }
  await broker.start();
  await Promise.all(churn);
  for (const member of all)
    await member.until(() => member.peers().join() === view(all, member, epochs).join());
});

test('2 gone during joins: those that come meanwhile join once it is back', async () => {
  const all = await cluster(2);
  await broker.kill();
  const late = await arrive(3);
  expect(late.bus.status()).toMatchObject({ connected: false, inSync: false });
  expect(late.bus.status().error).toContain('ECONNREFUSED');
  expect(late.peers()).toEqual([]);
  await broker.start();
  await late.announce(1);
  for (const member of [...all, late])
    await member.until(() => member.peers().join() === view([...all, late], member, {}).join());
  expect(late.log.matching('Kafka cannot be used').length).toBeLessThanOrEqual(2);
});

test('3 an agent that starts while it is down keeps all peers, and says how old that is', async () => {
  const all = await cluster(4);
  const [one, ...others] = all as [Member, ...Member[]];
  await leave(one);
  for (const other of others) await leave(other);
  await broker.kill();
  const beforeMs = Date.now();
  const again = await arrive(1);
  await again.until(() => again.peers().length === 3);
  expect(again.peers()).toEqual(view(all, one, {}));
  expect(again.bus.status()).toMatchObject({ connected: false, inSync: false });
  expect(again.bus.status().lastSeenMs).toBeGreaterThan(0);
  expect(again.bus.status().lastSeenMs).toBeLessThanOrEqual(beforeMs);
  await broker.start();
  await again.until(() => again.intake?.inSync() === true);
  expect(again.peers()).toEqual(view(all, one, {}));
});

test('4 an older log after a restart: nobody is rolled back, and what it lacks is published again', async () => {
  const all = await cluster(2);
  await broker.stop();
  broker.saveData('older');
  await broker.start();
  const late = await arrive(3);
  await late.announce(1);
  const [, two] = all as [Member, Member];
  await two.until(() => two.bus.status().connected);
  for (const epoch of [2, 3, 4]) await two.announce(epoch);
  const everyone = [...all, late];
  for (const member of everyone)
    await member.until(() => member.peers().join() === view(everyone, member, { 2: 4 }).join());

  await broker.kill();
  broker.restoreData('older');
  await broker.start();
  for (const member of everyone) await member.until(() => member.bus.status().connected);
  // A fresh node sees what the others have put right: node 2 as it is, and node 3, of whom the older log knows nothing.
  const fresh = await arrive(4);
  await fresh.until(() => fresh.peers().join() === view(everyone, fresh, { 2: 4 }).join());
  for (const member of everyone) expect(member.peers()).toEqual(view(everyone, member, { 2: 4 }));
});

test('5 a log of another cluster under the same address: read from its beginning', async () => {
  const all = await cluster(2);
  await broker.stop();
  broker.saveData('old');
  rmSync(join(broker.dir, 'data'), { recursive: true });
  await broker.start();
  const fresh = await arrive(3);
  await fresh.announce(1);
  const everyone = [...all, fresh];
  for (const member of everyone)
    await member.until(() => member.peers().join() === view(everyone, member, {}).join());
});
