// How the brokers are reached and what they allow: TLS, mTLS, SASL, ACLs, and topics that are wrong.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  ConfigResourceTypes,
  ResourcePatternTypes,
} from 'kafkajs';
import type { Config } from '../../agent/config';
import type { KafkaBus } from '../../agent/sources/kafka';
import { NODES, Received, TOPICS } from '../agent/sources/bus-suite';
import { QuietLog } from '../fakes/log';
import { Broker, type Stranger } from './broker';
import { type Pem, TlsAuthority } from './tls';

const PASSWORD = 'correct horse battery';
const folder = mkdtempSync(join(tmpdir(), 'vxseal-access-'));
const ports = { tls: 0, mtls: 0, sasl: 0, clear: 0 };
let broker: Broker;
let authority: TlsAuthority;
let stranger: Stranger;
let prefix: string;
let buses: { readonly bus: KafkaBus; readonly log: QuietLog }[];

const path = (name: string): string => join(folder, name);
const put = (name: string, text: string, mode = 0o600): string => {
  rmSync(path(name), { force: true });
  writeFileSync(path(name), text, { mode });
  return path(name);
};
const putPair = (name: string, { key, certificate }: Pem) => ({
  tlsKey: put(`${name}.key`, key),
  tlsCert: put(`${name}.crt`, certificate),
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

beforeAll(async () => {
  authority = await TlsAuthority.make('brokers');
  for (const name of ['tls', 'mtls', 'sasl', 'clear'] as const) ports[name] = await freePort();
  put('ca.pem', authority.pem);
  const { key, certificate } = await authority.issue('broker', '127.0.0.1');
  put('broker.pem', `${key}${certificate}\n`);
  broker = new Broker([
    ...['--listener', `TLS=SSL:${ports.tls}`, '--listener', `MTLS=SSL:${ports.mtls}`],
    ...['--listener', `SASL=SASL_SSL:${ports.sasl}`, '--listener', `CLEAR=SASL_PLAINTEXT:${ports.clear}`],
    ...['--scram', `node=${PASSWORD}`],
  ]);
  const login = 'org.apache.kafka.common.security';
  const saslOf = (name: string): string[] => [
    `listener.name.${name}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512`,
    `listener.name.${name}.plain.sasl.jaas.config=${login}.plain.PlainLoginModule required user_node="${PASSWORD}";`,
    `listener.name.${name}.scram-sha-256.sasl.jaas.config=${login}.scram.ScramLoginModule required;`,
    `listener.name.${name}.scram-sha-512.sasl.jaas.config=${login}.scram.ScramLoginModule required;`,
  ];
  await broker.start(
    [
      'ssl.keystore.type=PEM',
      `ssl.keystore.location=${path('broker.pem')}`,
      'ssl.truststore.type=PEM',
      `ssl.truststore.location=${path('ca.pem')}`,
      'listener.name.mtls.ssl.client.auth=required',
      ...saslOf('sasl'),
      ...saslOf('clear'),
      'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      // TLS without a client's certificate is anonymous; the user "node" has only what a test gives it.
      'super.users=User:ANONYMOUS;User:CN=node1',
      'log.cleaner.backoff.ms=100',
      '',
    ].join('\n'),
  );
});
afterAll(async () => {
  await broker?.dispose();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  prefix = broker.nextPrefix();
  stranger = broker.stranger();
  buses = [];
});
afterEach(async () => {
  for (const { bus } of buses) await bus.stop();
  await stranger.close();
});

async function arrive(changes: Partial<Config['kafka']>, port = broker.port) {
  const log = new QuietLog();
  const bus = broker.bus(prefix, { brokers: [{ host: '127.0.0.1', port }], ...changes }, log);
  buses.push({ bus, log });
  const received = new Received();
  bus.onStatus(received.check);
  await bus.start(received.receive);
  return { bus, log, received };
}

/** Reads and publishes. */
async function works(
  changes: Partial<Config['kafka']>,
  port: number,
): Promise<Awaited<ReturnType<typeof arrive>>> {
  const joined = await arrive(changes, port);
  // Rights take a moment to reach the broker.
  await joined.received.until(() => joined.bus.status().connected);
  expect(joined.bus.status().error).toBe('');
  await carries(joined, 'first');
  return joined;
}

async function carries({ bus, received }: Awaited<ReturnType<typeof arrive>>, text: string): Promise<void> {
  await bus.publish(NODES, 'node1', Buffer.from(text));
  await received.until(() => received.state(NODES).node1 === text);
}

async function fails(changes: Partial<Config['kafka']>, port: number, why: RegExp) {
  const joined = await arrive(changes, port);
  await joined.received.until(() => why.test(joined.bus.status().error));
  expect(joined.bus.status()).toMatchObject({ connected: false, inSync: false });
  return joined;
}

const tls = (): Partial<Config['kafka']> => ({ tls: true, tlsCa: path('ca.pem') });

describe('TLS', () => {
  test('1 with the CA of the brokers', () => works(tls(), ports.tls).then(() => undefined));

  test('2 refused without it', () =>
    fails({ tls: true }, ports.tls, /self.signed|unable to/).then(() => undefined));

  test('3 refused under a name that is not in the certificate', async () => {
    const brokers = [{ host: 'localhost', port: ports.tls }];
    await fails({ ...tls(), brokers }, ports.tls, /altnames|Hostname/i);
  });

  test('4 in clear to a port of TLS: an error, and no end', () =>
    fails({}, ports.tls, /./).then(() => undefined));

  test('5 mTLS', async () => {
    await fails(tls(), ports.mtls, /./);
    await works({ ...tls(), ...putPair('good', await authority.issue('node1')) }, ports.mtls);
  });

  test('6 a certificate that is replaced is taken over; one that does not fit its key is not', async () => {
    const files = putPair('turning', await authority.issue('node1'));
    const joined = await works({ ...tls(), ...files }, ports.mtls);
    const { log, received, bus } = joined;
    const told = async (text: string): Promise<void> => {
      while (log.matching(text).length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    };
    const next = await authority.issue('node1');
    put('turning.crt', next.certificate);
    await told('the old ones go on');
    expect(bus.status().connected).toBe(true);
    await carries(joined, 'with the old ones');
    put('turning.key', next.key);
    await told('connecting anew');
    await received.until(() => bus.status().connected);
    await carries(joined, 'with the new ones');
  });
});

describe('SASL', () => {
  const sasl = (
    mechanism: Config['kafka']['saslMechanism'],
    password = PASSWORD,
  ): Partial<Config['kafka']> => ({
    saslMechanism: mechanism,
    saslUsername: 'node',
    saslPasswordFile: put(`password-${buses.length}`, `${password}\n`),
  });
  beforeEach(() => allow('node', AclOperationTypes.ALL));

  test.each<[Config['kafka']['saslMechanism']]>([['plain'], ['scram-sha-256'], ['scram-sha-512']])(
    '%s over TLS',
    async (mechanism) => {
      await works({ ...tls(), ...sasl(mechanism) }, ports.sasl);
    },
  );

  test('scram without TLS', async () => {
    await works(sasl('scram-sha-512'), ports.clear);
  });

  test.each<[Config['kafka']['saslMechanism']]>([['plain'], ['scram-sha-512']])(
    '%s with a wrong password says so, without it, and goes on by itself with the right one',
    async (mechanism) => {
      const settings = { ...tls(), ...sasl(mechanism, 'wrong and secret') };
      const joined = await fails(settings, ports.sasl, /uthentication.*check kafka.saslMechanism/);
      expect(JSON.stringify([joined.bus.status(), joined.log.lines])).not.toContain('wrong and secret');
      writeFileSync(settings.saslPasswordFile ?? '', PASSWORD);
      await joined.received.until(() => joined.bus.status().connected);
      await carries(joined, 'recovered');
    },
  );

  test('a password that others may read, or that is not there, is refused by name', async () => {
    const open = put('open', PASSWORD, 0o644);
    await fails(
      { ...sasl('scram-sha-512'), saslPasswordFile: open },
      ports.clear,
      /open: .*open to other users.*chmod 600/,
    );
    const none = path('none');
    await fails(
      { ...sasl('scram-sha-512'), saslPasswordFile: none },
      ports.clear,
      /none: .*cannot be read: ENOENT/,
    );
  });
});

async function allow(user: string, ...operations: AclOperationTypes[]): Promise<void> {
  await stranger.connect();
  await stranger.admin.createAcls({
    acl: operations.map((operation) => ({
      resourceType: AclResourceTypes.TOPIC,
      resourceName: prefix,
      resourcePatternType: ResourcePatternTypes.PREFIXED,
      principal: `User:${user}`,
      host: '*',
      operation,
      permissionType: AclPermissionTypes.ALLOW,
    })),
  });
}

describe('rights', () => {
  const READER = [
    AclOperationTypes.DESCRIBE,
    AclOperationTypes.DESCRIBE_CONFIGS,
    AclOperationTypes.READ,
    AclOperationTypes.WRITE,
  ];
  const node = (): Partial<Config['kafka']> => ({
    saslMechanism: 'scram-sha-512',
    saslUsername: 'node',
    saslPasswordFile: put('node', PASSWORD),
  });

  test('1 four rights on the topics are enough; nothing is left in groups', async () => {
    for (const topic of TOPICS) await stranger.createTopic(`${prefix}${topic}`);
    await allow('node', ...READER);
    await works(node(), ports.clear);
    expect((await stranger.admin.listGroups()).groups).toEqual([]);
  });

  test('2 a topic that is missing and may not be made', async () => {
    await allow('node', ...READER);
    const { bus, received } = await fails(
      node(),
      ports.clear,
      /vxseal.nodes.v1.*cannot be created.*authorization failed.*--create/,
    );
    for (const topic of TOPICS) await stranger.createTopic(`${prefix}${topic}`);
    await received.until(() => bus.status().connected);
  });

  test('3 a topic that is wrong and may not be changed', async () => {
    await stranger.createTopic(`${prefix}${NODES}`, 1, {
      'cleanup.policy': 'delete',
      'max.message.bytes': '1000',
    });
    await allow('node', ...READER);
    await fails(
      node(),
      ports.clear,
      /cleanup.policy is delete, max.message.bytes is 1000.*may not change.*--add-config cleanup.policy=compact,max.message.bytes=65536/,
    );
  });

  test('4 no right at all', async () => {
    for (const topic of TOPICS) await stranger.createTopic(`${prefix}${topic}`);
    await fails(node(), ports.clear, /vxseal.nodes.v1.*may not see it.*rights Describe/);
  });

  test('5 one that may change it puts it right, and leaves the rest', async () => {
    await stranger.createTopic(`${prefix}${NODES}`, 1, {
      'cleanup.policy': 'delete',
      'compression.type': 'gzip',
      'segment.ms': '1234567',
    });
    await works({}, broker.port);
    const { resources } = await stranger.admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name: `${prefix}${NODES}` }],
    });
    const settings = Object.fromEntries(
      (resources[0]?.configEntries ?? []).map(({ configName, configValue }) => [configName, configValue]),
    );
    expect(settings).toMatchObject({
      'cleanup.policy': 'compact',
      'compression.type': 'uncompressed',
      'segment.ms': '1234567',
    });
  });
});

