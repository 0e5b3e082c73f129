// From a presented chain to the verified identity and grant of a node or a policy author (docs/keys.md §2; RFC 5280 §6 reduced to our
// profile; RFC 3779 §2.3). Owns trust between certificates. Reads no files and no clock.
import type { Grant } from '../core/grant';
import type { NodeName, Vni } from '../core/ids';
import { parseNodeName } from '../core/names';
import type { AuthorGrant, AuthorName } from '../core/policyrecord';
import { accept, type Result, refuse } from '../core/result';
import {
  type AddressBlocks,
  type AddressRange,
  containsBlocks,
  prefixesOf,
  type ResolvedBlocks,
} from './blocks';
import { type Certificate, parseCertificate } from './certificate';

export const MAX_INTERMEDIATES = 2;

export type ChainReason =
  | 'malformed' // not strict DER, not our profile, or a critical extension we do not know
  | 'chain-too-long' // or longer than an issuer allows
  | 'not-yet-valid'
  | 'expired'
  | 'not-a-ca'
  | 'bad-signature'
  | 'untrusted' // no root of ours issued it
  | 'wrong-trust-domain'
  | 'bad-name' // not exactly one SPIFFE id of the role that is asked for
  | 'bad-usage' // the leaf may not sign data, or is itself a CA
  | 'outside-issuer'; // address blocks or VNIs the issuer does not have

export interface VerifiedIdentity extends Grant {
  /** Latest beginning and earliest end of the path, its root included; wall clock in milliseconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Lower-case hex. */
  readonly serial: string;
  /** Not all of it: identities of a whole cluster may be held. */
  readonly leaf: Pick<Certificate, 'publicKey' | 'notBeforeMs'>;
  /** Serial numbers of the path, the node's first, the root's last. */
  readonly path: readonly string[];
}

/** Who may sign policy. A node may not: a compromised one must not be able to rewrite what holds it. */
export interface VerifiedAuthor extends AuthorGrant {
  readonly serial: string;
  readonly leaf: Certificate;
  /** Serial numbers of the path, the author's first, the root's last. */
  readonly path: readonly string[];
}

/** What a certificate is for: the segment of its SPIFFE id before the name. */
export type Role = 'node' | 'policy';

/**
 * @param x5c DER, the node's certificate first; the root itself may be left out.
 * @param roots trust anchors; one outside its validity is not used.
 */
export function verifyChain(
  x5c: readonly Uint8Array[],
  roots: readonly Certificate[],
  nowMs: number,
  trustDomain: string,
): Result<VerifiedIdentity, ChainReason> {
  const chain = parseChain(x5c);
  if (!chain.ok) return chain;
  const verified = verifyPath(chain.value, roots, nowMs, trustDomain, 'node');
  if (!verified.ok) return verified;
  const { name, path, leaf, vnis } = verified.value;
  const blocks = resolveBlocks(path);
  if (!blocks.ok) return blocks;
  return accept({
    node: name,
    trustDomain,
    vteps: leaf.addresses,
    prefixes: prefixesOf(blocks.value),
    vnis,
    notBeforeMs: Math.max(...path.map((certificate) => certificate.notBeforeMs)),
    notAfterMs: Math.min(...path.map((certificate) => certificate.notAfterMs)),
    serial: leaf.serial,
    leaf: { publicKey: leaf.publicKey, notBeforeMs: leaf.notBeforeMs },
    path: path.map((certificate) => certificate.serial),
  });
}

/**
 * As verifyChain(), for who signs policy. A chain that has ended is judged by its last moment: what was signed under it
 * stands, and whoever takes this for good must hold the signature's time to the validity that is returned.
 */
export function verifyAuthorChain(
  x5c: readonly Uint8Array[],
  roots: readonly Certificate[],
  nowMs: number,
  trustDomain: string,
): Result<VerifiedAuthor, ChainReason> {
  const chain = parseChain(x5c);
  if (!chain.ok) return chain;
  const lastMs = Math.min(nowMs, ...chain.value.map((certificate) => certificate.notAfterMs - 1));
  const verified = verifyPath(chain.value, roots, lastMs, trustDomain, 'policy');
  if (!verified.ok) return verified;
  const { name, path, leaf, vnis } = verified.value;
  return accept({
    author: name as AuthorName,
    trustDomain,
    vnis,
    notBeforeMs: Math.max(...path.map((certificate) => certificate.notBeforeMs)),
    notAfterMs: Math.min(...path.map((certificate) => certificate.notAfterMs)),
    serial: leaf.serial,
    leaf,
    path: path.map((certificate) => certificate.serial),
  });
}

function parseChain(x5c: readonly Uint8Array[]): Result<readonly Certificate[], ChainReason> {
  // Counted before anything is parsed: the length is the sender's choice.
  if (x5c.length > MAX_INTERMEDIATES + 2) return refuse('chain-too-long', `${x5c.length} certificates`);
  const chain: Certificate[] = [];
  for (const der of x5c) {
    const parsed = parseCertificate(der);
    if (!parsed.ok) return parsed;
    chain.push(parsed.value);
  }
  return accept(chain);
}

interface VerifiedPath {
  readonly name: NodeName;
  readonly path: readonly Certificate[];
  readonly leaf: Certificate;
  readonly vnis: readonly Vni[] | undefined;
}

function verifyPath(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  nowMs: number,
  trustDomain: string,
  role: Role,
): Result<VerifiedPath, ChainReason> {
  const anchored = anchor(chain, roots, nowMs);
  if (!anchored.ok) return anchored;
  const path = anchored.value;
  const [leaf] = path;
  if (leaf === undefined) return refuse('malformed', 'empty chain');
  const refusal = checkPath(path, nowMs, trustDomain);
  if (refusal !== undefined) return refusal;
  const named = readName(leaf, trustDomain, role);
  if (!named.ok) return named;
  const vnis = resolveVnis(path);
  if (!vnis.ok) return vnis;
  return accept({ name: named.value, path, leaf, vnis: vnis.value });
}

