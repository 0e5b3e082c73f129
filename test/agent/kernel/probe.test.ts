import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probeKernel } from '../../../agent/kernel/probe';
import { PROGRAM_NAMES } from '../../../agent/kernel/programs';
import { errno, FakeKernel, fakeNative } from '../../fakes/native';

let folder: string;
let kernel: FakeKernel;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'vxseal-probe-'));
  for (const name of [...PROGRAM_NAMES, 'handover']) writeFileSync(join(folder, `${name}.bpf.o`), '');
  kernel = new FakeKernel({});
  kernel.devices.add(1);
});

afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function probe(engine?: 'xfrm') {
  const native = fakeNative(kernel, (file) =>
    ['open', 'handover'].includes(file) ? ['open_xdp', 'open_tc'] : [file],
  );
  const { checks } = await probeKernel(native, {
    bpfDir: folder,
    pinDir: join(folder, 'pins'),
    ...(engine === undefined ? {} : { engine }),
  });
  return (name: string) => checks.find((check) => check.name === name);
}

test('every program is tried, and each way of attaching told', async () => {
  const check = await probe();
  for (const name of PROGRAM_NAMES) expect(check(`program ${name}`)).toMatchObject({ ok: true });
  expect(check('tcx')).toMatchObject({ ok: true, remedy: '' });
  expect(check('bpffs')).toMatchObject({ ok: true });
  for (const name of ['capabilities', 'BPF JIT', 'BTF', 'VXLAN']) expect(check(name)).toBeDefined();
});

test('nothing stays attached or open', async () => {
  await probe();
  const [attached, detached] = ['attachTcx', 'detachLink'].map(
    (call) => kernel.calls.filter((entry) => entry.startsWith(call)).length,
  );
  expect([attached, detached]).toEqual([1, 1]);
  expect(kernel.filters.size).toBe(0);
});

test('a program that the kernel refuses is named with its reason and remedy', async () => {
  kernel.fail = (call) =>
    call === 'loadObject seal' ? Object.assign(errno('EACCES', 13), { log: 'too deep' }) : undefined;
  const check = await probe();
  expect(check('program seal')).toMatchObject({
    ok: false,
    detail: expect.stringMatching(/EACCES.*too deep/s),
    remedy: expect.stringContaining('6.1'),
  });
  expect(check('program open')).toMatchObject({ ok: true });
});

test('a missing object says how it is made', async () => {
  rmSync(join(folder, 'deliver.bpf.o'));
  expect((await probe())('program deliver')).toMatchObject({
    ok: false,
    remedy: expect.stringContaining('scripts/build'),
  });
});

test('without tcx the lower path is named and is no failure', async () => {
  kernel.tcx = false;
  expect((await probe())('tcx')).toMatchObject({ ok: true, detail: expect.stringMatching(/clsact.*EINVAL/) });
});

test("the kernel's IPsec is tried and leaves nothing", async () => {
  expect((await probe('xfrm'))('IPsec')).toMatchObject({ ok: true, remedy: '' });
  expect(kernel.ipsec.states.size).toBe(0);
  expect(kernel.ipsec.changes).toHaveLength(4);
});

test('a kernel without IPsec fails the engine that needs it; the other does not ask', async () => {
  kernel.ipsec.missing = errno('EPROTONOSUPPORT', 93);
  expect((await probe('xfrm'))('IPsec')).toMatchObject({
    ok: false,
    detail: expect.stringContaining('EPROTONOSUPPORT'),
    remedy: expect.stringContaining('overlay.engine'),
  });
  expect((await probe())('IPsec')).toBeUndefined();
  expect(kernel.ipsec.changes).toEqual([]);
});
