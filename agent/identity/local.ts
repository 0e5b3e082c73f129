// This node's own identity, from its files: private key, chain, roots. Owns their checks at start; what is wrong is
// said with the file and the remedy. The private key never leaves this object but as a signature.
import { createHash, createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { UnverifiedAnnouncement, VerifiedRecord } from '../core/announcement';
import type { Grant } from '../core/grant';
import type { NodeName, Vni } from '../core/ids';
import type { PolicyRejectReason, VerifiedPolicy } from '../core/policyrecord';
import type { Result } from '../core/result';
import type { RejectReason } from '../core/verify';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';
import type { BusRecord } from '../ports';
import { type Certificate, parseCertificate } from './certificate';
import { type ChainReason, type VerifiedIdentity, verifyChain } from './chain';
import { ChainMemory } from './chainmemory';
import { decodePem } from './pem';
import { verifyPolicy } from './policyrecord';
import { signAnnouncement, verifyRecord } from './record';
import { type Revocations, readRevocations } from './revoked';

/** Paths of PEM files, as in Config.identity. */
export interface IdentityFiles {
  readonly trustDomain: string;
  readonly key: string;
  readonly chain: string;
  readonly roots: string;
  /** List of revocations (revoked.ts); it need not exist. */
  readonly revoked: string;
}

export interface LocalIdentity {
  readonly node: NodeName;
  readonly trustDomain: string;
  readonly grant: Grant;
  /** Beginning of the node's certificate, wall clock in milliseconds. */
  readonly notBeforeMs: number;
  /** Earliest end in the chain. */
  readonly notAfterMs: number;
  /** Lower-case hex. */
  readonly serial: string;
  readonly roots: readonly Certificate[];
  /** Of chain and key: another one means that what we sign is signed by another certificate. */
  readonly fingerprint: string;
  /** Of roots and revocations: another one means that records may be judged otherwise. */
  readonly trustFingerprint: string;
  /** Value to publish under the node's name. */
  sign(announcement: UnverifiedAnnouncement): Promise<Uint8Array>;
  /** verifyRecord() against our roots and trust domain. */
  verify(record: BusRecord, nowMs: number, hostVni: Vni): Promise<Result<VerifiedRecord, RejectReason>>;
  /** verifyPolicy() against the same. */
  verifyPolicy(
    record: BusRecord,
    nowMs: number,
    hostVni: Vni,
  ): Promise<Result<VerifiedPolicy, PolicyRejectReason>>;
}

/** Throws VxsealError 'identity' naming the file, the reason and the remedy. */
export async function loadIdentity(files: IdentityFiles, nowMs = Date.now()): Promise<LocalIdentity> {
  const roots = await readCertificates(files.roots, 'trusted roots');
  const chain = await readCertificates(files.chain, 'certificate chain');
  const privateKey = await readPrivateKey(files.key);
  const revoked = await readRevocations(files.revoked);
  const verified = verifyChain(
    chain.map((certificate) => certificate.der),
    roots,
    nowMs,
    files.trustDomain,
  );
  if (!verified.ok) {
    throw new VxsealError(
      'identity',
      `${files.chain}: ${verified.reason}: ${verified.detail}`,
      remedyFor(verified.reason, files),
    );
  }
  const identity = verified.value;
  if (!createPublicKey(privateKey).equals(identity.leaf.publicKey)) {
    throw new VxsealError(
      'identity',
      `${files.key} is not the private key of the certificate in ${files.chain}`,
      'restore the key that belongs to the certificate, or issue a new pair: vxseal ca issue',
    );
  }
  return localIdentity(identity, privateKey, chain, { roots, revoked });
}

function localIdentity(
  identity: VerifiedIdentity,
  privateKey: KeyObject,
  chain: readonly Certificate[],
  { roots, revoked }: { readonly roots: readonly Certificate[]; readonly revoked: Revocations },
): LocalIdentity {
  // The root is every verifier's own; sending it would only make records larger.
  const presented = chain.filter(
    ({ fingerprint }) => !roots.some((root) => root.fingerprint === fingerprint),
  );
  const signer = { privateKey, chain: presented.map((certificate) => certificate.der) };
  const { node, trustDomain, vteps, prefixes, vnis, notAfterMs, serial } = identity;
  const chains = new ChainMemory(roots, trustDomain);
  return {
    node,
    trustDomain,
    grant: { node, trustDomain, vteps, prefixes, vnis },
    notBeforeMs: identity.leaf.notBeforeMs,
    notAfterMs,
    serial,
    roots,
    fingerprint: digestOf(presented.map((certificate) => certificate.fingerprint)),
    trustFingerprint: digestOf([
      ...roots.map((root) => root.fingerprint).sort(),
      ...[...revoked.serials].sort(),
      ...[...revoked.nodes].sort(),
      ...[...revoked.authors].sort().map((author) => `policy ${author}`),
    ]),
    sign: (announcement) => signAnnouncement(announcement, signer),
    verify: (record, nowMs, hostVni) =>
      verifyRecord(record, { roots, revoked, chains, trustDomain, nowMs, hostVni }),
    verifyPolicy: (record, nowMs, hostVni) =>
      verifyPolicy(record, { roots, revoked, trustDomain, nowMs, hostVni }),
  };
}

const digestOf = (parts: readonly string[]): string =>
  createHash('sha256').update(parts.join()).digest('hex');

/** Every certificate of a PEM file, parsed. Throws VxsealError 'identity'. */
export async function readCertificates(path: string, what: string): Promise<Certificate[]> {
  const ders = decodePem(await readText(path, what), 'CERTIFICATE');
  if (ders.length === 0) {
    throw new VxsealError('identity', `${path}: no PEM certificate in it`, `put the ${what} there as PEM`);
  }
  return ders.map((der, index) => {
    const parsed = parseCertificate(der);
    if (parsed.ok) return parsed.value;
    throw new VxsealError(
      'identity',
      `${path}: certificate ${index + 1}: ${parsed.detail}`,
      'use certificates issued by vxseal ca, or of the profile in docs/keys.md §2',
    );
  });
}

/** P-256 private key (PKCS #8 or SEC 1 PEM). Throws VxsealError 'identity'; never shows contents. */
export async function readPrivateKey(path: string): Promise<KeyObject> {
  const pem = await readText(path, 'private key');
  if (((await stat(path)).mode & 0o027) !== 0) {
    throw new VxsealError('identity', `${path}: private key is open to other users`, `chmod 600 ${path}`);
  }
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch {
    // The library's error may quote the input.
    throw new VxsealError(
      'identity',
      `${path}: not a private key in PEM`,
      'issue a new one: vxseal ca issue',
    );
  }
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new VxsealError('identity', `${path}: not a P-256 key`, 'issue a new one: vxseal ca issue');
  }
  return key;
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const missing = errnoOf(error) === 'ENOENT';
    throw new VxsealError(
      'identity',
      `${path}: ${what} cannot be read: ${missing ? 'no such file' : errnoOf(error)}`,
      missing
        ? 'issue it with: vxseal ca issue --dir CA --node NAME --out FOLDER'
        : 'check its owner and mode',
      { cause: error },
    );
  }
}

function remedyFor(reason: ChainReason, files: IdentityFiles): string {
  switch (reason) {
    case 'expired':
      return 'renew it: vxseal ca renew; if its dates look right, check the clock';
    case 'not-yet-valid':
      return "check this machine's clock";
    case 'untrusted':
      return `put the root that issued it into ${files.roots}`;
    case 'wrong-trust-domain':
      return `use a certificate of trust domain ${files.trustDomain}, or change identity.trustDomain`;
    default:
      return 'issue a new certificate: vxseal ca issue';
  }
}
