// Tells of programs that somebody else has put in front of ours. They are overtaken in the same pass; for as long as
// they stood, what they let through was seen by none of ours, so it is told also when it is over.
import type { AttachedHook, LinkInfo } from '../ports';
import type { Problems } from './problems';

const KIND = 'order of ';

/** @param observed as the pass found it, before anything was mended */
export function tellOvertaken(
  problems: Problems,
  observed: { readonly hooks: readonly AttachedHook[]; readonly links: readonly LinkInfo[] },
): void {
  const told = new Set<string>();
  for (const { program, ifindex, behind } of observed.hooks) {
    if (behind === undefined) continue;
    const device = observed.links.find((link) => link.ifindex === ifindex)?.name ?? `device ${ifindex}`;
    const object = `${KIND}${program} on ${device}`;
    told.add(object);
    problems.report(
      object,
      `program ${behind} of somebody else stood in front, and what it accepted was not looked at`,
      `ours goes in front again by itself; find whose it is with \`bpftool prog show id ${behind}\``,
    );
  }
  problems.clearOthers(KIND, told);
}
