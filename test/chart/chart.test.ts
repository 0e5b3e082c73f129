// The Helm chart: by helm itself (lint, template), against the schemas of the Kubernetes API (those of its own OpenAPI,
// 1.3x, and of the Prometheus operator, as npm packages carry them), and against the agent's own configuration.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { KEY_PATHS, KEYS, type KeyPath, type KeySpec } from '../../agent/config/keys';
import { loadConfig } from '../../agent/config/load';

const ROOT = join(__dirname, '../..');
const CHART = join(ROOT, 'charts/vxseal');
const HELM = join(ROOT, 'build/tools/helm');
const KUBE = '1.31.0';

interface Resource {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: unknown;
}

// The schemas are ES modules, which the test runner cannot load: a process of its own does. One message or "" each.
const VALIDATOR = `
  import * as v1 from 'kubernetes-models/v1';
  import * as apps from 'kubernetes-models/apps/v1';
  import * as networking from 'kubernetes-models/networking.k8s.io/v1';
  import * as monitoring from '@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1';
  import { readFileSync } from 'node:fs';
  const rooms = { v1, 'apps/v1': apps, 'networking.k8s.io/v1': networking, 'monitoring.coreos.com/v1': monitoring };
  const found = JSON.parse(readFileSync(0, 'utf8')).map((resource) => {
    const Model = rooms[resource.apiVersion]?.[resource.kind];
    if (Model === undefined) return 'no schema for ' + resource.apiVersion + ' ' + resource.kind;
    try {
      new Model(resource).validate();
      return '';
    } catch (error) {
      return error.message;
    }
  });
  console.log(JSON.stringify(found));
`;

function faults(resources: readonly object[]): string[] {
  const options = { cwd: ROOT, input: JSON.stringify(resources), encoding: 'utf8' } as const;
  return JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', VALIDATOR], options),
  ) as string[];
}

const values = parse(readFileSync(join(CHART, 'values.yaml'), 'utf8')) as Record<string, unknown>;
const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema;

interface Schema {
  readonly type?: unknown;
  readonly additionalProperties?: unknown;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly definitions?: Readonly<Record<string, Schema>>;
}

