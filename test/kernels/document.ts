// docs/kernel-support.md from what runs found: every cell is a finding, and nothing in it is edited by hand.
import type { Attempt, LoadedProgram, Loads } from './loads';
import {
  held,
  INSNS_BUDGET,
  isMode,
  type KernelResult,
  loadsCell,
  renderTable,
  suiteCell,
  totals,
} from './report';

/** `handover` has programs under the names of another object's, in whose place it is loaded. */
const nameOf = ({ object, program }: LoadedProgram): string =>
  program.startsWith(object) ? program : `${object}: ${program}`;

/** Instructions by program and kernel. */
export function insnsTable(results: readonly KernelResult[]): string {
  const loads = results.flatMap((result) => result.loads ?? []);
  const names = [...new Set(loads.flatMap(({ programs }) => programs.map(nameOf)))];
  const cell = (load: Loads, name: string): string => {
    const found = load.programs.find((program) => nameOf(program) === name);
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

const isArm64 = ({ release }: KernelResult): boolean => release.endsWith('arm64');

type Ran = KernelResult & { readonly loads: Loads };

/** Feature by kernel: which way is taken there. */
function featureTable(ran: readonly Ran[]): string {
  const column = (cell: (result: Ran) => string) => ran.map(cell);
  const check = ({ loads }: Ran, name: string): string => {
    const found = loads.checks.find((candidate) => candidate.name === name);
    return found === undefined ? '' : `${found.ok ? '' : 'missing: '}${found.detail}`;
  };
  const names = (ran[0]?.loads.checks ?? []).map(({ name }) => name);
  return markdown([
    ['', ...column(({ release }) => release)],
    ['programs that load', ...column(({ loads }) => loadsCell(loads))],
    ['tc programs are attached by', ...column(({ loads }) => loads.attempts[0]?.tc ?? 'not tried')],
    ...(['veth', 'virtio'] as const).flatMap((device) =>
      (['auto', 'native', 'tc'] as const).map((asked): [string, ...string[]] => [
        `\`open\` on ${device}, \`underlay.xdp: ${asked}\``,
        ...column(({ loads }) => attemptCell(loads, device, asked)),
      ]),
    ),
    ...names
      .filter((name) => !name.startsWith('program ') && name !== 'capabilities')
      .map((name): [string, ...string[]] => [name, ...column((result) => check(result, name))]),
    [
      'tests of the programs, of netlink and of the native module',
      ...column(({ suite }) => suiteCell(suite)),
    ],
    ["the kernel's own IPsec, both ends there", ...column(({ interopInside }) => held(interopInside))],
    [
      'its IPsec, our end on the kernel of the machine that tests',
      ...column(({ interopAcross }) => held(interopAcross)),
    ],
    ["nodes whose [engine](engines.md) is the kernel's own IPsec", ...column(({ engines }) => held(engines))],
    ['lab of two nodes with real agents', ...column(({ lab }) => held(lab))],
  ]);
}

/** Which files of tests a kernel's count is of. */
function testFiles(ran: readonly Ran[]): string[] {
  const files = [...new Set(ran.flatMap(({ suite }) => Object.keys(suite ?? {})))].sort();
  const names = files.map((file) => `\`${file.replace('test/', '').replace('.test.ts', '')}\``);
  return names.length === 0 ? [] : [`Files of tests run there: ${names.join(', ')}.`, ''];
}

function arm64Section(results: readonly KernelResult[]): string[] {
  return results
    .filter(isArm64)
    .flatMap(({ release, loads, suite }) => [
      '## arm64',
      '',
      `On ${release} (qemu, cortex-a72) a static loader found: programs that load: ${loadsCell(loads)}; cases of the`,
      `cipher (RFC 8439's, node:crypto's, bent tags) through that processor's JIT: ${suiteCell(suite)}. The objects`,
      'are those of x86-64, byte for byte. Attaching, the native module and the agent have not been tried on arm64.',
      '',
    ]);
}

/** What each proof on the lab counted there. */
function labSection(ran: readonly Ran[]): string[] {
  const lines = ran.flatMap(({ release, lab = [] }) =>
    lab.map(({ name, ok, detail }) => `- ${release}: ${name}: ${ok ? detail : 'does not hold'}`),
  );
  return lines.length === 0 ? [] : ['## The lab there', '', ...lines, ''];
}

/** docs/kernel-support.md */
export function supportDocument(results: readonly KernelResult[]): string {
  const all = results.flatMap((result): Ran[] =>
    result.loads === undefined ? [] : [{ ...result, loads: result.loads }],
  );
  const ran = all.filter((result) => !isArm64(result));
  const skipped = [...new Set(ran.flatMap(({ suite }) => totals(suite).skipped))];
  return [
    '# Kernel support',
    '',
    "Written by `sudo ./scripts/test-kernels` and then `./scripts/test-kernels --docs`: found by trying on Debian's",
    'kernels under qemu, not edited by hand. The oldest kernel that works is 6.1 (`bpf_loop` and XDP access beyond the',
    'first buffer; 5.10 has neither). From 6.6 on programs are attached by tcx links; before, by filters of clsact. The',
    'agent finds out by itself; `vxseal doctor` shows it.',
    '',
    featureTable(ran),
    '',
    ...testFiles(ran),
    'The interoperability cases are IPv4 and IPv6 outside, UDP and raw ESP, each with both families inside, pings up to',
    'the MTU and TCP both ways, extended sequence numbers, and new keys under a stream of packets; the Xfrm counters',
    'must stand still, and count replayed, bent and unknown packets each as what they are. Raw ESP (protocol 50) is read',
    'and written by the programs; the agent has no setting for it and always sends UDP.',
    '',
    ...labSection(ran),
    ...arm64Section(all),
    '## What the verifier walks',
    '',
    `Instructions for each program; its limit is 1,000,000, a test holds them under ${INSNS_BUDGET.toLocaleString('en')}.`,
    '',
    '```',
    insnsTable(all),
    '```',
    ...(skipped.length === 0
      ? []
      : ['', '## Skipped where a kernel cannot', '', ...skipped.map((name) => `- ${name}`)]),
    '',
  ].join('\n');
}
