// A policy author's own identity, from its files: author.key, author.crt, roots.crt in one folder. Used by the command
// that signs policy; no agent holds one.
import { createPublicKey } from 'node:crypto';
import type { Vni } from '../core/ids';
import type { AuthorGrant, PolicyRecord, PolicyRejectReason, VerifiedPolicy } from '../core/policyrecord';
import type { Result } from '../core/result';
import { VxsealError } from '../errors';
import type { BusRecord } from '../ports';
import { verifyAuthorChain } from './chain';
import { leafPaths } from './leaf';
import { readCertificates, readPrivateKey } from './local';
import { signPolicy, verifyPolicy } from './policyrecord';

export interface Author {
  readonly grant: AuthorGrant;
  /** Value to publish under the record's key. */
  sign(record: PolicyRecord): Promise<Uint8Array>;
  /** As every node does, against the roots in the author's folder. */
  verify(record: BusRecord, nowMs: number, hostVni: Vni): Promise<Result<VerifiedPolicy, PolicyRejectReason>>;
}

const ISSUE = 'issue one: vxseal ca issue --dir CA --policy-author NAME --out FOLDER';

/** Throws VxsealError 'identity' naming the file, the reason and the remedy. */
export async function loadAuthor(folder: string, nowMs: number): Promise<Author> {
  const paths = leafPaths(folder, 'policy');
  const roots = await readCertificates(paths.roots, 'trusted roots');
  const chain = await readCertificates(paths.chain, "policy author's certificate");
  const privateKey = await readPrivateKey(paths.key);
  const [leaf] = chain;
  const trustDomain = /^spiffe:\/\/([^/]+)\//.exec(leaf?.uris[0] ?? '')?.[1] ?? '';
  const ders = chain.map(({ der }) => der);
  const verified = verifyAuthorChain(ders, roots, nowMs, trustDomain);
  if (!verified.ok)
    throw new VxsealError('identity', `${paths.chain}: ${verified.reason}: ${verified.detail}`, ISSUE);
  const author = verified.value;
  if (nowMs >= author.notAfterMs)
    throw new VxsealError(
      'identity',
      `${paths.chain}: ended ${new Date(author.notAfterMs).toISOString()}`,
      `renew it: vxseal ca renew --dir CA --out ${folder}`,
    );
  if (!createPublicKey(privateKey).equals(author.leaf.publicKey))
    throw new VxsealError(
      'identity',
      `${paths.key} is not the private key of the certificate in ${paths.chain}`,
      ISSUE,
    );
  const isRoot = (fingerprint: string): boolean => roots.some((root) => root.fingerprint === fingerprint);
  const presented = chain.filter(({ fingerprint }) => !isRoot(fingerprint)).map(({ der }) => der);
  const { vnis, notBeforeMs, notAfterMs } = author;
  return {
    grant: { author: author.author, trustDomain, vnis, notBeforeMs, notAfterMs },
    sign: (record) => signPolicy(record, { privateKey, chain: presented }),
    verify: (record, at, hostVni) => verifyPolicy(record, { roots, trustDomain, nowMs: at, hostVni }),
  };
}
