// What this kernel can do, found by trying rather than by its version: distributions backport, and feature lists
// claim more than loads prove. Changes nothing that outlives the call.
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { FlagsNew, rt } from 'netlink';
import { KernelError } from '../errors';
import type { KernelProbe } from '../ports';
import type { EngineName } from './engine';
import { isErrno, kernelError } from './fault';
import { writeLink } from './link';
import type { Native } from './native';
import { objectOf, PROGRAM_NAMES } from './programs';
import { RtNetlink } from './rtnetlink';
import { ESP_REMEDY, tryEsp } from './xfrm/probe';
import { XfrmSocket } from './xfrm/socket';

type Check = KernelProbe['checks'][number];

/** Bits of CapEff (linux/capability.h). SYS_ADMIN stands for BPF and PERFMON, as it did before Linux 5.8. */
const CAPABILITIES = { NET_ADMIN: 12, NET_RAW: 13, PERFMON: 38, BPF: 39 } as const;
const CAP_SYS_ADMIN = 21;
const LOOPBACK_IFINDEX = 1;

export interface ProbeOptions {
  readonly bpfDir: string;
  readonly pinDir: string;
  /** That is to be used; default: our programs. */
  readonly engine?: EngineName;
}

/** Never throws for what the kernel lacks: each check says it, with its remedy. */
export async function probeKernel(native: Native, options: ProbeOptions): Promise<KernelProbe> {
  return {
    release: release(),
    checks: [
      capabilities(),
      ...programs(native, options.bpfDir, options.engine ?? 'bpf'),
      tcx(native, options.bpfDir),
      jit(),
      bpffs(native, options.pinDir),
      btf(),
      await vxlan(),
      ...(options.engine === 'xfrm' ? [esp(native)] : []),
    ],
  };
}

function capabilities(): Check {
  const name = 'capabilities';
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const has = (bit: number) => ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
  const missing = Object.entries(CAPABILITIES).flatMap(([capability, bit]) => {
    const covered = (capability === 'BPF' || capability === 'PERFMON') && has(CAP_SYS_ADMIN);
    return has(bit) || covered ? [] : [capability];
  });
  return missing.length === 0
    ? passed(name, 'NET_ADMIN, NET_RAW, BPF and PERFMON are there')
    : failed(name, `missing: ${missing.join(', ')}`, `run as root, or grant CAP_${missing.join(', CAP_')}`);
}

/** Loads every object with maps of its own, so that nothing in use is touched. */
function programs(native: Native, bpfDir: string, engine: EngineName): Check[] {
  return PROGRAM_NAMES.map((program) => {
    const name = `program ${program}`;
    const path = join(bpfDir, `${objectOf(program, engine)}.bpf.o`);
    if (!existsSync(path)) return failed(name, `${path} is missing`, 'run scripts/build, or set bpfDir');
    try {
      const { programs: loaded, maps } = native.loadObject(path, {});
      const insns = Object.values(loaded).map(({ fd, verifiedInsns }) => {
        fd.close();
        return verifiedInsns;
      });
      for (const map of Object.values(maps)) map.close();
      return passed(name, `accepted after ${insns.join(' and ')} instructions`);
    } catch (cause) {
      return failed(
        name,
        kernelError('load', cause).message,
        'a kernel from 6.1 on is needed, not locked down',
      );
    }
  });
}

/** guard, with an empty configuration of its own, passes everything: it can sit on the loopback for a moment. */
function tcx(native: Native, bpfDir: string): Check {
  const name = 'tcx';
  const fallback = 'programs are attached as filters of clsact instead';
  const remedy = 'none needed; tcx comes with Linux 6.6';
  let object: ReturnType<Native['loadObject']> | undefined;
  try {
    object = native.loadObject(join(bpfDir, 'guard.bpf.o'), {});
    const guard = object.programs.guard;
    if (guard === undefined) return lowerPath(name, fallback, remedy);
    const link = native.attachTcx(guard.fd, LOOPBACK_IFINDEX, 'ingress');
    native.detachLink(link);
    link.close();
    return passed(name, 'programs are attached by links, replaced in one step');
  } catch (cause) {
    return lowerPath(name, `${fallback} (${kernelError('attach', cause).errnoName})`, remedy);
  } finally {
    for (const { fd } of Object.values(object?.programs ?? {})) fd.close();
    for (const map of Object.values(object?.maps ?? {})) map.close();
  }
}

function jit(): Check {
  const name = 'BPF JIT';
  const path = '/proc/sys/net/core/bpf_jit_enable';
  // Visible in the initial network namespace only.
  if (!existsSync(path)) return passed(name, 'cannot be seen from this network namespace');
  return readFileSync(path, 'utf8').trim() === '0'
    ? failed(name, 'off: encryption would be many times slower', 'sysctl -w net.core.bpf_jit_enable=1')
    : passed(name, 'on');
}

function bpffs(native: Native, pinDir: string): Check {
  const name = 'bpffs';
  let folder = pinDir;
  while (!existsSync(folder) && folder !== '/') folder = dirname(folder);
  return native.isBpffs(folder)
    ? passed(name, `${pinDir} keeps the data plane alive without the agent`)
    : lowerPath(name, `none at ${pinDir} yet: the agent mounts one`, 'mount -t bpf bpf /sys/fs/bpf');
}

function btf(): Check {
  const there = existsSync('/sys/kernel/btf/vmlinux');
  return passed(
    'BTF',
    there ? 'of the kernel is there' : 'of the kernel is absent; only tracing tools would want it',
  );
}

/** A request without its attributes is refused as invalid by the driver, and as unknown where there is none. */
async function vxlan(): Promise<Check> {
  const name = 'VXLAN';
  const remedy = 'modprobe vxlan, or a kernel with CONFIG_VXLAN';
  const socket = new RtNetlink();
  try {
    await socket.change('ask for VXLAN', rt.MessageType.NEWLINK, FlagsNew.CREATE | FlagsNew.EXCL, (out) =>
      writeLink(out, { kind: 'vxlan' }),
    );
    return failed(name, 'the kernel made a device from an empty request', remedy);
  } catch (cause) {
    if (isErrno(cause, 'EINVAL')) return passed(name, 'devices can be made');
    const detail = cause instanceof KernelError ? cause.message : String(cause);
    return failed(name, detail, isErrno(cause, 'EPERM') ? 'run as root, or grant CAP_NET_ADMIN' : remedy);
  } finally {
    socket.close();
  }
}

/** Asked only for the engine that needs it: asking loads modules. */
function esp(native: Native): Check {
  const name = 'IPsec';
  const socket = new XfrmSocket(native);
  const [four, six] = [tryEsp(socket, 4), tryEsp(socket, 6)];
  const missing = [four === undefined ? [] : ['IPv4'], six === undefined ? [] : ['IPv6']].flat();
  const why = four ?? six;
  return why === undefined
    ? passed(name, 'of the kernel has ESP with ChaCha20-Poly1305')
    : failed(
        name,
        `of the kernel has no ESP with ChaCha20-Poly1305 over ${missing.join(' and ')} (${why})`,
        ESP_REMEDY,
      );
}

const passed = (name: string, detail: string): Check => ({ name, ok: true, detail, remedy: '' });
/** Works, in a documented lesser way. */
const lowerPath = (name: string, detail: string, remedy: string): Check => ({
  name,
  ok: true,
  detail,
  remedy,
});
const failed = (name: string, detail: string, remedy: string): Check => ({ name, ok: false, detail, remedy });
