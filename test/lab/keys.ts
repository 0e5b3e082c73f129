// The keys of a lab, for captures of its wire: only of a lab that was made for it. The agents' own command shows them;
// here they are put together.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LAB_MARKER, labMarkerText } from '../../agent/cli/labkeys';
import { inNetns, type Outcome, tryRun } from './command';
import { type LabLayout, type NodeLayout, packageRoot } from './layout';

export function allowKeys(lab: LabLayout): void {
  for (const node of lab.nodes)
    writeFileSync(join(node.stateDir, LAB_MARKER), labMarkerText(node.name), { mode: 0o600 });
}

/** `vxseal lab-keys` on that node. */
export function nodeKeys(node: NodeLayout): Outcome {
  const program = join(packageRoot(), 'build/agent/cli/vxseal.js');
  return tryRun(inNetns(node.netns, [process.execPath, program, 'lab-keys', '--config', node.configFile]));
}

/** Lines of Wireshark's file esp_sa; what both ends know is there once. Throws the command's refusal. */
export function labKeys(lab: LabLayout): string[] {
  const lines = new Set<string>();
  for (const node of lab.nodes) {
    const { status, stdout, stderr } = nodeKeys(node);
    if (status !== 0) throw new Error(`${node.name}: ${stderr.trim()}`);
    for (const line of stdout.trim().split('\n')) lines.add(line);
  }
  return [...lines].sort();
}
