// Configuration from its four sources: precedence, every error at once, and what may not be decided by accident.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '../../../agent/config/issue';
import { environmentName, flagName, KEY_PATHS, KEYS, type KeySpec } from '../../../agent/config/keys';
import { type ConfigSources, loadConfig, readConfig, readKey } from '../../../agent/config/load';
import { plainConfig } from '../../../agent/config/reference';

const folder = mkdtempSync(join(tmpdir(), 'vxseal-config-'));
const REQUIRED = {
  'identity.trustDomain': 'lab.vxseal',
  nodeName: 'node1',
  'overlay.protectedPrefixes': '10.244.0.0/16',
};
let fileNumber = 0;

afterAll(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, `config-${fileNumber++}.yaml`);
  writeFileSync(path, text);
  return path;
}

function sources(parts: Partial<ConfigSources>): ConfigSources {
  return { file: parts.file ?? file(''), environment: parts.environment ?? {}, flags: parts.flags ?? {} };
}

function issuesOf(parts: Partial<ConfigSources>): string[] {
  const flags = { ...REQUIRED, ...parts.flags };
  return readConfig(sources({ ...parts, flags })).issues.map((issue) => {
    const source = issue.source.replace(`${folder}/`, '').replace(/config-\d+/, 'config');
    return `${issue.field} | ${source} | ${issue.reason} | ${issue.remedy}`;
  });
}

describe('precedence', () => {
  const yaml = file('underlay: {espPort: 1001}\n');
  const environment = { VXSEAL_UNDERLAY_ESP_PORT: '1002' };
  const flags = { 'underlay.espPort': '1003' };
  test.each([
    [1, { file: yaml, environment, flags }, 1003],
    [2, { file: yaml, environment, flags: {} }, 1002],
    [3, { file: yaml, environment: {}, flags }, 1003],
    [4, { file: yaml, environment: {}, flags: {} }, 1001],
    [5, { file: file(''), environment, flags }, 1003],
    [6, { file: file(''), environment, flags: {} }, 1002],
    [7, { file: file(''), environment: {}, flags: {} }, 4500],
    [8, { file: yaml, environment: { VXSEAL_UNDERLAY_ESP_PORT: '' }, flags: {} }, 1001],
    [9, { file: file('underlay: {espPort: }\n'), environment: {}, flags: {} }, 4500],
  ])('%i', (_number, parts, espPort) => {
    expect(loadConfig({ ...parts, flags: { ...REQUIRED, ...parts.flags } }).underlay.espPort).toBe(espPort);
  });

  test('a wrong value is not excused by a right one of less weight', () => {
    expect(issuesOf({ file: yaml, environment: { VXSEAL_UNDERLAY_ESP_PORT: '0' } })).toEqual([
      'underlay.espPort | environment VXSEAL_UNDERLAY_ESP_PORT | "0" is not from 1 to 65535 | Give: integer 1 to 65535.',
    ]);
  });

  test('VXSEAL_CONFIG names the file; --config has precedence', () => {
    const environment = { VXSEAL_CONFIG: file('log: {level: warn}\n') };
    const flags = REQUIRED;
    expect(loadConfig({ environment, flags }).log.level).toBe('warn');
    expect(loadConfig({ file: file('log: {level: error}\n'), environment, flags }).log.level).toBe('error');
  });
});

