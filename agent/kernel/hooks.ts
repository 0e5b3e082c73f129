// Attaches the programs and keeps them attached: a device that has a program is never without one again until
// detach(). tcx links where the kernel has them, else filters of clsact; XDP native, then generic, then tc.
import type { Config } from '../config';
import type { HookEntry } from '../core/state';
import type { AttachedHook, HookMode } from '../ports';
import { attempt, isErrno, kernelError } from './fault';
import { type Expedite, unhurried } from './graceperiods';
import type { Fd, Native } from './native';
import type { HookPin, Pins } from './pins';
import { ATTACH_POINTS, type LoadedPrograms, PROGRAM_NAMES } from './programs';

export type XdpChoice = Config['underlay']['xdp'];

/** Ours among the filters of a device, with a number per program; the first to be asked. */
const FILTER_PRIORITY = 1;
const filterHandle = (hook: HookEntry): number => 0x7678_0001 + PROGRAM_NAMES.indexOf(hook.program);

/** What the kernel says of a link or filter whose device is gone, or that another hand has removed. */
const GONE = ['ENOENT', 'ENODEV', 'ENOLINK', 'ENXIO'];
/** The kernel, or the driver, does not know this way of attaching: there is another. */
const NOT_POSSIBLE = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'];

export class Hooks {
  constructor(
    private readonly native: Native,
    private readonly pins: Pins,
    private readonly programs: LoadedPrograms,
    private readonly xdp: XdpChoice,
    private readonly expedite: Expedite = unhurried,
  ) {}

  /** Moves every hook that is in place to the programs just loaded, and forgets those whose device is gone. */
  adopt(): void {
    for (const pin of this.pins.hookPins()) {
      if (this.isInPlace(pin)) this.refresh(pin);
      else this.pins.removeHook(pin);
    }
  }

  list(): AttachedHook[] {
    const attached: { readonly pin: HookPin; readonly programId: number }[] = [];
    for (const pin of this.pins.hookPins()) {
      const found = this.find(pin);
      if (found === undefined) this.pins.removeHook(pin);
      else attached.push({ pin, ...found });
    }
    return attached.map(({ pin, programId }) => {
      const own = attached
        .filter((other) => other.pin.hook.ifindex === pin.hook.ifindex)
        .map((other) => other.programId);
      const behind = this.foreignInFront(pin, programId, own);
      return { ...pin.hook, mode: modeOf(pin), ...(behind === undefined ? {} : { behind }) };
    });
  }

  attach(hook: HookEntry): AttachedHook {
    const outgoing: HookPin[] = [];
    for (const pin of this.pinsOf(hook)) {
      if (!this.isInPlace(pin)) {
        this.pins.removeHook(pin);
      } else if (this.suits(pin)) {
        this.refresh(pin);
        if (this.isBehind(pin)) this.overtake(pin);
        return { ...hook, mode: modeOf(pin) };
      } else {
        outgoing.push(pin);
      }
    }
    const pin = this.attachAnew(hook);
    for (const old of outgoing) this.release(old);
    return { ...hook, mode: modeOf(pin) };
  }

  detach(hook: HookEntry): void {
    for (const pin of this.pinsOf(hook)) this.release(pin);
  }

  detachAll(): void {
    for (const pin of this.pins.hookPins()) this.release(pin);
  }

  private pinsOf(hook: HookEntry): HookPin[] {
    return this.pins
      .hookPins()
      .filter((pin) => pin.hook.program === hook.program && pin.hook.ifindex === hook.ifindex);
  }

  /** XDP cannot change between native and generic while attached, so only a wish for tc moves it. */
  private suits(pin: HookPin): boolean {
    return this.xdp !== 'tc' || !modeOf(pin).startsWith('xdp');
  }

  private isInPlace(pin: HookPin): boolean {
    return this.find(pin) !== undefined;
  }

