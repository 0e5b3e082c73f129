// One Kubernetes object, as far as policy needs it: NetworkPolicy (networking.k8s.io/v1), Namespace and Pod (v1). From
// parsed JSON or YAML to values, with the defaults of the API, and back to the one form in which records carry them.
// Pure: texts, lists and files are sources/manifests.ts'.
import { addressFamily, networkPrefix, parseAddress, prefixContains } from './bytes';
import type { IpAddress, Prefix, Vni } from './ids';
import type {
  LabelRequirement,
  LabelSelector,
  Labels,
  NamedPort,
  NetworkPolicy,
  PolicyNamespace,
  PolicyPeer,
  PolicyPort,
  PolicyProtocol,
  PolicyRule,
} from './policy';

/** On a Namespace: the VNI of its pods. */
export const VNI_ANNOTATION = 'vxseal/vni';

export interface ManifestNamespace extends PolicyNamespace {
  /** Undefined: nothing is said, so its pods are of the hosts'. */
  readonly vni: Vni | undefined;
}

export interface ManifestPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  readonly addresses: readonly IpAddress[];
  readonly ports: readonly NamedPort[];
}

export type ManifestObject =
  | { readonly kind: 'NetworkPolicy'; readonly policy: NetworkPolicy }
  | { readonly kind: 'Namespace'; readonly namespace: ManifestNamespace }
  | { readonly kind: 'Pod'; readonly pod: ManifestPod };

/** What is wrong with an object, by kind, name and field. Carries a refusal up to whoever reads a text or record. */
export class ManifestError extends Error {}

export type Fields = Readonly<Record<string, unknown>>;

/** Throws ManifestError. */
export function readObject(object: Fields): ManifestObject {
  const kind = String(object.kind);
  const metadata = asFields(object.metadata ?? {}, `${kind} metadata`);
  const name = asText(metadata.name, `${kind} metadata.name`);
  const namespace =
    metadata.namespace === undefined ? 'default' : asText(metadata.namespace, `${kind} ${name} namespace`);
  const where = kind === 'Namespace' ? `Namespace ${name}` : `${kind} ${namespace}/${name}`;
  try {
    if (kind === 'NetworkPolicy') return { kind, policy: readPolicy(object, namespace, name) };
    if (kind === 'Namespace') return { kind, namespace: readNamespace(metadata, name) };
    if (kind === 'Pod') return { kind, pod: readPod(object, metadata, namespace, name) };
    throw new ManifestError('only NetworkPolicy, Namespace and Pod are read here');
  } catch (error) {
    throw error instanceof ManifestError ? new ManifestError(`${where}: ${error.message}`) : error;
  }
}

function readNamespace(metadata: Fields, name: string): ManifestNamespace {
  const annotation = asLabels(metadata.annotations, 'annotations')[VNI_ANNOTATION];
  if (annotation === undefined) return { name, labels: asLabels(metadata.labels, 'labels'), vni: undefined };
  const vni = /^\d{1,8}$/.test(annotation) ? Number(annotation) : 0;
  if (vni < 1 || vni > 0xffffff) throw new ManifestError(`${VNI_ANNOTATION}: ${annotation} is not a VNI`);
  return { name, labels: asLabels(metadata.labels, 'labels'), vni: vni as Vni };
}

function readPod(object: Fields, metadata: Fields, namespace: string, name: string): ManifestPod {
  const spec = asFields(object.spec ?? {}, 'spec');
  const status = asFields(object.status ?? {}, 'status');
  const listed = asList(status.podIPs ?? [], 'status.podIPs').map((item) => asFields(item, 'podIPs').ip);
  const texts = listed.length > 0 ? listed : status.podIP === undefined ? [] : [status.podIP];
  // A pod of the host's network has the node's address: nothing tells it from the node.
  const addresses = spec.hostNetwork === true ? [] : texts.map((text) => asAddress(text, 'status.podIPs'));
  const ports = asList(spec.containers ?? [], 'spec.containers').flatMap((container) =>
    asList(asFields(container, 'container').ports ?? [], 'ports').flatMap((item): NamedPort[] => {
      const port = asFields(item, 'port');
      if (port.name === undefined) return [];
      return [
        {
          name: asText(port.name, 'port name'),
          protocol: asProtocol(port.protocol),
          port: asPort(port.containerPort, 'containerPort'),
        },
      ];
    }),
  );
  return { namespace, name, labels: asLabels(metadata.labels, 'labels'), addresses, ports };
}

