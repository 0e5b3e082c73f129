// Manifests as users write them: the API's defaults, and every way to get one wrong, by object and field.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Vni } from '../../../agent/core/ids';
import { parseManifests } from '../../../agent/sources/manifests';
import { PolicyFolder } from '../../../agent/sources/policyfolder';

const policy = (spec: string): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: x, name: p}\nspec: ${spec}\n`;

function only(text: string) {
  const parsed = parseManifests(text);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.value;
}

describe('which directions a policy speaks of', () => {
  const table: [string, string, 'ingress'[] | 'egress'[] | ('ingress' | 'egress')[]][] = [
    ['nothing said', '{podSelector: {}}', ['ingress']],
    ['rules for ingress', '{podSelector: {}, ingress: [{}]}', ['ingress']],
    ['rules for egress', '{podSelector: {}, egress: [{}]}', ['ingress', 'egress']],
    ['no rules for egress', '{podSelector: {}, egress: []}', ['ingress']],
    ['Egress said', '{podSelector: {}, policyTypes: [Egress]}', ['egress']],
    [
      'Ingress said, rules for egress',
      '{podSelector: {}, policyTypes: [Ingress], egress: [{}]}',
      ['ingress'],
    ],
    ['an empty list of types', '{podSelector: {}, policyTypes: []}', ['ingress']],
  ];
  test.each(table)('%s', (_name, spec, directions) => {
    const [found] = only(policy(spec)).policies;
    expect((['ingress', 'egress'] as const).filter((side) => found?.[side] !== undefined)).toEqual(
      directions,
    );
  });
});

test('a field without a value is not there: it neither selects nor allows more', () => {
  const [found] = only(
    policy(`
  podSelector:
  policyTypes:
  egress:
  ingress:
  - ports:
    - {port: 80, protocol: null, endPort: null}
    from:
    - podSelector: {matchLabels: {app: db}}
      namespaceSelector:
    - namespaceSelector: {matchLabels: {team: a}, matchExpressions: null}
      ipBlock:`),
  ).policies;
  expect(found).toEqual({
    namespace: 'x',
    name: 'p',
    podSelector: { labels: {}, expressions: [] },
    ingress: [
      {
        ports: [{ protocol: 'TCP', port: 80 }],
        peers: [
          { podSelector: { labels: { app: 'db' }, expressions: [] } },
          { namespaceSelector: { labels: { team: 'a' }, expressions: [] } },
        ],
      },
    ],
  });
});

test('ports, selectors and blocks', () => {
  const [found] = only(
    policy(`
  podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [a, b]}]}
  ingress:
  - ports: [{port: 80}, {port: http, protocol: UDP}, {protocol: SCTP}, {port: 1000, endPort: 2000}]
    from:
    - podSelector: {}
    - namespaceSelector: {matchLabels: {team: a}}
      podSelector: {matchLabels: {app: db}}
    - ipBlock: {cidr: 10.1.2.3/16, except: [10.1.4.0/24]}`),
  ).policies;
  expect(found).toEqual({
    namespace: 'x',
    name: 'p',
    podSelector: {
      labels: { app: 'web' },
      expressions: [{ key: 'tier', operator: 'In', values: ['a', 'b'] }],
    },
    ingress: [
      {
        ports: [
          { protocol: 'TCP', port: 80 },
          { protocol: 'UDP', port: 'http' },
          { protocol: 'SCTP' },
          { protocol: 'TCP', port: 1000, endPort: 2000 },
        ],
        peers: [
          { podSelector: { labels: {}, expressions: [] } },
          {
            podSelector: { labels: { app: 'db' }, expressions: [] },
            namespaceSelector: { labels: { team: 'a' }, expressions: [] },
          },
          { ipBlock: { cidr: '10.1.0.0/16', except: ['10.1.4.0/24'] } },
        ],
      },
    ],
  });
});

test.each([
  [
    'an unknown operator',
    '{podSelector: {matchExpressions: [{key: a, operator: Gt, values: ["1"]}]}}',
    'operator Gt',
  ],
  [
    'In without values',
    '{podSelector: {matchExpressions: [{key: a, operator: In}]}}',
    'operator In takes values',
  ],
  [
    'Exists with values',
    '{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}',
    'takes no values',
  ],
  ['a label that is no text', '{podSelector: {matchLabels: {a: true}}}', 'put it in quotes'],
  ['an unknown protocol', '{ingress: [{ports: [{protocol: ICMP}]}]}', 'protocol ICMP'],
  ['port 0', '{ingress: [{ports: [{port: 0}]}]}', 'port: 1 to 65535'],
  ['endPort below port', '{ingress: [{ports: [{port: 90, endPort: 80}]}]}', 'endPort 80 is below port 90'],
  ['endPort with a name', '{ingress: [{ports: [{port: web, endPort: 80}]}]}', 'endPort with the named port'],
  ['endPort alone', '{ingress: [{ports: [{endPort: 80}]}]}', 'endPort without port'],
  ['a number as name', '{ingress: [{ports: [{port: "80"}]}]}', 'neither a number nor a name'],
  ['an empty peer', '{ingress: [{from: [{}]}]}', 'a peer must name'],
  ['a peer of nothing but a name', '{ingress: [{from: [{podSelector: null}]}]}', 'a peer must name'],
  ['a label without a value', '{podSelector: {matchLabels: {a: null}}}', 'put it in quotes'],
  [
    'a block and a selector',
    '{ingress: [{from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]}]}',
    'nothing else',
  ],
  ['a block that is none', '{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}', 'not a prefix'],
  [
    'an exception outside',
    '{ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]}',
    'not within',
  ],
  ['to in ingress', '{ingress: [{to: []}]}', 'to is not known'],
  ['a misspelt section', '{podSelectr: {}}', 'spec.podSelectr is not known'],
  ['a type that is none', '{policyTypes: [ingress]}', 'neither Ingress nor Egress'],
])('refused: %s', (_name, spec, message) => {
  const parsed = parseManifests(policy(spec));
  expect(parsed).toMatchObject({ ok: false, detail: expect.stringContaining('NetworkPolicy x/p: ') });
  expect(parsed).toMatchObject({ detail: expect.stringContaining(message) });
});

test.each([
  ['another kind', 'kind: Deployment\nmetadata: {name: d}', 'only NetworkPolicy, Namespace and Pod'],
  ['no YAML', 'a: [', 'not YAML'],
  ['a key twice', 'kind: Pod\nkind: Pod\nmetadata: {name: a}', 'not YAML'],
  [
    'a bomb of aliases',
    `${'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c]'}`,
    'not YAML',
  ],
  [
    'a VNI that is none',
    'kind: Namespace\nmetadata: {name: n, annotations: {vxseal/vni: "0"}}',
    'is not a VNI',
  ],
])('refused: %s', (_name, text, message) => {
  expect(parseManifests(text)).toMatchObject({ ok: false, detail: expect.stringContaining(message) });
});

test('pods of the host’s network have no address of their own; lists are taken apart', () => {
  const { pods } = only(`
