// The oracle's process (test/policy/oracle): questions as JSON lines in, answers out. `scripts/tools policy` builds it.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { IpAddress } from '../../agent/core/ids';
import type { PolicyProtocol } from '../../agent/core/policy';

const PROGRAM = join(__dirname, '../../build/tools/policy-oracle');
const MAX_ANSWER_BYTES = 64 << 20;

/** A Kubernetes manifest. */
export type Manifest = Readonly<Record<string, unknown>>;

export interface End {
  /** "namespace/name"; undefined: nobody's address. */
  readonly pod?: string | undefined;
  readonly ip: IpAddress;
}

export interface Probe {
  readonly from: End;
  readonly to: End;
  readonly protocol: PolicyProtocol | 'ICMP';
  /** 0 where the protocol has none. */
  readonly port: number;
}

export interface Question {
  readonly namespaces: readonly Manifest[];
  readonly pods: readonly Manifest[];
  readonly policies: readonly Manifest[];
  readonly probes: readonly Probe[];
}

export interface Verdict {
  readonly egress: boolean;
  readonly ingress: boolean;
}

/** By question, then by probe: what cyclonus says of each side. */
export const judgedByCyclonus = (questions: readonly Question[]): Verdict[][] =>
  ask<{ verdicts: Verdict[] }>(questions).map(({ verdicts }) => verdicts);

export interface SelectorQuestion {
  readonly selector: Manifest;
  readonly labels: readonly Readonly<Record<string, string>>[];
}

/** By question, then by labels: what the API's own machinery says. */
export const matchedByApi = (questions: readonly SelectorQuestion[]): boolean[][] =>
  ask<{ matches: boolean[] }>(questions).map(({ matches }) => matches);

function ask<Answer>(questions: readonly object[]): Answer[] {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: scripts/tools policy`);
  const input = questions.map((question) => JSON.stringify(question)).join('\n');
  const lines = execFileSync(PROGRAM, { input, encoding: 'utf8', maxBuffer: MAX_ANSWER_BYTES })
    .trimEnd()
    .split('\n');
  if (lines.length !== questions.length) throw new Error(`${lines.length} answers to ${questions.length}`);
  return lines.map((line) => JSON.parse(line) as Answer);
}
