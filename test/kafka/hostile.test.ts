// Every row of the table of hostile buses, on a real Kafka: state unchanged, the reason counted, the partition moved on.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NODES_TOPIC, type NodeAnnouncement } from '../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import { MAX_RECORD_BYTES } from '../../agent/core/payload';
import type { LocalIdentity } from '../../agent/identity/local';
import type { BusRecord } from '../../agent/ports';
import { seeded } from '../agent/core/random';
import { Broker, type Stranger } from './broker';
import { Authority, contentOf, Member } from './member';

const broker = new Broker();
let authority: Authority;
let stranger: Stranger;
let prefix: string;
let folder: string;
let members: Member[];
const identities = new Map<number, LocalIdentity>();

beforeAll(async () => {
  await broker.start();
  authority = await Authority.make();
  for (let number = 1; number <= 5; number++) identities.set(number, await authority.identity(number));
});
afterAll(async () => {
  await broker.dispose();
  authority.dispose();
});
beforeEach(() => {
  prefix = broker.nextPrefix();
  folder = mkdtempSync(join(tmpdir(), 'vxseal-members-'));
  members = [];
  stranger = broker.stranger();
});
afterEach(async () => {
  for (const member of members) await member.stop();
  await stranger.close();
  rmSync(folder, { recursive: true });
});

function identity(number: number): LocalIdentity {
  const found = identities.get(number);
  if (found === undefined) throw new Error(`no node${number}`);
  return found;
}

async function arrive(number: number, options: { topicPrefix?: string } = {}): Promise<Member> {
  const state = join(folder, `node${number}`);
  mkdirSync(state, { recursive: true });
  const member = new Member(number, identity(number), broker.bus(options.topicPrefix ?? prefix), state);
  members.push(member);
  await member.start();
  await member.until(() => member.intake?.inSync() === true);
  return member;
}

async function leave(member: Member): Promise<void> {
  members = members.filter((other) => other !== member);
  await member.stop();
}

/** What stands between two nodes that know each other. */
async function pair(): Promise<{ one: Member; two: Member }> {
  const one = await arrive(1);
  const two = await arrive(2);
  await one.announce(1);
  await two.announce(1);
  await one.until(() => one.peers().includes('node2 live 1'));
  await two.until(() => two.peers().includes('node1 live 1'));
  return { one, two };
}

const topic = (): string => `${prefix}${NODES_TOPIC}`;

function record(number: number, changes: Partial<NodeAnnouncement> = {}): NodeAnnouncement {
  return {
    kind: 'node',
    node: `node${number}` as NodeName,
    bootId: 'ab'.repeat(16),
    generation: Date.now(),
    sequence: 1,
    notBeforeMs: Date.now(),
    notAfterMs: Date.now() + 3600_000,
    agentVersion: '0.1.0',
    ...contentOf(number, 1),
    ...changes,
  };
}

/** An honest node that joins behind whatever was done: who sees it has read that too. */
async function seesHonest(who: Member, number = 4): Promise<void> {
  await stranger.write(topic(), `node${number}`, await identity(number).sign(record(number)));
  await who.until(() => who.peers().includes(`node${number} live 1`));
}

describe('a record that must not count', () => {
  const flipped = async (): Promise<Uint8Array> => {
    const value = Uint8Array.from(await identity(2).sign(record(2, { epoch: contentOf(2, 66).epoch })));
    const at = value.length - 20;
    value[at] = value[at] === 65 ? 66 : 65;
    return value;
  };
  const tampered = async (): Promise<Uint8Array> => {
    const [head, , tail] = Buffer.from(await identity(2).sign(record(2)))
      .toString()
      .split('.');
    const payload = Buffer.from(JSON.stringify({ v: 1, node: 'node2', generation: 1 })).toString('base64url');
    return Buffer.from(`${head}.${payload}.${tail}`);
  };
  const unknownCa = async (): Promise<Uint8Array> => {
    const other = await Authority.make();
    try {
      return await (await other.identity(2)).sign(record(2));
    } finally {
      other.dispose();
    }
  };
  const claim = (changes: Partial<NodeAnnouncement>) => () => identity(3).sign(record(3, changes));
  test.each<[string, string, string, () => Promise<Uint8Array | undefined>]>([
    ['1 a flipped signature', 'bad-signature', 'node2', flipped],
    ['2 another payload under the same signature', 'bad-signature', 'node2', tampered],
    ['3 of a CA of its own', 'bad-chain', 'node2', unknownCa],
    ["4 another node's key", 'key-mismatch', 'node2', claim({})],
    ["5 another node's name", 'node-mismatch', 'node3', claim({ node: 'node2' as NodeName })],
    [
      "6 another node's prefix",
      'outside-grant',
      'node3',
      claim({ prefixes: [{ vni: 1 as Vni, prefixes: ['10.2.0.0/24' as Prefix] }] }),
    ],
    ["7 another node's VTEP", 'outside-grant', 'node3', claim({ vteps: ['192.0.2.2' as IpAddress] })],
    ['8 a lease without end', 'bad-lease', 'node3', claim({ notAfterMs: Date.now() + 40 * 86_400_000 })],
    ['9 a key of zeros', 'no-key', 'node3', claim({ epoch: { number: 1, publicKey: new Uint8Array(32) } })],
    ['10 a null by a stranger', 'tombstone', 'node2', async () => undefined],
    ['11 too large', 'oversize', 'node2', async () => new Uint8Array(MAX_RECORD_BYTES + 1).fill(65)],
    ['12 no JWS at all', 'malformed', 'node2', async () => Buffer.from('{"node":"node2"}')],
    ['13 nothing', 'malformed', 'node2', async () => new Uint8Array(0)],
  ])('%s is counted as %s', async (_, reason, key, value) => {
    const { one, two } = await pair();
    const before = one.refused(reason);
    await stranger.write(topic(), key, await value());
    await seesHonest(one);
    expect(one.refused(reason)).toBe(before + 1);
    expect(one.peers()).toEqual(['node2 live 1', 'node4 live 1']);
    await two.until(() => two.peers().includes('node4 live 1'));
    expect(two.peers()).toEqual(['node1 live 1', 'node4 live 1']);
  });

  test('14 a thousand pieces of garbage in a row', async () => {
    const { one } = await pair();
    const random = seeded(7);
    const garbage = Array.from({ length: 1000 }, (_, index) => ({
      key: `g${index}`,
      value: Uint8Array.from({ length: 1 + Math.floor(random() * 400) }, () => Math.floor(random() * 256)),
    }));
    await stranger.writeAll(topic(), garbage);
    await seesHonest(one);
    expect(one.refused('malformed')).toBe(1000);
    expect(one.peers()).toEqual(['node2 live 1', 'node4 live 1']);
    const fresh = await arrive(3);
    expect(fresh.peers()).toEqual(['node1 live 1', 'node2 live 1', 'node4 live 1']);
  });

  test('15 a batch that cannot be unpacked', async () => {
    await stranger.createTopic(topic(), 1, { 'compression.type': 'producer' });
    const { one } = await pair();
    await stranger.producer.send({
      topic: topic(),
      compression: 1,
      messages: [{ key: 'node2', value: 'x'.repeat(5000) }],
    });
    await seesHonest(one);
    expect(one.refused('malformed')).toBe(1);
    expect(one.peers()).toEqual(['node2 live 1', 'node4 live 1']);
  });
});

