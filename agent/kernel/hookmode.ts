// How a hook is held, as its pin tells, and who runs before it. Asks the kernel nothing.
import type { HookEntry } from '../core/state';
import type { HookMode } from '../ports';
import type { HookPin } from './pins';
import { ATTACH_POINTS } from './programs';

export function modeOf(pin: HookPin): HookMode {
  const { xdp } = ATTACH_POINTS[pin.hook.program];
  if (xdp === undefined) return pin.kind === 'filter' ? 'clsact' : 'tcx';
  return pin.kind === 'filter' || pin.variant === 'tc' ? 'tc-open' : 'xdp-native';
}

/** Only tcx has an order that others can change: priority 1 is the first for filters, and XDP has one program. */
export function foreignInFront(
  pin: HookPin,
  programId: number,
  own: readonly number[],
  running: readonly number[] | undefined = [],
): number | undefined {
  if (modeOf(pin).startsWith('xdp')) return undefined;
  // tcx runs before any filter.
  const before = pin.kind === 'filter' ? running : running.slice(0, Math.max(0, running.indexOf(programId)));
  return before.find((id) => !own.includes(id));
}

export const isTcx = (pin: HookPin): boolean => pin.kind === 'link' && !modeOf(pin).startsWith('xdp');
export const describe = (hook: HookEntry): string => `${hook.program} at device ${hook.ifindex}`;
/** Of two pins of one hook. */
export const samePin = (a: HookPin, b: HookPin): boolean => a.kind === b.kind && a.variant === b.variant;
