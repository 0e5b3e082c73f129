// The file of the last known topology, as bytes: a head, then records one behind the other, each with its length, a
// checksum and the time it was written. Owns the format, and where what can be read of a file ends: a process that was
// killed leaves half an entry, a power cut whatever it likes. The checksum is against accidents: trust is in the records.
import type { FileHandle } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { MAX_RECORD_BYTES } from '../core/payload';

export interface LogEntry {
  readonly topic: string;
  readonly key: string;
  readonly value: Uint8Array;
  /** Wall clock. */
  readonly writtenMs: number;
}

export const LOG_HEAD: Uint8Array = Buffer.from('vxseal topology 1\n');

const FRAME_BYTES = 8; // length of the body, CRC-32 of the body
const FIXED_BYTES = 10; // time, bytes of the topic, bytes of the key
/** Of topics and keys; ours are far shorter. */
const MAX_NAME_BYTES = 1024;
const MAX_BODY_BYTES = FIXED_BYTES + 2 * MAX_NAME_BYTES + MAX_RECORD_BYTES;
const READ_BYTES = 1024 * 1024;

/** Undefined for what no entry can hold. */
export function encodeEntry({ topic, key, value, writtenMs }: LogEntry): Buffer | undefined {
  const names = [Buffer.from(topic, 'utf8'), Buffer.from(key, 'utf8')] as const;
  if (names.some((name) => name.length > MAX_NAME_BYTES) || value.length > MAX_RECORD_BYTES) return undefined;
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.writeUIntBE(writtenMs, 0, 6);
  fixed.writeUInt16BE(names[0].length, 6);
  fixed.writeUInt16BE(names[1].length, 8);
  const body = Buffer.concat([fixed, ...names, value]);
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.writeUInt32BE(body.length, 0);
  frame.writeUInt32BE(crc32(body), 4);
  return Buffer.concat([frame, body]);
}

/** Undefined when the names do not fit into the body. */
function decodeBody(body: Buffer): LogEntry | undefined {
  const topicEnd = FIXED_BYTES + body.readUInt16BE(6);
  const keyEnd = topicEnd + body.readUInt16BE(8);
  if (keyEnd > body.length) return undefined;
  return {
    writtenMs: body.readUIntBE(0, 6),
    topic: body.toString('utf8', FIXED_BYTES, topicEnd),
    key: body.toString('utf8', topicEnd, keyEnd),
    // A copy: what it was read with is as large as a thousand of them.
    value: Uint8Array.from(body.subarray(keyEnd)),
  };
}

/** The whole entries at the beginning of the bytes, and how many bytes they are. */
function decodeEntries(bytes: Buffer): {
  readonly entries: LogEntry[];
  readonly used: number;
  /** What follows is no entry, however much more of it is read. */
  readonly damaged: boolean;
} {
  const entries: LogEntry[] = [];
  let used = 0;
  while (used + FRAME_BYTES <= bytes.length) {
    const length = bytes.readUInt32BE(used);
    if (length < FIXED_BYTES || length > MAX_BODY_BYTES) return { entries, used, damaged: true };
    const end = used + FRAME_BYTES + length;
    if (end > bytes.length) break;
    const body = bytes.subarray(used + FRAME_BYTES, end);
    const entry = crc32(body) === bytes.readUInt32BE(used + 4) ? decodeBody(body) : undefined;
    if (entry === undefined) return { entries, used, damaged: true };
    entries.push(entry);
    used = end;
  }
  return { entries, used, damaged: false };
}

/**
 * Entries from the beginning, a good many at a time: a file of a large cluster is never in memory as a whole.
 * @returns where what can be read ends; 0: it has not even our head. Throws what the system calls throw.
 */
export async function* readLog(file: FileHandle): AsyncGenerator<readonly LogEntry[], number> {
  const chunk = Buffer.allocUnsafe(READ_BYTES);
  const head = await file.read(chunk, 0, LOG_HEAD.length, 0);
  if (Buffer.compare(chunk.subarray(0, head.bytesRead), LOG_HEAD) !== 0) return 0;
  let at = LOG_HEAD.length;
  for (;;) {
    // Always from the first byte that was not used: an entry is smaller than a chunk.
    const { bytesRead } = await file.read(chunk, 0, READ_BYTES, at);
    const { entries, used, damaged } = decodeEntries(chunk.subarray(0, bytesRead));
    if (entries.length > 0) yield entries;
    at += used;
    if (damaged || used === 0) return at;
  }
}
