// A test machine: one kernel under qemu without KVM, with this machine's files as its root, and commands run in it.
// Owns its process and folder; close() leaves neither.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inNetns, type Outcome, until } from '../lab/command';
import { packageRoot } from '../lab/layout';
import { buildInitramfs } from './initramfs';
import type { Kernel } from './packages';

/** Seconds on an idle machine. */
const BOOT_TIMEOUT_MS = 240_000;
const OFF_TIMEOUT_MS = 20_000;
const MEMORY_MB = 2048;
const CPUS = 2;

/** No words: switch the machine off. */
export interface GuestRequest {
  readonly id: number;
  readonly argv: readonly string[];
  readonly timeoutMs: number;
}
export interface GuestAnswer extends Outcome {
  readonly id: number;
}

/** Where the machine's network device ends: a tap that exists, in a namespace, or nowhere. */
export interface Uplink {
  readonly netns: string;
  readonly tap: string;
}

export class Machine {
  private readonly waiting = new Map<number, (outcome: Outcome) => void>();
  private last = 0;
  private ended: Error | undefined;

  private constructor(
    readonly kernel: Kernel,
    private readonly dir: string,
    private readonly qemu: ChildProcess,
    private readonly control: Socket,
  ) {
    const answers = createInterface({ input: control });
    answers.on('line', (line) => {
      const { id, ...outcome } = JSON.parse(line) as GuestAnswer;
      this.waiting.get(id)?.(outcome);
      this.waiting.delete(id);
    });
    const end = (): void => {
      this.ended = new Error(`machine ${kernel.release} ended. Its console:\n${consoleTail(dir)}`);
      const stderr = this.ended.message;
      for (const settle of this.waiting.values()) settle({ status: 255, stdout: '', stderr });
      this.waiting.clear();
    };
    control.on('error', end);
    // It repeats the socket's error, and ends the process where nobody listens.
    answers.on('error', end);
    qemu.on('close', end);
  }

  /**
   * Returns once the machine has answered.
   * @param started given how to end it at once, as soon as there is a process: it boots for a while
   */
  static async boot(kernel: Kernel, uplink?: Uplink, started?: (kill: () => void) => void): Promise<Machine> {
    const dir = mkdtempSync(join(tmpdir(), 'vxseal-machine-'));
    let kill = (): void => rmSync(dir, { recursive: true, force: true });
    try {
      const argv = qemuArgv(kernel, dir, buildInitramfs(kernel, dir), uplink);
      const [file = '', ...args] = uplink === undefined ? argv : inNetns(uplink.netns, argv);
      const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
      kill = () => {
        child.kill('SIGKILL');
        rmSync(dir, { recursive: true, force: true });
      };
      started?.(kill);
      let said = '';
      child.stderr.on('data', (chunk) => {
        said = `${said}${chunk}`.slice(-2000);
      });
      const control = await until(
        `qemu listens`,
        BOOT_TIMEOUT_MS,
        () => {
          if (child.exitCode !== null) throw new Error(`qemu ended: ${said}`);
          return existsSync(join(dir, 'control')) ? connected(join(dir, 'control')) : undefined;
        },
        () => said,
      );
      const machine = new Machine(kernel, dir, child, control);
      const first = await machine.run(['uname', '-r'], BOOT_TIMEOUT_MS);
      if (first.stdout.trim() !== kernel.release)
        throw new Error(`machine ${kernel.release} does not answer: ${first.stderr}\n${consoleTail(dir)}`);
      return machine;
    } catch (cause) {
      kill();
      throw cause;
    }
  }

  /** Never throws for an exit code; a machine that ended, or did not answer, is status 255. */
  run(argv: readonly string[], timeoutMs = 60_000): Promise<Outcome> {
    if (this.ended !== undefined)
      return Promise.resolve({ status: 255, stdout: '', stderr: this.ended.message });
    const id = ++this.last;
    return new Promise((resolve) => {
      // The guest ends the command itself; this is for a guest that hangs.
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        const stderr = `no answer within ${timeoutMs} ms. Console:\n${consoleTail(this.dir)}`;
        resolve({ status: 255, stdout: '', stderr });
      }, timeoutMs + 10_000);
      this.waiting.set(id, (outcome) => {
        clearTimeout(timer);
        resolve(outcome);
      });
      this.control.write(`${JSON.stringify({ id, argv, timeoutMs } satisfies GuestRequest)}\n`);
    });
  }

  async close(): Promise<void> {
    if (this.ended === undefined) {
      const gone = new Promise((resolve) => this.qemu.once('close', resolve));
      this.control.write(`${JSON.stringify({ id: 0, argv: [], timeoutMs: 0 } satisfies GuestRequest)}\n`);
      const timer = setTimeout(() => this.qemu.kill('SIGKILL'), OFF_TIMEOUT_MS);
      await gone;
      clearTimeout(timer);
    }
    this.control.destroy();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function qemuArgv(kernel: Kernel, dir: string, initramfs: string, uplink: Uplink | undefined): string[] {
  const append = [
    'console=ttyS0',
    'panic=-1',
    'mitigations=off',
    `vxseal.package=${packageRoot()}`,
    `vxseal.node=${process.execPath}`,
  ];
  const network =
    uplink === undefined
      ? 'hubport,hubid=0,id=net'
      : `tap,id=net,ifname=${uplink.tap},script=no,downscript=no`;
  return [
    'qemu-system-x86_64',
    ...['-accel', 'tcg,thread=multi', '-m', String(MEMORY_MB), '-smp', String(CPUS)],
    ...['-display', 'none', '-no-reboot', '-serial', `file:${join(dir, 'console')}`],
    ...['-kernel', kernel.image, '-initrd', initramfs, '-append', append.join(' ')],
    ...['-fsdev', 'local,id=root,path=/,security_model=none,multidevs=remap,readonly=on'],
    ...['-device', 'virtio-9p-pci,fsdev=root,mount_tag=root', '-device', 'virtio-rng-pci'],
    ...['-device', 'virtio-serial-pci'],
    ...['-chardev', `socket,id=control,path=${join(dir, 'control')},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=control,name=vxseal'],
    // Without the guest's offloads: with them the driver refuses XDP.
    ...['-netdev', network],
    ...['-device', 'virtio-net-pci,netdev=net,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ufo=off'],
  ];
}

function connected(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}

function consoleTail(dir: string, lines = 30): string {
  const file = join(dir, 'console');
  if (!existsSync(file)) return '(nothing)';
  return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
}
