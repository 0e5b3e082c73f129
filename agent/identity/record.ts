// Topology records as JWS (docs/keys.md §5; RFC 7515, ES256 of RFC 7518 §3.4): signing our own, verifying anyone's.
// Owns envelope, signature and chain; the payload is core/payload.ts, its claims core/verify.ts. A record's signature
// bytes must never serve as its identity: ECDSA signatures are malleable.
import { type KeyObject, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { CompactSign } from 'jose';
import {
  keyOfRecord,
  NODES_TOPIC,
  PODS_TOPIC,
  type UnverifiedAnnouncement,
  type VerifiedRecord,
} from '../core/announcement';
import type { Vni } from '../core/ids';
import { decodePayload, encodePayload, MAX_RECORD_BYTES, type RecordKind } from '../core/payload';
import { accept, type Result, refuse } from '../core/result';
import { checkClaims, type RejectReason } from '../core/verify';
import { VxsealError } from '../errors';
import type { BusRecord } from '../ports';
import type { Certificate } from './certificate';
import { MAX_INTERMEDIATES, verifyChain } from './chain';
import type { ChainMemory } from './chainmemory';
import { NOTHING_REVOKED, type Revocations, revocationOf } from './revoked';

/** `typ` of each kind: a signature for one kind is none for another. */
export const RECORD_TYPES: Readonly<Record<RecordKind, string>> = {
  node: 'vxseal-node+jws',
  withdrawal: 'vxseal-withdrawal+jws',
  pod: 'vxseal-pod+jws',
  'pod-withdrawal': 'vxseal-pod-withdrawal+jws',
};

/** What may stand on a topic. */
const KINDS: ReadonlyMap<string, readonly RecordKind[]> = new Map([
  [NODES_TOPIC, ['node', 'withdrawal']],
  [PODS_TOPIC, ['pod', 'pod-withdrawal']],
]);

export interface RecordSigner {
  readonly privateKey: KeyObject;
  /** DER, the certificate of `privateKey` first, without the root. */
  readonly chain: readonly Uint8Array[];
}

export interface VerifyContext {
  readonly roots: readonly Certificate[];
  readonly trustDomain: string;
  /** Default: none. */
  readonly revoked?: Revocations;
  /** Made with the same roots and trust domain. */
  readonly chains?: ChainMemory;
  /** Wall clock. */
  readonly nowMs: number;
  /** What a certificate that names no VNI is for. */
  readonly hostVni: Vni;
}

/** @returns a JWS with exactly the header that readEnvelope() takes */
export async function signJws(
  payload: Uint8Array,
  typ: string,
  { privateKey, chain }: RecordSigner,
): Promise<Uint8Array> {
  const x5c = chain.map((der) => Buffer.from(der).toString('base64'));
  const jws = await new CompactSign(payload).setProtectedHeader({ alg: 'ES256', typ, x5c }).sign(privateKey);
  return new TextEncoder().encode(jws);
}

/** @returns the value to publish under keyOfRecord(). Throws VxsealError 'identity' when it is too large. */
export async function signAnnouncement(
  announcement: UnverifiedAnnouncement,
  signer: RecordSigner,
): Promise<Uint8Array> {
  const value = await signJws(encodePayload(announcement), RECORD_TYPES[announcement.kind], signer);
  if (value.length > MAX_RECORD_BYTES) {
    throw new VxsealError(
      'identity',
      `record ${keyOfRecord(announcement)}: ${value.length} bytes, peers take ${MAX_RECORD_BYTES}`,
      'use fewer prefixes, or a certificate with fewer',
    );
  }
  return value;
}

/** Everything a hostile bus may deliver ends in a reason; rejects only on a bug. */
export async function verifyRecord(
  record: BusRecord,
  context: VerifyContext,
): Promise<Result<VerifiedRecord, RejectReason>> {
  if (record.value === undefined) return refuse('tombstone', 'value is null');
  if (record.value.length > MAX_RECORD_BYTES) return refuse('oversize', `${record.value.length} bytes`);
  const kinds = KINDS.get(record.topic);
  if (kinds === undefined) return refuse('wrong-topic', 'not a topic of records');
  const envelope = readEnvelope(record.value, RECORD_TYPES, kinds);
  if (!envelope.ok) return envelope;
  const { jws, kind, x5c } = envelope.value;
  const identity =
    context.chains?.verify(x5c, context.nowMs) ??
    verifyChain(x5c, context.roots, context.nowMs, context.trustDomain);
  if (!identity.ok) {
    const outdated = identity.reason === 'expired' || identity.reason === 'not-yet-valid';
    return refuse(outdated ? 'expired-certificate' : 'bad-chain', `${identity.reason}: ${identity.detail}`);
  }
  const payload = await openJws(jws, identity.value);
  if (!payload.ok) return payload;
  if (record.topic === NODES_TOPIC && record.key !== identity.value.node) {
    return refuse('key-mismatch', `certificate of ${identity.value.node} under another key`);
  }
  // Behind the signature: that a name is revoked must not be said of who did not sign with it.
  const { node, path } = identity.value;
  const why = revocationOf(context.revoked ?? NOTHING_REVOKED, node, path);
  if (why !== undefined) return refuse('revoked', why);
  const decoded = decodePayload(payload.value, kind);
  if (!decoded.ok) return decoded;
  if (record.topic !== NODES_TOPIC && record.key !== keyOfRecord(decoded.value)) {
    return refuse('key-mismatch', `record of ${keyOfRecord(decoded.value)} under another key`);
  }
  const checked = checkClaims(decoded.value, identity.value, context.nowMs, context.hostVni);
  if (!checked.ok) return checked;
  return accept({
    announcement: checked.value,
    certificateNotAfterMs: identity.value.notAfterMs,
    certificateSerial: identity.value.serial,
  } as VerifiedRecord);
}

export interface Envelope<K extends string> {
  readonly jws: string;
  readonly kind: K;
  readonly x5c: readonly Uint8Array[];
}
type EnvelopeReason = 'malformed' | 'wrong-algorithm' | 'wrong-type' | 'bad-chain';

/** The protected header has exactly `alg`, `typ` and `x5c`: no `jwk`, `jku`, `kid`, `crit` or `b64` to be misled by. */
export function readEnvelope<K extends string>(
  value: Uint8Array,
  types: Readonly<Record<K, string>>,
  kinds: readonly K[] = Object.keys(types) as K[],
): Result<Envelope<K>, EnvelopeReason> {
  const jws = Buffer.from(value).toString('latin1');
  const match = /^([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/.exec(jws);
  if (match === null) return refuse('malformed', 'not a compact JWS');
  const header = parseHeader(match[1] ?? '');
  if (header === undefined) return refuse('malformed', 'JWS header is not an object of alg, typ and x5c');
  if (header.alg !== 'ES256') return refuse('wrong-algorithm', 'JWS algorithm is not ES256');
  const kind = kinds.find((known) => types[known] === header.typ);
  if (kind === undefined) return refuse('wrong-type', 'JWS type is not one of this topic');
  const x5c = readX5c(header.x5c);
  if (x5c === undefined) return refuse('bad-chain', 'x5c is not a short list of base64');
  return accept({ jws, kind, x5c });
}

function parseHeader(segment: string): { alg: unknown; typ: unknown; x5c: unknown } | undefined {
  let header: unknown;
  try {
    header = JSON.parse(Buffer.from(segment, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
  if (typeof header !== 'object' || header === null) return undefined;
  if (Object.keys(header).sort().join() !== 'alg,typ,x5c') return undefined;
  return header as { alg: unknown; typ: unknown; x5c: unknown };
}

function readX5c(value: unknown): Uint8Array[] | undefined {
  // The root may come along (RFC 7515 §4.1.6).
  if (!Array.isArray(value) || value.length === 0 || value.length > MAX_INTERMEDIATES + 2) return undefined;
  const chain: Uint8Array[] = [];
  for (const item of value as readonly unknown[]) {
    if (typeof item !== 'string') return undefined;
    const der = Buffer.from(item, 'base64');
    if (der.length === 0 || der.toString('base64') !== item) return undefined;
    chain.push(der);
  }
  return chain;
}

/** In a thread of its own: a start reads tens of thousands of records, and the event loop has other work. */
const verifySignature = promisify(verify);

/** RFC 7515 §5.2 for what readEnvelope() let through: nothing in the header is left to decide. */
export async function openJws(
  jws: string,
  { leaf }: { readonly leaf: Pick<Certificate, 'publicKey'> },
): Promise<Result<Uint8Array, 'bad-signature'>> {
  const signatureAt = jws.lastIndexOf('.');
  const signed = Buffer.from(jws.slice(0, signatureAt), 'latin1');
  const signature = Buffer.from(jws.slice(signatureAt + 1), 'base64url');
  // RFC 7518 §3.4: r | s, 32 bytes each. By node:crypto: jose would convert the key twice over for each record.
  const key = { key: leaf.publicKey, dsaEncoding: 'ieee-p1363' as const };
  const good = await verifySignature('sha256', signed, key, signature);
  if (!good) return refuse('bad-signature', 'signature is wrong');
  return accept(Buffer.from(jws.slice(jws.indexOf('.') + 1, signatureAt), 'base64url'));
}
