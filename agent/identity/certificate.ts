// One X.509 certificate in the profile of docs/keys.md §2, from DER. Owns the parser of hostile certificates: strict
// DER, P-256 with SHA-256 only, no critical extension we do not know. Trust between certificates is chain.ts.
// A general X.509 library is not used here: they accept BER, and two parsers may read one certificate differently.
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { formatAddress } from '../core/bytes';
import type { IpAddress, Vni } from '../core/ids';
import { accept, type Result, refuse } from '../core/result';
import { ADDRESS_BLOCKS_OID, type AddressBlocks, decodeBlocks } from './blocks';
import {
  DerError,
  DerReader,
  readBits,
  readOid,
  readSingle,
  readTime,
  readTrue,
  readUnsigned,
  TAG,
} from './der';
import { readVnis } from './vnis';

export interface Certificate {
  readonly der: Uint8Array;
  /** Names as their DER: they are only compared. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** Lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly publicKey: KeyObject;
  /** basicConstraints cA. */
  readonly ca: boolean;
  /** Most intermediates allowed below; undefined: no limit. */
  readonly pathLength: number | undefined;
  readonly signsData: boolean;
  readonly signsCertificates: boolean;
  /** URI and IP subject alternative names, and VNIs among the DNS names; others give no authority. */
  readonly uris: readonly string[];
  readonly addresses: readonly IpAddress[];
  readonly blocks: AddressBlocks | undefined;
  /** Rising; undefined: the certificate says nothing of VNIs. */
  readonly vnis: readonly Vni[] | undefined;
  /** Lower-case hex SHA-256 of the DER. */
  readonly fingerprint: string;
  /** The signature on this certificate was made with `issuerKey`. */
  signedBy(issuerKey: KeyObject): boolean;
}

export type CertificateReason = 'malformed';

/** A chain record is capped well below; a certificate of ours has about 700 bytes. */
const MAX_CERTIFICATE_BYTES = 8192;
const MAX_NAMES = 320;

/** ecdsa-with-SHA256, no parameters (RFC 5758 §3.2). */
const ECDSA_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
/** SubjectPublicKeyInfo of an uncompressed P-256 point up to the point (RFC 5480 §2). */
const P256_SPKI_HEAD = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex');

export function parseCertificate(der: Uint8Array): Result<Certificate, CertificateReason> {
  if (der.length > MAX_CERTIFICATE_BYTES) return refuse('malformed', `certificate of ${der.length} bytes`);
  try {
    return accept(readCertificate(der));
  } catch (error) {
    if (error instanceof DerError) return refuse('malformed', `certificate: ${error.message}`);
    throw error;
  }
}

/** RFC 5280 §4.1. */
function readCertificate(der: Uint8Array): Certificate {
  const outer = new DerReader(readSingle(der, TAG.sequence).body);
  const tbs = outer.next(TAG.sequence);
  requireAlgorithm(outer.next(TAG.sequence).raw);
  const { bytes: signature, unused } = readBits(outer.next(TAG.bitString).body);
  outer.end();
  if (unused !== 0) throw new DerError('signature that is not whole bytes');

  const fields = new DerReader(tbs.body);
  const version = readSingle(fields.next(0xa0).body, TAG.integer).body;
  if (version.length !== 1 || version[0] !== 2) throw new DerError('not version 3');
  const serial = readUnsigned(fields.next(TAG.integer).body);
  if (serial.length > 20) throw new DerError('serial number of more than 20 bytes');
  requireAlgorithm(fields.next(TAG.sequence).raw);
  const issuer = fields.next(TAG.sequence).raw;
  const validity = fields.into(TAG.sequence);
  const notBeforeMs = readTime(validity.next());
  const notAfterMs = readTime(validity.next());
  validity.end();
  const subject = fields.next(TAG.sequence).raw;
  const publicKey = readPublicKey(fields.next(TAG.sequence).raw);
  const extensions = readExtensions(fields.next(0xa3).body);
  fields.end();

  return {
    der,
    issuer,
    subject,
    serial: Buffer.from(serial).toString('hex'),
    notBeforeMs,
    notAfterMs,
    publicKey,
    ...extensions,
    fingerprint: createHash('sha256').update(der).digest('hex'),
    signedBy: (issuerKey) => verify('sha256', tbs.raw, issuerKey, signature),
  };
}

function requireAlgorithm(raw: Uint8Array): void {
  if (!ECDSA_SHA256.equals(raw)) throw new DerError('signature algorithm is not ecdsa-with-SHA256');
}

function readPublicKey(spki: Uint8Array): KeyObject {
  if (
    spki.length !== P256_SPKI_HEAD.length + 64 ||
    !P256_SPKI_HEAD.equals(spki.subarray(0, P256_SPKI_HEAD.length))
  ) {
    throw new DerError('public key is not P-256, uncompressed');
  }
  try {
    // As a JWK: OpenSSL's decoder of DER takes ten times as long, and every record brings a key.
    const point = Buffer.from(spki.subarray(P256_SPKI_HEAD.length));
    const x = point.subarray(0, 32).toString('base64url');
    const y = point.subarray(32).toString('base64url');
    return createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  } catch {
    throw new DerError('public key is not a point of P-256');
  }
}

