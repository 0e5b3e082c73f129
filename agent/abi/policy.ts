// Keys and values of the maps of policy: entries of core/policytables.ts to bytes. All offsets come from
// layout.gen.ts; nothing here talks to a map.
import { prefixBytes } from '../core/bytes';
import type { IdentityEntry } from '../core/policyclasses';
import type { PolicyPodEntry, RuleEntry } from '../core/policytables';
import { Image } from './image';
import { ENUMS } from './layout.gen';

/** Bits in front of the address: generation and VNI are always matched whole. */
const IDENTITY_BITS = 64;
/** Generation, ruleset and identity; then protocol with a byte of nothing, then the port. */
const RULE_BITS = 96;
const PROTOCOL_BITS = 16;

export interface PolicyEntryBytes {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** 0: no policies. */
export const encodePolicyState = (generation: number): Buffer =>
  new Image('policy_state').setNumber('generation', generation).bytes;

export const decodePolicyState = (value: Buffer): number =>
  new Image('policy_state', value).number('generation');

export function encodeIdentity(
  generation: number,
  { vni, prefix, identity }: IdentityEntry,
): PolicyEntryBytes {
  const { bytes, mappedBits } = prefixBytes(prefix);
  const key = new Image('identity_key')
    .setNumber('prefixlen', IDENTITY_BITS + mappedBits)
    .setNumber('generation', generation)
    .setNumber('vni', vni)
    .setRaw('addr', bytes).bytes;
  return { key, value: word(identity) };
}

export function encodePolicyPod(generation: number, entry: PolicyPodEntry): PolicyEntryBytes {
  const value = new Image('policy_pod');
  const rulesets = value.raw('ruleset');
  rulesets.writeUInt32LE(entry.egress, 4 * ENUMS.direction.DIR_EGRESS);
  rulesets.writeUInt32LE(entry.ingress, 4 * ENUMS.direction.DIR_INGRESS);
  const key = new Image('policy_pod_key')
    .setNumber('generation', generation)
    .setNumber('ifindex', entry.ifindex);
  return { key: key.bytes, value: value.bytes };
}

export function encodeRule(generation: number, rule: RuleEntry): PolicyEntryBytes {
  const all = rule.portBits < 0;
  const port = Buffer.alloc(2);
  if (!all) port.writeUInt16BE(rule.port);
  const key = new Image('rule_key')
    .setNumber('prefixlen', all ? RULE_BITS : RULE_BITS + PROTOCOL_BITS + rule.portBits)
    .setNumber('generation', generation)
    .setNumber('ruleset', rule.ruleset)
    .setNumber('identity', rule.identity)
    .setNumber('protocol', all ? 0 : rule.protocol)
    .setRaw('port', port).bytes;
  return { key, value: word(1) };
}

export type PolicyMapName = 'identities' | 'policy_pods' | 'rules';

/** Of a key of any of the three maps. */
export function generationOf(map: PolicyMapName, key: Buffer): number {
  if (map === 'identities') return new Image('identity_key', key).number('generation');
  if (map === 'rules') return new Image('rule_key', key).number('generation');
  return new Image('policy_pod_key', key).number('generation');
}

export function decodePolicyDropKey(key: Buffer): { readonly generation: number; readonly ruleset: number } {
  const image = new Image('policy_drop_key', key);
  return { generation: image.number('generation'), ruleset: image.number('ruleset') };
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