describe('logs with gaps', () => {
  test('1 markers of transactions at the end do not hold up', async () => {
    await stranger.createTopic(`${prefix}${NODES}`);
    const producer = stranger.kafka.producer({
      transactionalId: prefix,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    for (const end of ['commit', 'abort'] as const) {
      const transaction = await producer.transaction();
      await transaction.send({ topic: `${prefix}${NODES}`, messages: [{ key: 'node1', value: end }] });
      await transaction[end]();
    }
    await producer.disconnect();
    const { bus, received } = await arrive({});
    await received.until(() => bus.status().inSync);
    expect(received.records.length).toBe(2); // an aborted record is believed as little as any
  });

  test('2 nor do records that were compacted away', async () => {
    const settings = {
      'segment.ms': '100',
      'min.cleanable.dirty.ratio': '0.001',
      'delete.retention.ms': '0',
    };
    await stranger.createTopic(`${prefix}${NODES}`, 1, settings);
    const write = (value: string) => stranger.write(`${prefix}${NODES}`, 'node1', Buffer.from(value));
    let count = 0;
    for (let found = count; found === count; ) {
      // Each write may roll the segment, and what is behind it be compacted.
      await write(`v${count}`);
      count += 1;
      const { bus, received } = await arrive({});
      await received.until(() => bus.status().inSync);
      expect(received.state(NODES)).toEqual({ node1: `v${count - 1}` });
      found = received.records.length;
      await bus.stop();
    }
  });
});
