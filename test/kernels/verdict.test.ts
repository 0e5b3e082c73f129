// What decides a run on other kernels: which package a name stands for, and what counts as not held.
import { parse } from './arm64/machine';
import { insnsTable } from './document';
import { chooseReleases, releaseOf } from './packages';
import { failuresOf, INSNS_BUDGET, type KernelResult, totals } from './report';
import { renewed } from './results';
import { type FileOfTests, summarize } from './suite';

const OFFERED = [
  'linux-image-6.1.0-9-amd64',
  'linux-image-6.1.0-56-amd64',
  'linux-image-6.1.0-57-cloud-amd64',
  'linux-image-6.1.0-57-amd64-unsigned',
  'linux-image-6.12.115+deb12-amd64',
  'linux-image-6.12.117+deb12-rt-amd64',
];

test('a series is its newest release of the generic flavour; 6.1 is not 6.12', () => {
  expect(chooseReleases(['6.12', '6.1', 'newest'], OFFERED)).toEqual([
    '6.1.0-56-amd64',
    '6.12.115+deb12-amd64',
  ]);
  expect(releaseOf('linux-image-6.1.0-57-cloud-amd64')).toBeUndefined();
  expect(() => chooseReleases(['6.6'], OFFERED)).toThrow('no kernel 6.6');
});

const tests = (found: Partial<FileOfTests>): FileOfTests => ({
  passed: 0,
  skipped: [],
  failed: [],
  seconds: 1,
  ...found,
});

const held: KernelResult = {
  release: '6.1.0-56-amd64',
  loads: {
    release: '6.1.0-56-amd64',
    programs: [{ object: 'gate', program: 'gate', insns: INSNS_BUDGET, error: '' }],
    attempts: [{ device: 'virtio', asked: 'native', open: 'EOPNOTSUPP', tc: 'clsact' }],
    checks: [],
  },
  suite: { 'a.test.ts': tests({ passed: 1 }) },
  interopInside: [{ name: 'IPv4 UDP', ok: true, detail: '' }],
  interopAcross: undefined,
  engines: undefined,
  lab: undefined,
  errors: [],
};

test('a run holds at the budget, and not above it, nor with anything refused, lost or broken off', () => {
  const loads = (change: Partial<NonNullable<KernelResult['loads']>>): KernelResult =>
    ({ ...held, loads: { ...held.loads, ...change } }) as KernelResult;
  const program = { object: 'gate', program: 'gate', insns: 1, error: '' };
  expect(failuresOf(held)).toEqual([]);
  for (const bad of [
    loads({ programs: [{ ...program, insns: INSNS_BUDGET + 1 }] }),
    loads({ programs: [{ ...program, error: 'EACCES' }] }),
    loads({ attempts: [{ device: 'veth', asked: 'auto', open: 'EOPNOTSUPP', tc: 'clsact' }] }),
    loads({ attempts: [{ device: 'virtio', asked: 'auto', open: 'tc-open', tc: 'ENOENT' }] }),
    { ...held, suite: { 'a.test.ts': tests({ passed: 1 }), 'b.test.ts': tests({ failed: ['x'] }) } },
    { ...held, suite: { 'a.test.ts': tests({}) } },
    { ...held, suite: {} },
    { ...held, interopInside: [{ name: 'IPv4 UDP', ok: false, detail: 'XfrmInError +1' }] },
    { ...held, interopInside: [] },
    { ...held, engines: [{ name: 'xfrm', ok: false, detail: '1 frame in clear' }] },
    { ...held, engines: [] },
    { ...held, errors: ['suite: it hung'] },
  ])
    expect(failuresOf(bad)).toHaveLength(1);
});

test('a file of tests that does not load is a failure', () => {
  const suite = summarize({
    testResults: [
      {
        name: 'a.test.ts',
        status: 'failed',
        message: 'no module',
        startTime: 0,
        endTime: 0,
        assertionResults: [],
      },
    ],
  });
  expect(suite).toEqual({ 'a.test.ts': tests({ failed: ['no module'], seconds: 0 }) });
  expect(totals(suite).failed).toEqual(['a.test.ts: no module']);
});

test('the arm64 machine is believed only to its end', () => {
  const console = [
    'noise',
    'vxseal: {"release":"6.1.0-56-arm64"}\r',
    'vxseal: {"object":"gate.bpf.o","program":"gate","insns":3,"jited":9,"error":""}\r',
  ];
  expect(() => parse(console.join('\n'))).toThrow('did not get to its end');
  const { programs, passed, failed } = parse([...console, 'vxseal: {"passed":7}'].join('\n'));
  expect([programs.map(({ object }) => object), passed, failed]).toEqual([['gate'], 7, []]);
  // In one row with what other kernels found.
  const loads = { release: '6.1.0-56-arm64', programs, attempts: [], checks: [] };
  expect(insnsTable([held, { ...held, loads }])).not.toContain('refused');
});

test('a run of some steps and files of tests renews those, and leaves the others', () => {
  const suite = { 'a.test.ts': tests({ failed: ['x'] }), 'b.test.ts': tests({ passed: 3 }) };
  const earlier = { ...held, suite, errors: ['lab: it hung'] };
  const rerun = { ...held, loads: undefined, suite: { 'a.test.ts': tests({ passed: 2 }) } };
  const { loads, suite: now, interopInside, errors } = renewed(earlier, rerun);
  expect([loads, interopInside, errors]).toEqual([held.loads, held.interopInside, []]);
  expect(now).toEqual({ 'a.test.ts': tests({ passed: 2 }), 'b.test.ts': tests({ passed: 3 }) });
  expect(renewed(undefined, rerun).suite).toEqual(rerun.suite);
  expect(renewed(earlier, { ...held, suite: undefined }).suite).toEqual(suite);
});

test('programs of one name from two objects are two rows', () => {
  const program = { program: 'open_tc', error: '' };
  const programs = [
    { ...program, object: 'open', insns: 22125 },
    { ...program, object: 'handover', insns: 943 },
  ];
  const loads = { release: '6.1', programs, attempts: [], checks: [] };
  const rows = insnsTable([{ ...held, loads }])
    .split('\n')
    .slice(1);
  expect(rows.map((row) => row.split(/\s{2,}/))).toEqual([
    ['open_tc', '22125'],
    ['handover: open_tc', '943'],
  ]);
});
