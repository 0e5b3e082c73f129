// `vxseal lab-keys`: the keys of a lab's node, so that Wireshark reads a capture of its wire. The one command that shows
// a key, and it refuses on anything but a node of a lab that was made for it (scripts/lab up --keys): the keys are
// no more than root can read from the kernel anyway, but nobody is to get used to copying them out of production.
import { lstatSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Config } from '../config';
import { loadConfig } from '../config/load';
import { VxsealError } from '../errors';
import { action, type Cli } from './command';
import { configSources, withConfig } from './options';

/** In the state directory. */
export const LAB_MARKER = 'lab-keys';
export const LAB_TRUST_DOMAIN = 'lab.vxseal';
/** Whole text of the marker: it holds for one node. */
export const labMarkerText = (node: string): string => `keys of the lab's ${node} may be shown\n`;

const NOBODY_ELSE = 0o077;

export interface LabKeysParts {
  /** Lines of Wireshark's file esp_sa. */
  readonly lines: (pinDir: string) => Promise<readonly string[]>;
}

export function registerLabKeys(program: Command, cli: Cli, parts: LabKeysParts): void {
  const command = program
    .command('lab-keys')
    .description("in a lab made for it: the node's keys as Wireshark's file esp_sa; refused elsewhere");
  withConfig(command);
  action(cli, command, async (values) => {
    const config = loadConfig(configSources(values, cli.io));
    const reason = whyNot(config, cli.io.environment);
    if (reason !== undefined)
      throw new VxsealError(
        'forbidden',
        `keys are shown in a lab only: ${reason}`,
        'make one for it: scripts/lab up --keys',
      );
    cli.io.out((await parts.lines(config.pinDir)).join('\n'));
    return 0;
  });
}

/** Undefined on a node of a lab whose keys may be shown. */
function whyNot(
  { identity, nodeName, stateDir }: Config,
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (environment.KUBERNETES_SERVICE_HOST !== undefined) return 'this is a Kubernetes cluster';
  if (identity.trustDomain !== LAB_TRUST_DOMAIN)
    return `the trust domain is ${identity.trustDomain}, not ${LAB_TRUST_DOMAIN}`;
  return whyNotMarked(join(stateDir, LAB_MARKER), labMarkerText(nodeName));
}

function whyNotMarked(path: string, text: string): string | undefined {
  try {
    const found = lstatSync(path);
    if (!found.isFile()) return `${path} is no file`;
    if (found.uid !== 0 || (found.mode & NOBODY_ELSE) !== 0) return `${path} is not root's alone`;
    return readFileSync(path, 'utf8') === text ? undefined : `${path} is not this node's`;
  } catch {
    return `there is no ${path}`;
  }
}
