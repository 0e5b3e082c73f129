// What a run on several kernels came to: what did not hold, and the table at its end.
import type { Proof } from '../lab/context';
import type { Attempt, Loads } from './loads';
import type { Suite } from './suite';

/** Instructions that the verifier may walk for one program: its limit is a million, and starts should be quick. */
export const INSNS_BUDGET = 100_000;

/** Undefined: the step was not asked for. */
export interface KernelResult {
  readonly release: string;
  readonly loads: Loads | undefined;
  readonly suite: Suite | undefined;
  /** Both ends on that kernel. */
  readonly interopInside: readonly Proof[] | undefined;
  /** Our end on this machine's kernel, the other on that one. */
  readonly interopAcross: readonly Proof[] | undefined;
  /** Nodes whose engine is that kernel's IPsec. */
  readonly engines: readonly Proof[] | undefined;
  readonly lab: readonly Proof[] | undefined;
  /** What kept a step from its end. */
  readonly errors: readonly string[];
}

/** Everything that did not hold, one line each. */
export function failuresOf(result: KernelResult): string[] {
  const { loads, suite, errors } = result;
  const total = totals(suite);
  const refused = (loads?.programs ?? []).flatMap(({ object, program, insns, error }) => {
    if (error !== '') return [`${object} was refused: ${error}`];
    return insns > INSNS_BUDGET
      ? [`${program} takes the verifier ${insns} instructions, over ${INSNS_BUDGET}`]
      : [];
  });
  const notAttached = (loads?.attempts ?? []).flatMap(({ device, asked, open, tc }) =>
    (isMode(open) && tc !== '' && tc.split(' and ').every(isMode)) || isKnownRefusal(device, asked)
      ? []
      : [`at ${device}, XDP ${asked}: open ${open}, others ${tc}`],
  );
  // A step that tried nothing proves nothing.
  const empty = [
    ...(loads?.programs.length === 0 ? ['no program was tried'] : []),
    ...(suite !== undefined && total.passed === 0 && total.failed.length === 0 ? ['no test passed'] : []),
    ...[result.interopInside, result.interopAcross, result.engines, result.lab].flatMap((proofs) =>
      proofs?.length === 0 ? ['a step without a proof'] : [],
    ),
  ];
  const proofs = [result.interopInside, result.interopAcross, result.engines, result.lab].flatMap(
    (each) => each ?? [],
  );
  const unproved = proofs.flatMap(({ name, ok, detail }) => (ok ? [] : [`${name}: ${detail}`]));
  return [...errors, ...empty, ...refused, ...notAttached, ...total.failed, ...unproved];
}

const MODES = ['tcx', 'clsact', 'xdp-native', 'tc-open'];
export const isMode = (text: string): boolean => MODES.includes(text);

/** Asked for by name, native XDP is refused where a driver has not the queues for it; "auto" then takes another way. */
const isKnownRefusal = (device: Attempt['device'], asked: Attempt['asked']): boolean =>
  device === 'virtio' && asked === 'native';

export const held = (proofs: readonly Proof[] | undefined): string =>
  proofs === undefined ? 'not run' : `${proofs.filter(({ ok }) => ok).length} of ${proofs.length}`;

export function loadsCell(loads: Loads | undefined): string {
  if (loads === undefined) return 'not run';
  const accepted = loads.programs.filter(({ error }) => error === '');
  const most = Math.max(0, ...accepted.map(({ insns }) => insns));
  return `${accepted.length} of ${loads.programs.length}, most ${most} insns`;
}

/** Over all files; what failed with its file's name. */
export function totals(suite: Suite = {}): {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
} {
  const files = Object.entries(suite);
  return {
    passed: files.reduce((sum, [, { passed }]) => sum + passed, 0),
    failed: files.flatMap(([file, { failed }]) => failed.map((text) => `${file}: ${text}`)),
    skipped: files.flatMap(([, { skipped }]) => skipped),
  };
}

export function suiteCell(suite: Suite | undefined): string {
  if (suite === undefined) return 'not run';
  const { passed, failed, skipped } = totals(suite);
  return `${passed} passed, ${failed.length} failed${skipped.length > 0 ? `, ${skipped.length} skipped` : ''}`;
}

/** Columns padded to the widest cell. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The table with which a run ends. */
export function summary(results: readonly KernelResult[]): string {
  const head = ['KERNEL', 'LOADS', 'SUITE', 'INTEROP INSIDE', 'INTEROP ACROSS', 'ENGINE', 'LAB', 'VERDICT'];
  const rows = results.map((result) => [
    result.release,
    loadsCell(result.loads),
    suiteCell(result.suite),
    held(result.interopInside),
    held(result.interopAcross),
    held(result.engines),
    held(result.lab),
    failuresOf(result).length === 0 ? 'ok' : 'FAIL',
  ]);
  return renderTable([head, ...rows]);
}
