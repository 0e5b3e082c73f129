// The node's side of issuing: makes the private key where it will be used, has it certified, and keeps the three files
// (node.key 0600, node.crt with its chain, roots.crt) usable at every moment.
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { VxsealError } from '../errors';
import { exists, writeWhole } from '../files';
import { type IssueRequest, type Issuer, privatePem } from './ca';
import type { Certificate } from './certificate';
import { type VerifiedIdentity, verifyChain } from './chain';
import { renewAfterMs } from './describe';
import { readCertificates, readPrivateKey } from './local';
import { encodePem } from './pem';

export type LeafRequest = Omit<IssueRequest, 'publicKey'>;

/** Creates the folder's files; one that holds a key already is left alone, with an error. */
export async function issueLeaf(
  folder: string,
  issuer: Issuer,
  request: LeafRequest,
): Promise<Certificate[]> {
  const paths = leafPaths(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  if (await exists(paths.key)) {
    throw new VxsealError(
      'request',
      `${paths.key}: there is a key already`,
      'to go on with it: vxseal ca renew; to replace it, remove the file first',
    );
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const chain = await issuer.issue({ ...request, publicKey });
  await writeCertificates(paths.roots, issuer.roots);
  await writeWhole(paths.key, privatePem(privateKey), 0o600);
  await writeCertificates(paths.chain, chain);
  return chain;
}

export interface Renewal {
  readonly renewed: boolean;
  readonly chain: readonly Certificate[];
}

/**
 * A new certificate with the same name, grant and key. The key stays so that replacing one file is the whole
 * change: with two there would be a moment in which they do not belong together.
 * @param onlyIfDue leaves a certificate alone that has not lived two thirds of its life.
 */
export async function renewLeaf(
  folder: string,
  issuer: Issuer,
  days: number,
  nowMs: number,
  onlyIfDue: boolean,
): Promise<Renewal> {
  const paths = leafPaths(folder);
  const chain = await readCertificates(paths.chain, 'certificate chain');
  const roots = await readCertificates(paths.roots, 'trusted roots');
  const [leaf] = chain;
  if (leaf === undefined) throw new Error('readCertificates() returned none');
  if (onlyIfDue && nowMs < renewAfterMs(leaf)) return { renewed: false, chain };
  const old = currentGrant(paths.chain, chain, roots, issuer, nowMs);
  const renewed = await issuer.issue({
    node: old.node,
    vteps: old.vteps,
    prefixes: old.prefixes,
    vnis: old.vnis ?? [],
    days,
    publicKey: await matchingKey(paths.key, leaf),
  });
  const known = new Set(roots.map((root) => root.fingerprint));
  const added = issuer.roots.filter((root) => !known.has(root.fingerprint));
  // Roots first: the new chain must find its own when it is read.
  if (added.length > 0) await writeCertificates(paths.roots, [...roots, ...added]);
  await writeCertificates(paths.chain, renewed);
  return { renewed: true, chain: renewed };
}

/** What the present certificate grants, also one that has just expired; nothing else may be carried over. */
function currentGrant(
  path: string,
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  issuer: Issuer,
  nowMs: number,
): VerifiedIdentity {
  const lastValidMs = Math.min(nowMs, ...chain.map((certificate) => certificate.notAfterMs - 1));
  const verified = verifyChain(
    chain.map((certificate) => certificate.der),
    [...roots, ...issuer.roots],
    lastValidMs,
    issuer.trustDomain,
  );
  if (verified.ok) return verified.value;
  throw new VxsealError(
    'identity',
    `${path}: ${verified.reason}: ${verified.detail}`,
    'issue a new certificate: vxseal ca issue',
  );
}

async function matchingKey(path: string, leaf: Certificate): Promise<KeyObject> {
  const privateKey = await readPrivateKey(path);
  const publicKey = createPublicKey(privateKey);
  if (publicKey.equals(leaf.publicKey)) return publicKey;
  throw new VxsealError(
    'identity',
    `${path} is not the private key of the certificate beside it`,
    'issue a new pair: vxseal ca issue',
  );
}

export function leafPaths(folder: string): {
  readonly key: string;
  readonly chain: string;
  readonly roots: string;
} {
  return { key: join(folder, 'node.key'), chain: join(folder, 'node.crt'), roots: join(folder, 'roots.crt') };
}

async function writeCertificates(path: string, certificates: readonly Certificate[]): Promise<void> {
  const ders = certificates.map((certificate) => certificate.der);
  await writeWhole(path, encodePem(ders, 'CERTIFICATE'), 0o644);
}
