// Certificates of any kind, right or wrong, from plain DER: what the CA of the product would never issue.
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { addressBytes } from '../../../agent/core/bytes';
import type { IpAddress, Prefix } from '../../../agent/core/ids';
import { type AddressBlocks, blocksOf, encodeBlocks } from '../../../agent/identity/blocks';
import { type Certificate, parseCertificate } from '../../../agent/identity/certificate';
import { encode, TAG } from '../../../agent/identity/der';

export const NOW_MS = Date.UTC(2026, 5, 1);
export const DAY_MS = 86_400_000;
export const TRUST_DOMAIN = 'lab.vxseal';

const hex = (text: string): Uint8Array => Buffer.from(text, 'hex');
export const ECDSA_SHA256 = hex('300a06082a8648ce3d040302');
const OIDS = {
  basicConstraints: '0603551d13',
  keyUsage: '0603551d0f',
  alternativeNames: '0603551d11',
  blocks: '06082b06010505070107',
};

export interface Pair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

export const newPair = (namedCurve = 'P-256'): Pair => generateKeyPairSync('ec', { namedCurve });

export interface Plan {
  readonly subject: string;
  readonly pair: Pair;
  readonly issuer: { readonly name: string; readonly key: KeyObject };
  readonly notBeforeMs?: number;
  readonly notAfterMs?: number;
  readonly extensions: readonly Uint8Array[];
  readonly version?: Uint8Array;
  readonly serial?: Uint8Array;
  readonly algorithm?: Uint8Array;
  readonly innerAlgorithm?: Uint8Array;
  readonly spki?: Uint8Array;
}

/** DER of an X.509 certificate as planned, signed with the issuer's key. */
export function forge(plan: Plan): Uint8Array {
  const algorithm = plan.algorithm ?? ECDSA_SHA256;
  const tbs = encode(
    TAG.sequence,
    plan.version ?? encode(0xa0, encode(TAG.integer, Uint8Array.of(2))),
    encode(TAG.integer, plan.serial ?? Uint8Array.of(0x41, 0x42)),
    plan.innerAlgorithm ?? algorithm,
    distinguishedName(plan.issuer.name),
    encode(TAG.sequence, time(plan.notBeforeMs ?? NOW_MS - DAY_MS), time(plan.notAfterMs ?? NOW_MS + DAY_MS)),
    distinguishedName(plan.subject),
    plan.spki ?? plan.pair.publicKey.export({ type: 'spki', format: 'der' }),
    ...(plan.extensions.length === 0 ? [] : [encode(0xa3, encode(TAG.sequence, ...plan.extensions))]),
  );
  const signature = sign('sha256', tbs, plan.issuer.key);
  return encode(TAG.sequence, tbs, algorithm, encode(TAG.bitString, Uint8Array.of(0), signature));
}

function distinguishedName(name: string): Uint8Array {
  const attribute = encode(TAG.sequence, hex('0603550403'), encode(0x0c, Buffer.from(name)));
  return encode(TAG.sequence, encode(0x31, attribute));
}

export function time(timeMs: number): Uint8Array {
  const digits = new Date(timeMs).toISOString().replace(/[-:T]/g, '').slice(0, 14);
  const general = Number(digits.slice(0, 4)) >= 2050;
  return encode(
    general ? TAG.generalizedTime : TAG.utcTime,
    Buffer.from(`${general ? digits : digits.slice(2)}Z`),
  );
}

export function extension(oid: Uint8Array, critical: boolean, value: Uint8Array): Uint8Array {
  const flag = critical ? [encode(TAG.boolean, Uint8Array.of(0xff))] : [];
  return encode(TAG.sequence, oid, ...flag, encode(TAG.octetString, value));
}

export function caConstraints(pathLength: number | undefined): Uint8Array {
  const limit = pathLength === undefined ? [] : [encode(TAG.integer, Uint8Array.of(pathLength))];
  const value = encode(TAG.sequence, encode(TAG.boolean, Uint8Array.of(0xff)), ...limit);
  return extension(hex(OIDS.basicConstraints), true, value);
}

export const notCa = (): Uint8Array => extension(hex(OIDS.basicConstraints), true, encode(TAG.sequence));

/** Unused bits, then the byte of flags: 0x80 signs data, 0x04 signs certificates. */
export const usage = (flags: number): Uint8Array => {
  const unused = flags === 0 ? 0 : 31 - Math.clz32(flags & -flags);
  return extension(hex(OIDS.keyUsage), true, encode(TAG.bitString, Uint8Array.of(unused, flags)));
};

export const uri = (text: string): Uint8Array => encode(0x86, Buffer.from(text));
export const dns = (text: string): Uint8Array => encode(0x82, Buffer.from(text));
export const ip = (text: string): Uint8Array => {
  const bytes = addressBytes(text as IpAddress);
  return encode(0x87, text.includes(':') ? bytes : bytes.subarray(12));
};

export const names = (...all: readonly Uint8Array[]): Uint8Array =>
  extension(hex(OIDS.alternativeNames), false, encode(TAG.sequence, ...all));

export const rawBlocks = (value: Uint8Array, critical = true): Uint8Array =>
  extension(hex(OIDS.blocks), critical, value);
export const blocks = (...prefixes: readonly string[]): Uint8Array =>
  rawBlocks(encodeBlocks(blocksOf(prefixes as readonly Prefix[])));
export const inherited = (...families: readonly (4 | 6)[]): Uint8Array => {
  const all: AddressBlocks = new Map(families.map((family) => [family, 'inherit']));
  return rawBlocks(encodeBlocks(all));
};

export function parsed(der: Uint8Array): Certificate {
  const result = parseCertificate(der);
  if (!result.ok) throw new Error(result.detail);
  return result.value;
}

export interface Member {
  readonly name: string;
  readonly pair: Pair;
  readonly der: Uint8Array;
}

type Changes = Partial<Omit<Plan, 'pair' | 'issuer'>> & { readonly pair?: Pair };

/** A CA as it should be, but for the changes. `issuer` undefined: self-signed. */
export function makeCa(name: string, issuer: Member | undefined, changes: Changes = {}): Member {
  const pair = changes.pair ?? newPair();
  const signer =
    issuer === undefined
      ? { name, key: pair.privateKey }
      : { name: issuer.name, key: issuer.pair.privateKey };
  const extensions = [caConstraints(undefined), usage(0x04)];
  return { name, pair, der: forge({ subject: name, extensions, ...changes, pair, issuer: signer }) };
}

export const leafExtensions = (node = 'node1', hosts: readonly string[] = []): Uint8Array[] => [
  notCa(),
  usage(0x80),
  names(uri(`spiffe://${TRUST_DOMAIN}/node/${node}`), ip('192.0.2.1'), ip('fd00:c0de::1'), ...hosts.map(dns)),
  blocks('10.1.0.0/24', 'fd00:1::/64'),
];

/** A node's certificate as it should be, but for the changes. */
export function makeLeaf(issuer: Member, changes: Changes = {}): Member {
  const pair = changes.pair ?? newPair();
  const signer = { name: issuer.name, key: issuer.pair.privateKey };
  const plan = { subject: 'node1', extensions: leafExtensions(), ...changes, pair, issuer: signer };
  return { name: plan.subject, pair, der: forge(plan) };
}
