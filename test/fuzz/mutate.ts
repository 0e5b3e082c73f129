// Changes to bytes and to JSON values as a hostile sender would make them; seeded, so that a find can be run again.
// Owns no judgement: targets say what must not happen.

export type Random = () => number;
export const below = (random: Random, limit: number): number => Math.floor(random() * limit);
export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[below(random, items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
}

/** Where limits are, and where signs, widths and bases change. */
const NUMBERS = [
  0,
  1,
  -1,
  2,
  127,
  128,
  255,
  256,
  4095,
  4096,
  65535,
  65536,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53,
  1e308,
  0.5,
];
const TEXTS = [
  '',
  ' ',
  '\0',
  '0',
  '-1',
  '../../etc/passwd',
  '$(id)',
  '::',
  '255.255.255.256',
  '10.0.0.0/33',
  'a'.repeat(70),
  '\ud800',
  '𝔲',
  '__proto__',
  'constructor',
  '1e9',
  'NaN',
  'null',
  '%00',
  '\r\n',
];

/** 1 to 4 changes: bits, bytes, runs cut, doubled, moved or made of one byte, numbers in the way of lengths. */
export function mutateBytes(original: Uint8Array, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(original);
  for (let changes = 1 + below(random, 4); changes > 0; changes--) bytes = changeBytes(bytes, random);
  return bytes;
}

function changeBytes(bytes: Buffer, random: Random): Buffer {
  const at = below(random, bytes.length + 1);
  const length = 1 + below(random, Math.min(64, bytes.length - at + 1));
  switch (below(random, 8)) {
    case 0:
      if (at < bytes.length) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << below(random, 8)), at);
      return bytes;
    case 1:
      if (at < bytes.length) bytes.writeUInt8(below(random, 256), at);
      return bytes;
    case 2:
      return bytes.subarray(0, at);
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 4:
      return Buffer.concat([
        bytes.subarray(0, at + length),
        bytes.subarray(at, at + length),
        bytes.subarray(at + length),
      ]);
    case 5:
      return Buffer.concat([
        bytes.subarray(0, at),
        Buffer.alloc(length, below(random, 256)),
        bytes.subarray(at),
      ]);
    case 6:
      if (at + 2 <= bytes.length) bytes.writeUInt16BE(pick(random, NUMBERS) & 0xffff, at);
      return bytes;
    default:
      if (at + 4 <= bytes.length) bytes.writeUInt32BE(pick(random, NUMBERS) >>> 0, at);
      return bytes;
  }
}

/** Any JSON value, at most three deep. */
export function anyJson(random: Random, depth = 0): unknown {
  switch (below(random, depth < 3 ? 7 : 5)) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return pick(random, NUMBERS);
    case 3:
      return pick(random, TEXTS);
    case 4:
      return Buffer.from(Array.from({ length: below(random, 40) }, () => below(random, 256))).toString(
        'latin1',
      );
    case 5:
      return Array.from({ length: below(random, 4) }, () => anyJson(random, depth + 1));
    default:
      return Object.fromEntries(
        Array.from({ length: below(random, 4) }, () => [pick(random, TEXTS), anyJson(random, depth + 1)]),
      );
  }
}

/** One place of the value is another, gone, doubled, or has a neighbour that nobody knows. */
export function mutateJson(value: unknown, random: Random): unknown {
  if (typeof value !== 'object' || value === null || random() < 0.1) return anyJson(random);
  if (Array.isArray(value)) {
    const list: unknown[] = [...value];
    const at = below(random, list.length + 1);
    const choice = below(random, 4);
    if (choice === 0) list.splice(at, 1);
    else if (choice === 1) list.splice(at, 0, anyJson(random));
    else if (choice === 2) list.push(...list);
    else if (at < list.length) list[at] = mutateJson(list[at], random);
    return list;
  }
  const entries = Object.entries(value);
  const at = below(random, entries.length);
  const entry = entries[at];
  if (entry === undefined || random() < 0.1)
    return Object.fromEntries([...entries, [pick(random, TEXTS), anyJson(random)]]);
  if (random() < 0.2) entries.splice(at, 1);
  else entries[at] = [entry[0], mutateJson(entry[1], random)];
  return Object.fromEntries(entries);
}
