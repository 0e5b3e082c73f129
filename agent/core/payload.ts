// JSON payloads of the topology records (docs/keys.md §5) to and from values. Owns the schema of version 1 and its
// limits. Decoding is strict: one text for one value, so whatever is not exactly what encodePayload() writes is
// refused (unknown or repeated fields, other orders, other number forms).
import {
  type AnnouncedEpoch,
  MAX_OLDER_EPOCHS,
  type NodeAnnouncement,
  type NodeWithdrawal,
  type UnverifiedAnnouncement,
} from './announcement';
import { addressFamily, parsePrefix, prefixCoversMapped } from './bytes';
import {
  asAddress,
  asInteger,
  asList,
  asNode,
  asObject,
  asText,
  asVni,
  type Fields,
  malformed,
  PayloadError,
  type PayloadReason,
} from './fields';
import type { IpAddress, Prefix } from './ids';
import { decodePod, decodePodWithdrawal, podFields, podWithdrawalFields } from './podpayload';
import { accept, type Result, refuse } from './result';

export const PAYLOAD_VERSION = 1;
/** Largest value a bus may carry; a record of one node with 256 prefixes and a chain of three has about 14 KiB. */
export const MAX_RECORD_BYTES = 32 * 1024;
const MAX_VNIS = 256;
const MAX_PREFIXES = 256;
const MAX_SUITES = 8;
const X25519_KEY_BYTES = 32;

export type RecordKind = UnverifiedAnnouncement['kind'];

/** UTF-8 JSON of the one canonical form. */
export function encodePayload(record: UnverifiedAnnouncement): Uint8Array {
  return new TextEncoder().encode(canonicalText(record));
}

/** ASCII: no field's grammar has anything else. */
function canonicalText(record: UnverifiedAnnouncement): string {
  return JSON.stringify({ v: PAYLOAD_VERSION, ...fieldsOf(record) });
}

function fieldsOf(record: UnverifiedAnnouncement): object {
  switch (record.kind) {
    case 'node':
      return nodeFields(record);
    case 'withdrawal': {
      const { node, generation, sequence, notAfterMs } = record;
      return { node, generation, sequence, notAfterMs };
    }
    case 'pod':
      return podFields(record);
    case 'pod-withdrawal':
      return podWithdrawalFields(record);
  }
}

const nodeFields = (record: NodeAnnouncement): object => ({
  node: record.node,
  bootId: record.bootId,
  generation: record.generation,
  sequence: record.sequence,
  notBeforeMs: record.notBeforeMs,
  notAfterMs: record.notAfterMs,
  vteps: record.vteps,
  port: record.port,
  prefixes: sortedPrefixes(record.prefixes),
  suites: record.suites,
  epoch: encodeEpoch(record.epoch),
  olderEpochs: (record.olderEpochs ?? []).map(encodeEpoch),
  agentVersion: record.agentVersion,
});

const encodeEpoch = ({ number, publicKey }: AnnouncedEpoch): object => ({
  number,
  publicKey: Buffer.from(publicKey).toString('base64url'),
});

/** Rising VNI, prefixes in text order. */
function sortedPrefixes(groups: NodeAnnouncement['prefixes']): NodeAnnouncement['prefixes'] {
  return groups
    .map(({ vni, prefixes }) => ({ vni, prefixes: [...prefixes].sort() }))
    .sort((a, b) => a.vni - b.vni);
}