test('every key can be given in each of the three ways, and says the same', () => {
  const given: Record<string, { text: string; yaml: unknown }> = {
    nodeName: { text: 'n7', yaml: 'n7' },
    runDir: { text: '/r', yaml: '/r' },
    stateDir: { text: '/s', yaml: '/s' },
    pinDir: { text: '/p', yaml: '/p' },
    bpfDir: { text: '/b', yaml: '/b' },
    'identity.trustDomain': { text: 'td', yaml: 'td' },
    'identity.key': { text: '/k', yaml: '/k' },
    'identity.chain': { text: '/c', yaml: '/c' },
    'identity.roots': { text: '/o', yaml: '/o' },
    'identity.revoked': { text: '/revoked', yaml: '/revoked' },
    'bus.type': { text: 'kafka', yaml: 'kafka' },
    'bus.path': { text: '/bus', yaml: '/bus' },
    'kafka.brokers': { text: 'k1:9092, [FD00::1]:9093', yaml: ['k1:9092', '[fd00::1]:9093'] },
    'kafka.clientId': { text: 'me', yaml: 'me' },
    'kafka.topicPrefix': { text: 'a.', yaml: 'a.' },
    'kafka.replicationFactor': { text: '3', yaml: 3 },
    'kafka.tls': { text: 'true', yaml: true },
    'kafka.tlsCa': { text: '/kca', yaml: '/kca' },
    'kafka.tlsCert': { text: '/kcert', yaml: '/kcert' },
    'kafka.tlsKey': { text: '/kkey', yaml: '/kkey' },
    'kafka.saslMechanism': { text: 'plain', yaml: 'plain' },
    'kafka.saslUsername': { text: 'u', yaml: 'u' },
    'kafka.saslPasswordFile': { text: '/kpw', yaml: '/kpw' },
    'underlay.devices': { text: 'eth0, eth1', yaml: ['eth0', 'eth1'] },
    'underlay.vteps': { text: '192.0.2.1,2001:DB8::1', yaml: ['192.0.2.1', '2001:db8::1'] },
    'underlay.espPort': { text: '4501', yaml: 4501 },
    'underlay.sharedPort': { text: 'true', yaml: true },
    'underlay.xdp': { text: 'tc', yaml: 'tc' },
    'underlay.tune': { text: 'off', yaml: 'off' },
    'overlay.engine': { text: 'xfrm', yaml: 'xfrm' },
    'overlay.device': { text: 'v0', yaml: 'v0' },
    'overlay.vni': { text: '77', yaml: 77 },
    'overlay.port': { text: '5000', yaml: 5000 },
    'overlay.mtuBytes': { text: '1300', yaml: 1300 },
    'overlay.prefixes': {
      text: '10.2.0.0/24,5=10.1.0.0/24',
      yaml: [{ vni: 5, prefixes: ['10.1.0.0/24'] }, '10.2.0.0/24'],
    },
    'overlay.protectedPrefixes': {
      text: '10.0.0.0/8,5=10.0.0.0/9,6=172.16.0.0/16',
      yaml: [{ prefixes: ['10.0.0.0/8'] }, { vni: 5, prefixes: ['10.0.0.0/9'] }, '6=172.16.0.0/16'],
    },
    'overlay.pools': { text: '77=10.9.0.0/16', yaml: ['10.9.0.0/16'] },
    'overlay.shared': {
      text: 'dns 5 10.1.0.53/32 from 6=172.16.1.0/24',
      yaml: [{ name: 'dns', vni: 5, prefixes: ['10.1.0.53/32'], clients: ['6=172.16.1.0/24'] }],
    },
    'adoption.permissivePrefixes': { text: '10.8.0.0/16', yaml: [{ vni: 77, prefixes: ['10.8.0.0/16'] }] },
    'adoption.allow': { text: 'off,permissive', yaml: ['off', 'permissive'] },
    'policies.path': { text: '/etc/vxseal/policies', yaml: '/etc/vxseal/policies' },
    'keys.packetLimit': { text: '9223372036854775808', yaml: '9223372036854775808' },
    'keys.leaseMs': { text: '1h30m', yaml: 5_400_000 },
    'keys.hardLimitMs': { text: '2d', yaml: '48h' },
    'keys.rotateMs': { text: '90m', yaml: 5_400_000 },
    'keys.pskFile': { text: '/psk', yaml: '/psk' },
    'probes.intervalMs': { text: '250ms', yaml: 250 },
    'probes.timeoutMs': { text: '1.5s', yaml: 1500 },
    'cni.confDir': { text: '/etc/cni/net.d', yaml: '/etc/cni/net.d' },
    'cni.network': { text: 'cbr0', yaml: 'cbr0' },
    'cni.nriSocket': { text: '/run/nri.sock', yaml: '/run/nri.sock' },
    reconcileIntervalMs: { text: '7s', yaml: '7000ms' },
    'http.listen': { text: '[::1]:80', yaml: '[::1]:80' },
    'log.level': { text: 'debug', yaml: 'debug' },
  };
  expect(Object.keys(given)).toEqual(KEY_PATHS);
  const texts = Object.entries(given).map(([path, { text }]) => [path, text] as const);
  const byFlags = loadConfig(sources({ flags: Object.fromEntries(texts) }));
  const environment = Object.fromEntries(KEY_PATHS.map((path) => [environmentName(path), given[path]?.text]));
  const lines = Object.entries(given).map(([path, { yaml }]) => {
    const [head, leaf] = path.split('.');
    return leaf === undefined ? { [path]: yaml } : { [head ?? '']: { [leaf]: yaml } };
  });
  const nested: Record<string, object | unknown> = {};
  for (const line of lines) {
    for (const [head, value] of Object.entries(line)) {
      const before = nested[head];
      nested[head] = typeof before === 'object' ? { ...before, ...(value as object) } : value;
    }
  }
  expect(loadConfig(sources({ environment }))).toEqual(byFlags);
  expect(loadConfig(sources({ file: file(JSON.stringify(nested)) }))).toEqual(byFlags);
  expect(byFlags.keys.packetLimit).toBe(1n << 63n);
  expect(byFlags.overlay.prefixes).toEqual([
    { vni: 5, prefixes: ['10.1.0.0/24'] },
    { vni: 77, prefixes: ['10.2.0.0/24'] },
  ]);
  // What `config show` writes is read again to the same.
  expect(loadConfig(sources({ file: file(JSON.stringify(plainConfig(byFlags))) }))).toEqual(byFlags);
  // None of these is the default, or this test could not fail.
  const defaults = plainConfig(loadConfig(sources({ flags: REQUIRED })));
  const same = KEY_PATHS.filter((path) => at(defaults, path) === at(plainConfig(byFlags), path));
  expect(same).toEqual([]);
});