kind: List
items:
- {kind: Pod, metadata: {name: a}, status: {podIPs: [{ip: 10.1.0.2}, {ip: "fd00::2"}]}}
- {kind: Pod, metadata: {name: b}, spec: {hostNetwork: true}, status: {podIP: 192.0.2.1}}
- {kind: Pod, metadata: {name: c}, status: {podIP: 10.1.0.3}, spec: {containers: [{ports: [{name: web, containerPort: 80}, {containerPort: 81}]}]}}
`);
  expect(pods.map(({ name, namespace, addresses }) => [namespace, name, addresses])).toEqual([
    ['default', 'a', ['10.1.0.2', 'fd00::2']],
    ['default', 'b', []],
    ['default', 'c', ['10.1.0.3']],
  ]);
  expect(pods[2]?.ports).toEqual([{ name: 'web', protocol: 'TCP', port: 80 }]);
});

describe('a folder', () => {
  let dir = '';
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'vxseal-policies-'));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const names = async (folder: PolicyFolder) => (await folder.read()).policies.map(({ name }) => name);
  const write = (file: string, name: string): Promise<void> =>
    writeFile(join(dir, file), policy('{podSelector: {}}').replace('name: p', `name: ${name}`));

  test('what a broken file said before stands, until it is right again or gone', async () => {
    const folder = new PolicyFolder(dir, 1 as Vni);
    await write('a.yaml', 'one');
    await write('b.yml', 'two');
    await write('.c.yaml.swp', 'three');
    expect(await names(folder)).toEqual(['one', 'two']);
    await writeFile(join(dir, 'a.yaml'), 'kind: [broken');
    expect(await names(folder)).toEqual(['one', 'two']);
    expect((await folder.read()).issues).toEqual([expect.stringContaining('a.yaml: not YAML')]);
    await write('a.yaml', 'four');
    expect([await names(folder), (await folder.read()).issues]).toEqual([['four', 'two'], []]);
    await rm(join(dir, 'b.yml'));
    expect(await names(folder)).toEqual(['four']);
  });

  test('a namespace says the VNI of its pods', async () => {
    await writeFile(
      join(dir, 'a.yaml'),
      'kind: Namespace\nmetadata: {name: t, annotations: {vxseal/vni: "7"}}\n---\nkind: Pod\nmetadata: {name: a, namespace: t}\n---\nkind: Pod\nmetadata: {name: b, namespace: u}\n',
    );
    const { pods } = await new PolicyFolder(dir, 1 as Vni).read();
    expect(pods.map(({ name, vni }) => [name, vni])).toEqual([
      ['a', 7],
      ['b', 1],
    ]);
  });

  test('a folder that is not there is an error of its own', async () => {
    await expect(new PolicyFolder(join(dir, 'none'), 1 as Vni).read()).rejects.toThrow('ENOENT');
  });
});
