// Pod records on a real Kafka: published, withdrawn, repaired; and what others may not say of a pod.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PODS_TOPIC, type PodAnnouncement, type PodContent, podKey } from '../../agent/core/announcement';
import type { IpAddress, NodeName, Vni } from '../../agent/core/ids';
import { MAX_RECORD_BYTES } from '../../agent/core/payload';
import type { LocalIdentity } from '../../agent/identity/local';
import { Broker, type Stranger } from './broker';
import { Authority, Member } from './member';

const broker = new Broker();
let authority: Authority;
let stranger: Stranger;
let prefix: string;
let folder: string;
let members: Member[];
const identities: LocalIdentity[] = [];

beforeAll(async () => {
  await broker.start();
  authority = await Authority.make();
  for (const number of [1, 2, 3]) identities.push(await authority.identity(number));
});
afterAll(async () => {
  await broker.dispose();
  authority.dispose();
});
beforeEach(() => {
  prefix = broker.nextPrefix();
  folder = mkdtempSync(join(tmpdir(), 'vxseal-pods-'));
  members = [];
  stranger = broker.stranger();
});
afterEach(async () => {
  for (const member of members) await member.stop();
  await stranger.close();
  rmSync(folder, { recursive: true });
});

const identity = (number: number): LocalIdentity => {
  const found = identities[number - 1];
  if (found === undefined) throw new Error(`no node${number}`);
  return found;
};

async function arrive(number: number): Promise<Member> {
  const state = join(folder, `node${number}`);
  mkdirSync(state, { recursive: true });
  const member = new Member(number, identity(number), broker.bus(prefix), state);
  members.push(member);
  await member.start();
  await member.until(() => member.intake?.inSync() === true);
  await member.announce(1);
  return member;
}

const pod = (number: number, last = 5, name = 'web'): PodContent => ({
  vni: 1 as Vni,
  address: `10.${number}.0.${last}` as IpAddress,
  uid: 'u1',
  namespace: 'shop',
  name,
  labels: { app: name },
  ports: [],
  mtuBytes: 1408,
});

const topic = (): string => `${prefix}${PODS_TOPIC}`;

const record = (number: number, changes: Partial<PodAnnouncement> = {}): PodAnnouncement => ({
  kind: 'pod',
  node: `node${number}` as NodeName,
  ...pod(number),
  generation: Date.now(),
  sequence: 1,
  notBeforeMs: Date.now(),
  notAfterMs: Date.now() + 3600_000,
  ...changes,
});

/** Node 1 has a pod that node 2 knows. */
async function pair(): Promise<{ one: Member; two: Member }> {
  const one = await arrive(1);
  const two = await arrive(2);
  await one.announcePods([pod(1)]);
  await two.until(() => two.pods().includes('node1 10.1.0.5 web live'));
  return { one, two };
}

test('1 a pod that comes, changes and goes', async () => {
  const { one, two } = await pair();
  await one.announcePods([pod(1, 5, 'other'), pod(1, 6)]);
  await two.until(() => two.pods().join() === 'node1 10.1.0.5 other live,node1 10.1.0.6 web live');
  await one.announcePods([pod(1, 6)]);
  await two.until(() => two.pods().join() === 'node1 10.1.0.6 web live');
  // Who comes later learns the same from the log.
  const three = await arrive(3);
  await three.until(() => three.pods().join() === 'node1 10.1.0.6 web live');
});

test('2 a pod that ended while the agent was off is withdrawn by the next', async () => {
  const { one, two } = await pair();
  members = members.filter((member) => member !== one);
  await one.stop();
  const again = await arrive(1);
  await again.announcePods([]);
  await two.until(() => two.pods().length === 0);
});

test.each<[string, string, string, () => Promise<Uint8Array | undefined>]>([
  ['3 of another node’s pod', 'outside-grant', '1/10.1.0.5', () => identity(2).sign(record(2, pod(1)))],
  [
    '4 in another node’s name',
    'node-mismatch',
    '1/10.1.0.5',
    () => identity(2).sign(record(2, { ...pod(1), node: 'node1' as NodeName })),
  ],
  ['5 under another key', 'key-mismatch', '1/10.1.0.5', () => identity(2).sign(record(2))],
  ['6 of a node, in the place of a pod', 'wrong-type', '1/10.1.0.5', nodeRecord],
  ['7 that is a null', 'tombstone', '1/10.1.0.5', async () => undefined],
  ['8 that is too large', 'oversize', '1/10.1.0.5', async () => new Uint8Array(MAX_RECORD_BYTES + 1)],
  [
    '9 in a VNI that is not granted',
    'outside-grant',
    '9/10.2.0.5',
    () => identity(2).sign(record(2, { vni: 9 as Vni })),
  ],
])('a record %s is refused, counted, and the partition moves on', async (_what, reason, key, value) => {
  const { one, two } = await pair();
  await stranger.write(topic(), key, await value());
  // An honest one behind it: who sees it has read the other too.
  await one.announcePods([pod(1), pod(1, 7, 'honest')]);
  await two.until(() => two.pods().includes('node1 10.1.0.7 honest live'));
  expect(two.refused(reason)).toBe(1);
  expect(two.pods()).toContain('node1 10.1.0.5 web live');
  expect(two.pods()).toHaveLength(2);
});

async function nodeRecord(): Promise<Uint8Array> {
  const { generation, sequence, notAfterMs } = record(1);
  return identity(1).sign({
    kind: 'withdrawal',
    node: 'node1' as NodeName,
    generation,
    sequence,
    notAfterMs,
  });
}

test('10 an older record of the same pod does not come back, also to a node that restarts', async () => {
  const one = await arrive(1);
  const old = await identity(1).sign(record(1, { generation: Date.now() - 60_000, name: 'old' }));
  const two = await arrive(2);
  await one.announcePods([pod(1)]);
  await two.until(() => two.pods().includes('node1 10.1.0.5 web live'));
  await stranger.write(topic(), podKey(pod(1)), old);
  await one.announcePods([pod(1), pod(1, 7, 'honest')]);
  await two.until(() => two.pods().includes('node1 10.1.0.7 honest live'));
  expect([two.pods()[0], two.refused('superseded')]).toEqual(['node1 10.1.0.5 web live', 1]);
  members = members.filter((member) => member !== two);
  await two.stop();
  const again = await arrive(2);
  await again.until(() => again.pods().includes('node1 10.1.0.7 honest live'));
  expect(again.pods().filter((text) => text.includes(' old '))).toEqual([]);
});

test('11 nulled by a stranger it is published again', async () => {
  const { one } = await pair();
  await stranger.write(topic(), podKey(pod(1)), undefined);
  await one.until(() => one.refused('tombstone') > 0);
  // A fresh node knows the pod only once it stands again.
  const three = await arrive(3);
  const repair = setInterval(() => void one.announcePods([pod(1)]).catch(() => undefined), 200);
  try {
    await three.until(() => three.pods().includes('node1 10.1.0.5 web live'));
  } finally {
    clearInterval(repair);
  }
});
