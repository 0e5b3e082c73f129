// A certificate authority in a folder: making it (root or intermediate) and issuing nodes' certificates with it.
// Owns the profile of docs/keys.md §2 as it is written; certificate.ts and chain.ts hold how it is read. Only this
// file loads the X.509 generator: the agent itself never issues.
import 'reflect-metadata';
import { generateKeyPairSync, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '@peculiar/x509';
import type { IpAddress, NodeName, Prefix, Vni } from '../core/ids';
import { VxsealError } from '../errors';
import { exists, writeWhole } from '../files';
import { ADDRESS_BLOCKS_OID, type AddressBlocks, blocksOf, encodeBlocks } from './blocks';
import { type Certificate, parseCertificate } from './certificate';
import { MAX_INTERMEDIATES, type Role, verifyAuthorChain, verifyChain } from './chain';
import { readCertificates, readPrivateKey } from './local';
import { encodePem } from './pem';
import { vniName } from './vnis';

export const DAY_MS = 24 * 3600_000;
/** Certificates begin a little early, for readers whose clock is behind. */
const BACKDATE_MS = 300_000;
const MAX_DAYS = 36_500;
const TRUST_DOMAIN = /^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/;

export interface CaOptions {
  readonly trustDomain: string;
  readonly days: number;
  /** Address blocks the CA is held to; empty: its parent's, or for a root all. */
  readonly prefixes: readonly Prefix[];
  /** VNIs the CA is held to; empty: its parent's, or for a root all. */
  readonly vnis?: readonly Vni[];
  /** Folder of the CA that signs this one; undefined: a root. */
  readonly parent: string | undefined;
}

export interface IssueRequest {
  /** Default: a node. A policy author has neither VTEPs nor prefixes. */
  readonly role?: Role;
  /** Name of the node, or of the author. */
  readonly node: NodeName;
  readonly publicKey: KeyObject;
  readonly vteps: readonly IpAddress[];
  readonly prefixes: readonly Prefix[];
  /** VNIs whose pods the node may carry, or whose policy the author may write; empty: the CA's, or where it has none the hosts' only. */
  readonly vnis?: readonly Vni[];
  readonly days: number;
}

/** Whoever makes certificates of nodes and policy authors; a folder today, other issuers behind the same shape. */
export interface Issuer {
  readonly trustDomain: string;
  readonly roots: readonly Certificate[];
  /** @returns the new certificate, then the intermediates. Throws VxsealError. */
  issue(request: IssueRequest): Promise<Certificate[]>;
}

interface Authority {
  readonly trustDomain: string;
  readonly key: KeyObject;
  /** Own certificate first, the root last. */
  readonly path: readonly Certificate[];
}

/** Makes the CA's files: ca.key (0600), ca.crt (its chain without the root, or the root), roots.crt. */
export async function initCa(folder: string, options: CaOptions, nowMs: number): Promise<Certificate> {
  if (!TRUST_DOMAIN.test(options.trustDomain)) {
    throw new VxsealError(
      'request',
      `trust domain ${JSON.stringify(options.trustDomain.slice(0, 64))} is not a name`,
      "use a-z, 0-9, '-', '.', for example cluster.example",
    );
  }
  checkDays(options.days);
  if (await exists(join(folder, 'ca.key'))) {
    throw new VxsealError(
      'request',
      `${folder}: there is a CA already`,
      'choose another folder, or use that CA',
    );
  }
  const parent = options.parent === undefined ? undefined : await readAuthority(options.parent, nowMs);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const serial = newSerial();
  const certificate = await signCertificate({
    issuerKey: parent?.key ?? privateKey,
    issuer: parent?.path[0],
    subject: [{ O: [options.trustDomain] }, { CN: [`vxseal CA ${serial.slice(0, 8)}`] }],
    serial,
    publicKey,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + options.days * DAY_MS,
    extensions: [
      new BasicConstraintsExtension(
        true,
        parent === undefined ? MAX_INTERMEDIATES : pathLengthBelow(parent),
        true,
      ),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      new SubjectAlternativeNameExtension([
        { type: 'url', value: `spiffe://${options.trustDomain}` },
        ...vniNames(options.vnis ?? []),
      ]),
      ...blocksExtension(caBlocks(options.prefixes, parent?.path[0])),
    ],
  });
  const path = [certificate, ...(parent?.path ?? [])];
  const authority = { trustDomain: options.trustDomain, key: privateKey, path };
  // A trial, so that what the parent does not allow (blocks, trust domain) is said now and not at the first node.
  await issueNode(
    authority,
    { node: 'trial' as NodeName, publicKey, vteps: [], prefixes: [], vnis: [], days: 1 },
    nowMs,
  );
  await writeAuthority(folder, authority);
  return certificate;
}

/** Throws VxsealError when the folder is not a usable CA. */
export async function openCa(folder: string, nowMs: number): Promise<Issuer> {
  const authority = await readAuthority(folder, nowMs);
  const root = authority.path.slice(-1);
  return {
    trustDomain: authority.trustDomain,
    roots: root,
    issue: (request) => issueNode(authority, request, nowMs),
  };
}

async function issueNode(authority: Authority, request: IssueRequest, nowMs: number): Promise<Certificate[]> {
  checkDays(request.days);
  const { role = 'node' } = request;
  const [issuer] = authority.path;
  // A certificate that outlives its issuer would promise what no verifier accepts.
  const notAfterMs = Math.min(nowMs + request.days * DAY_MS, ...authority.path.map((ca) => ca.notAfterMs));
  const leaf = await signCertificate({
    issuerKey: authority.key,
    issuer,
    subject: [{ CN: [request.node] }],
    serial: newSerial(),
    publicKey: request.publicKey,
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new SubjectAlternativeNameExtension([
        { type: 'url', value: `spiffe://${authority.trustDomain}/${role}/${request.node}` },
        ...request.vteps.map((value) => ({ type: 'ip' as const, value })),
        ...vniNames(request.vnis ?? []),
      ]),
      ...blocksExtension(blocksOf(request.prefixes)),
    ],
  });
  const chain = [leaf, ...authority.path.slice(0, -1)];
  checkUsable(chain, role, authority, nowMs);
  return chain;
}