describe('our own record', () => {
  test.each<[string, (history: readonly BusRecord[]) => Uint8Array | undefined]>([
    ['1 nulled', () => undefined],
    ['2 overwritten', () => Buffer.from('garbage')],
    ['3 rolled back', (history) => history[0]?.value],
  ])('%s is published again', async (_, replacement) => {
    const history: BusRecord[] = [];
    const { one, two } = await pair();
    const spy = broker.bus(prefix);
    let repaired = (): void => undefined;
    const standsAgain = new Promise<void>((resolve) => {
      repaired = resolve;
    });
    await spy.start(async (found) => {
      if (found.key === 'node2') history.push(found);
      const verified = await identity(1).verify(found, Date.now(), 1 as Vni);
      if (verified.ok && found.key === 'node2' && verified.value.announcement.sequence > 2) repaired();
    });
    await two.announce(2);
    await one.until(() => one.peers().includes('node2 live 2'));
    await stranger.write(topic(), 'node2', replacement(history));
    await standsAgain;
    await spy.stop();
    expect(one.peers()).toEqual(['node2 live 2']);
    const fresh = await arrive(3);
    expect(fresh.peers()).toEqual(['node1 live 1', 'node2 live 2']);
  });

  test('4 a withdrawal takes the node out, and no replay brings it back', async () => {
    const { one, two } = await pair();
    await two.announcer.withdraw();
    await one.until(() => one.peers().includes('node2 withdrawn -'));
    const old = record(2, { generation: two.announcer.state().generation, sequence: 1 });
    await stranger.write(topic(), 'node2', await identity(2).sign(old));
    await seesHonest(one);
    expect(one.refused('superseded')).toBe(1);
    expect(one.peers()).toEqual(['node2 withdrawn -', 'node4 live 1']);
  });
});

describe('the whole log replayed elsewhere, up to an older state', () => {
  /** Node 2 goes from epoch 1 to 3; the log as it was at epoch 1 stands on other topics. */
  async function replayed(): Promise<string> {
    const { one, two } = await pair();
    const older: { key: string; value: Uint8Array | null }[] = [];
    const spy = broker.bus(prefix);
    let full = (): void => undefined;
    const read = new Promise<void>((resolve) => {
      full = resolve;
    });
    await spy.start(({ key, value }) => {
      older.push({ key, value: value ?? null });
      if (older.length === 2) full();
    });
    await read;
    await spy.stop();
    // One after the other, so that the file of node 1 holds all of them.
    for (const epoch of [2, 3]) {
      await two.announce(epoch);
      await one.until(() => one.peers().includes(`node2 live ${epoch}`));
    }
    await leave(one);
    await leave(two);
    const copy = broker.nextPrefix();
    await stranger.createTopic(`${copy}${NODES_TOPIC}`);
    await stranger.writeAll(`${copy}${NODES_TOPIC}`, older);
    return copy;
  }

  test('1 a node that has seen more keeps what it has', async () => {
    const topicPrefix = await replayed();
    const one = await arrive(1, { topicPrefix });
    expect(one.refused('superseded')).toBe(1);
    expect(one.peers()).toEqual(['node2 live 3']);
  });

  test('2 and believes none of it when it has lost what it kept', async () => {
    const topicPrefix = await replayed();
    rmSync(join(folder, 'node1', 'topology'), { recursive: true });
    const one = await arrive(1, { topicPrefix });
    expect(one.refused('superseded')).toBe(1);
    expect(one.peers()).toEqual([]);
  });

  test('3 a fresh node is held by the lease alone: what has run out does not count', async () => {
    const topicPrefix = await replayed();
    const ended = record(4, { notBeforeMs: Date.now() - 7200_000, notAfterMs: Date.now() - 1000 });
    await stranger.write(`${topicPrefix}${NODES_TOPIC}`, 'node4', await identity(4).sign(ended));
    const fresh = await arrive(3, { topicPrefix });
    expect(fresh.peers()).toEqual(['node1 live 1', 'node2 live 1', 'node4 expired 1']);
  });
});