type Extensions = Pick<
  Certificate,
  'ca' | 'pathLength' | 'signsData' | 'signsCertificates' | 'uris' | 'addresses' | 'blocks' | 'vnis'
>;

function readExtensions(body: Uint8Array): Extensions {
  const found: { -readonly [K in keyof Extensions]: Extensions[K] } = {
    ca: false,
    pathLength: undefined,
    signsData: false,
    signsCertificates: false,
    uris: [],
    addresses: [],
    blocks: undefined,
    vnis: undefined,
  };
  const seen = new Set<string>();
  const list = new DerReader(readSingle(body, TAG.sequence).body);
  while (!list.done) {
    const entry = list.into(TAG.sequence);
    const oid = readOid(entry.next(TAG.oid).body);
    const critical = entry.optional(TAG.boolean);
    const isCritical = critical !== undefined && readTrue(critical.body);
    const value = entry.next(TAG.octetString).body;
    entry.end();
    if (seen.has(oid)) throw new DerError(`extension ${oid} twice`); // RFC 5280 §4.2
    seen.add(oid);
    const read = EXTENSIONS.get(oid);
    if (read !== undefined) Object.assign(found, read(value));
    else if (isCritical) throw new DerError(`critical extension ${oid} is not known`);
    if (oid === ADDRESS_BLOCKS_OID && !isCritical) throw new DerError('address blocks not critical'); // RFC 3779 §2.2
  }
  return found;
}

type ReadExtension = (value: Uint8Array) => Partial<Extensions>;

const EXTENSIONS: ReadonlyMap<string, ReadExtension> = new Map<string, ReadExtension>([
  ['2.5.29.19', readBasicConstraints],
  ['2.5.29.15', readKeyUsage],
  ['2.5.29.17', readAlternativeNames],
  [ADDRESS_BLOCKS_OID, (value) => ({ blocks: decodeBlocks(value) })],
]);

/** RFC 5280 §4.2.1.9. */
function readBasicConstraints(value: Uint8Array): Partial<Extensions> {
  const fields = new DerReader(readSingle(value, TAG.sequence).body);
  const flag = fields.optional(TAG.boolean);
  const ca = flag !== undefined && readTrue(flag.body);
  const limit = fields.optional(TAG.integer);
  fields.end();
  if (limit === undefined) return { ca };
  const bytes = readUnsigned(limit.body);
  if (!ca || bytes.length !== 1) throw new DerError('path length without CA, or too large');
  return { ca, pathLength: bytes[0] };
}

/** RFC 5280 §4.2.1.3: bit 0 digitalSignature, bit 5 keyCertSign. */
function readKeyUsage(value: Uint8Array): Partial<Extensions> {
  const { bytes } = readBits(readSingle(value, TAG.bitString).body);
  const bits = bytes[0] ?? 0;
  return { signsData: (bits & 0x80) !== 0, signsCertificates: (bits & 0x04) !== 0 };
}

/** RFC 5280 §4.2.1.6: [2] DNS name, [6] URI, [7] IP address. */
function readAlternativeNames(value: Uint8Array): Partial<Extensions> {
  const names = new DerReader(readSingle(value, TAG.sequence).body);
  const uris: string[] = [];
  const addresses: IpAddress[] = [];
  const hosts: string[] = [];
  for (let count = 0; !names.done; count++) {
    if (count === MAX_NAMES) throw new DerError('too many names');
    const { tag, body } = names.next();
    if (tag === 0x82) hosts.push(Buffer.from(body).toString('latin1'));
    if (tag === 0x86) uris.push(readUri(body));
    if (tag === 0x87) addresses.push(readAddress(body));
  }
  if (new Set(addresses).size !== addresses.length) throw new DerError('address named twice');
  return { uris, addresses, vnis: readVnis(hosts) };
}

function readUri(body: Uint8Array): string {
  if (!body.every((byte) => byte > 0x20 && byte < 0x7f))
    throw new DerError('URI with other than visible ASCII');
  return Buffer.from(body).toString('latin1');
}

function readAddress(body: Uint8Array): IpAddress {
  const bytes = new Uint8Array(16);
  if (body.length === 4) bytes.set([0xff, 0xff, ...body], 10);
  else if (body.length === 16) bytes.set(body);
  else throw new DerError('IP address of neither 4 nor 16 bytes');
  const address = formatAddress(bytes);
  // An IPv4-mapped address would be a second way to name an IPv4 one.
  if (body.length === 16 && !address.includes(':')) throw new DerError('IPv4-mapped address');
  return address;
}
