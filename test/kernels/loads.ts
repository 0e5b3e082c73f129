// Tries on this kernel what the agent does at its start: loads every program, then attaches them in every way, and
// prints what was taken as one line of JSON. Run by main.ts in a test machine; works on any kernel.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDatapath } from '../../agent/kernel/datapath';
import type { XdpChoice } from '../../agent/kernel/hooks';
import { loadNative, type Native } from '../../agent/kernel/native';
import { probeKernel } from '../../agent/kernel/probe';
import { PROGRAM_NAMES } from '../../agent/kernel/programs';
import type { KernelProbe } from '../../agent/ports';
import { packageRoot } from '../lab/layout';
import { createNamespace, createVeth, type Namespace } from '../netns/namespace';

export interface LoadedProgram {
  readonly object: string;
  readonly program: string;
  /** Instructions that the verifier walked; 0 when it refused the program. */
  readonly insns: number;
  readonly error: string;
}

/** What a way of attaching led to: "xdp-native", "tc-open", or why not. */
export interface Attempt {
  readonly device: 'veth' | 'virtio';
  readonly asked: XdpChoice;
  readonly open: string;
  /** Of the other programs. */
  readonly tc: string;
}

export interface Loads {
  readonly release: string;
  readonly programs: readonly LoadedProgram[];
  readonly attempts: readonly Attempt[];
  readonly checks: KernelProbe['checks'];
}

const message = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause));

function loadAll(native: Native, bpfDir: string): LoadedProgram[] {
  const objects = readdirSync(bpfDir).flatMap((file) => /^(.+)\.bpf\.o$/.exec(file)?.[1] ?? []);
  return objects.sort().flatMap((object) => {
    try {
      const { programs, maps } = native.loadObject(join(bpfDir, `${object}.bpf.o`), {});
      for (const map of Object.values(maps)) map.close();
      return Object.entries(programs).map(([program, { fd, verifiedInsns }]) => {
        fd.close();
        return { object, program, insns: verifiedInsns, error: '' };
      });
    } catch (cause) {
      const log = (cause as { log?: string }).log ?? '';
      return [
        {
          object,
          program: object,
          insns: 0,
          error: `${message(cause)}\n${log.split('\n').slice(-8).join('\n')}`,
        },
      ];
    }
  });
}

/** All programs at one device of the namespace, `open` in the way that is asked for. */
function attachAll(
  native: Native,
  node: Namespace,
  pinDir: string,
  device: Attempt['device'],
  asked: XdpChoice,
): Attempt {
  const name = device === 'veth' ? 'veth0' : 'eth0';
  const { ifindex } = JSON.parse(node.run('ip', '-j', 'link', 'show', 'dev', name))[0];
  const netns = native.openNetns(node.path);
  const datapath = createDatapath(native, { bpfDir: join(packageRoot(), 'build/bpf'), pinDir, xdp: asked });
  try {
    return native.inNetns(netns, () => {
      datapath.open();
      let open: string;
      try {
        open = datapath.attach({ program: 'open', ifindex }).mode;
      } catch (cause) {
        open = message(cause);
      }
      const others = PROGRAM_NAMES.filter((program) => program !== 'open');
      const modes = new Set(others.map((program) => datapath.attach({ program, ifindex }).mode));
      return { device, asked, open, tc: [...modes].join(' and ') };
    });
  } catch (cause) {
    return { device, asked, open: message(cause), tc: message(cause) };
  } finally {
    native.inNetns(netns, () => datapath.destroy());
    netns.close();
  }
}

function attachEveryWay(native: Native): Attempt[] {
  const bpffs = mkdtempSync(join(tmpdir(), 'vxseal-loads-'));
  const [node, wire] = [createNamespace(), createNamespace()];
  try {
    native.mountBpffs(bpffs);
    createVeth(node, 'veth0', wire, 'veth1');
    const devices: Attempt['device'][] = ['veth'];
    // In a test machine the one real device is free to be used.
    if (readdirSync('/sys/class/net').includes('eth0') && release() === process.argv[2]) {
      execFileSync('ip', ['link', 'set', 'eth0', 'netns', node.name, 'up']);
      devices.push('virtio');
    }
    const choices: XdpChoice[] = ['auto', 'native', 'tc'];
    return devices.flatMap((device) =>
      choices.map((asked) => attachAll(native, node, join(bpffs, 'pins'), device, asked)),
    );
  } finally {
    node.remove();
    wire.remove();
    execFileSync('umount', [bpffs]);
    rmSync(bpffs, { recursive: true });
  }
}

async function main(): Promise<void> {
  const native = loadNative();
  const bpfDir = join(packageRoot(), 'build/bpf');
  const loads: Loads = {
    release: release(),
    programs: loadAll(native, bpfDir),
    attempts: attachEveryWay(native),
    checks: (await probeKernel(native, { bpfDir, pinDir: '/sys/fs/bpf/vxseal' })).checks,
  };
  console.log(JSON.stringify(loads));
}

if (require.main === module) void main();
