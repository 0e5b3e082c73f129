// The folder on a bpffs that keeps the data plane alive without a process:
//   maps/<map>  programs/<program>  links/<program>-<ifindex>[-generic|-tc]  filters/<program>-<ifindex>
// The kernel does not tell how an XDP link is attached, so the pin's name does; `-tc` is open in tc ingress.
// A filter of clsact lives in its device and cannot be pinned; a folder under filters/ remembers that it is ours.
// Removes nothing but what it made.
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, unlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { HookEntry } from '../core/state';
import { attempt, isErrno } from './fault';
import type { Fd, Native } from './native';
import { isProgramName } from './programs';

const SYSTEM_BPFFS = '/sys/fs/bpf';
/** Of a pin that is about to take the place of another; bpffs keeps names with dots for itself. */
const NEXT = '-next';

/** A pin of a hook: a link, or the mark of a clsact filter. */
export interface HookPin {
  readonly hook: HookEntry;
  readonly kind: 'link' | 'filter';
  /** 'generic': generic XDP, which older agents attached. */
  readonly variant: '' | 'generic' | 'tc';
}

export class Pins {
  constructor(
    private readonly native: Native,
    private readonly root: string,
  ) {}

  get maps(): string {
    return join(this.root, 'maps');
  }

  /** Makes the folders, on a bpffs: the system's, or one mounted at the pin folder itself. */
  prepare(): void {
    attempt(`prepare pin folder ${this.root}`, () => {
      if (!this.native.isBpffs(existingAncestor(this.root))) {
        const mountPoint = this.root.startsWith(`${SYSTEM_BPFFS}/`) ? SYSTEM_BPFFS : this.root;
        mkdirSync(mountPoint, { recursive: true, mode: 0o700 });
        this.native.mountBpffs(mountPoint);
      }
      for (const folder of ['maps', 'programs', 'links', 'filters']) {
        mkdirSync(join(this.root, folder), { recursive: true, mode: 0o700 });
      }
      // A process that died on the way left a link that nobody would find again.
      const links = join(this.root, 'links');
      for (const name of list(links))
        if (name.endsWith(NEXT) && parsePin('link', name.slice(0, -NEXT.length)) !== undefined)
          remove(join(links, name));
    });
  }

  /** The pinned map, or undefined. The caller closes it. */
  openMap(name: string): Fd | undefined {
    return this.openIfThere(join(this.maps, name));
  }

  mapNames(): string[] {
    return list(this.maps);
  }

  /** Puts the program in the place of the one pinned before; the name is never without one. */
  pinProgram(name: string, program: Fd): void {
    const path = join(this.root, 'programs', name);
    const next = `${path}${NEXT}`;
    attempt(`pin program ${name}`, () => {
      remove(next);
      this.native.pin(program, next);
      renameSync(next, path);
    });
  }

  pinLink(pin: HookPin, link: Fd): void {
    attempt(`pin link ${pinName(pin)}`, () => this.native.pin(link, this.path(pin)));
  }

  /** Puts the link in the place of the one pinned before; the name is never without one. */
  replaceLink(pin: HookPin, link: Fd): void {
    const next = `${this.path(pin)}${NEXT}`;
    attempt(`pin link ${pinName(pin)}`, () => {
      remove(next);
      this.native.pin(link, next);
      renameSync(next, this.path(pin));
    });
  }

  openLink(pin: HookPin): Fd | undefined {
    return this.openIfThere(this.path(pin));
  }

  markFilter(pin: HookPin): void {
    attempt(`remember filter ${pinName(pin)}`, () => mkdirSync(this.path(pin), { recursive: true }));
  }

  hookPins(): HookPin[] {
    return [
      ...list(join(this.root, 'links')).flatMap((name) => parsePin('link', name) ?? []),
      ...list(join(this.root, 'filters')).flatMap((name) => parsePin('filter', name) ?? []),
    ];
  }

  removeHook(pin: HookPin): void {
    attempt(`remove pin ${pinName(pin)}`, () => remove(this.path(pin), pin.kind === 'filter'));
  }

  /** Removes maps, programs and folders; hooks must be detached before. */
  removeAll(): void {
    attempt(`remove pins in ${this.root}`, () => {
      for (const folder of ['links', 'programs', 'maps']) {
        for (const name of list(join(this.root, folder))) remove(join(this.root, folder, name));
      }
      for (const folder of ['links', 'filters', 'programs', 'maps']) remove(join(this.root, folder), true);
      try {
        rmdirSync(this.root);
      } catch (cause) {
        // EBUSY: it is the mount point of a bpffs of its own.
        if (!isErrno(cause, 'ENOENT', 'ENOTEMPTY', 'EBUSY')) throw cause;
      }
    });
  }

  private path(pin: HookPin): string {
    return join(this.root, pin.kind === 'link' ? 'links' : 'filters', pinName(pin));
  }

  private openIfThere(path: string): Fd | undefined {
    try {
      return this.native.openPinned(path);
    } catch (cause) {
      if (isErrno(cause, 'ENOENT')) return undefined;
      return attempt(`open pin ${path}`, () => {
        throw cause;
      });
    }
  }
}

function pinName(pin: HookPin): string {
  return `${pin.hook.program}-${pin.hook.ifindex}${pin.variant === '' ? '' : `-${pin.variant}`}`;
}

function parsePin(kind: HookPin['kind'], name: string): HookPin | undefined {
  const match = /^([a-z]+)-([1-9]\d{0,9})(?:-(generic|tc))?$/.exec(name);
  const program = match?.[1];
  if (match === null || program === undefined || !isProgramName(program)) return undefined;
  return {
    kind,
    hook: { program, ifindex: Number(match[2]) },
    variant: match[3] === 'generic' || match[3] === 'tc' ? match[3] : '',
  };
}

function existingAncestor(path: string): string {
  return existsSync(path) || path === '/' ? path : existingAncestor(dirname(path));
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return [];
    throw cause;
  }
}

function remove(path: string, folder = false): void {
  try {
    if (folder) rmdirSync(path);
    else unlinkSync(path);
  } catch (cause) {
    if (!isErrno(cause, 'ENOENT')) throw cause;
  }
}
