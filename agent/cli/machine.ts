// What doctor reads of the machine's files. Reads only.
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { VxsealError } from '../errors';

/** Undefined when there is no such file, or it may not be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * The folder of the embedded bus: how many records lie in it, and when the newest was written (0 for none).
 * Errors: VxsealError 'bus'.
 */
export function readBus(path: string): { readonly records: number; readonly newestMs: number } {
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    // One folder a topic, one file a record.
    const files = readdirSync(path, { withFileTypes: true })
      .filter((topic) => topic.isDirectory())
      .flatMap((topic) => readdirSync(join(path, topic.name)).map((name) => join(path, topic.name, name)))
      .filter((file) => !file.slice(file.lastIndexOf('/') + 1).startsWith('.'));
    const times = files.map((file) => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0);
    return { records: files.length, newestMs: times.reduce((newest, time) => Math.max(newest, time), 0) };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const remedy =
      code === 'ENOENT'
        ? `Make it, or mount it: mkdir -p ${path}; or correct bus.path.`
        : 'Let the agent read and write it.';
    throw new VxsealError('bus', `folder cannot be used (${code})`, remedy, { cause });
  }
}
