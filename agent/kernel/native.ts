// Types of the native module and the one place that loads it. Thin on purpose: descriptors in, bytes out, every
// length checked before libbpf sees it. Rooms other than kernel/ do not import this file.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

/** An owned file descriptor: closed by close() or, at the latest, by the garbage collector. */
export interface Fd {
  /** The number, for messages. -1 after close(). */
  readonly fd: number;
  close(): void;
}

export interface LoadedObject {
  /** Program name -> descriptor and instructions the verifier walked. */
  readonly programs: Readonly<Record<string, { readonly fd: Fd; readonly verifiedInsns: number }>>;
  readonly maps: Readonly<Record<string, Fd>>;
}

export interface MapInfo {
  readonly id: number;
  readonly type: number;
  readonly name: string;
  readonly keySize: number;
  /** One value; per-CPU maps hand over `valueSize` rounded up to 8 times the number of possible CPUs. */
  readonly valueSize: number;
  readonly maxEntries: number;
}

export interface ProgramInfo {
  readonly id: number;
  readonly name: string;
  /** Hex, 8 bytes. */
  readonly tag: string;
}

export interface LinkInfo {
  readonly id: number;
  readonly type: number;
  readonly programId: number;
  /** 0 once the device is gone or the link was detached. */
  readonly ifindex: number;
  /** enum bpf_attach_type. */
  readonly attachType: number;
}

export interface TestRunResult {
  readonly retval: number;
  /** Mean of one run, nanoseconds. */
  readonly durationNs: number;
  /** The packet afterwards, without XDP metadata. */
  readonly dataOut: Buffer;
  /** XDP: the metadata in front of the packet; otherwise empty. */
  readonly metaOut: Buffer;
  readonly ctxOut: Buffer;
}

/**
 * Errors: every failed call throws an Error with `errno` (positive number), `code` ("ENOENT") and `op`; wrong
 * argument types and lengths throw TypeError or RangeError before any system call. kernel/ turns them into
 * KernelError.
 */
export interface Native {
  /** Number of possible CPUs (libbpf_num_possible_cpus). */
  readonly possibleCpus: number;

  /**
   * Opens and loads an object file. Maps with LIBBPF_PIN_BY_NAME are reused from and pinned to `pinRoot`; with
   * pinRoot undefined they are private. `maxEntries` by map name; names the object does not have are skipped. On a
   * verifier refusal the error's `log` holds its last lines; a pinned map of another layout is EINVAL and says what
   * differs.
   */
  loadObject(
    path: string,
    options: { readonly pinRoot?: string; readonly maxEntries?: Readonly<Record<string, number>> },
  ): LoadedObject;
  pin(fd: Fd, path: string): void;
  /** BPF_OBJ_GET. Throws ENOENT. */
  openPinned(path: string): Fd;
  mapInfo(fd: Fd): MapInfo;
  programInfo(fd: Fd): ProgramInfo;
  linkInfo(fd: Fd): LinkInfo;

  /** undefined when the key is not there. `flags` e.g. BPF_F_LOCK. */
  mapLookup(map: Fd, key: Buffer, flags?: number): Buffer | undefined;
  /** flags: BPF_ANY 0, BPF_NOEXIST 1, BPF_EXIST 2, BPF_F_LOCK 4. */
  mapUpdate(map: Fd, key: Buffer, value: Buffer, flags?: number): void;
  /** False when the key was not there. */
  mapDelete(map: Fd, key: Buffer): boolean;
  /** Keys and values, by batch calls where the map type has them, else key by key. */
  mapEntries(map: Fd): { readonly key: Buffer; readonly value: Buffer }[];
  /** How many mapEntries() would hand over. */
  mapCount(map: Fd): number;

