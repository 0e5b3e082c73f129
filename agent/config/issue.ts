// What is wrong with a configuration: named by key and by where it was written, with what would be right. All of
// it is reported at once, so that one round of corrections is enough.
import { VxsealError } from '../errors';

export interface ConfigIssue {
  /** Dotted key, or '' for the file as a whole. */
  readonly field: string;
  /** "flag --nope", "environment VXSEAL_NOPE", "/etc/vxseal/config.yaml:12", "default". */
  readonly source: string;
  readonly reason: string;
  readonly remedy: string;
}

/** Code 'config'. The message has one line an issue. */
export class ConfigError extends VxsealError {
  constructor(readonly issues: readonly ConfigIssue[]) {
    const count = issues.length === 1 ? 'one error' : `${issues.length} errors`;
    super('config', [`configuration: ${count}`, ...issues.map(issueLine)].join('\n'));
    this.name = 'ConfigError';
  }
}

export function issueLine(issue: ConfigIssue): string {
  const where = issue.field === '' ? issue.source : `${issue.field} (${issue.source})`;
  return `  ${where}: ${issue.reason}. ${issue.remedy}`;
}

/** The name most alike, if it is alike enough to be a slip: "Did you mean …?" material. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein. Names are short: keys of a file are cut before. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
