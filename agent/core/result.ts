// Outcome of handling hostile or remote input: a value or one of a closed set of reasons, never a throw.

export type Result<T, R extends string> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: R; readonly detail: string };

export const accept = <T>(value: T): { readonly ok: true; readonly value: T } => ({ ok: true, value });

/** @param detail for the log: names the object and what was wrong with it; never a secret. */
export const refuse = <R extends string>(
  reason: R,
  detail: string,
): { readonly ok: false; readonly reason: R; readonly detail: string } => ({ ok: false, reason, detail });
