// The fields of pod records (docs/keys.md §6) to and from values. Labels and ports are lists, since the order of an object's
// keys is not ours to choose.
import type { PodAnnouncement, PodWithdrawal } from './announcement';
import { asAddress, asInteger, asList, asNode, asText, asVni, type Fields, malformed } from './fields';
import type { Labels, NamedPort, PolicyProtocol } from './policy';

const MAX_LABELS = 64;
const MAX_PORTS = 64;
/** Kubernetes names, and what container runtimes call things: no control characters, no white space. */
const NAME = /^[!-~]{1,253}$/;
const NAME_OR_NOTHING = /^[!-~]{0,253}$/;
const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9./_-]{0,316}$/;
const LABEL_VALUE = /^[A-Za-z0-9._-]{0,63}$/;
const PROTOCOLS: readonly PolicyProtocol[] = ['TCP', 'UDP', 'SCTP'];

export const podFields = (record: PodAnnouncement): object => ({
  node: record.node,
  vni: record.vni,
  address: record.address,
  uid: record.uid,
  namespace: record.namespace,
  name: record.name,
  labels: Object.entries(record.labels).sort(byFirst),
  ports: sortedPorts(record.ports).map(({ name, protocol, port }) => [name, protocol, port]),
  mtuBytes: record.mtuBytes,
  generation: record.generation,
  sequence: record.sequence,
  notBeforeMs: record.notBeforeMs,
  notAfterMs: record.notAfterMs,
});

export const podWithdrawalFields = ({
  node,
  vni,
  address,
  generation,
  sequence,
  notAfterMs,
}: PodWithdrawal): object => ({ node, vni, address, generation, sequence, notAfterMs });

/** All fields at once: an object that grows holds more, and a cluster has tens of thousands of these. */
export function decodePod(fields: Fields): PodAnnouncement {
  const { node, vni, address, generation, sequence, notAfterMs } = decodeOwner(fields);
  return {
    kind: 'pod',
    node,
    vni,
    address,
    generation,
    sequence,
    notAfterMs,
    uid: asText(fields.uid, 'uid', NAME_OR_NOTHING),
    namespace: asText(fields.namespace, 'namespace', NAME_OR_NOTHING),
    name: asText(fields.name, 'name', NAME),
    labels: asLabels(fields.labels),
    ports: asPorts(fields.ports),
    mtuBytes: asInteger(fields.mtuBytes, 'mtuBytes', 0, 65535),
    notBeforeMs: asInteger(fields.notBeforeMs, 'notBeforeMs', 0),
  };
}

export function decodePodWithdrawal(fields: Fields): PodWithdrawal {
  return { kind: 'pod-withdrawal', ...decodeOwner(fields) };
}

const decodeOwner = (fields: Fields): Omit<PodWithdrawal, 'kind'> => ({
  node: asNode(fields.node),
  vni: asVni(fields.vni, 'vni'),
  address: asAddress(fields.address, 'address'),
  generation: asInteger(fields.generation, 'generation', 0),
  sequence: asInteger(fields.sequence, 'sequence', 0),
  notAfterMs: asInteger(fields.notAfterMs, 'notAfterMs', 0),
});

function asLabels(value: unknown): Labels {
  const pairs = asList(value, 'labels', MAX_LABELS).map((item): [string, string] => {
    const [key, text, ...rest] = asList(item, 'labels', 2);
    if (rest.length > 0) throw malformed('labels', 'pairs');
    return [asText(key, 'labels', LABEL_KEY), asText(text, 'labels', LABEL_VALUE)];
  });
  if (new Set(pairs.map(([key]) => key)).size !== pairs.length) throw malformed('labels', 'each key once');
  return sharedLabels(pairs);
}

/** Sets of labels held to be shared: pods of one owner have the same. A long one is its node's own business. */
const MAX_SHARED = 4096;
const MAX_SHARED_CHARS = 1024;
const shared = new Map<string, Labels>();

function sharedLabels(pairs: readonly [string, string][]): Labels {
  const text = pairs.flat().join(' '); // which is in none of them
  const known = shared.get(text);
  if (known !== undefined) return known;
  const labels = Object.freeze(Object.fromEntries(pairs));
  if (text.length > MAX_SHARED_CHARS) return labels;
  if (shared.size >= MAX_SHARED) shared.clear();
  shared.set(text, labels);
  return labels;
}

const NO_PORTS: readonly NamedPort[] = Object.freeze([]);

/** A name stands for one number of a protocol, as in Kubernetes: else a few records would make very many rules. */
function asPorts(value: unknown): readonly NamedPort[] {
  const ports = asList(value, 'ports', MAX_PORTS).map(asPort);
  if (ports.length === 0) return NO_PORTS;
  if (new Set(ports.map(portName)).size !== ports.length) throw malformed('ports', 'each name once');
  return ports;
}

function asPort(value: unknown): NamedPort {
  const [name, protocol, port] = asList(value, 'ports', 3);
  const known = PROTOCOLS.find((each) => each === protocol);
  if (known === undefined) throw malformed('ports', `one of ${PROTOCOLS.join(', ')}`);
  return {
    name: asText(name, 'ports', /^[a-z0-9-]{1,63}$/),
    protocol: known,
    port: asInteger(port, 'ports', 1, 65535),
  };
}

const byFirst = ([a]: [string, string], [b]: [string, string]): number => (a < b ? -1 : 1);

const portName = ({ name, protocol }: NamedPort): string => `${protocol}/${name}`;

const portText = ({ name, protocol, port }: NamedPort): string => `${name} ${protocol} ${port}`;

const sortedPorts = (ports: readonly NamedPort[]): NamedPort[] =>
  [...ports].sort((a, b) => (portText(a) < portText(b) ? -1 : 1));

/** What of a pod's description a record takes: peers refuse a record with anything else. */
export function describable(
  labels: Labels,
  ports: readonly NamedPort[],
): {
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
} {
  const taken = Object.entries(labels).filter(
    ([key, value]) => LABEL_KEY.test(key) && LABEL_VALUE.test(value),
  );
  return {
    labels: Object.fromEntries(taken.sort(byFirst).slice(0, MAX_LABELS)),
    ports: [...new Map(ports.map((port) => [portName(port), port])).values()]
      .filter(({ name }) => /^[a-z0-9-]{1,63}$/.test(name))
      .slice(0, MAX_PORTS),
  };
}
