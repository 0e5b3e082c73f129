// The initramfs of a test machine: a static busybox, the modules through which the machine reaches its shared root,
// and init.sh. Two megabytes, made anew for every run in a folder that the caller owns.
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { run, tryRun } from '../lab/command';
import { packageRoot } from '../lab/layout';
import type { Kernel } from './packages';

/** Built into some kernels, and then without a file. */
const MODULES = ['virtio_pci', '9pnet_virtio', '9p', 'overlay', 'virtio_net', 'virtio_rng', 'virtio_console'];

/** Files in the order in which they are to be inserted: modprobe names a module's needs in front of it. */
function moduleFiles(kernel: Kernel): string[] {
  const files = MODULES.flatMap((name) => {
    const { stdout } = tryRun(['modprobe', '-d', kernel.dir, '-S', kernel.release, '--show-depends', name]);
    return [...stdout.matchAll(/^insmod (\S+)/gm)].map(([, file]) => file ?? '');
  });
  return [...new Set(files)];
}

/** @returns path of the compressed archive. */
export function buildInitramfs(kernel: Kernel, dir: string): string {
  const root = join(dir, 'initramfs');
  for (const folder of ['bin', 'modules', 'lower', 'layer', 'newroot', 'proc', 'sys', 'dev'])
    mkdirSync(join(root, folder), { recursive: true });
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
  if (busybox === undefined) throw new Error('busybox is missing: run ./scripts/setup kernels');
  copyFileSync(busybox, join(root, 'bin/busybox'));
  copyFileSync(join(packageRoot(), 'test/kernels/init.sh'), join(root, 'init'));
  const order = moduleFiles(kernel).map((file) => {
    // busybox cannot insert compressed modules.
    const name = basename(file, '.xz');
    const target = join(root, 'modules', name);
    if (file.endsWith('.xz')) run(['sh', '-c', 'xz -dc "$0" >"$1"', file, target]);
    else copyFileSync(file, target);
    return name;
  });
  writeFileSync(join(root, 'modules/order'), `${order.join('\n')}\n`);
  const archive = join(dir, 'initramfs.gz');
  const pack = 'cd "$0" && chmod +x init && find . | cpio -o -H newc --quiet | gzip -1 >"$1"';
  run(['sh', '-c', pack, root, archive]);
  return archive;
}
