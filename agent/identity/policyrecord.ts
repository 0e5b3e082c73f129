// Policy records as JWS (docs/keys.md §7): signing as an author, verifying anyone's. Envelope and signature are those
// of record.ts; the payload is core/policyrecord.ts.
import { MAX_RECORD_BYTES } from '../core/payload';
import { parseKey } from '../core/policydocument';
import {
  checkPolicyClaims,
  decodePolicyPayload,
  encodePolicyPayload,
  kindOf,
  POLICIES_TOPIC,
  type PolicyRecord,
  type PolicyRecordKind,
  type PolicyRejectReason,
  type VerifiedPolicy,
} from '../core/policyrecord';
import { accept, type Result, refuse } from '../core/result';
import { VxsealError } from '../errors';
import type { BusRecord } from '../ports';
import { verifyAuthorChain } from './chain';
import { openJws, type RecordSigner, readEnvelope, signJws, type VerifyContext } from './record';
import { NOTHING_REVOKED, revocationOf } from './revoked';

/** `typ` of each kind: a signature of a node, or for another kind, is none here. */
export const POLICY_RECORD_TYPES: Readonly<Record<PolicyRecordKind, string>> = {
  policy: 'vxseal-policy+jws',
  'policy-withdrawal': 'vxseal-policy-withdrawal+jws',
};

/** @returns the value to publish under the record's key. Throws VxsealError 'request' for what no node would take. */
export async function signPolicy(record: PolicyRecord, signer: RecordSigner): Promise<Uint8Array> {
  if (parseKey(record.key) === undefined)
    throw new VxsealError(
      'request',
      `${record.key}: no key of a policy record`,
      "use names of a-z, 0-9, '-', '.', with namespace and name at most 180 characters together",
    );
  const value = await signJws(encodePolicyPayload(record), POLICY_RECORD_TYPES[kindOf(record)], signer);
  if (value.length <= MAX_RECORD_BYTES) return value;
  throw new VxsealError(
    'request',
    `${record.key}: a record of ${value.length} bytes, nodes take ${MAX_RECORD_BYTES}`,
    'split it into several policies: their rules add up',
  );
}

/** Everything a hostile bus may deliver ends in a reason; rejects only on a bug. */
export async function verifyPolicy(
  record: BusRecord,
  context: VerifyContext,
): Promise<Result<VerifiedPolicy, PolicyRejectReason>> {
  if (record.value === undefined) return refuse('tombstone', 'value is null');
  if (record.value.length > MAX_RECORD_BYTES) return refuse('oversize', `${record.value.length} bytes`);
  if (record.topic !== POLICIES_TOPIC) return refuse('wrong-topic', 'not a topic of policy records');
  const envelope = readEnvelope(record.value, POLICY_RECORD_TYPES);
  if (!envelope.ok) return envelope;
  const { jws, kind, x5c } = envelope.value;
  const verified = verifyAuthorChain(x5c, context.roots, context.nowMs, context.trustDomain);
  if (!verified.ok) {
    const reason = verified.reason === 'bad-name' ? 'not-an-author' : 'bad-chain';
    return refuse(reason, `${verified.reason}: ${verified.detail}`);
  }
  const author = verified.value;
  const payload = await openJws(jws, author);
  if (!payload.ok) return payload;
  // Behind the signature: that a name is revoked must not be said of who did not sign with it.
  const why = revocationOf(context.revoked ?? NOTHING_REVOKED, author.author, author.path, 'policy');
  if (why !== undefined) return refuse('revoked', why);
  const decoded = decodePolicyPayload(payload.value, kind);
  if (!decoded.ok) return decoded;
  const checked = checkPolicyClaims(decoded.value, record.key, author, context.nowMs, context.hostVni);
  if (!checked.ok) return checked;
  return accept({
    record: checked.value,
    certificateSerial: author.serial,
    certificateNotAfterMs: author.notAfterMs,
  });
}

/**
 * What a record says, believed without a look at its signature: for those of our own state directory, which were
 * verified before they were put there.
 */
export function readKeptPolicy({ key, value }: BusRecord): Result<VerifiedPolicy, PolicyRejectReason> {
  if (value === undefined) return refuse('tombstone', 'value is null');
  const envelope = readEnvelope(value, POLICY_RECORD_TYPES);
  if (!envelope.ok) return envelope;
  const payload = Buffer.from(envelope.value.jws.split('.')[1] ?? '', 'base64url');
  const decoded = decodePolicyPayload(payload, envelope.value.kind);
  if (!decoded.ok) return decoded;
  if (decoded.value.key !== key) return refuse('key-mismatch', `says ${decoded.value.key}`);
  return accept({ record: decoded.value, certificateSerial: '', certificateNotAfterMs: 0 });
}