function readPolicy(object: Fields, namespace: string, name: string): NetworkPolicy {
  const spec = asFields(object.spec ?? {}, 'spec');
  const known = ['podSelector', 'ingress', 'egress', 'policyTypes'];
  const stray = Object.keys(spec).find((key) => !known.includes(key));
  if (stray !== undefined) throw new ManifestError(`spec.${stray} is not known`);
  const ingress = asList(spec.ingress ?? [], 'spec.ingress').map((rule) => readRule(rule, 'from'));
  const egress = asList(spec.egress ?? [], 'spec.egress').map((rule) => readRule(rule, 'to'));
  // As the API server defaults it: always Ingress, Egress if there are rules for it.
  const given = spec.policyTypes === undefined ? undefined : asList(spec.policyTypes, 'spec.policyTypes');
  const types =
    given === undefined || given.length === 0 ? ['Ingress', ...(egress.length > 0 ? ['Egress'] : [])] : given;
  const odd = types.find((type) => type !== 'Ingress' && type !== 'Egress');
  if (odd !== undefined) throw new ManifestError(`policyTypes: ${String(odd)} is neither Ingress nor Egress`);
  return {
    namespace,
    name,
    podSelector: readSelector(spec.podSelector ?? {}, 'podSelector'),
    ...(types.includes('Ingress') ? { ingress } : {}),
    ...(types.includes('Egress') ? { egress } : {}),
  };
}

function readRule(value: unknown, side: 'from' | 'to'): PolicyRule {
  const rule = asFields(value ?? {}, 'rule');
  const stray = Object.keys(rule).find((key) => key !== side && key !== 'ports');
  if (stray !== undefined) throw new ManifestError(`${stray} is not known in a rule with "${side}"`);
  return {
    ports: asList(rule.ports ?? [], 'ports').map(readPort),
    peers: asList(rule[side] ?? [], side).map(readPeer),
  };
}

