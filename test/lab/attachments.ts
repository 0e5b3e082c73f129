// What holds our programs on the devices of a node: pinned links, and filters of clsact where the kernel has no tcx.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../agent/kernel/native';
import { inNetns, run } from './command';
import type { NodeLayout } from './layout';

/** In the upper half of the handle of every filter of ours (kernel/filters.ts). */
const OUR_FILTERS = 0x7678;

/** "steer-7" or "eth0 egress 0x76780001" -> the link's id or the filter's handle. A detached link is left out. */
export type Attachments = ReadonlyMap<string, number>;

export function attachments(node: NodeLayout): Attachments {
  return new Map([...attachedLinks(node), ...filters(node)]);
}

/** What `before` has and `now` lacks or has as another: taken off and put on again, with a gap. */
export function replaced(before: Attachments, now: Attachments): string[] {
  return [...before].flatMap(([name, id]) => (now.get(name) === id ? [] : [name]));
}

function attachedLinks(node: NodeLayout): [string, number][] {
  const native = loadNative();
  const dir = join(node.pinDir, 'links');
  return readdirSync(dir).flatMap((name): [string, number][] => {
    const link = native.openPinned(join(dir, name));
    const { ifindex, id } = native.linkInfo(link);
    link.close();
    return ifindex === 0 ? [] : [[name, id]];
  });
}

function filters(node: NodeLayout): [string, number][] {
  const ask = <T>(argv: readonly string[]): T[] => JSON.parse(run(inNetns(node.netns, argv))) as T[];
  const hooks = ask<{ ifname: string }>(['ip', '-j', 'link']).flatMap(({ ifname }) =>
    ['ingress', 'egress'].map((direction) => [ifname, direction] as const),
  );
  return hooks.flatMap(([ifname, direction]) =>
    ask<{ options?: { handle?: string } }>(['tc', '-j', 'filter', 'show', 'dev', ifname, direction])
      .map(({ options }) => options?.handle ?? '')
      .filter((handle) => Number(handle) >>> 16 === OUR_FILTERS)
      .map((handle): [string, number] => [`${ifname} ${direction} ${handle}`, Number(handle)]),
  );
}