  /**
   * tcx link (attach types 46, 47; kernel 6.6), in front of the programs that are there. Throws EINVAL or
   * EOPNOTSUPP on older kernels.
   */
  attachTcx(program: Fd, ifindex: number, direction: 'ingress' | 'egress'): Fd;
  /** Ids of the programs at that hook, anybody's, in the order in which they run. Errors as attachTcx. */
  queryTcx(ifindex: number, direction: 'ingress' | 'egress'): number[];
  /** mode: "native" (XDP_FLAGS_DRV_MODE), "generic" (XDP_FLAGS_SKB_MODE). */
  attachXdp(program: Fd, ifindex: number, mode: 'native' | 'generic'): Fd;
  /** BPF_LINK_UPDATE: the device is never without a program. */
  updateLink(link: Fd, program: Fd): void;
  detachLink(link: Fd): void;
  /** clsact + cls_bpf direct-action filter (replace is atomic). */
  attachClsact(
    program: Fd,
    ifindex: number,
    direction: 'ingress' | 'egress',
    handle: number,
    priority: number,
  ): void;
  detachClsact(ifindex: number, direction: 'ingress' | 'egress', handle: number, priority: number): void;
  /** Id of the program at that filter, or undefined. */
  queryClsact(
    ifindex: number,
    direction: 'ingress' | 'egress',
    handle: number,
    priority: number,
  ): number | undefined;

  /** BPF_PROG_TEST_RUN. `ctx` is a struct __sk_buff or xdp_md image. */
  testRun(
    program: Fd,
    options: { readonly data: Buffer; readonly ctx?: Buffer; readonly repeat?: number },
  ): TestRunResult;

  /** Calls `onEvent` on the event loop for each record until the returned close() is called. */
  openRingBuffer(map: Fd, onEvent: (record: Buffer) => void): { close(): void };

  /** Opens a network namespace; throws EINVAL if the path is something else. */
  openNetns(path: string): Fd;
  /** device and inode of an open descriptor. */
  statFd(fd: Fd): { readonly device: bigint; readonly inode: bigint };
  /**
   * Runs `body` synchronously on this thread inside the namespace and returns its result. Returns to the own
   * namespace also when body throws; if that is impossible the process aborts (it must not go on elsewhere).
   */
  inNetns<T>(netns: Fd, body: () => T): T;

  /** SIOCETHTOOL in the current namespace. */
  setOffload(device: string, feature: 'tx' | 'rx' | 'sg' | 'tso' | 'gso' | 'gro' | 'lro', on: boolean): void;
  getOffload(device: string, feature: 'tx' | 'rx' | 'sg' | 'tso' | 'gso' | 'gro' | 'lro'): boolean;
  /** One frame out of the device through AF_PACKET (not bypassing the queueing discipline unless asked to). */
  sendFrame(ifindex: number, frame: Buffer, bypassQdisc?: boolean): void;
  /**
   * One request of a netlink family in the current namespace, with NLM_F_ACK or NLM_F_DUMP set, and the messages of the
   * answer, headers included. EINTR: the tables changed while they were dumped. Errors of the kernel are thrown.
   */
  netlinkRequest(protocol: number, message: Buffer): Buffer[];
  /** Mounts a bpffs (mode 0700) at an existing folder, unless one is there already. */
  mountBpffs(path: string): void;
  /** The path lies on a bpffs (statfs f_type). */
  isBpffs(path: string): boolean;
  /** Has malloc give large blocks back to the system as they are freed, for as long as the process lives. */
  keepMallocSmall(): void;
  /** Gives back to the system what was freed and malloc still holds: a few milliseconds when there is much. */
  returnFreedMemory(): void;
  /** Overwrites the bytes in a way the compiler cannot remove. V8 may hold copies made earlier. */
  wipe(bytes: Uint8Array): void;
}

const MODULE = 'build/native/vxseal.node';

/** The module of this package, from the sources as from build/; VXSEAL_NATIVE names another build of it. */
function modulePath(): string {
  const chosen = process.env.VXSEAL_NATIVE;
  if (chosen !== undefined && chosen !== '') return resolve(chosen);
  for (let folder = __dirname; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return join(folder, MODULE);
  }
  throw new Error(`no package.json above ${__dirname}: the installation is not whole`);
}

/** Throws when the module was not built; the message says how to build it. */
export function loadNative(path = modulePath()): Native {
  try {
    return require(path) as Native;
  } catch (cause) {
    throw new Error(`native module ${path} cannot be loaded: run ./scripts/build`, { cause });
  }
}