/** The new chain must pass the check every peer will make. */
function checkUsable(chain: readonly Certificate[], role: Role, authority: Authority, nowMs: number): void {
  const ders = chain.map((certificate) => certificate.der);
  const check = role === 'node' ? verifyChain : verifyAuthorChain;
  const verified = check(ders, authority.path.slice(-1), nowMs, authority.trustDomain);
  if (verified.ok) return;
  throw new VxsealError(
    'request',
    `the CA cannot issue this: ${verified.reason}: ${verified.detail}`,
    verified.reason === 'outside-issuer'
      ? 'ask for prefixes and VNIs within those of the CA: vxseal ca show'
      : 'vxseal ca show',
  );
}

async function readAuthority(folder: string, nowMs: number): Promise<Authority> {
  const own = await readCertificates(join(folder, 'ca.crt'), "CA's certificate");
  const roots = await readCertificates(join(folder, 'roots.crt'), 'trusted roots');
  const key = await readPrivateKey(join(folder, 'ca.key'));
  const path = [
    ...own.filter(({ fingerprint }) => fingerprint !== roots[0]?.fingerprint),
    ...roots.slice(0, 1),
  ];
  const [certificate] = path;
  const uri = certificate?.uris[0] ?? '';
  if (certificate === undefined || !certificate.ca || !uri.startsWith('spiffe://')) {
    throw new VxsealError('identity', `${folder}: not a CA of a trust domain`, 'make one: vxseal ca init');
  }
  if (path.some((ca) => nowMs >= ca.notAfterMs)) {
    throw new VxsealError(
      'identity',
      `${folder}: the CA's chain has expired`,
      'make a new CA: vxseal ca init',
    );
  }
  return { trustDomain: uri.slice('spiffe://'.length), key, path };
}