function readPort(value: unknown): PolicyPort {
  const { protocol: rawProtocol, port: rawPort, endPort: rawEnd } = asFields(value, 'port');
  const protocol = asProtocol(rawProtocol);
  if (rawPort === undefined) {
    if (rawEnd !== undefined) throw new ManifestError('endPort without port');
    return { protocol };
  }
  if (typeof rawPort === 'string') {
    if (rawEnd !== undefined) throw new ManifestError(`endPort with the named port ${rawPort}`);
    if (!/^(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/.test(rawPort) || rawPort.length > 15)
      throw new ManifestError(`port ${JSON.stringify(rawPort)} is neither a number nor a name`);
    return { protocol, port: rawPort };
  }
  const port = asPort(rawPort, 'port');
  if (rawEnd === undefined) return { protocol, port };
  const endPort = asPort(rawEnd, 'endPort');
  if (endPort < port) throw new ManifestError(`endPort ${endPort} is below port ${port}`);
  return { protocol, port, endPort };
}

function readPeer(value: unknown): PolicyPeer {
  const peer = asFields(value, 'peer');
  const keys = Object.keys(peer);
  const stray = keys.find((key) => !['podSelector', 'namespaceSelector', 'ipBlock'].includes(key));
  if (stray !== undefined) throw new ManifestError(`${stray} is not known in a peer`);
  if (keys.length === 0) throw new ManifestError('a peer must name pods, namespaces or an ipBlock');
  if (peer.ipBlock !== undefined) {
    if (keys.length > 1) throw new ManifestError('a peer with an ipBlock can have nothing else');
    const block = asFields(peer.ipBlock, 'ipBlock');
    const cidr = asCidr(block.cidr, 'ipBlock.cidr');
    const except = asList(block.except ?? [], 'ipBlock.except').map((item) => asCidr(item, 'ipBlock.except'));
    const outside = except.find((each) => each === cidr || !prefixContains(cidr, each));
    if (outside !== undefined) throw new ManifestError(`ipBlock.except: ${outside} is not within ${cidr}`);
    return { ipBlock: { cidr, except } };
  }
  return {
    ...(peer.podSelector === undefined ? {} : { podSelector: readSelector(peer.podSelector, 'podSelector') }),
    ...(peer.namespaceSelector === undefined
      ? {}
      : { namespaceSelector: readSelector(peer.namespaceSelector, 'namespaceSelector') }),
  };
}

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

function readSelector(value: unknown, field: string): LabelSelector {
  const selector = asFields(value ?? {}, field);
  const stray = Object.keys(selector).find((key) => key !== 'matchLabels' && key !== 'matchExpressions');
  if (stray !== undefined) throw new ManifestError(`${field}.${stray} is not known`);
  const expressions = asList(selector.matchExpressions ?? [], `${field}.matchExpressions`).map(
    (item): LabelRequirement => {
      const { key, operator, values } = asFields(item, 'matchExpressions');
      const found = OPERATORS.find((known) => known === operator);
      if (found === undefined) throw new ManifestError(`operator ${String(operator)} is not known`);
      const texts = asList(values ?? [], 'values').map((text) => asText(text, 'values'));
      const wanted = found === 'In' || found === 'NotIn';
      if (wanted !== texts.length > 0)
        throw new ManifestError(`operator ${found} takes ${wanted ? 'values' : 'no values'}`);
      return { key: asText(key, 'matchExpressions.key'), operator: found, values: texts };
    },
  );
  return { labels: asLabels(selector.matchLabels, `${field}.matchLabels`), expressions };
}

// ---------------------------------------------------------------------------------------------- values

/** A field that says null is not there, as the API server reads it: `namespaceSelector:` is not a selector of all. */
export function asFields(value: unknown, field: string): Fields {
  return Object.fromEntries(asEntries(value, field).filter(([, each]) => each !== null));
}

function asEntries(value: unknown, field: string): [string, unknown][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
  throw new ManifestError(`${field}: a mapping expected`);
}

export function asList(value: unknown, field: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new ManifestError(`${field}: a list expected`);
}

function asText(value: unknown, field: string): string {
  if (typeof value === 'string' && value.length > 0 && value.length <= 253) return value;
  throw new ManifestError(`${field}: text expected`);
}

function asLabels(value: unknown, field: string): Labels {
  const entries = asEntries(value ?? {}, field); // a label of null is refused: without it a selector selects more
  for (const [key, text] of entries)
    if (typeof text !== 'string')
      throw new ManifestError(`${field}.${key}: text expected (put it in quotes)`);
  return Object.fromEntries(entries) as Labels;
}

function asProtocol(value: unknown): PolicyProtocol {
  if (value === undefined) return 'TCP';
  if (value === 'TCP' || value === 'UDP' || value === 'SCTP') return value;
  throw new ManifestError(`protocol ${String(value)}: one of TCP, UDP, SCTP`);
}

function asPort(value: unknown, field: string): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535) return value;
  throw new ManifestError(`${field}: 1 to 65535 expected`);
}

function asAddress(value: unknown, field: string): IpAddress {
  const parsed = parseAddress(typeof value === 'string' ? value : '');
  if (parsed.ok) return parsed.value;
  throw new ManifestError(`${field}: ${String(value)} is not an address`);
}

/** Bits behind the prefix may be set; they mean nothing. */
function asCidr(value: unknown, field: string): Prefix {
  const [, text = '', bits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(typeof value === 'string' ? value : '') ?? [];
  const address = parseAddress(text);
  if (!address.ok || Number(bits) > (addressFamily(address.value) === 4 ? 32 : 128))
    throw new ManifestError(`${field}: ${String(value)} is not a prefix`);
  return networkPrefix(address.value, Number(bits));
}
