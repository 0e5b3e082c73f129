// Small JSON files of the state directory: read with every doubt, written whole. What they mean is their owners'.
import { readFile } from 'node:fs/promises';
import { VxsealError } from '../errors';
import { errnoOf, writeWhole } from '../files';

/**
 * @param decode the value, or undefined when the JSON is not of the right shape
 * @returns undefined when there is no file. Throws VxsealError 'state', also on a file that is not whole: going on
 * as if it were empty would forget what must not be forgotten.
 */
export async function readState<T>(
  path: string,
  decode: (json: unknown) => T | undefined,
): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT') return undefined;
    throw new VxsealError('state', `${path}: cannot be read: ${code}`, 'check its owner and mode', {
      cause: error,
    });
  }
  const value = decode(parseJson(text));
  if (value !== undefined) return value;
  throw new VxsealError(
    'state',
    `${path}: not a state file of vxseal, or damaged`,
    'restore it; or remove it: then records of peers older than the last ones seen may be believed until their leases end',
  );
}

/** Outlasts a power cut once it resolves. Throws VxsealError 'state'. */
export async function writeState(path: string, json: object): Promise<void> {
  try {
    await writeWhole(path, `${JSON.stringify(json)}\n`, 0o600);
  } catch (error) {
    throw new VxsealError(
      'state',
      `${path}: cannot be written: ${errnoOf(error)}`,
      'check that the state directory exists, is writable and not full',
      { cause: error },
    );
  }
}

export function isOrderNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
