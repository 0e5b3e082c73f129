// What holds our programs on the devices of a node: pinned links, and filters of clsact where the kernel has no tcx.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../agent/kernel/native';
import { PROGRAM_NAMES } from '../../agent/kernel/programs';
import { inNetns, run } from './command';
import type { NodeLayout } from './layout';

/** Of a filter: its handle less the program's number (agent/kernel/filters.ts). */
const FIRST_HANDLE = 0x7678_0001;

/**
 * "steer-7", program and ifindex -> the link's id, or the filter's handle. A detached link is left out. A filter that
 * was taken off and put on again between two looks is not told apart; a link is.
 */
export type Attachments = ReadonlyMap<string, number>;

/** Throws where there is nothing, or where the agent remembers a filter that its device has not. */
export function attachments(node: NodeLayout): Attachments {
  const found = new Map([...attachedLinks(node), ...filters(node)]);
  if (found.size === 0) throw new Error(`${node.name} has no program attached`);
  return found;
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

/** What the agent has marked as filters of its own, each looked for at its device. */
function filters(node: NodeLayout): [string, number][] {
  const marks = readdirSync(join(node.pinDir, 'filters'));
  if (marks.length === 0) return [];
  const ask = <T>(argv: readonly string[]): T[] => JSON.parse(run(inNetns(node.netns, argv))) as T[];
  const devices = new Map(
    ask<{ ifindex: number; ifname: string }>(['ip', '-j', 'link']).map(({ ifindex, ifname }) => [
      ifindex,
      ifname,
    ]),
  );
  return marks.map((mark) => {
    const [, program = '', ifindex = ''] = /^(.+)-(\d+)$/.exec(mark) ?? [];
    const handle = FIRST_HANDLE + (PROGRAM_NAMES as readonly string[]).indexOf(program);
    const device = devices.get(Number(ifindex));
    const there = ['ingress', 'egress'].flatMap((direction) =>
      device === undefined
        ? []
        : ask<{ options?: { handle?: string } }>(['tc', '-j', 'filter', 'show', 'dev', device, direction]),
    );
    if (!there.some(({ options }) => Number(options?.handle) === handle))
      throw new Error(`${node.name}: no filter of ${program} at device ${device ?? ifindex}`);
    return [mark, handle];
  });
}