  /** Undefined: the link or filter is not there, or not at this device. */
  private find(pin: HookPin): { readonly programId: number } | undefined {
    const op = `look at ${describe(pin.hook)}`;
    if (pin.kind === 'filter') {
      const programId = this.queryFilter(op, pin.hook);
      return programId === undefined ? undefined : { programId };
    }
    const link = this.pins.openLink(pin);
    if (link === undefined) return undefined;
    try {
      const { ifindex, programId } = attempt(op, () => this.native.linkInfo(link));
      // The index is 0 once the device is gone; another device may have taken the number since.
      return ifindex === pin.hook.ifindex ? { programId } : undefined;
    } finally {
      link.close();
    }
  }

  private isBehind(pin: HookPin): boolean {
    const found = this.find(pin);
    if (found === undefined) return false;
    const atDevice = this.pins.hookPins().filter((other) => other.hook.ifindex === pin.hook.ifindex);
    const own = atDevice.flatMap((other) => this.find(other)?.programId ?? []);
    return this.foreignInFront(pin, found.programId, own) !== undefined;
  }

  /** Only tcx has an order that others can change: priority 1 is the first for filters, and XDP has one program. */
  private foreignInFront(pin: HookPin, programId: number, own: readonly number[]): number | undefined {
    if (!isTcx(pin)) return undefined;
    const { ifindex, program } = pin.hook;
    try {
      const running = this.native.queryTcx(ifindex, ATTACH_POINTS[program].direction);
      return running.slice(0, Math.max(0, running.indexOf(programId))).find((id) => !own.includes(id));
    } catch (cause) {
      if (isErrno(cause, ...GONE)) return undefined; // went away meanwhile: the next look says so
      throw kernelError(`look at the order at device ${ifindex}`, cause);
    }
  }

  /**
   * Puts ours in front: a new link at the head, then the old one away. The kernel takes no program twice at one
   * hook, so the new link begins with a copy.
   */
  private overtake(pin: HookPin): void {
    const { hook } = pin;
    const { direction, tc } = ATTACH_POINTS[hook.program];
    const old = this.pins.openLink(pin);
    if (old === undefined) return;
    let copy: Fd | undefined;
    let link: Fd | undefined;
    try {
      copy = this.programs.copy(hook.program, tc);
      const first = copy;
      link = attempt(`put ${describe(hook)} in front`, () =>
        this.expedite(() => this.native.attachTcx(first, hook.ifindex, direction)),
      );
      this.pins.replaceLink(pin, link);
      attempt(`detach ${describe(hook)} from behind`, () => this.expedite(() => this.native.detachLink(old)));
      this.refresh(pin);
    } finally {
      for (const fd of [old, copy, link]) fd?.close();
    }
  }

  private queryFilter(op: string, hook: HookEntry): number | undefined {
    const { direction } = ATTACH_POINTS[hook.program];
    try {
      return this.native.queryClsact(hook.ifindex, direction, filterHandle(hook), FILTER_PRIORITY);
    } catch (cause) {
      if (isErrno(cause, ...GONE, 'EINVAL')) return undefined;
      throw kernelError(op, cause);
    }
  }

  /** In one step: the old program works until the new one does. */
  private refresh(pin: HookPin): void {
    const { hook } = pin;
    const program = this.programFor(pin);
    const op = `update ${describe(hook)}`;
    if (pin.kind === 'filter') {
      this.putFilter(op, hook, program);
      return;
    }
    const link = this.pins.openLink(pin);
    if (link === undefined) throw kernelError(op, { errno: 2, code: 'ENOENT' });
    try {
      attempt(op, () => {
        const current = this.native.programInfo(program).id;
        if (this.native.linkInfo(link).programId !== current) this.native.updateLink(link, program);
      });
    } finally {
      link.close();
    }
  }

  private attachAnew(hook: HookEntry): HookPin {
    const { xdp } = ATTACH_POINTS[hook.program];
    if (xdp === undefined) return this.attachTc(hook, '');
    for (const mode of this.xdpModes()) {
      const pin = this.tryXdp(hook, this.programs.program(xdp), mode);
      if (pin !== undefined) return pin;
    }
    return this.attachTc(hook, 'tc');
  }

