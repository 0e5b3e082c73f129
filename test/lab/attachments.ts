// What holds our programs on the devices of a node: pinned links, and filters of clsact where the kernel has no tcx.
import { join } from 'node:path';
import { Filters } from '../../agent/kernel/filters';
import { loadNative } from '../../agent/kernel/native';
import { Pins } from '../../agent/kernel/pins';
import { NETNS_DIR, type NodeLayout } from './layout';

/**
 * "steer-7", program and ifindex -> the link's id, or 0 for a filter. A detached link is left out. A filter that was
 * taken off and put on again between two looks is not told apart; a link is.
 */
export type Attachments = ReadonlyMap<string, number>;

/** Throws where there is nothing, or where the agent remembers a filter that its device has not. */
export function attachments(node: NodeLayout): Attachments {
  const native = loadNative();
  const pins = new Pins(native, node.pinDir);
  const netns = native.openNetns(join(NETNS_DIR, node.netns));
  try {
    const found = native.inNetns(netns, () =>
      pins.hookPins().flatMap((pin): [string, number][] => {
        const name = `${pin.hook.program}-${pin.hook.ifindex}`;
        if (pin.kind === 'filter') {
          if (new Filters(native).query(`look for ${name}`, pin.hook) === undefined)
            throw new Error(`${node.name}: the filter ${name} is not on its device`);
          return [[name, 0]];
        }
        const link = pins.openLink(pin);
        if (link === undefined) return [];
        const { ifindex, id } = native.linkInfo(link);
        link.close();
        return ifindex === 0 ? [] : [[name, id]];
      }),
    );
    if (found.length === 0) throw new Error(`${node.name} has no program attached`);
    return new Map(found);
  } finally {
    netns.close();
  }
}

/** What `before` has and `now` lacks or has as another: taken off and put on again, with a gap. */
export function replaced(before: Attachments, now: Attachments): string[] {
  return [...before].flatMap(([name, id]) => (now.get(name) === id ? [] : [name]));
}