function at(root: unknown, path: string): string {
  const value = path
    .split('.')
    .reduce<unknown>((node, name) => (node as Record<string, unknown>)[name], root);
  return JSON.stringify(value);
}

describe('what is refused', () => {
  test.each([
    [
      'unknown key',
      'nodename: a\n',
      'nodename | config.yaml:1 | there is no such key | Did you mean nodeName?',
    ],
    [
      'unknown in section',
      'log: {levle: info}',
      'log.levle | config.yaml:1 | there is no such key | Did you mean log.level?',
    ],
    [
      'out of its section',
      '\nespPort: 1',
      'espPort | config.yaml:2 | there is no such key | Did you mean underlay.espPort?',
    ],
    [
      'unlike any',
      'log: {colours: yes}',
      'log.colours | config.yaml:1 | there is no such key | Keys here: level.',
    ],
    [
      'section as value',
      'log: debug',
      'log | config.yaml:1 | is a section, not a value | Write its keys below it: level.',
    ],
    ['value as section', 'stateDir: {a: 1}', 'stateDir | config.yaml:1 | a section is not an absolute path'],
    [
      'number as name',
      'bus: {path: 5}',
      'bus.path | config.yaml:1 | 5 is not an absolute path: it must begin with "/" (if it is meant as text, put it in quotes) | Give: absolute path.',
    ],
    ['no map', '- a\n', ' | config.yaml | holds no keys | Write keys as "nodeName: node1".'],
    ['twice', 'runDir: /a\nrunDir: /b\n', ' | config.yaml:2 | Map keys must be unique | Correct the YAML.'],
    ['prototype', '__proto__: {runDir: /x}\n', '__proto__ | config.yaml:1 | there is no such key | '],
  ])('%s', (_name, yaml, expected) => {
    const found = issuesOf({ file: file(yaml) });
    if (expected === '')
      expect(found).toEqual([]); // a flag covers it
    else expect(found).toEqual([expect.stringContaining(expected)]);
  });

  test('every error at once, each with its place', () => {
    const found = issuesOf({
      file: file('runDir: run\noverlay:\n  vni: 16777216\n  vnj: 1\n'),
      environment: { VXSEAL_LOGLEVEL: 'x', VXSEAL_BUS_TYPE: 'nats' },
      flags: { 'keys.leaseMs': 'soon' },
    });
    expect(found.map((line) => line.split(' | ').slice(0, 2))).toEqual([
      ['overlay.vnj', 'config.yaml:4'],
      ['VXSEAL_LOGLEVEL', 'environment'],
      ['runDir', 'config.yaml:1'],
      ['bus.type', 'environment VXSEAL_BUS_TYPE'],
      ['overlay.vni', 'config.yaml:3'],
      ['keys.leaseMs', 'flag --keys-lease-ms'],
    ]);
  });

  test('a file that was named must be there; the default one need not', () => {
    expect(readConfig({ file: join(folder, 'none.yaml'), environment: {}, flags: REQUIRED }).issues).toEqual([
      expect.objectContaining({ field: '', reason: 'cannot be read (ENOENT)' }),
    ]);
  });

  test('a key without default must be given', () => {
    const flags = { nodeName: 'node1', 'overlay.protectedPrefixes': '10.244.0.0/16' };
    const { issues, config } = readConfig(sources({ flags }));
    expect(config).toBeUndefined();
    expect(issues).toEqual([
      {
        field: 'identity.trustDomain',
        source: 'missing',
        reason: 'must be given',
        remedy:
          'Set identity.trustDomain in the file, VXSEAL_IDENTITY_TRUST_DOMAIN or --identity-trust-domain (trust domain).',
      },
    ]);
  });

  test('what only several keys together can tell', () => {
    const flags = {
      'overlay.port': '4500',
      'probes.intervalMs': '5s',
      'probes.timeoutMs': '5s',
      runDir: `/${'r'.repeat(97)}`,
    };
    const fields = issuesOf({ flags }).map((line) => line.split(' | ')[0]);
    expect(fields).toEqual(['overlay.port', 'probes.timeoutMs', 'runDir']);
    const fitting = { 'probes.intervalMs': '5s', 'probes.timeoutMs': '5001ms', runDir: `/${'r'.repeat(95)}` };
    expect(issuesOf({ flags: fitting })).toEqual([]);
  });
});