async function writeAuthority(folder: string, { key, path }: Authority): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const root = path.slice(-1);
  const chain = path.length === 1 ? path : path.slice(0, -1);
  const pem = (certificates: readonly Certificate[]): string =>
    encodePem(
      certificates.map((certificate) => certificate.der),
      'CERTIFICATE',
    );
  await writeWhole(join(folder, 'roots.crt'), pem(root), 0o644);
  await writeWhole(join(folder, 'ca.crt'), pem(chain), 0o644);
  // Last: its presence is what says that there is a CA.
  await writeWhole(join(folder, 'ca.key'), privatePem(key), 0o600);
}

/** PKCS #8 PEM; for files of mode 0600 only. */
export function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

interface CertificateRequest {
  readonly issuerKey: KeyObject;
  /** Undefined: self-signed. */
  readonly issuer: Certificate | undefined;
  readonly subject: Record<string, string[]>[];
  readonly serial: string;
  readonly publicKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly extensions: readonly Extension[];
}

async function signCertificate(request: CertificateRequest): Promise<Certificate> {
  const publicKey = await importPublic(request.publicKey);
  const issuerPublic =
    request.issuer === undefined ? publicKey : await importPublic(request.issuer.publicKey);
  const made = await X509CertificateGenerator.create(
    {
      serialNumber: request.serial,
      subject: request.subject,
      issuer: request.issuer === undefined ? request.subject : issuerName(request.issuer),
      notBefore: wholeSeconds(request.notBeforeMs),
      notAfter: wholeSeconds(request.notAfterMs),
      publicKey,
      signingKey: await importPrivate(request.issuerKey),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [
        ...request.extensions,
        await SubjectKeyIdentifierExtension.create(publicKey, false, webcrypto),
        await AuthorityKeyIdentifierExtension.create(issuerPublic, false, webcrypto),
      ],
    },
    webcrypto,
  );
  const parsed = parseCertificate(new Uint8Array(made.rawData));
  // Asked for more than a verifier takes: too many prefixes, an address twice.
  if (!parsed.ok)
    throw new VxsealError('request', `peers would refuse this ${parsed.detail}`, 'ask for less');
  return parsed.value;
}

/** Random, positive, 126 bits (RFC 5280 §4.1.2.2 asks for uniqueness, CA practice for 64 bits of chance). */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** RFC 3779 §2.2.1: critical. A node without prefixes carries none, and owns none. */
function blocksExtension(blocks: AddressBlocks): Extension[] {
  return blocks.size === 0 ? [] : [new Extension(ADDRESS_BLOCKS_OID, true, encodeBlocks(blocks))];
}

const vniNames = (vnis: readonly Vni[]) =>
  [...new Set(vnis)].map((vni) => ({ type: 'dns' as const, value: vniName(vni) }));

/** RFC 3779 §2.3 wants the extension all the way up: a root has everything, a CA below takes its parent's. */
function caBlocks(prefixes: readonly Prefix[], parent: Certificate | undefined): AddressBlocks {
  if (prefixes.length > 0) return blocksOf(prefixes);
  if (parent === undefined) return blocksOf(['0.0.0.0/0', '::/0'] as Prefix[]);
  return new Map([...(parent.blocks?.keys() ?? [])].map((family) => [family, 'inherit']));
}

function pathLengthBelow(parent: Authority): number {
  const allowed = parent.path[0]?.pathLength ?? MAX_INTERMEDIATES;
  if (allowed > 0) return allowed - 1;
  throw new VxsealError(
    'request',
    `the parent CA may sign nodes only: at most ${MAX_INTERMEDIATES} intermediates below a root`,
    'sign this CA with one nearer to the root',
  );
}

function checkDays(days: number): void {
  if (Number.isInteger(days) && days >= 1 && days <= MAX_DAYS) return;
  throw new VxsealError('request', `${days} days`, `give whole days, 1 to ${MAX_DAYS}`);
}

const wholeSeconds = (timeMs: number): Date => new Date(Math.floor(timeMs / 1000) * 1000);

/** The issuer's subject, byte for byte: chains compare names as DER. */
const issuerName = (issuer: Certificate): Name => new Name(Buffer.from(issuer.subject));

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

function importPublic(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', key.export({ type: 'spki', format: 'der' }), P256, true, [
    'verify',
  ]);
}

function importPrivate(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), P256, false, [
    'sign',
  ]);
}
