// This node's own identity, from its files: private key, chain, roots. Owns their checks at start; what is wrong is
// said with the file and the remedy. The private key never leaves this object but as a signature.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import type { UnverifiedAnnouncement, VerifiedAnnouncement } from '../core/announcement';
import type { Grant } from '../core/grant';
import type { NodeName } from '../core/ids';
import type { Result } from '../core/result';
import type { RejectReason } from '../core/verify';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';
import type { BusRecord } from '../ports';
import { type Certificate, parseCertificate } from './certificate';
import { type ChainReason, type VerifiedIdentity, verifyChain } from './chain';
import { decodePem } from './pem';
import { signAnnouncement, verifyRecord } from './record';

/** Paths of PEM files, as in Config.identity. */
export interface IdentityFiles {
  readonly trustDomain: string;
  readonly key: string;
  readonly chain: string;
  readonly roots: string;
}

export interface LocalIdentity {
  readonly node: NodeName;
  readonly trustDomain: string;
  readonly grant: Grant;
  /** Earliest end in the chain, wall clock in milliseconds. */
  readonly notAfterMs: number;
  /** Lower-case hex. */
  readonly serial: string;
  readonly roots: readonly Certificate[];
  /** Value to publish under the node's name. */
  sign(announcement: UnverifiedAnnouncement): Promise<Uint8Array>;
  /** verifyRecord() against our roots and trust domain. */
  verify(record: BusRecord, nowMs: number): Promise<Result<VerifiedAnnouncement, RejectReason>>;
}

/** Throws VxsealError 'identity' naming the file, the reason and the remedy. */
export async function loadIdentity(files: IdentityFiles, nowMs = Date.now()): Promise<LocalIdentity> {
  const roots = await readCertificates(files.roots, 'trusted roots');
  const chain = await readCertificates(files.chain, 'certificate chain');
  const privateKey = await readPrivateKey(files.key);
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
  return localIdentity(identity, privateKey, chain, roots);
}

function localIdentity(
  identity: VerifiedIdentity,
  privateKey: KeyObject,
  chain: readonly Certificate[],
  roots: readonly Certificate[],
): LocalIdentity {
  // The root is every verifier's own; sending it would only make records larger.
  const presented = chain.filter(
    ({ fingerprint }) => !roots.some((root) => root.fingerprint === fingerprint),
  );
  const signer = { privateKey, chain: presented.map((certificate) => certificate.der) };
  const { node, trustDomain, vteps, prefixes, notAfterMs, serial } = identity;
  return {
    node,
    trustDomain,
    grant: { node, trustDomain, vteps, prefixes },
    notAfterMs,
    serial,
    roots,
    sign: (announcement) => signAnnouncement(announcement, signer),
    verify: (record, nowMs) => verifyRecord(record, { roots, trustDomain, nowMs }),
  };
}

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
