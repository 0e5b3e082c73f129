// Other network namespaces: opened by path, known by (device, inode). Owns the descriptors it opens and nothing
// inside the namespaces.
import type { Netlink, Netns, NetnsOpener } from '../ports';
import { attempt } from './fault';
import type { Native } from './native';
import { createNetlink } from './netlink';

export function createNetnsOpener(native: Native): NetnsOpener {
  return {
    open(path: string): Netns {
      const op = `open network namespace ${path}`;
      const fd = attempt(op, () => native.openNetns(path));
      try {
        const { device, inode } = attempt(op, () => native.statFd(fd));
        return {
          device,
          inode,
          netlink: (): Netlink => attempt(`enter network namespace ${path}`, () => createNetlink(native, fd)),
          close: () => fd.close(),
        };
      } catch (cause) {
        fd.close();
        throw cause;
      }
    },
  };
}
