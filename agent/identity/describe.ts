// What a certificate says, for people and scripts. Shows what stands in it; whether to believe it is chain.ts.
import { type AddressBlocks, prefixesOf } from './blocks';
import type { Certificate } from './certificate';

export interface CertificateDescription {
  /** "spiffe://…/node/…" of a node, "spiffe://…/policy/…" of a policy author, "spiffe://…" of a CA, '' if it names none or several. */
  readonly spiffeId: string;
  readonly ca: boolean;
  /** Intermediates allowed below a CA; null: no limit, or not a CA. */
  readonly pathLength: number | null;
  readonly vteps: readonly string[];
  /** null: the certificate says nothing of addresses; "inherit": those of the issuer. */
  readonly prefixes: readonly string[] | null;
  /** null: the certificate says nothing of VNIs. */
  readonly vnis: readonly number[] | null;
  /** ISO 8601, UTC. */
  readonly notBefore: string;
  readonly notAfter: string;
  /** From here on it should be renewed: two thirds of its life. */
  readonly renewAfter: string;
  readonly serial: string;
  readonly fingerprint: string;
}

export function describeCertificate(certificate: Certificate): CertificateDescription {
  const { uris, ca, pathLength, addresses, blocks, vnis, notBeforeMs, notAfterMs, serial, fingerprint } =
    certificate;
  return {
    spiffeId: uris.length === 1 ? (uris[0] ?? '') : '',
    ca,
    pathLength: pathLength ?? null,
    vteps: addresses,
    prefixes: blocks === undefined ? null : describeBlocks(blocks),
    vnis: vnis ?? null,
    notBefore: isoTime(notBeforeMs),
    notAfter: isoTime(notAfterMs),
    renewAfter: isoTime(renewAfterMs(certificate)),
    serial,
    fingerprint,
  };
}

/** Two thirds of the life: renewal may fail for a third of it before anything breaks. */
export function renewAfterMs({ notBeforeMs, notAfterMs }: Certificate): number {
  return notBeforeMs + Math.floor(((notAfterMs - notBeforeMs) * 2) / 3);
}

/** Indented lines, without the end of the last one. */
export function describeText(description: CertificateDescription): string {
  const { spiffeId, ca, vteps, prefixes, vnis, notBefore, notAfter, serial } = description;
  const lines = [
    `${ca ? 'CA  ' : isAuthor(spiffeId) ? 'policy author' : 'node'} ${spiffeId === '' ? '(no SPIFFE id)' : spiffeId}`,
    `  vteps     ${vteps.join(' ') || '-'}`,
    `  prefixes  ${prefixes?.join(' ') ?? (ca ? 'any' : '-')}`,
    `  vnis      ${vnis?.join(' ') ?? (ca ? 'any' : "the hosts'")}`,
    `  valid     ${notBefore} to ${notAfter}`,
    `  serial    ${serial}`,
  ];
  const without = ca ? /^ {2}vteps/ : isAuthor(spiffeId) ? /^ {2}(vteps|prefixes)/ : undefined;
  return lines.filter((line) => without?.test(line) !== true).join('\n');
}

const isAuthor = (spiffeId: string): boolean => spiffeId.includes('/policy/');

function describeBlocks(blocks: AddressBlocks): string[] {
  return [...blocks].flatMap(([family, ranges]) =>
    ranges === 'inherit' ? [`inherit (IPv${family})`] : prefixesOf(new Map([[family, ranges]])),
  );
}

const isoTime = (timeMs: number): string => new Date(timeMs).toISOString().replace('.000Z', 'Z');
