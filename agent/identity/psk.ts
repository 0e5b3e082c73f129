// Reads the optional pre-shared key of the cluster from its file. Never shows contents, not even in an error.
import { readFile, stat } from 'node:fs/promises';
import { type PreSharedKey, preSharedKey } from '../core/psk';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';

const REMEDY = 'make one for all nodes: openssl rand -hex 32, mode 0600';

/** @param path '' for no key. Throws VxsealError 'identity' for a file that is missing, open to others, or no key. */
export async function readPreSharedKey(path: string): Promise<PreSharedKey | undefined> {
  if (path === '') return undefined;
  const refuse = (reason: string, remedy: string): never => {
    throw new VxsealError('identity', `${path}: ${reason}`, remedy);
  };
  const mode = await stat(path).then(
    (found) => found.mode,
    (error: unknown) => refuse(`pre-shared key cannot be read: ${errnoOf(error)}`, REMEDY),
  );
  if ((mode & 0o027) !== 0) refuse('pre-shared key is open to other users', `chmod 600 ${path}`);
  const text = await readFile(path, 'utf8').catch((error: unknown) =>
    refuse(`pre-shared key cannot be read: ${errnoOf(error)}`, 'check its owner and mode'),
  );
  // 32 bytes, and as digits: a passphrase of little entropy would be given away by its public name.
  const digits = text.trim().toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(digits)) refuse('not a key of 64 hex digits', REMEDY);
  return preSharedKey(Uint8Array.from(Buffer.from(digits, 'hex')));
}