/** The path from the leaf to one of our roots, both included. */
function anchor(
  chain: readonly Certificate[],
  roots: readonly Certificate[],
  nowMs: number,
): Result<readonly Certificate[], ChainReason> {
  const presented = chain.filter((certificate) => !roots.some((root) => same(root.der, certificate.der)));
  const last = presented.at(-1);
  if (last === undefined) return refuse('malformed', 'no certificate below a root');
  if (presented.length > MAX_INTERMEDIATES + 1)
    return refuse('chain-too-long', `${presented.length - 1} intermediates`);
  const root = roots.find(
    (candidate) =>
      same(candidate.subject, last.issuer) &&
      candidate.notBeforeMs <= nowMs &&
      nowMs < candidate.notAfterMs &&
      last.signedBy(candidate.publicKey),
  );
  if (root === undefined) return refuse('untrusted', 'no trusted root issued this chain');
  return accept([...presented, root]);
}

function checkPath(
  path: readonly Certificate[],
  nowMs: number,
  trustDomain: string,
): { readonly ok: false; readonly reason: ChainReason; readonly detail: string } | undefined {
  for (const [index, certificate] of path.entries()) {
    const at = `certificate ${index} of ${path.length}`;
    if (nowMs < certificate.notBeforeMs) return refuse('not-yet-valid', at);
    if (nowMs >= certificate.notAfterMs) return refuse('expired', at);
    if (index === 0) {
      if (certificate.ca || !certificate.signsData) return refuse('bad-usage', at);
    } else {
      if (!certificate.ca || !certificate.signsCertificates) return refuse('not-a-ca', at);
      // Intermediates between it and the leaf (RFC 5280 §4.2.1.9).
      if (certificate.pathLength !== undefined && certificate.pathLength < index - 1) {
        return refuse('chain-too-long', `${at} allows ${certificate.pathLength} below it`);
      }
      // A CA that names a trust domain is good for that one only.
      if (certificate.uris.some((uri) => uri !== `spiffe://${trustDomain}`))
        return refuse('wrong-trust-domain', at);
    }
    const issuer = path[index + 1];
    // The root's signature was what the root was found by.
    if (issuer === undefined || index === path.length - 2) continue;
    if (!same(certificate.issuer, issuer.subject) || !certificate.signedBy(issuer.publicKey)) {
      return refuse('bad-signature', `${at} was not signed by the next`);
    }
  }
  return undefined;
}

const SPIFFE_ID = /^spiffe:\/\/([a-z0-9._-]{1,255})\/([a-z]+)\/([^/]*)$/;
const WHAT: Readonly<Record<Role, string>> = { node: 'a node', policy: 'a policy author' };

/** Exactly one URI: spiffe://<trust domain>/<role>/<name>. */
function readName(leaf: Certificate, trustDomain: string, role: Role): Result<NodeName, ChainReason> {
  const [uri, ...more] = leaf.uris;
  if (uri === undefined || more.length > 0) return refuse('bad-name', `${leaf.uris.length} URI names`);
  const match = SPIFFE_ID.exec(uri);
  const name = match?.[2] === role ? parseNodeName(match[3] ?? '') : undefined;
  if (match === null || name?.ok !== true)
    return refuse('bad-name', `URI is not the SPIFFE id of ${WHAT[role]}`);
  if (match[1] !== trustDomain) return refuse('wrong-trust-domain', `trust domain ${match[1]}`);
  return accept(name.value);
}

/**
 * The leaf's own blocks, each certificate's contained in its issuer's. An issuer without the extension passes on
 * what limits itself. RFC 3779 §2.3 would refuse it, and with it every CA that is not ours.
 */
function resolveBlocks(path: readonly Certificate[]): Result<ResolvedBlocks, ChainReason> {
  let limit: ResolvedBlocks | undefined;
  let own: ResolvedBlocks = new Map();
  for (const [index, certificate] of [...path.entries()].reverse()) {
    if (certificate.blocks === undefined) {
      own = new Map();
      continue;
    }
    const resolved = inherit(certificate.blocks, limit);
    if (resolved === undefined) return refuse('outside-issuer', `certificate ${index} inherits from nothing`);
    if (limit !== undefined && !containsBlocks(limit, resolved)) {
      return refuse('outside-issuer', `certificate ${index} has address blocks its issuer does not have`);
    }
    limit = resolved;
    own = resolved;
  }
  return accept(own);
}

/** A certificate that says nothing has its issuer's; each list lies within the one above. Undefined: none has one. */
function resolveVnis(path: readonly Certificate[]): Result<readonly Vni[] | undefined, ChainReason> {
  let own: readonly Vni[] | undefined;
  for (const [index, { vnis }] of [...path.entries()].reverse()) {
    if (vnis === undefined) continue;
    const outside = own === undefined ? undefined : vnis.find((vni) => !own?.includes(vni));
    if (outside !== undefined)
      return refuse('outside-issuer', `certificate ${index} has VNI ${outside}, its issuer has not`);
    own = vnis;
  }
  return accept(own);
}

function inherit(blocks: AddressBlocks, issuer: ResolvedBlocks | undefined): ResolvedBlocks | undefined {
  const resolved = new Map<4 | 6, readonly AddressRange[]>();
  for (const [family, ranges] of blocks) {
    const taken = ranges === 'inherit' ? issuer?.get(family) : ranges;
    if (taken === undefined) return undefined;
    resolved.set(family, taken);
  }
  return resolved;
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
