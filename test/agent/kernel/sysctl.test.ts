import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sysctlPath } from '../../../agent/kernel/sysctl';

test("settings are the machine's own, or the host's where they are mounted beside", () => {
  const folder = mkdtempSync(join(tmpdir(), 'vxseal-sysctl-'));
  try {
    expect(sysctlPath('core/bpf_jit_enable', join(folder, 'missing'))).toBe(
      '/proc/sys/net/core/bpf_jit_enable',
    );
    expect(sysctlPath('core/bpf_jit_enable', folder)).toBe(join(folder, 'core/bpf_jit_enable'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
