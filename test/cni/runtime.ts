// A container runtime of a node's own: containerd in the node's network namespace, with its folders, plugins and
// configuration in a folder of the test. Its pods' namespaces are under /run/netns, where the agent finds them.
import { spawn } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { run, tryRun, until } from '../lab/command';
import { packageRoot } from '../lab/layout';
import {
  identify,
  isAlive,
  netnsInode,
  type ProcessId,
  processesIn,
  signal,
  waitGone,
} from '../lab/processes';
import { type Conflist, PLUGIN_FOLDERS } from './chain';
import { Cri } from './cri';
import { IMAGE } from './image';

/** Folder of containerd's programs: '' is Debian's, which has no NRI yet. */
export type Programs = '' | typeof NEWER_CONTAINERD;
/** As `scripts/tools cni` builds it. */
export const NEWER_CONTAINERD = join(packageRoot(), 'build/tools/containerd');

const CGROUPS = '/sys/fs/cgroup';
const START_TIMEOUT_MS = 60_000;

export class Runtime {
  readonly socket: string;
  readonly nriSocket: string;
  readonly confDir: string;
  readonly binDir: string;
  private readonly cgroup: string;
  private process: ProcessId | undefined;
  private client: Cri | undefined;
  /** Inodes of the pods' namespaces, to find what a crash left. */
  private readonly namespaces = new Map<string, number>();

  constructor(
    private readonly dir: string,
    /** Of the node, a path. */
    private readonly netns: string,
    private readonly programs: Programs = '',
  ) {
    this.cgroup = dir.replaceAll('/', '-').replace('-', '/');
    this.socket = join(dir, 'containerd.sock');
    this.nriSocket = join(dir, 'nri.sock');
    this.confDir = join(dir, 'net.d');
    this.binDir = join(dir, 'bin');
    for (const folder of [this.confDir, this.binDir]) mkdirSync(folder, { recursive: true });
    for (const folder of PLUGIN_FOLDERS)
      for (const name of readdirSync(folder)) copyFileSync(join(folder, name), join(this.binDir, name));
    writeFileSync(join(dir, 'config.toml'), this.config());
  }

  get cri(): Cri {
    if (this.client === undefined) throw new Error('containerd does not run');
    return this.client;
  }

  install(file: string, conflist: Conflist): void {
    writeFileSync(join(this.confDir, file), JSON.stringify(conflist));
  }

  /** Returns once the runtime and its network are ready. */
  async start(): Promise<void> {
    const log = openSync(join(this.dir, 'containerd.log'), 'a');
    const argv = [`--net=${this.netns}`, '--', 'containerd', '--config', join(this.dir, 'config.toml')];
    const env = { ...process.env, PATH: [this.programs, process.env.PATH].filter(Boolean).join(':') };
    const child = spawn('nsenter', argv, { detached: true, stdio: ['ignore', log, log], cwd: '/', env });
    closeSync(log);
    child.unref();
    const id = child.pid === undefined ? undefined : identify(child.pid);
    if (id === undefined) throw new Error('containerd did not start');
    this.process = id;
    let missing = '';
    await until(
      'containerd is ready',
      START_TIMEOUT_MS,
      async () => {
        if (!isAlive(id)) throw new Error(`containerd ended:\n${this.logTail()}`);
        this.client ??= new Cri(this.socket, this.cgroup);
        try {
          missing = (await this.client.notReady()).join('; ');
          return missing === '' ? true : undefined;
        } catch (error) {
          missing = String(error);
          this.client.close();
          this.client = undefined;
          return undefined;
        }
      },
      () => missing,
    );
  }

  async end(name: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    this.client?.close();
    this.client = undefined;
    if (this.process === undefined) return;
    signal(this.process, name);
    await waitGone(this.process, START_TIMEOUT_MS);
    this.process = undefined;
  }

  importImage(archive: string): void {
    run([
      join(this.programs, 'ctr'),
      '--address',
      this.socket,
      '--namespace',
      'k8s.io',
      'images',
      'import',
      archive,
    ]);
  }

  /** Remembers a pod's namespace, for close(). */
  note(netnsPath: string): void {
    this.namespaces.set(netnsPath, netnsInode(netnsPath));
  }

  /** From whatever state: pods, processes, mounts, namespaces and folders go. */
  async close(): Promise<void> {
    try {
      for (const id of (await this.client?.sandboxes()) ?? []) {
        await this.client?.stopSandbox(id);
        await this.client?.removeSandbox(id);
      }
    } catch {
      // What could not be stopped in order is killed below.
    }
    await this.end('SIGKILL');
    const inodes = new Set([...this.namespaces.values()].filter((inode) => inode !== 0));
    for (const id of processesIn(inodes)) signal(id, 'SIGKILL');
    for (const path of this.mounts()) tryRun(['umount', '-l', path]);
    for (const path of this.namespaces.keys()) {
      if (netnsInode(path) === 0) continue;
      tryRun(['umount', '-l', path]);
      rmSync(path, { force: true });
    }
    rmSync(this.dir, { recursive: true, force: true });
    // One folder a controller with version 1 of control groups, one in all with version 2.
    for (const root of [CGROUPS, ...readdirSync(CGROUPS).map((name) => join(CGROUPS, name))])
      tryRun(['rmdir', '--ignore-fail-on-non-empty', join(root, this.cgroup)]);
  }

  logTail(lines = 20): string {
    return readFileSync(join(this.dir, 'containerd.log'), 'utf8')
      .trimEnd()
      .split('\n')
      .slice(-lines)
      .join('\n');
  }

  private mounts(): string[] {
    return readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.dir}/`))
      .reverse();
  }

  private config(): string {
    const cri = 'plugins."io.containerd.grpc.v1.cri"';
    return `version = 2
root = "${this.dir}/root"
state = "${this.dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${this.socket}"
[${cri}]
  sandbox_image = "${IMAGE}"
  disable_tcp_service = true
  disable_apparmor = true
  enable_selinux = false
  # Lower than our own it may only be set with CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
[${cri}.containerd]
  snapshotter = "overlayfs"
[${cri}.cni]
  bin_dir = "${this.binDir}"
  conf_dir = "${this.confDir}"
  max_conf_num = 1
${this.programs === '' ? '' : this.nriConfig()}`;
  }

  private nriConfig(): string {
    return `[plugins."io.containerd.nri.v1.nri"]
  disable = false
  socket_path = "${this.nriSocket}"
  plugin_path = "${this.dir}/nri/plugins"
  plugin_config_path = "${this.dir}/nri/conf.d"
`;
  }
}
