// Records, certificates and their parts, altered. None may throw; none may be taken for genuine unless it says exactly
// what the original said.
import { isDeepStrictEqual } from 'node:util';
import { NODES_TOPIC, type NodeAnnouncement, SUITE } from '../../agent/core/announcement';
import type { IpAddress, NodeName, Prefix, Vni } from '../../agent/core/ids';
import { decodePayload, encodePayload } from '../../agent/core/payload';
import { blocksOf, decodeBlocks, encodeBlocks } from '../../agent/identity/blocks';
import { parseCertificate } from '../../agent/identity/certificate';
import { verifyChain } from '../../agent/identity/chain';
import { DerError } from '../../agent/identity/der';
import { RECORD_TYPES, signAnnouncement, verifyRecord } from '../../agent/identity/record';
import { DAY_MS, makeCa, makeLeaf, NOW_MS, parsed, TRUST_DOMAIN } from '../agent/identity/forge';
import { anyJson, below, mutateBytes, mutateJson, pick, type Random } from './mutate';
import type { Target } from './target';

const LONG = { notBeforeMs: NOW_MS - 9 * DAY_MS, notAfterMs: NOW_MS + 9 * DAY_MS };
const root = makeCa('root', undefined, LONG);
const ca = makeCa('ca', root, LONG);
const leaf = makeLeaf(ca);
const chain = [leaf.der, ca.der];
const roots = [parsed(root.der)];

const announcement: NodeAnnouncement = {
  kind: 'node',
  node: 'node1' as NodeName,
  bootId: '0123456789abcdef',
  generation: NOW_MS,
  sequence: 1,
  notBeforeMs: NOW_MS,
  notAfterMs: NOW_MS + 60_000,
  vteps: ['192.0.2.1' as IpAddress],
  port: 4500,
  prefixes: [{ vni: 42 as Vni, prefixes: ['10.1.0.0/24' as Prefix] }],
  suites: [SUITE],
  epoch: { number: 1, publicKey: new Uint8Array(32).fill(9) },
  agentVersion: '0.1.0',
};
const payload = encodePayload(announcement);
const context = { roots, trustDomain: TRUST_DOMAIN, nowMs: NOW_MS, hostVni: 42 as Vni };

/** Header or payload with another JSON value in it, or any byte of the whole changed. */
export function alteredJws(jws: Buffer, random: Random): Buffer {
  if (random() < 0.4) return mutateBytes(jws, random);
  const parts = jws.toString('latin1').split('.');
  const at = below(random, 3);
  const bytes = Buffer.from(parts[at] ?? '', 'base64url');
  const changed =
    at < 2 && random() < 0.7
      ? Buffer.from(JSON.stringify(mutateJson(JSON.parse(bytes.toString()), random)) ?? '')
      : mutateBytes(bytes, random);
  parts[at] = changed.toString('base64url');
  return Buffer.from(parts.join('.'));
}

export async function recordTarget(): Promise<Target> {
  const jws = Buffer.from(await signAnnouncement(announcement, { privateKey: leaf.pair.privateKey, chain }));
  return {
    name: 'record',
    fire: async (random) => {
      const key = random() < 0.95 ? 'node1' : pick(random, ['node2', '', 'NODE1', '../node1']);
      const topic = random() < 0.97 ? NODES_TOPIC : 'vxseal.pods.v1';
      const result = await verifyRecord({ topic, key, value: alteredJws(jws, random) }, context);
      if (!result.ok) return result.reason;
      // Bytes may differ where base64 or ECDSA leave room: what they say may not.
      if (!isDeepStrictEqual(result.value.announcement, announcement) || key !== 'node1')
        throw new Error('an altered record was taken for genuine');
      return 'accepted, says the same';
    },
  };
}

/** Signed by the right key, so that what is behind the signature meets it. */
export const payloadTarget: Target = {
  name: 'payload',
  fire: (random) => {
    const value = JSON.parse(Buffer.from(payload).toString()) as unknown;
    const bytes =
      random() < 0.3
        ? mutateBytes(payload, random)
        : Buffer.from(JSON.stringify(mutateJson(value, random)) ?? '');
    const kind = random() < 0.8 ? 'node' : 'withdrawal';
    const result = decodePayload(bytes, kind);
    if (!result.ok) return result.reason;
    const again = decodePayload(encodePayload(result.value), kind);
    if (!again.ok || !isDeepStrictEqual(again.value, result.value))
      throw new Error(`what was accepted does not come back the same: ${bytes.toString()}`);
    return 'accepted, comes back the same';
  },
};

export const chainTarget: Target = {
  name: 'chain',
  fire: (random) => {
    const altered = chain.map((der) => (random() < 0.6 ? mutateBytes(der, random) : Buffer.from(der)));
    const shuffled = random() < 0.1 ? altered.reverse() : altered;
    for (const der of shuffled) parseCertificate(der);
    const result = verifyChain(shuffled, roots, NOW_MS, TRUST_DOMAIN);
    if (!result.ok) return result.reason;
    const [first] = shuffled;
    // The leaf is what speaks; an intermediate may come with bytes that nobody reads.
    if (first === undefined || !Buffer.from(leaf.der).equals(first))
      throw new Error('an altered certificate was accepted');
    return 'accepted, the leaf is the same';
  },
};

const blocks = encodeBlocks(blocksOf(['10.1.0.0/24', '10.3.0.0/17', 'fd00:1::/64'] as Prefix[]));

export const blocksTarget: Target = {
  name: 'address-blocks',
  fire: (random) => {
    try {
      decodeBlocks(mutateBytes(blocks, random));
      return 'accepted';
    } catch (cause) {
      if (!(cause instanceof DerError)) throw cause;
      return 'refused';
    }
  },
};

/** Headers that are JSON of any kind at all. */
export const envelopeTarget: Target = {
  name: 'envelope',
  fire: async (random) => {
    const header =
      random() < 0.5 ? anyJson(random) : { alg: 'ES256', typ: RECORD_TYPES.node, x5c: anyJson(random) };
    const part = (value: unknown) => Buffer.from(JSON.stringify(value) ?? '').toString('base64url');
    const value = Buffer.from(`${part(header)}.${part(anyJson(random))}.${part(anyJson(random))}`);
    const result = await verifyRecord({ topic: NODES_TOPIC, key: 'node1', value }, context);
    if (result.ok) throw new Error('a record without a signature was accepted');
    return result.reason;
  },
};
