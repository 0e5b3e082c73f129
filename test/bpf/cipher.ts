// The cipher's test programs (aead.bpf.c) as functions on bytes, for tests and for scripts/bench. Knows the layout of
// their request and result, and no cryptography.
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { type Fd, type LoadedObject, loadNative } from '../../agent/kernel/native';

export interface Request {
  readonly key: Buffer;
  /** 12 bytes: salt | iv. */
  readonly nonce?: Buffer;
  /** 0 to 16 bytes; the AEAD takes 8 or 12. */
  readonly aad?: Buffer;
  readonly counter?: number;
}

export interface Outcome {
  /** 0: done; 1: refused. */
  readonly verdict: number;
  /** Everything from the first byte of the text on, in the work space. */
  readonly text: Buffer;
  /** Poly1305 tag of the run. */
  readonly tag: Buffer;
  /** The work space before the associated data. */
  readonly headroom: Buffer;
  readonly durationNs: number;
}

export type CipherProgram = 'seal' | 'open' | 'copy' | 'keystream' | 'poly1305' | 'udp6' | 'ipv4';

export const MAX_TEXT_BYTES = 9216;
const REQUEST_BYTES = 80;
/** Offsets in the map's value: the request, then struct aead. */
export const TAG_AT = REQUEST_BYTES + 224;
const SPACE_AT = REQUEST_BYTES + 368;
export const TEXT_AT = SPACE_AT + 64;
const BAD_REQUEST = 100;

/** What the programs are run on. */
export function encodePacket(request: Request, text: Buffer): Buffer {
  const aad = request.aad ?? Buffer.alloc(0);
  const packet = Buffer.alloc(REQUEST_BYTES + text.length);
  request.key.copy(packet, 0);
  request.nonce?.copy(packet, 32);
  aad.copy(packet, 44);
  packet.writeUInt32LE(aad.length, 60);
  packet.writeUInt32LE(request.counter ?? 0, 64);
  text.copy(packet, REQUEST_BYTES);
  return packet;
}

export class Cipher {
  readonly #native = loadNative();
  readonly #loaded: LoadedObject;

  constructor(path = join(__dirname, '../../build/test/bpf/aead.bpf.o')) {
    this.#loaded = this.#native.loadObject(path, {});
  }

  /** Instructions that the verifier walked. */
  verifiedInsns(program: CipherProgram): number {
    return this.#program(program).verifiedInsns;
  }

  /** Its instructions as the kernel runs them (bpftool), with a line "int name(...):" before each function. */
  listing(program: CipherProgram): string {
    const { id } = this.#native.programInfo(this.#program(program).fd);
    return execFileSync('bpftool', ['prog', 'dump', 'xlated', 'id', String(id)], { encoding: 'utf8' });
  }

  /** Runs the program over `text`. Throws when the request itself was refused. */
  run(program: CipherProgram, request: Request, text: Buffer, repeat = 1): Outcome {
    const packet = encodePacket(request, text);
    const { retval, durationNs } = this.#native.testRun(this.#program(program).fd, { data: packet, repeat });
    if (retval === BAD_REQUEST) throw new Error(`${program} refused a request with ${text.length} bytes`);
    const value = this.#native.mapLookup(this.#map(), Buffer.alloc(4));
    if (value === undefined) throw new Error('the array map has no entry 0');
    return {
      verdict: retval,
      text: value.subarray(TEXT_AT),
      tag: value.subarray(TAG_AT, TAG_AT + 16),
      headroom: value.subarray(SPACE_AT, SPACE_AT + 48),
      durationNs,
    };
  }

  close(): void {
    for (const { fd } of Object.values(this.#loaded.programs)) fd.close();
    for (const fd of Object.values(this.#loaded.maps)) fd.close();
  }

  #program(name: CipherProgram): { readonly fd: Fd; readonly verifiedInsns: number } {
    const program = this.#loaded.programs[name];
    if (program === undefined) throw new Error(`aead.bpf.o has no program ${name}`);
    return program;
  }

  #map(): Fd {
    const map = this.#loaded.maps.result;
    if (map === undefined) throw new Error('aead.bpf.o has no map result');
    return map;
  }
}
