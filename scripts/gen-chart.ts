// The JSON schema of the chart's values: its configuration part follows from the one table of keys, so that helm
// refuses what the agent would refuse. Written to standard output; scripts/gen-chart puts it in its place.
import { KEY_PATHS, KEYS } from '../agent/config/keys';
import { POD_MODES } from '../agent/core/adoption';

type Schema = Readonly<Record<string, unknown>>;

const text = { type: 'string' };
const flag = { type: 'boolean' };
const path = { type: 'string', pattern: '^/' };
const free = { type: 'object' };
const texts = { type: 'object', additionalProperties: text };

const closed = (properties: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  additionalProperties: false,
  properties,
});

/** By the label that the reference shows. What it cannot say is left to the agent. */
function schemaOf(label: string): Schema {
  if (label === 'true or false') return flag;
  if (label.startsWith('0 or integer')) return { type: 'integer', minimum: 0, maximum: 65535 };
  const range = /^integer (\d+) to (\d+)$/.exec(label);
  if (range !== null && Number(range[2]) <= 2 ** 32)
    return { type: 'integer', minimum: Number(range[1]), maximum: Number(range[2]) };
  // Beyond what YAML readers of others keep exact: as text.
  if (range !== null) return { type: ['string', 'integer'], pattern: '^[0-9]+$' };
  if (label.startsWith('duration'))
    return { type: ['string', 'integer'], pattern: '^([0-9.]+(ms|s|m|h|d))+$|^[0-9]+$', minimum: 0 };
  if (/^list of (prefixes|services)/.test(label))
    return { type: 'array', items: { type: ['string', 'object'] } };
  if (label.startsWith('list')) return { type: 'array', items: text, uniqueItems: true };
  if (/^[a-z0-9-]+(, [a-z0-9-]+)+$/.test(label)) return { enum: label.split(', ') };
  return label === 'absolute path' ? { type: 'string', pattern: '^(/.*)?$' } : text;
}

function configSchema(): Schema {
  const sections = new Map<string, Record<string, Schema>>();
  const properties: Record<string, Schema> = {};
  for (const key of KEY_PATHS) {
    const [head = '', leaf] = key.split('.');
    const schema = schemaOf(KEYS[key].type.label);
    if (leaf === undefined) properties[head] = schema;
    else sections.set(head, { ...sections.get(head), [leaf]: schema });
  }
  for (const [head, leaves] of sections) properties[head] = closed(leaves);
  return closed(properties);
}

const config = { $ref: '#/definitions/config' };
const values = closed({
  image: closed({
    repository: { type: 'string', minLength: 1 },
    tag: text,
    digest: { type: 'string', pattern: '^(sha256:[0-9a-f]{64})?$' },
    pullPolicy: { enum: ['Always', 'IfNotPresent', 'Never'] },
  }),
  imagePullSecrets: { type: 'array', items: closed({ name: text }) },
  config,
  nodes: {
    type: 'object',
    propertyNames: { pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$' },
    additionalProperties: config,
  },
  identityHostPath: path,
  kafkaSecretName: text,
  cni: closed({
    install: flag,
    binHostPath: path,
    confHostPath: path,
    network: text,
    mode: { enum: ['', ...POD_MODES] },
    dropIn: flag,
  }),
  resources: closed({ requests: free, limits: free }),
  nodeSelector: texts,
  affinity: free,
  tolerations: { type: 'array', items: free },
  priorityClassName: text,
  podAnnotations: texts,
  podLabels: texts,
  serviceAccountAnnotations: texts,
  networkPolicy: closed({ enabled: flag, monitoringNamespace: text }),
  serviceMonitor: closed({
    enabled: flag,
    interval: { type: 'string', pattern: '^[0-9]+(ms|s|m|h)$' },
    labels: texts,
  }),
  prometheusRule: closed({ enabled: flag, labels: texts }),
  dashboard: closed({ enabled: flag, labels: texts }),
  global: free,
});

const schema = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  title: 'vxseal',
  definitions: { config: configSchema() },
  ...values,
};
process.stdout.write(`${JSON.stringify(schema, null, 1)}\n`);