/** @param bytes payload of a JWS whose `typ` says `kind`; size is the caller's to cap. Hostile. */
export function decodePayload(
  bytes: Uint8Array,
  kind: RecordKind,
): Result<UnverifiedAnnouncement, PayloadReason> {
  // A character a byte: other than ASCII is in nothing of ours, so texts are the same if and only if the bytes are.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  const json = parseJson(text);
  if (json === undefined) return refuse('malformed', 'payload: not JSON');
  try {
    const fields = asObject(json, 'payload');
    if (fields.v !== PAYLOAD_VERSION) {
      const version = Number.isSafeInteger(fields.v) ? String(fields.v) : 'none';
      return refuse('unknown-version', `payload version ${version}, ours is ${PAYLOAD_VERSION}`);
    }
    const record = DECODERS[kind](fields);
    if (canonicalText(record) !== text) {
      throw new PayloadError('malformed', 'payload: not in canonical form, or with fields that are not ours');
    }
    return accept(record);
  } catch (error) {
    if (error instanceof PayloadError) return refuse(error.reason, error.message);
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const DECODERS: Readonly<Record<RecordKind, (fields: Fields) => UnverifiedAnnouncement>> = {
  node: decodeNode,
  withdrawal: decodeWithdrawal,
  pod: decodePod,
  'pod-withdrawal': decodePodWithdrawal,
};

function decodeNode(fields: Fields): NodeAnnouncement {
  return {
    kind: 'node',
    node: asNode(fields.node),
    bootId: asText(fields.bootId, 'bootId', /^[0-9a-f]{16,64}$/),
    generation: asInteger(fields.generation, 'generation', 0),
    sequence: asInteger(fields.sequence, 'sequence', 0),
    notBeforeMs: asInteger(fields.notBeforeMs, 'notBeforeMs', 0),
    notAfterMs: asInteger(fields.notAfterMs, 'notAfterMs', 0),
    vteps: asVteps(fields.vteps),
    port: asInteger(fields.port, 'port', 1, 65535),
    prefixes: asPrefixes(fields.prefixes),
    suites: asList(fields.suites, 'suites', MAX_SUITES).map((suite) =>
      asText(suite, 'suites', /^[a-z0-9-]{1,32}$/),
    ),
    ...asEpochs(fields),
    agentVersion: asText(fields.agentVersion, 'agentVersion', /^[0-9A-Za-z.+-]{1,64}$/),
  };
}

function decodeWithdrawal(fields: Fields): NodeWithdrawal {
  return {
    kind: 'withdrawal',
    node: asNode(fields.node),
    generation: asInteger(fields.generation, 'generation', 0),
    sequence: asInteger(fields.sequence, 'sequence', 0),
    notAfterMs: asInteger(fields.notAfterMs, 'notAfterMs', 0),
  };
}

function asVteps(value: unknown): IpAddress[] {
  const vteps = asList(value, 'vteps', 2).map((item) => asAddress(item, 'vteps'));
  if (new Set(vteps.map(addressFamily)).size !== vteps.length || vteps.length === 0) {
    throw malformed('vteps', 'at least one address, at most one of each family');
  }
  return vteps;
}

function asPrefixes(value: unknown): NodeAnnouncement['prefixes'] {
  let before = 0;
  let total = 0;
  return asList(value, 'prefixes', MAX_VNIS).map((item) => {
    const group = asObject(item, 'prefixes');
    const vni = asVni(group.vni, 'prefixes.vni');
    if (vni <= before) throw malformed('prefixes.vni', 'each once, in rising order');
    before = vni;
    const prefixes = asList(group.prefixes, 'prefixes', MAX_PREFIXES).map(asPrefix);
    total += prefixes.length;
    if (total > MAX_PREFIXES) throw malformed('prefixes', `at most ${MAX_PREFIXES} in all`);
    if (prefixes.some((prefix, index) => index > 0 && (prefixes[index - 1] ?? '') >= prefix)) {
      throw malformed('prefixes', 'each once, in text order');
    }
    return { vni, prefixes };
  });
}

function asPrefix(value: unknown): Prefix {
  const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
  if (prefix?.ok !== true) throw malformed('prefixes', 'canonical prefix');
  // In the data plane's map of mapped addresses such a prefix would match all of IPv4.
  if (prefixCoversMapped(prefix.value)) throw malformed('prefixes', 'prefix beside ::ffff:0:0/96');
  return prefix.value;
}

function asEpochs(fields: Fields): Pick<NodeAnnouncement, 'epoch' | 'olderEpochs'> {
  const epoch = asEpoch(fields.epoch, 'epoch');
  const olderEpochs = asList(fields.olderEpochs, 'olderEpochs', MAX_OLDER_EPOCHS).map((older) =>
    asEpoch(older, 'olderEpochs'),
  );
  let newer = epoch.number;
  for (const { number } of olderEpochs) {
    if (number >= newer) throw malformed('olderEpochs', 'falling numbers below that of epoch');
    newer = number;
  }
  return olderEpochs.length === 0 ? { epoch } : { epoch, olderEpochs };
}

function asEpoch(value: unknown, field: string): AnnouncedEpoch {
  const epoch = asObject(value ?? {}, field);
  const publicKey = typeof epoch.publicKey === 'string' ? fromBase64url(epoch.publicKey) : undefined;
  if (publicKey?.length !== X25519_KEY_BYTES) {
    throw new PayloadError('no-key', `${field}.publicKey: 32 bytes in base64url expected`);
  }
  return { number: asInteger(epoch.number, `${field}.number`, 0), publicKey };
}

/** Canonical base64url without padding (RFC 4648 §5), or undefined. */
function fromBase64url(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? Uint8Array.from(bytes) : undefined;
}
