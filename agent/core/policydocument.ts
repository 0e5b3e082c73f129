// What a policy record carries: one NetworkPolicy, Namespace or Pod, as the object of the Kubernetes API in one normal
// form, and the key that follows from it. Pure; envelope and order are policyrecord.ts'.
import type { Vni } from './ids';
import { type ManifestObject, type ManifestPod, readObject } from './manifest';
import type { LabelSelector, Labels, NetworkPolicy, PolicyPeer, PolicyPort, PolicyRule } from './policy';

export type PolicyDocument = ManifestObject;
export type DocumentKind = PolicyDocument['kind'];

/** The place of a document on the topic: VNI/namespace/name, VNI/namespace, or VNI/namespace/pods/name. */
export interface DocumentPlace {
  readonly kind: DocumentKind;
  readonly vni: Vni;
  readonly namespace: string;
  /** Of a Namespace: its own. */
  readonly name: string;
}

/** A key is a file name on the directory bus, where a slash takes three bytes. */
const MAX_KEY_CHARACTERS = 200;
const VNI = /^[1-9]\d{0,7}$/;
/** DNS subdomain (RFC 1123), as the API has it. */
const NAME = /^[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/;

export function placeOf(document: PolicyDocument, vni: Vni): DocumentPlace {
  if (document.kind === 'Namespace') {
    const { name } = document.namespace;
    return { kind: document.kind, vni, namespace: name, name };
  }
  const { namespace, name } = document.kind === 'NetworkPolicy' ? document.policy : document.pod;
  return { kind: document.kind, vni, namespace, name };
}

export function formatKey({ kind, vni, namespace, name }: DocumentPlace): string {
  if (kind === 'Namespace') return `${vni}/${namespace}`;
  return kind === 'Pod' ? `${vni}/${namespace}/pods/${name}` : `${vni}/${namespace}/${name}`;
}

/** Undefined for what is no key of a document. Hostile. */
export function parseKey(key: string): DocumentPlace | undefined {
  if (key.length > MAX_KEY_CHARACTERS) return undefined;
  const [first = '', namespace = '', ...rest] = key.split('/');
  const vni = VNI.test(first) ? Number(first) : 0;
  if (vni < 1 || vni > 0xffffff || !NAME.test(namespace)) return undefined;
  const at = { vni: vni as Vni, namespace };
  const [second, third, ...more] = rest;
  if (second === undefined) return { ...at, kind: 'Namespace', name: namespace };
  if (third === undefined)
    return NAME.test(second) ? { ...at, kind: 'NetworkPolicy', name: second } : undefined;
  return second === 'pods' && more.length === 0 && NAME.test(third)
    ? { ...at, kind: 'Pod', name: third }
    : undefined;
}

/** @param value parsed JSON, hostile. Throws ManifestError. */
export function readDocument(value: object): PolicyDocument {
  return readObject(value as Readonly<Record<string, unknown>>);
}

/** Equal documents give equal text. */
export function writeDocument(document: PolicyDocument): object {
  switch (document.kind) {
    case 'NetworkPolicy':
      return writePolicy(document.policy);
    case 'Namespace': {
      const { name, labels } = document.namespace;
      return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: sorted(labels) } };
    }
    case 'Pod':
      return writePod(document.pod);
  }
}

function writePolicy({ namespace, name, podSelector, ingress, egress }: NetworkPolicy): object {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { namespace, name },
    spec: {
      podSelector: writeSelector(podSelector),
      policyTypes: [...(ingress ? ['Ingress'] : []), ...(egress ? ['Egress'] : [])],
      ...(ingress && { ingress: ingress.map((rule) => writeRule(rule, 'from')) }),
      ...(egress && { egress: egress.map((rule) => writeRule(rule, 'to')) }),
    },
  };
}

function writePod({ namespace, name, labels, ports, addresses }: ManifestPod): object {
  const named = ports.map(({ name: port, protocol, port: containerPort }) => ({
    name: port,
    protocol,
    containerPort,
  }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name, labels: sorted(labels) },
    spec: { containers: [{ ports: named }] },
    status: { podIPs: addresses.map((ip) => ({ ip })) },
  };
}

const writeRule = ({ ports, peers }: PolicyRule, side: 'from' | 'to'): object => ({
  ports: ports.map(writePort),
  [side]: peers.map(writePeer),
});

const writePort = ({ protocol, port, endPort }: PolicyPort): object => ({
  protocol,
  ...(port !== undefined && { port }),
  ...(endPort !== undefined && { endPort }),
});

function writePeer(peer: PolicyPeer): object {
  if ('ipBlock' in peer) return { ipBlock: { cidr: peer.ipBlock.cidr, except: peer.ipBlock.except } };
  const { podSelector, namespaceSelector } = peer;
  return {
    ...(podSelector && { podSelector: writeSelector(podSelector) }),
    ...(namespaceSelector && { namespaceSelector: writeSelector(namespaceSelector) }),
  };
}

const writeSelector = ({ labels, expressions }: LabelSelector): object => ({
  matchLabels: sorted(labels),
  matchExpressions: expressions.map(({ key, operator, values }) => ({ key, operator, values })),
});

const sorted = (labels: Labels): Labels =>
  Object.fromEntries(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
