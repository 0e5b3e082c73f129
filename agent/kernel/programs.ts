// The entry programs: which object file each is in, where it attaches, and the loaded set. Loads; attaches nothing.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ProgramName } from '../core/state';
import { KernelError } from '../errors';
import type { EngineName } from './engine';
import { attempt, kernelError } from './fault';
import type { Fd, LoadedObject, Native } from './native';

export type Direction = 'ingress' | 'egress';

/**
 * Where a program sits. `open` is XDP, and tc ingress where XDP cannot be had: two programs of one object, `xdp`
 * and `tc`.
 */
export interface AttachPoint {
  readonly direction: Direction;
  /** Name of the program for tc in the object. */
  readonly tc: string;
  readonly xdp?: string;
}

export const ATTACH_POINTS: Readonly<Record<ProgramName, AttachPoint>> = {
  steer: { direction: 'ingress', tc: 'steer' },
  gate: { direction: 'egress', tc: 'gate' },
  encap: { direction: 'egress', tc: 'encap' },
  admit: { direction: 'ingress', tc: 'admit' },
  seal: { direction: 'egress', tc: 'seal' },
  open: { direction: 'ingress', tc: 'open_tc', xdp: 'open_xdp' },
  deliver: { direction: 'ingress', tc: 'deliver' },
  guard: { direction: 'ingress', tc: 'guard' },
  fence: { direction: 'egress', tc: 'fence' },
};

/** Object of a program, without its ending. With the kernel's IPsec as engine `open` is another under the same names. */
export const objectOf = (name: ProgramName, engine: EngineName): string =>
  name === 'open' && engine === 'xfrm' ? 'handover' : name;

export const PROGRAM_NAMES = Object.keys(ATTACH_POINTS) as readonly ProgramName[];

export function isProgramName(text: string): text is ProgramName {
  return Object.hasOwn(ATTACH_POINTS, text);
}

export interface LoadedPrograms {
  /** Program by its name in the object, e.g. "open_tc". */
  program(name: string): Fd;
  /** Map by name; shared by all programs through its pin. */
  map(name: string): Fd;
  readonly names: readonly string[];
  /** The same program once more, for a hook that takes no program twice; the caller closes it. */
  copy(of: ProgramName, name: string): Fd;
  close(): void;
}

/**
 * Loads every object of `bpfDir`; maps are taken from `<pinDir>/maps` or made there.
 * @throws KernelError naming the program; for one that the kernel refused, with the verifier's last lines.
 */
export function loadPrograms(
  native: Native,
  bpfDir: string,
  pinRoot: string,
  engine: EngineName,
): LoadedPrograms {
  const pathOf = (name: ProgramName): string => join(bpfDir, `${objectOf(name, engine)}.bpf.o`);
  const programs = new Map<string, Fd>();
  const maps = new Map<string, Fd>();
  const close = () => {
    for (const fd of [...programs.values(), ...maps.values()]) fd.close();
  };
  try {
    for (const name of PROGRAM_NAMES) {
      const object = loadObject(native, name, pathOf(name), pinRoot);
      for (const [program, { fd }] of Object.entries(object.programs)) programs.set(program, fd);
      for (const [map, fd] of Object.entries(object.maps)) keepFirst(maps, map, fd);
    }
    for (const { tc, xdp } of Object.values(ATTACH_POINTS)) {
      find(programs, tc, 'program');
      if (xdp !== undefined) find(programs, xdp, 'program');
    }
  } catch (cause) {
    close();
    throw cause;
  }
  return {
    program: (name) => find(programs, name, 'program'),
    map: (name) => find(maps, name, 'map'),
    names: [...programs.keys()],
    copy: (of, name) => copyProgram(native, of, name, pathOf(of), pinRoot),
    close,
  };
}

function copyProgram(native: Native, of: ProgramName, name: string, path: string, pinRoot: string): Fd {
  const object = loadObject(native, of, path, pinRoot);
  for (const map of Object.values(object.maps)) map.close();
  const copies = new Map(Object.entries(object.programs).map(([each, { fd }]) => [each, fd]));
  const wanted = find(copies, name, 'program');
  for (const fd of copies.values()) if (fd !== wanted) fd.close();
  return wanted;
}

function loadObject(native: Native, name: ProgramName, path: string, pinRoot: string): LoadedObject {
  const op = `load program ${name}`;
  if (!existsSync(path))
    throw new KernelError(op, 2, 'ENOENT', `${path} is missing: run scripts/build, or set bpfDir`);
  return attempt(op, () => native.loadObject(path, { pinRoot }));
}

/** Every object opens the shared maps again; one descriptor of each is enough. */
function keepFirst(maps: Map<string, Fd>, name: string, fd: Fd): void {
  if (maps.has(name)) fd.close();
  else maps.set(name, fd);
}

function find(fds: ReadonlyMap<string, Fd>, name: string, kind: string): Fd {
  const fd = fds.get(name);
  if (fd === undefined) throw kernelError(`find ${kind} ${name}`, { errno: 2, code: 'ENOENT' });
  return fd;
}
