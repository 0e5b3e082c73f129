// Doubtful reading of the fields of a record's JSON: each reader gives a value of its type or throws PayloadError, which
// payload.ts turns into a refusal. Knows no record.
import { parseAddress } from './bytes';
import type { IpAddress, NodeName, Vni } from './ids';
import { parseNodeName } from './names';

export type PayloadReason = 'malformed' | 'unknown-version' | 'no-key';

/** Carries a refusal up to decodePayload, which is the only one to see it. */
export class PayloadError extends Error {
  constructor(
    readonly reason: PayloadReason,
    message: string,
  ) {
    super(message);
  }
}

export type Fields = Readonly<Record<string, unknown>>;

export const malformed = (field: string, expected: string): PayloadError =>
  new PayloadError('malformed', `${field}: ${expected} expected`);

export function asNode(value: unknown): NodeName {
  const name = typeof value === 'string' ? parseNodeName(value) : undefined;
  if (name?.ok !== true) throw malformed('node', 'node name');
  return name.value;
}

export function asObject(value: unknown, field: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(field, 'object');
  return value as Fields;
}

export function asList(value: unknown, field: string, most: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > most) throw malformed(field, `list of at most ${most}`);
  return value;
}

export function asText(value: unknown, field: string, grammar: RegExp): string {
  if (typeof value !== 'string' || !grammar.test(value))
    throw malformed(field, `text like ${grammar.source}`);
  return value;
}

export function asInteger(
  value: unknown,
  field: string,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
    throw malformed(field, `integer from ${least} to ${most}`);
  }
  return value;
}

export function asVni(value: unknown, field: string): Vni {
  return asInteger(value, field, 1, 0xffffff) as Vni;
}

export function asAddress(value: unknown, field: string): IpAddress {
  const address = typeof value === 'string' ? parseAddress(value) : undefined;
  if (address?.ok !== true) throw malformed(field, 'address');
  return address.value;
}