/** Dotted paths of the leaves, one level of sections deep. */
function paths(tree: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(tree).flatMap(([head, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.keys(value).map((leaf) => `${head}.${leaf}`)
      : [head],
  );
}

describe('values and configuration', () => {
  test('one value for each key, and none beside', () => {
    expect(paths(values.config as Record<string, unknown>).sort()).toEqual([...KEY_PATHS].sort());
  });

  test('the schema is what scripts/gen-chart makes', () => {
    const made = execFileSync(process.execPath, [join(ROOT, 'build/scripts/gen-chart.js')], {
      encoding: 'utf8',
    });
    expect(schema).toEqual(JSON.parse(made));
  });

  test('the schema knows the same keys', () => {
    const { properties = {} } = schema.definitions?.config ?? {};
    const known = Object.entries(properties).flatMap(([head, inner]) =>
      inner.properties === undefined
        ? [head]
        : Object.keys(inner.properties).map((leaf) => `${head}.${leaf}`),
    );
    expect(known.sort()).toEqual([...KEY_PATHS].sort());
  });

  test('the chart changes only these defaults of the agent', () => {
    const config = values.config as Record<string, unknown>;
    const found = KEY_PATHS.filter((path) => {
      const [head = '', leaf] = path.split('.');
      const raw = leaf === undefined ? config[head] : (config[head] as Record<string, unknown>)[leaf];
      const spec: KeySpec<unknown> = KEYS[path as KeyPath];
      const parsed = spec.type.parse(raw);
      const same =
        parsed.ok && spec.fallback !== undefined && String(spec.fallback()) === String(parsed.value);
      return !same;
    });
    expect(found).toEqual([
      'nodeName',
      'bpfDir',
      'identity.trustDomain',
      'bus.type',
      'kafka.tls',
      'overlay.protectedPrefixes',
    ]);
  });

  test('every object of the schema is closed', () => {
    const open: string[] = [];
    const visit = (each: Schema, path: string): void => {
      if (each.properties !== undefined && each.additionalProperties !== false) open.push(path);
      for (const [name, inner] of Object.entries(each.properties ?? {})) visit(inner, `${path}.${name}`);
    };
    visit(schema, '');
    for (const [name, inner] of Object.entries(schema.definitions ?? {})) visit(inner, name);
    expect(open).toEqual([]);
  });

  test('versions are those of the package', () => {
    const chart = parse(readFileSync(join(CHART, 'Chart.yaml'), 'utf8')) as {
      version: string;
      appVersion: string;
    };
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect([chart.version, chart.appVersion]).toEqual([version, version]);
  });

  test('no secret stands in the values', () => {
    expect(paths(values).filter((path) => /password|token|secret/i.test(path))).toEqual([
      'imagePullSecrets',
      'kafkaSecretName',
    ]);
    expect(values.kafkaSecretName).toBe('');
  });
});

const withHelm = existsSync(HELM) ? describe : describe.skip;
withHelm(`helm${existsSync(HELM) ? '' : ' (missing: scripts/tools helm)'}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'vxseal-chart-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const template = (...args: string[]): Resource[] => {
    const text = execFileSync(
      HELM,
      ['template', 'x', CHART, '--namespace', 'kube-system', '--kube-version', KUBE, ...args],
      { encoding: 'utf8' },
    );
    return parseAllDocuments(text).flatMap((document) => (document.toJS() as Resource | null) ?? []);
  };
  const ci = (name: string): string => join(CHART, 'ci', `${name}.yaml`);

  function templateOf(overrides: object): { status: number | null; stderr: string } {
    const file = join(folder, 'values.yaml');
    writeFileSync(file, stringify(overrides));
    return spawnSync(
      HELM,
      ['template', 'x', CHART, '--kube-version', KUBE, '-f', ci('minimal'), '-f', file],
      { encoding: 'utf8' },
    );
  }

  test.each(['minimal', 'full'])('lint: %s', (name) => {
    const { status, stdout } = spawnSync(HELM, ['lint', CHART, '--strict', '-f', ci(name)], {
      encoding: 'utf8',
    });
    expect([status, stdout]).toEqual([0, expect.stringContaining('0 chart(s) failed')]);
  });

  test.each<[string, string[]]>([
    ['minimal', ['ConfigMap x', 'DaemonSet x', 'ServiceAccount x']],
    [
      'full',
      [
        'ConfigMap x',
        'ConfigMap x-dashboard',
        'DaemonSet x',
        'NetworkPolicy x',
        'PrometheusRule x',
        'Service x',
        'ServiceAccount x',
        'ServiceMonitor x',
      ],
    ],
  ])('%s: what the API takes', (name, expected) => {
    const resources = template('-f', ci(name));
    expect(resources.map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort()).toEqual(expected);
    expect(faults(resources)).toEqual(resources.map(() => ''));
    expect(resources.map(({ metadata }) => metadata.namespace)).toEqual(resources.map(() => 'kube-system'));
  });

  test('the schemas would refuse what is wrong', () => {
    const [daemonSet] = template('-f', ci('minimal')).filter(({ kind }) => kind === 'DaemonSet');
    const wrong = { ...daemonSet, spec: { ...(daemonSet?.spec as object), minReadySeconds: 'soon' } };
    expect(faults([wrong])).toEqual([expect.stringContaining('minReadySeconds')]);
  });

  test('the agent takes the configuration that it is given', () => {
    const [map] = template('-f', ci('minimal')).filter(({ kind }) => kind === 'ConfigMap');
    const text = map?.data?.['config.yaml'] ?? '';
    const file = join(folder, 'config.yaml');
    writeFileSync(file, text);
    const config = loadConfig({ file, environment: { VXSEAL_NODE_NAME: 'worker-1' }, flags: {} });
    expect(config).toMatchObject({
      nodeName: 'worker-1',
      keys: { packetLimit: 1n << 40n, leaseMs: 43_200_000 },
    });
  });

  test('nodes differ where they are told to', () => {
    const [map] = template('-f', ci('full')).filter(
      ({ metadata, kind }) => kind === 'ConfigMap' && metadata.name === 'x',
    );
    expect(Object.keys(map?.data ?? {})).toEqual(['worker-1.yaml', 'worker-2.yaml']);
    const configs = Object.values(map?.data ?? {}).map((text, index) => {
      const file = join(folder, `${index}.yaml`);
      writeFileSync(file, text);
      return loadConfig({ file, environment: { VXSEAL_NODE_NAME: 'n' }, flags: {} });
    });
    expect(configs.map(({ overlay, underlay }) => [overlay.prefixes[0]?.prefixes, underlay.devices])).toEqual(
      [
        [['10.244.1.0/24'], []],
        [['10.244.2.0/24'], ['eth1']],
      ],
    );
    expect(configs[1]?.identity.trustDomain).toBe('example.org');
  });

  test('the agent has these rights and no more', () => {
    const [daemonSet] = template('-f', ci('full')).filter(({ kind }) => kind === 'DaemonSet');
    expect(daemonSet?.spec).toMatchObject({
      updateStrategy: { rollingUpdate: { maxUnavailable: 1 } },
      template: {
        spec: {
          hostNetwork: true,
          dnsPolicy: 'ClusterFirstWithHostNet',
          priorityClassName: 'system-node-critical',
          automountServiceAccountToken: false,
          tolerations: [{ operator: 'Exists' }],
          initContainers: [
            { securityContext: { readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } } },
          ],
          containers: [
            {
              securityContext: {
                readOnlyRootFilesystem: true,
                allowPrivilegeEscalation: false,
                capabilities: { drop: ['ALL'], add: ['NET_ADMIN', 'NET_RAW', 'BPF', 'PERFMON', 'SYS_ADMIN'] },
              },
            },
          ],
        },
      },
    });
    expect(JSON.stringify(daemonSet)).toContain('"mountPropagation":"HostToContainer"');
    expect(JSON.stringify(daemonSet)).not.toContain('privileged');
    // runc: "cannot be mounted because it is inside /proc".
    expect(JSON.stringify(daemonSet)).toContain('"mountPath":"/host/proc/sys/net"');
    expect(JSON.stringify(daemonSet)).not.toContain('"mountPath":"/proc');
  });

  test.each<[string, object, RegExp]>([
    ['a key that there is not', { config: { espPort: 1 } }, /espPort/],
    ['a key of a node that there is not', { nodes: { a: { overlay: { prefix: [] } } } }, /prefix/],
    ['a value that there is not', { configs: {} }, /configs/],
    ['a port out of range', { config: { underlay: { espPort: 65536 } } }, /espPort/],
    ['a word of another list', { config: { underlay: { xdp: 'fast' } } }, /xdp/],
    ['text for a switch', { config: { kafka: { tls: 'maybe' } } }, /tls/],
    ['a duration without unit', { config: { keys: { leaseMs: 'long' } } }, /leaseMs/],
    ['a digest that is none', { image: { digest: 'latest' } }, /digest/],
    ['no trust domain', { config: { identity: { trustDomain: '' } } }, /trustDomain must be given/],
    ['no brokers', { config: { kafka: { brokers: [] } } }, /brokers must be given/],
    [
      'no protected prefixes',
      { config: { overlay: { protectedPrefixes: [] } } },
      /protectedPrefixes must be given/,
    ],
    ['metrics asked on loopback', { serviceMonitor: { enabled: true } }, /loopback/],
  ])('refuses %s', (_name, overrides, message) => {
    const { status, stderr } = templateOf(overrides);
    expect([status, stderr]).toEqual([1, expect.stringMatching(message)]);
  });

  test('no listener over TCP: no probes over it either', () => {
    const { status } = templateOf({ config: { http: { listen: '' } } });
    expect(status).toBe(0);
  });
});
