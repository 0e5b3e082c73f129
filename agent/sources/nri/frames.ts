// The two framings of NRI's socket: a multiplexer of two connections (nri pkg/net/multiplex) around ttrpc (its
// PROTOCOL.md). Bytes to frames and back; what they say is messages.ts'. Whoever sends is not trusted.
import { accept, type Result, refuse } from '../../core/result';

/** Connections within the multiplexer: on the first the runtime asks us, on the second we ask the runtime. */
export const PLUGIN_CONNECTION = 1;
export const RUNTIME_CONNECTION = 2;

export const TTRPC_REQUEST = 1;
export const TTRPC_RESPONSE = 2;

const MUX_HEADER_BYTES = 8;
const TTRPC_HEADER_BYTES = 10;
export const MAX_TTRPC_BYTES = 4 << 20;
export const MAX_MUX_BYTES = TTRPC_HEADER_BYTES + MAX_TTRPC_BYTES;
/** The runtime reads a frame of the multiplexer into a buffer of this size, and gives up on a larger one. */
const MAX_SENT_BYTES = 4096;

export interface MuxFrame {
  readonly connection: number;
  readonly body: Buffer;
}

export interface TtrpcFrame {
  readonly stream: number;
  readonly type: number;
  readonly body: Buffer;
}

interface Layout<F> {
  readonly name: string;
  readonly headerBytes: number;
  readonly lengthAt: number;
  readonly maxBytes: number;
  readonly frame: (header: Buffer, body: Buffer) => F;
}

/** Cuts a stream into frames, whatever pieces it comes in. Of no use any more once it has refused. */
export class Deframer<F> {
  private header: Buffer | undefined;
  private target: Buffer;
  private filled = 0;

  constructor(private readonly layout: Layout<F>) {
    this.target = Buffer.alloc(layout.headerBytes);
  }

  push(bytes: Buffer): Result<F[], 'oversize'> {
    const frames: F[] = [];
    const { headerBytes, lengthAt, maxBytes, name, frame } = this.layout;
    for (let at = 0; ; ) {
      const copied = bytes.copy(this.target, this.filled, at);
      at += copied;
      this.filled += copied;
      if (this.filled < this.target.length) return accept(frames);
      if (this.header === undefined) {
        const size = this.target.readUInt32BE(lengthAt);
        if (size > maxBytes) return refuse('oversize', `${name} of ${size} bytes`);
        this.header = this.target;
        this.target = Buffer.allocUnsafe(size);
      } else {
        frames.push(frame(this.header, this.target));
        this.header = undefined;
        this.target = Buffer.alloc(headerBytes);
      }
      this.filled = 0;
    }
  }
}

export const muxDeframer = (): Deframer<MuxFrame> =>
  new Deframer({
    name: 'frame',
    headerBytes: MUX_HEADER_BYTES,
    lengthAt: 4,
    maxBytes: MAX_MUX_BYTES,
    frame: (header, body) => ({ connection: header.readUInt32BE(0), body }),
  });

export const ttrpcDeframer = (): Deframer<TtrpcFrame> =>
  new Deframer({
    name: 'message',
    headerBytes: TTRPC_HEADER_BYTES,
    lengthAt: 0,
    maxBytes: MAX_TTRPC_BYTES,
    frame: (header, body) => ({ stream: header.readUInt32BE(4), type: header.readUInt8(8), body }),
  });

/** A unary message (no flags) in one frame of the multiplexer. Throws on one that is too long: ours are short. */
export function encodeFrame(connection: number, { stream, type, body }: TtrpcFrame): Buffer {
  const size = TTRPC_HEADER_BYTES + body.length;
  if (size > MAX_SENT_BYTES) throw new RangeError(`a frame of ${size} bytes`);
  const frame = Buffer.alloc(MUX_HEADER_BYTES + size);
  frame.writeUInt32BE(connection, 0);
  frame.writeUInt32BE(size, 4);
  frame.writeUInt32BE(body.length, 8);
  frame.writeUInt32BE(stream, 12);
  frame.writeUInt8(type, 16);
  body.copy(frame, MUX_HEADER_BYTES + TTRPC_HEADER_BYTES);
  return frame;
}
