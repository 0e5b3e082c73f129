// Policy records, altered: the whole as a stranger would, and the payload behind a good signature. None may throw, and
// none may be taken for genuine unless it says exactly what the original said.
import { isDeepStrictEqual } from 'node:util';
import type { Vni } from '../../agent/core/ids';
import {
  decodePolicyPayload,
  encodePolicyPayload,
  POLICIES_TOPIC,
  type PolicyRecord,
} from '../../agent/core/policyrecord';
import { signPolicy, verifyPolicy } from '../../agent/identity/policyrecord';
import { parseObjects } from '../../agent/sources/manifests';
import {
  DAY_MS,
  makeCa,
  makeLeaf,
  NOW_MS,
  names,
  notCa,
  parsed,
  TRUST_DOMAIN,
  uri,
  usage,
} from '../agent/identity/forge';
import { mutateBytes, mutateJson, pick } from './mutate';
import { alteredJws } from './records';
import type { Target } from './target';

const LONG = { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS };
const root = makeCa('root', undefined, LONG);
const extensions = [notCa(), usage(0x80), names(uri(`spiffe://${TRUST_DOMAIN}/policy/ops`))];
const author = makeLeaf(root, { extensions });
const context = { roots: [parsed(root.der)], trustDomain: TRUST_DOMAIN, nowMs: NOW_MS, hostVni: 42 as Vni };

const objects = parseObjects(`
{kind: NetworkPolicy, metadata: {namespace: x, name: p}, spec: {podSelector: {matchLabels: {app: db}, matchExpressions:
 [{key: tier, operator: In, values: [a, b]}]}, ingress: [{from: [{podSelector: {}, namespaceSelector: {matchLabels:
 {team: a}}}, {ipBlock: {cidr: 10.1.0.0/16, except: [10.1.4.0/24]}}], ports: [{port: 80, endPort: 90}, {port: http}]}],
 egress: []}}
---
{kind: Namespace, metadata: {name: x, labels: {team: a}}}
---
{kind: Pod, metadata: {namespace: x, name: web, labels: {app: db}}, spec: {containers: [{ports: [{name: http,
 containerPort: 80}]}]}, status: {podIP: 10.244.1.2}}
`);
if (!objects.ok) throw new Error(objects.detail);
const KEYS = ['42/x/p', '42/x', '42/x/pods/web'];
const records = objects.value.map(
  (document, index): PolicyRecord => ({
    author: 'ops' as PolicyRecord['author'],
    key: KEYS[index] ?? '',
    generation: NOW_MS,
    sequence: 1,
    document,
  }),
);

export async function policyRecordTarget(): Promise<Target> {
  const signer = { privateKey: author.pair.privateKey, chain: [author.der] };
  const signed = await Promise.all(
    records.map(async (record) => ({ record, jws: Buffer.from(await signPolicy(record, signer)) })),
  );
  return {
    name: 'policy-record',
    fire: async (random) => {
      const { record, jws } = pick(random, signed);
      const key = random() < 0.95 ? record.key : pick(random, [...KEYS, '', '42/x/../p', '7/x/p']);
      const value = alteredJws(jws, random);
      const result = await verifyPolicy({ topic: POLICIES_TOPIC, key, value }, context);
      if (!result.ok) return result.reason;
      if (!isDeepStrictEqual(result.value.record, record) || key !== record.key)
        throw new Error('an altered policy was taken for genuine');
      return 'accepted, says the same';
    },
  };
}

/** Signed by the right key, so that what is behind the signature meets it. */
export const policyPayloadTarget: Target = {
  name: 'policy-payload',
  fire: (random) => {
    const payload = encodePolicyPayload(pick(random, records));
    const value = JSON.parse(Buffer.from(payload).toString()) as unknown;
    const bytes =
      random() < 0.3
        ? mutateBytes(payload, random)
        : Buffer.from(JSON.stringify(mutateJson(value, random)) ?? '');
    const kind = random() < 0.8 ? 'policy' : 'policy-withdrawal';
    const result = decodePolicyPayload(bytes, kind);
    if (!result.ok) return result.reason;
    const again = decodePolicyPayload(encodePolicyPayload(result.value), kind);
    if (!again.ok || !isDeepStrictEqual(again.value, result.value))
      throw new Error(`what was accepted does not come back the same: ${bytes.toString()}`);
    return 'accepted, comes back the same';
  },
};
