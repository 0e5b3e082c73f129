// Record keys as file names. One name for one key and back, so that a folder cannot hold two files for a key and no
// key can name a path: '/' and a leading '.' never come through.

/** Linux allows 255 bytes; some is left for what a file system may add. */
const MAX_NAME_BYTES = 240;

/** Undefined when the key is empty or too long for a file name. */
export function encodeFileName(key: string): string | undefined {
  const name = Array.from(Buffer.from(key, 'utf8'), (byte, index) => encodeByte(byte, index === 0)).join('');
  return name.length === 0 || name.length > MAX_NAME_BYTES ? undefined : name;
}

/** Undefined when the name is not what encodeFileName() makes of any key. */
export function decodeFileName(name: string): string | undefined {
  if (!/^(?:[A-Za-z0-9._-]|%[0-9A-F]{2})+$/.test(name)) return undefined;
  const bytes = name.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const key = Buffer.from(bytes, 'latin1').toString('utf8');
  return encodeFileName(key) === name ? key : undefined;
}

function encodeByte(byte: number, first: boolean): string {
  const character = String.fromCharCode(byte);
  const plain = first ? /[A-Za-z0-9_-]/ : /[A-Za-z0-9._-]/;
  return plain.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}