  private xdpModes(): ('native' | 'generic')[] {
    if (this.xdp === 'tc') return [];
    return this.xdp === 'auto' ? ['native', 'generic'] : [this.xdp];
  }

  /** @returns undefined when the next way is to be tried; a way that was asked for by name is not replaced. */
  private tryXdp(hook: HookEntry, program: Fd, mode: 'native' | 'generic'): HookPin | undefined {
    try {
      const link = this.native.attachXdp(program, hook.ifindex, mode);
      return this.keepLink({ hook, kind: 'link', variant: mode === 'generic' ? 'generic' : '' }, link);
    } catch (cause) {
      if (this.xdp === 'auto' && !isErrno(cause, ...GONE, 'EPERM')) return undefined;
      throw kernelError(`attach open to device ${hook.ifindex} as ${mode} XDP`, cause);
    }
  }

  private attachTc(hook: HookEntry, variant: HookPin['variant']): HookPin {
    const op = `attach ${describe(hook)}`;
    const { direction, tc } = ATTACH_POINTS[hook.program];
    const program = this.programs.program(tc);
    try {
      const link = this.expedite(() => this.native.attachTcx(program, hook.ifindex, direction));
      return this.keepLink({ hook, kind: 'link', variant }, link);
    } catch (cause) {
      if (!isErrno(cause, ...NOT_POSSIBLE)) throw kernelError(op, cause);
    }
    // The mark first: a filter that nobody remembers would stay for ever.
    const pin: HookPin = { hook, kind: 'filter', variant };
    this.pins.markFilter(pin);
    try {
      this.putFilter(op, hook, program);
    } catch (cause) {
      if (!this.isInPlace(pin)) this.pins.removeHook(pin);
      throw cause;
    }
    return pin;
  }

  private keepLink(pin: HookPin, link: Fd): HookPin {
    try {
      this.pins.pinLink(pin, link);
      return pin;
    } finally {
      link.close(); // the pin holds it; without one it detaches here
    }
  }

  private putFilter(op: string, hook: HookEntry, program: Fd): void {
    const { direction } = ATTACH_POINTS[hook.program];
    attempt(op, () =>
      this.native.attachClsact(program, hook.ifindex, direction, filterHandle(hook), FILTER_PRIORITY),
    );
  }

  private programFor(pin: HookPin): Fd {
    const { tc, xdp } = ATTACH_POINTS[pin.hook.program];
    return this.programs.program(modeOf(pin).startsWith('xdp') && xdp !== undefined ? xdp : tc);
  }

  private release(pin: HookPin): void {
    const op = `detach ${describe(pin.hook)}`;
    try {
      if (pin.kind === 'filter') {
        const { direction } = ATTACH_POINTS[pin.hook.program];
        this.native.detachClsact(pin.hook.ifindex, direction, filterHandle(pin.hook), FILTER_PRIORITY);
      } else {
        const link = this.pins.openLink(pin);
        try {
          if (link !== undefined) this.expedite(() => this.native.detachLink(link));
        } finally {
          link?.close();
        }
      }
    } catch (cause) {
      if (!isErrno(cause, ...GONE, 'EINVAL')) throw kernelError(op, cause);
    }
    this.pins.removeHook(pin);
  }
}

function modeOf(pin: HookPin): HookMode {
  const { xdp } = ATTACH_POINTS[pin.hook.program];
  if (xdp === undefined) return pin.kind === 'filter' ? 'clsact' : 'tcx';
  if (pin.kind === 'filter' || pin.variant === 'tc') return 'tc-open';
  return pin.variant === 'generic' ? 'xdp-generic' : 'xdp-native';
}

const isTcx = (pin: HookPin): boolean => pin.kind === 'link' && !modeOf(pin).startsWith('xdp');
const describe = (hook: HookEntry): string => `${hook.program} at device ${hook.ifindex}`;
