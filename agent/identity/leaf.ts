// The side of issuing of who gets the certificate: makes the private key where it will be used, has it certified, and
// keeps the three files (node.key 0600, node.crt with its chain, roots.crt) usable at every moment. A policy author has
// author.key and author.crt instead.
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { VxsealError } from '../errors';
import { exists, writeWhole } from '../files';
import { type IssueRequest, type Issuer, privatePem } from './ca';
import type { Certificate } from './certificate';
import { type Role, verifyAuthorChain, verifyChain } from './chain';
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
  const paths = leafPaths(folder, request.role);
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
  const role = await roleIn(folder);
  const paths = leafPaths(folder, role);
  const chain = await readCertificates(paths.chain, 'certificate chain');
  const roots = await readCertificates(paths.roots, 'trusted roots');
  const [leaf] = chain;
  if (leaf === undefined) throw new Error('readCertificates() returned none');
  if (onlyIfDue && nowMs < renewAfterMs(leaf)) return { renewed: false, chain };
  const renewed = await issuer.issue({
    ...currentGrant(role, paths.chain, chain, roots, issuer, nowMs),
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
  role: Role,
  path: string,
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  issuer: Issuer,
  nowMs: number,
): Omit<LeafRequest, 'days'> {
  const ders = chain.map((certificate) => certificate.der);
  const anchors = [...roots, ...issuer.roots];
  const lastValidMs = Math.min(nowMs, ...chain.map((certificate) => certificate.notAfterMs - 1));
  const verified =
    role === 'node'
      ? verifyChain(ders, anchors, lastValidMs, issuer.trustDomain)
      : verifyAuthorChain(ders, anchors, lastValidMs, issuer.trustDomain);
  if (verified.ok) {
    const granted = verified.value;
    const vnis = granted.vnis ?? [];
    return 'author' in granted
      ? { role, node: granted.author, vteps: [], prefixes: [], vnis }
      : { role, node: granted.node, vteps: granted.vteps, prefixes: granted.prefixes, vnis };
  }
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

export function leafPaths(
  folder: string,
  role: Role = 'node',
): { readonly key: string; readonly chain: string; readonly roots: string } {
  const stem = role === 'node' ? 'node' : 'author';
  return {
    key: join(folder, `${stem}.key`),
    chain: join(folder, `${stem}.crt`),
    roots: join(folder, 'roots.crt'),
  };
}

/** Whose files are in the folder. */
export async function roleIn(folder: string): Promise<Role> {
  return (await exists(leafPaths(folder, 'policy').chain)) ? 'policy' : 'node';
}

async function writeCertificates(path: string, certificates: readonly Certificate[]): Promise<void> {
  const ders = certificates.map((certificate) => certificate.der);
  await writeWhole(path, encodePem(ders, 'CERTIFICATE'), 0o644);
}