const WIDE = 'is more than pods: everything in it that no peer announced is dropped';
const RANGES = "Name the cluster's whole pod ranges, such as 10.244.0.0/16.";
const holds = (bare: string): string => `Add the cluster's range that ${bare} is a part of.`;
test.each<[number, string, string, string[]]>([
  [1, '', '10.0.0.0/8', []],
  [2, '10.1.0.0/24', '10.1.0.0/24', []],
  [
    3,
    '10.1.0.0/24',
    '10.1.0.0/25',
    [`of VNI 1 do not hold 10.1.0.0/24, which this node has there | ${holds('10.1.0.0/24')}`],
  ],
  [4, '', '', [`has none of VNI 1 | ${RANGES}`]],
  [5, '', '42=10.0.0.0/8', [`has none of VNI 1 | ${RANGES}`]],
  [6, '42=10.1.0.0/24', '10.0.0.0/8', [`has none of VNI 42 | ${RANGES}`]],
  [7, '42=10.1.0.0/24', '10.0.0.0/8,42=10.0.0.0/8', []],
  [
    8,
    'fd00:1::/64',
    '10.0.0.0/8',
    [`of VNI 1 do not hold fd00:1::/64, which this node has there | ${holds('fd00:1::/64')}`],
  ],
  [9, 'fd00:1::/64,10.1.0.0/24', 'fd00::/16,10.0.0.0/8', []],
  [10, '', '0.0.0.0/0', [`0.0.0.0/0 ${WIDE} | ${RANGES}`]],
  [11, '', '10.0.0.0/8,::/0', [`::/0 ${WIDE} | ${RANGES}`]],
  [12, '', '7=::/64', [`::/64 ${WIDE} | ${RANGES}`]],
  [13, '::/0', '::/0', [`::/0 ${WIDE} | ${RANGES}`]],
  [14, '', '0.0.0.0/1', []],
  [15, '', '8000::/1', []],
])('protected prefixes hold the own ones, and no more than pods: %i', (_number, own, guarded, expected) => {
  const flags = { 'overlay.prefixes': own, 'overlay.protectedPrefixes': guarded };
  expect(issuesOf({ flags })).toEqual(
    expected.map((text) => `overlay.protectedPrefixes | flag --overlay-protected-prefixes | ${text}`),
  );
});

test('without protected prefixes nothing starts', () => {
  const { issues } = readConfig(sources({ flags: { nodeName: 'node1', 'identity.trustDomain': 'td' } }));
  expect(issues).toEqual([
    expect.objectContaining({ field: 'overlay.protectedPrefixes', reason: 'must be given' }),
  ]);
});

test.each([
  ['1024', 0],
  ['1023', 1],
  ['9223372036854775808', 0],
  ['9223372036854775809', 1],
])('keys.packetLimit of %s: %i errors', (packetLimit, expected) => {
  expect(issuesOf({ flags: { 'keys.packetLimit': packetLimit } })).toHaveLength(expected);
});

