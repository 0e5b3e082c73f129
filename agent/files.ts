// Files that are whole or absent, never half-written, also after a power cut. Owns the order of write, fsync and
// rename; knows nothing of what is in them.
import { access, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Names that begin like this are unfinished: readers of a folder pass over them. */
export const UNFINISHED_PREFIX = '.vxseal-';

let unfinishedCount = 0;

/**
 * Temporary file in the same folder, fsync, rename, fsync of the folder. Throws what the system calls throw, and
 * leaves no temporary file then.
 * @param mode permission bits, exactly: the umask does not apply.
 */
export async function writeWhole(path: string, content: Uint8Array | string, mode = 0o600): Promise<void> {
  const folder = dirname(path);
  unfinishedCount += 1;
  const unfinished = join(folder, `${UNFINISHED_PREFIX}${process.pid}-${unfinishedCount}`);
  try {
    // 'wx' does not follow a link that someone put there.
    const file = await open(unfinished, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.chmod(mode);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw error;
  }
  await syncFolder(folder);
}

/** Makes renames and removals in the folder last. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** ENOENT, EACCES and the like; '' for what is no system error. Not by instanceof: errors may be of another realm. */
export function errnoOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('syscall' in error) || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** Something stands under the name; a link counts as what it points to. */
export async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
