// What the tests of the native module share: the sample objects, a bpffs and a namespace with a veth pair of their own.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Fd, type LoadedObject, loadNative } from '../../agent/kernel/native';

export const native = loadNative();

export const objectPath = (name: string): string => join(__dirname, `../../build/test/native/${name}.bpf.o`);

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

export const u64 = (value: bigint): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
};

export const TEST_FRAME = Buffer.concat([
  Buffer.alloc(12, 0xff),
  Buffer.from('88b5', 'hex'),
  Buffer.alloc(46),
]);

export class Sample {
  readonly loaded: LoadedObject;

  constructor(options: Parameters<typeof native.loadObject>[1] = {}) {
    this.loaded = native.loadObject(objectPath('sample'), options);
  }

  map(name: string): Fd {
    const fd = this.loaded.maps[name];
    if (fd === undefined) throw new Error(`no map ${name}`);
    return fd;
  }

  program(name: string): Fd {
    const program = this.loaded.programs[name];
    if (program === undefined) throw new Error(`no program ${name}`);
    return program.fd;
  }

  counter(slot: number): bigint {
    return native.mapLookup(this.map('array'), u32(slot))?.readBigUInt64LE() ?? -1n;
  }

  close(): void {
    for (const fd of Object.values(this.loaded.maps)) fd.close();
    for (const { fd } of Object.values(this.loaded.programs)) fd.close();
  }
}

// By name: jest runs tests in a realm of their own, and the module's errors come from another.
export const TYPE_ERROR = expect.objectContaining({ name: 'TypeError' });
export const RANGE_ERROR = expect.objectContaining({ name: 'RangeError' });

/** What a failed native call throws. */
export interface NativeError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly op: string;
  readonly log?: string;
}

export function failure(call: () => unknown): NativeError {
  try {
    call();
  } catch (error) {
    return error as NativeError;
  }
  throw new Error('the call succeeded');
}

/** Runs `body` over an empty folder that is a bpffs, and removes it. */
export function withBpffs(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'vxseal-native-'));
  try {
    native.mountBpffs(folder);
    try {
      body(folder);
    } finally {
      execFileSync('umount', [folder]);
    }
  } finally {
    rmdirSync(folder);
  }
}

/** A namespace with a veth pair `va`, `vb`, both up. */
export class Wire {
  readonly #name = `vxsn-${process.pid}-${Math.random().toString(36).slice(2, 8)}`;
  readonly netns: Fd;
  readonly a: number;
  readonly b: number;

  constructor() {
    execFileSync('ip', ['netns', 'add', this.#name]);
    try {
      this.ip('link', 'add', 'name', 'va', 'type', 'veth', 'peer', 'name', 'vb');
      this.ip('link', 'set', 'va', 'up');
      this.ip('link', 'set', 'vb', 'up');
      this.netns = native.openNetns(`/run/netns/${this.#name}`);
      [this.a, this.b] = [this.ifindex('va'), this.ifindex('vb')];
    } catch (error) {
      execFileSync('ip', ['netns', 'del', this.#name]);
      throw error;
    }
  }

  ip(...words: string[]): string {
    return execFileSync('ip', ['-n', this.#name, ...words], { encoding: 'utf8' });
  }

  ifindex(device: string): number {
    const [link] = JSON.parse(this.ip('-j', 'link', 'show', device)) as { ifindex: number }[];
    return link?.ifindex ?? 0;
  }

  inside<T>(body: () => T): T {
    return native.inNetns(this.netns, body);
  }

  close(): void {
    this.netns.close();
    execFileSync('ip', ['netns', 'del', this.#name]);
  }
}

/** Turns of the event loop until the condition holds; the test's own time limit ends it otherwise. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
