// What a run on several kernels came to: the table at its end, and docs/kernel-support.md.
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
  readonly lab: readonly Proof[] | undefined;
  /** What kept a step from its end. */
  readonly errors: readonly string[];
}

/** Everything that did not hold, one line each. */
export function failuresOf(result: KernelResult): string[] {
  const { loads, suite, errors } = result;
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
  const proofs = [...(result.interopInside ?? []), ...(result.interopAcross ?? []), ...(result.lab ?? [])];
  const unproved = proofs.flatMap(({ name, ok, detail }) => (ok ? [] : [`${name}: ${detail}`]));
  return [...errors, ...refused, ...notAttached, ...(suite?.failed ?? []), ...unproved];
}

const MODES = ['tcx', 'clsact', 'xdp-native', 'xdp-generic', 'tc-open'];
const isMode = (text: string): boolean => MODES.includes(text);

/** Asked for by name, native XDP is refused where a driver has not the queues for it; "auto" then takes another way. */
const isKnownRefusal = (device: Attempt['device'], asked: Attempt['asked']): boolean =>
  device === 'virtio' && asked === 'native';

const held = (proofs: readonly Proof[] | undefined): string =>
  proofs === undefined ? 'not run' : `${proofs.filter(({ ok }) => ok).length} of ${proofs.length}`;

function loadsCell(loads: Loads | undefined): string {
  if (loads === undefined) return 'not run';
  const accepted = loads.programs.filter(({ error }) => error === '');
  const most = Math.max(0, ...accepted.map(({ insns }) => insns));
  return `${accepted.length} of ${loads.programs.length}, most ${most} insns`;
}

function suiteCell(suite: Suite | undefined): string {
  if (suite === undefined) return 'not run';
  const { passed, failed, skipped } = suite;
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
  const head = ['KERNEL', 'LOADS', 'SUITE', 'INTEROP INSIDE', 'INTEROP ACROSS', 'LAB', 'VERDICT'];
  const rows = results.map((result) => [
    result.release,
    loadsCell(result.loads),
    suiteCell(result.suite),
    held(result.interopInside),
    held(result.interopAcross),
    held(result.lab),
    failuresOf(result).length === 0 ? 'ok' : 'FAIL',
  ]);
  return renderTable([head, ...rows]);
}

/** Instructions by program and kernel. */
export function insnsTable(results: readonly KernelResult[]): string {
  const loads = results.flatMap((result) => result.loads ?? []);
  const names = [...new Set(loads.flatMap(({ programs }) => programs.map(({ program }) => program)))];
  const cell = (load: Loads, name: string): string => {
    const found = load.programs.find(({ program }) => program === name);
    return found === undefined || found.error !== '' ? 'refused' : String(found.insns);
  };
  return renderTable([
    ['VERIFIER', ...loads.map(({ release }) => release)],
    ...names.map((name) => [name, ...loads.map((load) => cell(load, name))]),
  ]);
}

const markdown = (rows: readonly (readonly string[])[]): string =>
  rows
    .flatMap((row, index) => {
      const line = `| ${row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
      return index === 0 ? [line, `|${row.map(() => '---').join('|')}|`] : [line];
    })
    .join('\n');

/** A refusal in a few words: "refused: EOPNOTSUPP". */
const brief = (text: string): string =>
  isMode(text) ? text : `refused (${/E[A-Z]{4,}/.exec(text)?.[0] ?? 'error'})`;

const attemptCell = (loads: Loads, device: Attempt['device'], asked: Attempt['asked']): string => {
  const found = loads.attempts.find((attempt) => attempt.device === device && attempt.asked === asked);
  return found === undefined ? 'not tried' : brief(found.open);
};

/** docs/kernel-support.md; every cell is what a run found. */
export function supportDocument(results: readonly KernelResult[]): string {
  const ran = results.flatMap((result) =>
    result.loads === undefined ? [] : [{ ...result, loads: result.loads }],
  );
  const column = (cell: (result: (typeof ran)[number]) => string) => ran.map(cell);
  const rows: [string, ...string[]][] = [
    ['', ...column(({ release }) => release)],
    ['programs that load', ...column(({ loads }) => loadsCell(loads))],
    ['tc programs are attached by', ...column(({ loads }) => loads.attempts[0]?.tc ?? 'not tried')],
    ...(['veth', 'virtio'] as const).flatMap((device) =>
      (['auto', 'native', 'generic', 'tc'] as const).map((asked): [string, ...string[]] => [
        `\`open\` on ${device}, \`underlay.xdp: ${asked}\``,
        ...column(({ loads }) => attemptCell(loads, device, asked)),
      ]),
    ),
    ...(ran[0]?.loads.checks ?? [])
      .filter(({ name }) => !name.startsWith('program ') && name !== 'capabilities')
      .map(({ name }): [string, ...string[]] => [
        name,
        ...column(({ loads }) => {
          const check = loads.checks.find((candidate) => candidate.name === name);
          return check === undefined ? '' : `${check.ok ? '' : 'missing: '}${check.detail}`;
        }),
      ]),
    ['tests of the programs and of the kernel room', ...column(({ suite }) => suiteCell(suite))],
    ["the kernel's own IPsec, both ends there", ...column(({ interopInside }) => held(interopInside))],
    ["its IPsec, our end on the host's kernel", ...column(({ interopAcross }) => held(interopAcross))],
    ['lab of two nodes', ...column(({ lab }) => held(lab))],
  ];
  const skipped = [...new Set(ran.flatMap(({ suite }) => suite?.skipped ?? []))];
  return [
    '# Kernel support',
    '',
    'Made by `sudo ./scripts/test-kernels --write`, by trying; not edited by hand. The oldest kernel that works is 6.1',
    '(`bpf_loop` and XDP access beyond the first buffer; 5.10 has neither). From 6.6 on programs are attached by tcx',
    'links; before, by filters of clsact. The agent finds out by itself; `vxseal doctor` shows it.',
    '',
    markdown(rows),
    '',
    '## What the verifier walks',
    '',
    `Instructions for each program; its limit is 1,000,000, ours is ${INSNS_BUDGET.toLocaleString('en')}.`,
    '',
    '```',
    insnsTable(results),
    '```',
    ...(skipped.length === 0
      ? []
      : ['', '## Skipped where a kernel cannot', '', ...skipped.map((name) => `- ${name}`)]),
    '',
  ].join('\n');
}
