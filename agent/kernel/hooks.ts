// Attaches the programs and keeps them attached: a device that has a program is never without one again until
// detach(). tcx links where the kernel has them, else filters of clsact; open in native XDP, else in tc. Never in generic
// XDP: it comes after a buffer was made for the stack as tc does, and behind it tc can miss the Ethernet header (is_bare()
// in bpf/parse.h).
import type { Config } from '../config';
import type { HookEntry } from '../core/state';
import type { AttachedHook } from '../ports';
import { attempt, isErrno, kernelError } from './fault';
import { Filters, GONE } from './filters';
import { type Expedite, unhurried } from './graceperiods';
import { describe, foreignInFront, isTcx, modeOf, samePin } from './hookmode';
import type { Fd, Native } from './native';
import type { HookPin, Pins } from './pins';
import { ATTACH_POINTS, type LoadedPrograms } from './programs';

export type XdpChoice = Config['underlay']['xdp'];

/** The kernel, or the driver, does not know this way of attaching: there is another. */
const NOT_POSSIBLE = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'];

export class Hooks {
  private readonly filters: Filters;

  constructor(
    private readonly native: Native,
    private readonly pins: Pins,
    private readonly programs: LoadedPrograms,
    private readonly xdp: XdpChoice,
    private readonly expedite: Expedite = unhurried,
  ) {
    this.filters = new Filters(native);
  }

  /** Moves every hook that is in place to the programs just loaded, and forgets those whose device is gone. */
  adopt(): void {
    for (const pin of this.pins.hookPins()) {
      if (!this.isInPlace(pin)) this.pins.removeHook(pin);
      else if (modeOf(pin) === 'xdp-native' && !this.suits(pin, pin.hook)) this.moveXdp(pin);
      else this.refresh(pin);
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
      const running = this.running(pin);
      const behind = foreignInFront(pin, programId, own, running);
      return {
        ...pin.hook,
        mode: modeOf(pin),
        ...(behind === undefined ? {} : { behind }),
        ...(pin.kind === 'filter' && running !== undefined ? { passing: true as const } : {}),
      };
    });
  }

  attach(hook: HookEntry): AttachedHook {
    const outgoing: HookPin[] = [];
    for (const pin of this.pinsOf(hook)) {
      if (!this.isInPlace(pin)) {
        this.pins.removeHook(pin);
      } else if (this.suits(pin, hook)) {
        this.refresh(pin);
        if (isTcx(pin) && this.isBehind(pin)) this.overtake(pin);
        return { ...hook, mode: modeOf(pin) };
      } else {
        outgoing.push(pin);
      }
    }
    const link = outgoing.find(isTcx);
    const pin = link === undefined ? this.attachAnew(hook) : this.lighter(hook, link);
    for (const old of outgoing) if (!samePin(old, pin)) this.release(old);
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

  /**
   * XDP goes where tc is wished for. A tcx link gives way to a filter on a device that is leaving: its removal would
   * wait for two grace periods. Not where somebody else's tcx program could then run first.
   */
  private suits(pin: HookPin, hook: HookEntry): boolean {
    if (isTcx(pin)) return hook.leaving !== true || this.hasForeign(pin);
    if (pin.kind === 'link') return this.xdp !== 'tc' && pin.variant !== 'generic';
    return this.running(pin) === undefined || (hook.leaving === true && !this.hasForeign(pin));
  }

  /** A filter beside the link, which is then not needed any more; the link itself where there can be none. */
  private lighter(hook: HookEntry, link: HookPin): HookPin {
    try {
      return this.attachFilter(hook, link.variant);
    } catch (cause) {
      if (isErrno(cause, ...GONE)) throw cause;
      return link;
    }
  }

  private hasForeign(pin: HookPin): boolean {
    const own = this.ownPrograms(pin.hook.ifindex);
    return this.running(pin)?.some((id) => !own.includes(id)) === true;
  }

  private isInPlace(pin: HookPin): boolean {
    return this.find(pin) !== undefined;
  }

  /** Undefined: the link or filter is not there, or not at this device. */
  private find(pin: HookPin): { readonly programId: number } | undefined {
    const op = `look at ${describe(pin.hook)}`;
    if (pin.kind === 'filter') {
      const programId = this.filters.query(op, pin.hook);
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
    const own = this.ownPrograms(pin.hook.ifindex);
    return foreignInFront(pin, found.programId, own, this.running(pin)) !== undefined;
  }

  private ownPrograms(ifindex: number): number[] {
    const atDevice = this.pins.hookPins().filter((other) => other.hook.ifindex === ifindex);
    return atDevice.flatMap((other) => this.find(other)?.programId ?? []);
  }

  /** Programs of tcx at that hook, in their order; undefined: this kernel has none. */
  private running({ hook: { ifindex, program } }: HookPin): number[] | undefined {
    try {
      return this.native.queryTcx(ifindex, ATTACH_POINTS[program].direction);
    } catch (cause) {
      if (isErrno(cause, ...NOT_POSSIBLE)) return undefined;
      if (isErrno(cause, ...GONE)) return []; // went away meanwhile: the next look says so
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

  /** In one step: the old program works until the new one does. */
  private refresh(pin: HookPin): void {
    const { hook } = pin;
    const program = this.programFor(pin);
    const op = `update ${describe(hook)}`;
    if (pin.kind === 'filter') {
      this.filters.put(op, hook, program);
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
    if (ATTACH_POINTS[hook.program].xdp === undefined) return this.attachTc(hook, '');
    return this.tryXdp(hook) ?? this.attachTc(hook, 'tc');
  }

  /** @returns undefined when tc is to be tried; a way that was asked for by name is not replaced. */
  private tryXdp(hook: HookEntry): HookPin | undefined {
    const { xdp } = ATTACH_POINTS[hook.program];
    if (this.xdp === 'tc' || xdp === undefined) return undefined;
    try {
      const link = this.native.attachXdp(this.programs.program(xdp), hook.ifindex, 'native');
      return this.keepLink({ hook, kind: 'link', variant: '' }, link);
    } catch (cause) {
      if (this.xdp === 'auto' && !isErrno(cause, ...GONE, 'EPERM')) return undefined;
      throw kernelError(`attach open to device ${hook.ifindex} as native XDP`, cause);
    }
  }

  /** To tc; from there, for what an older agent attached as generic XDP, to native, which the kernel has not beside it. */
  private moveXdp(pin: HookPin): void {
    const tc = this.attachTc(pin.hook, 'tc');
    this.release(pin);
    try {
      if (this.tryXdp(pin.hook) !== undefined) this.release(tc);
    } catch (cause) {
      // Asked for by name and not to be had: what is in tc serves until then.
      if (isErrno(cause, ...GONE)) throw cause;
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
    return this.attachFilter(hook, variant);
  }

  private attachFilter(hook: HookEntry, variant: HookPin['variant']): HookPin {
    const op = `attach ${describe(hook)}`;
    const program = this.programs.program(ATTACH_POINTS[hook.program].tc);
    // The mark first: a filter that nobody remembers would stay for ever.
    const pin: HookPin = { hook, kind: 'filter', variant };
    this.pins.markFilter(pin);
    try {
      this.filters.put(op, hook, program);
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

  private programFor(pin: HookPin): Fd {
    const { tc, xdp } = ATTACH_POINTS[pin.hook.program];
    return this.programs.program(modeOf(pin).startsWith('xdp') && xdp !== undefined ? xdp : tc);
  }

  private release(pin: HookPin): void {
    const op = `detach ${describe(pin.hook)}`;
    try {
      if (pin.kind === 'filter') {
        this.filters.remove(pin.hook);
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
