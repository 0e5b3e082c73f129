// Policy records: documents of a tenant's policy, each signed by a policy author (docs/keys.md §7). Owns their grammar,
// their payload's one canonical form, and what of it may be believed given the author's grant. Pure; envelope and
// chain are identity/policyrecord.ts, order over time is policyroster.ts.
import { grantsVni } from './grant';
import type { NodeName, Vni } from './ids';
import { ManifestError } from './manifest';
import { parseNodeName } from './names';
import {
  formatKey,
  type PolicyDocument,
  parseKey,
  placeOf,
  readDocument,
  writeDocument,
} from './policydocument';
import { accept, type Result, refuse } from './result';
import type { RecordOrder } from './roster';
import { MAX_SKEW_MS } from './verify';

export const POLICIES_TOPIC = 'vxseal.policies.v1';
export const POLICY_PAYLOAD_VERSION = 1;
/** Of sequences: one more is still exact. */
const MAX_SEQUENCE = 2 ** 52;

/** Grammar of a node's name; never mixed up with one, since the SPIFFE ids differ. */
export type AuthorName = NodeName & { readonly __author: true };

/** `generation` is the wall clock at which it was signed, so that it says which certificate was good then. */
export interface PolicyRecord extends RecordOrder {
  readonly author: AuthorName;
  readonly key: string;
  /** Undefined: the document is withdrawn. */
  readonly document: PolicyDocument | undefined;
}

/** What an author's certificates let him sign. */
export interface AuthorGrant {
  readonly author: AuthorName;
  readonly trustDomain: string;
  /** Undefined: the VNI of the hosts only. */
  readonly vnis?: readonly Vni[] | undefined;
  /** Within which all certificates of the chain were good. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface VerifiedPolicy {
  readonly record: PolicyRecord;
  /** Lower-case hex, of the signing certificate. */
  readonly certificateSerial: string;
  readonly certificateNotAfterMs: number;
}

/** Why a policy record was refused; each is a counter. Those not told here are as for nodes (verify.ts). */
export const POLICY_REJECT_REASONS = [
  'tombstone',
  'oversize',
  'wrong-topic',
  'malformed',
  'wrong-type',
  'wrong-algorithm',
  'unknown-version',
  'bad-chain',
  'not-an-author', // the certificate is a node's, or nobody's
  'revoked',
  'bad-signature',
  'key-mismatch', // the record stands under another key than it was signed for
  'author-mismatch', // payload names another author than the certificate
  'outside-grant', // a VNI the certificate does not grant
  'bad-generation', // signed outside the time of its certificates, or in the future
  'too-many', // as many documents as a node keeps
] as const;
export type PolicyRejectReason = (typeof POLICY_REJECT_REASONS)[number];

export type PolicyRecordKind = 'policy' | 'policy-withdrawal';

export const kindOf = ({ document }: PolicyRecord): PolicyRecordKind =>
  document === undefined ? 'policy-withdrawal' : 'policy';

export function encodePolicyPayload({
  author,
  key,
  generation,
  sequence,
  document,
}: PolicyRecord): Uint8Array {
  const head = { v: POLICY_PAYLOAD_VERSION, author, key, generation, sequence };
  const value = document === undefined ? head : { ...head, document: writeDocument(document) };
  return new TextEncoder().encode(JSON.stringify(value));
}

/** @param bytes payload of a JWS whose `typ` says `kind`; size is the caller's to cap. Hostile. */
export function decodePolicyPayload(
  bytes: Uint8Array,
  kind: PolicyRecordKind,
): Result<PolicyRecord, 'malformed' | 'unknown-version'> {
  const fields = parseFields(bytes);
  if (fields === undefined) return refuse('malformed', 'payload: not a JSON object');
  if (fields.v !== POLICY_PAYLOAD_VERSION) return refuse('unknown-version', 'payload of another version');
  const { key, generation, sequence, document } = fields;
  const author = parseNodeName(typeof fields.author === 'string' ? fields.author : '');
  const place = typeof key === 'string' ? parseKey(key) : undefined;
  if (!author.ok || place === undefined || !isOrder(generation) || !isOrder(sequence))
    return refuse('malformed', 'payload: author, key, generation or sequence is not of its form');
  const read = kind === 'policy' ? tryDocument(document) : accept(undefined);
  if (!read.ok) return read;
  const record: PolicyRecord = {
    author: author.value as AuthorName,
    key: formatKey(place),
    generation,
    sequence,
    document: read.value,
  };
  if (record.document !== undefined && formatKey(placeOf(record.document, place.vni)) !== record.key)
    return refuse('malformed', 'payload: the document is another one than its key says');
  // One text for one value: nothing that two readers could understand differently.
  if (Buffer.compare(encodePolicyPayload(record), bytes) !== 0)
    return refuse('malformed', 'payload: not in canonical form, or with fields that are not ours');
  return accept(record);
}

function tryDocument(value: unknown): Result<PolicyDocument, 'malformed'> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refuse('malformed', 'document: an object expected');
  try {
    return accept(readDocument(value));
  } catch (error) {
    if (error instanceof ManifestError) return refuse('malformed', `document: ${error.message}`);
    throw error;
  }
}

function parseFields(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const json: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    return typeof json === 'object' && json !== null && !Array.isArray(json)
      ? (json as Readonly<Record<string, unknown>>)
      : undefined;
  } catch {
    return undefined;
  }
}

const isOrder = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;

/**
 * Checks the claims of a record signed by `grant.author`. A policy has no lease and does not end with its author's
 * certificate: an end would open what it closes. What an ended certificate signs is older than what came after it.
 * @param recordKey under which it stands on the bus
 */
export function checkPolicyClaims(
  record: PolicyRecord,
  recordKey: string,
  grant: AuthorGrant,
  nowMs: number,
  hostVni: Vni,
): Result<PolicyRecord, PolicyRejectReason> {
  const { author, key, generation, sequence } = record;
  if (key !== recordKey) return refuse('key-mismatch', `signed for ${key}, stands under another key`);
  if (author !== grant.author)
    return refuse('author-mismatch', `certificate of ${grant.author}, record of ${author}`);
  const vni = parseKey(key)?.vni;
  if (vni === undefined || !grantsVni(grant, vni, hostVni))
    return refuse('outside-grant', `${author} may not write policy of VNI ${vni}`);
  if (generation < grant.notBeforeMs || generation >= grant.notAfterMs)
    return refuse('bad-generation', `signed outside the time of the certificate of ${author}`);
  if (generation > nowMs + MAX_SKEW_MS || sequence > MAX_SEQUENCE)
    return refuse('bad-generation', `${author}: signed ${generation - nowMs} ms from now`);
  return accept(record);
}

/** What comes behind `highest` for one who signs now: also when his clock is behind that of who signed before. */
export function nextOrder(highest: RecordOrder | undefined, nowMs: number): RecordOrder {
  if (highest === undefined || highest.generation < nowMs) return { generation: nowMs, sequence: 1 };
  return { generation: highest.generation, sequence: highest.sequence + 1 };
}