const BROKERS = { 'bus.type': 'kafka', 'kafka.brokers': 'k:9092' };
const PASSWORD = { 'kafka.saslUsername': 'u', 'kafka.saslPasswordFile': '/p' };
test.each<[number, Record<string, string>, string[]]>([
  [1, { 'bus.type': 'kafka' }, ['kafka.brokers']],
  [2, BROKERS, []],
  [3, { ...BROKERS, 'kafka.tlsCa': '/ca' }, ['kafka.tls']],
  [4, { ...BROKERS, 'kafka.tls': 'true', 'kafka.tlsCa': '/ca' }, []],
  [5, { ...BROKERS, 'kafka.tls': 'true', 'kafka.tlsCert': '/c' }, ['kafka.tlsKey']],
  [6, { ...BROKERS, 'kafka.tls': 'true', 'kafka.tlsKey': '/k' }, ['kafka.tlsKey']],
  [7, { ...BROKERS, 'kafka.tls': 'true', 'kafka.tlsCert': '/c', 'kafka.tlsKey': '/k' }, []],
  [8, { ...BROKERS, 'kafka.saslMechanism': 'scram-sha-512' }, ['kafka.saslMechanism']],
  [9, { ...BROKERS, 'kafka.saslMechanism': 'scram-sha-512', ...PASSWORD }, []],
  [10, { ...BROKERS, 'kafka.saslMechanism': 'plain', ...PASSWORD }, ['kafka.saslMechanism']],
  [11, { ...BROKERS, 'kafka.saslMechanism': 'plain', ...PASSWORD, 'kafka.tls': 'true' }, []],
])('Kafka, what only several keys together can tell: %i', (_number, flags, expected) => {
  expect(issuesOf({ flags }).map((line) => line.split(' | ')[0])).toEqual(expected);
});

describe('environment', () => {
  test.each([
    ['VXSEAL_SERVICE_HOST', '10.0.0.1', false],
    ['VXSEAL_METRICS_SERVICE_PORT_HTTP', '9477', false],
    ['VXSEAL_PORT', 'tcp://10.0.0.1:80', false],
    ['VXSEAL_OVERLAY_PORT', 'tcp://10.0.0.1:80', false],
    ['VXSEAL_PORT_9477_TCP_ADDR', '10.0.0.1', false],
    ['VXSEAL_NATIVE', '/x.node', false],
    ['OTHER_OVERLAY_PORTS', '1', false],
    ['VXSEAL_OVERLAY_PORTS', '1', true],
    ['VXSEAL_OVERLAY_PORT', 'x', true],
    ['VXSEAL_PORT', '80', true],
  ])('%s=%s is refused: %s', (name, value, refused) => {
    expect(issuesOf({ environment: { [name]: value } }).length).toBe(refused ? 1 : 0);
  });
});

test('the result is frozen in depth', () => {
  const config = loadConfig(sources({ flags: { ...REQUIRED, 'overlay.prefixes': '10.244.0.0/24' } }));
  const parts = [config, config.overlay, config.overlay.prefixes, config.overlay.prefixes[0], config.keys];
  expect(parts.map(Object.isFrozen)).toEqual([true, true, true, true, true]);
});

test('one key can be read where others are wrong', () => {
  const parts = sources({ flags: { runDir: '/elsewhere', 'overlay.vni': 'x' } });
  expect(readKey(parts, 'runDir')).toBe('/elsewhere');
  expect(() => readKey(parts, 'overlay.vni')).toThrow(ConfigError);
  expect(() => readKey(sources({ flags: { runDir: 'here' } }), 'runDir')).toThrow('runDir (flag --run-dir)');
});

test('names are unique and follow the key', () => {
  expect(environmentName('underlay.espPort')).toBe('VXSEAL_UNDERLAY_ESP_PORT');
  expect(flagName('underlay.espPort')).toBe('--underlay-esp-port');
  expect(new Set(KEY_PATHS.map(environmentName)).size).toBe(KEY_PATHS.length);
  expect(new Set(KEY_PATHS.map(flagName)).size).toBe(KEY_PATHS.length);
});

test('every default is a value that its own key takes', () => {
  for (const path of KEY_PATHS) {
    const spec: KeySpec<unknown> = KEYS[path];
    if (spec.fallback === undefined) continue;
    const value = spec.fallback();
    expect({ path, parsed: spec.type.parse(spec.type.plain(value)) }).toEqual({
      path,
      parsed: { ok: true, value },
    });
  }
});

test.each([
  ['8=10.8.0.0/16', []],
  ['8=10.9.0.0/16', [/dns: 10\.9\.0\.0\/16 is in no range of VNI 8 in overlay\.protectedPrefixes/]],
  ['1=10.244.0.0/16', [/dns: VNI 1 is the hosts', and only tenants share/]],
])('shared services are held to the ranges of their VNIs: clients %s', (clients, expected) => {
  const ranges = '10.244.0.0/16,7=10.7.0.0/16,8=10.8.0.0/16';
  const found = issuesOf({
    flags: { 'overlay.protectedPrefixes': ranges, 'overlay.shared': `dns 7 10.7.0.53/32 from ${clients}` },
  });
  expect(found).toEqual(expected.map((reason) => expect.stringMatching(reason)));
  expect(found.every((text) => text.startsWith('overlay.shared | flag --overlay-shared | '))).toBe(true);
});
