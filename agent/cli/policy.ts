// `vxseal policy`: which rule decides, from the manifests alone, and what the agent's policies refused. Signing is
// policysign.ts'.
import type { Command } from 'commander';
import { readKey } from '../config/load';
import type { PolicyStatus } from '../control/status';
import type { PolicyProtocol } from '../core/policy';
import { VxsealError } from '../errors';
import { PolicyFolder } from '../sources/policyfolder';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { clientOf, configSources, jsonAsked, textOption, withJson, withSocket } from './options';
import { registerApply, registerWithdraw } from './policysign';
import { describeWays, explainWay, waysBetween } from './policyways';
import { cell, left, right, table } from './table';

export function registerPolicy(program: Command, cli: Cli): void {
  const policy = program
    .command('policy')
    .description('NetworkPolicy: which rule decides, what was refused, signing');
  registerExplain(policy, cli);
  registerShow(policy, cli);
  registerApply(policy, cli);
  registerWithdraw(policy, cli);
}

function registerExplain(policy: Command, cli: Cli): void {
  const command = policy
    .command('explain')
    .description('whether a connection is allowed, and by which rule; exit code 1 if it is not')
    .argument('<source>', 'namespace/pod, or an address')
    .argument('<destination>', 'namespace/pod, or an address')
    .argument('[port]', 'destination port (default: none, as for ICMP)')
    .option('--protocol <name>', 'TCP, UDP or SCTP', 'TCP')
    .option('--folder <path>', 'folder of the manifests (default: policies.path of the configuration)')
    .addHelpText(
      'after',
      '\nThe node that a pod runs on is never refused, whatever is said here: manifests do not tell its addresses.',
    );
  withSocket(withJson(command));
  action(cli, command, async (values, [source = '', destination = '', port]) => {
    const { io } = cli;
    const folder = textOption(values, 'folder') ?? readKey(configSources(values, io), 'policies.path');
    if (folder === '')
      throw new VxsealError(
        'request',
        'there are no policies: policies.path is not set',
        'name a folder: --folder PATH',
      );
    const hostVni = readKey(configSources(values, io), 'overlay.vni');
    const world = await new PolicyFolder(folder, hostVni).read();
    const protocol = port === undefined ? undefined : protocolOf(String(values.protocol));
    const number = port === undefined ? 0 : portOf(port);
    const shared = readKey(configSources(values, io), 'overlay.shared');
    const ways = waysBetween(world, source, destination, shared).map((ends) =>
      explainWay(world, ends, protocol, number),
    );
    const allowed = ways.every((way) => way.allowed);
    if (jsonAsked(values)) writeJson(io, { allowed, ways, issues: world.issues });
    else {
      const title = `${source} to ${destination}${port === undefined ? '' : `, ${protocol} ${port}`}`;
      for (const line of describeWays(title, ways)) io.out(line);
      for (const issue of world.issues) io.err(`not read: ${issue}`);
    }
    return allowed ? 0 : 1;
  });
}

function registerShow(policy: Command, cli: Cli): void {
  const command = policy.command('show').description('policies in force, and the packets they refused');
  withSocket(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    const answer = (await clientOf(values, io).get('/v1/policies')) as PolicyStatus;
    if (jsonAsked(values)) {
      writeJson(io, answer);
      return 0;
    }
    if (answer.policies.length === 0) io.out('no policies are in force');
    else
      io.out(
        `${answer.policies.length} policies in force (generation ${answer.generation}): ${answer.policies.join(', ')}`,
      );
    if (answer.sources.length > 0) {
      const said = answer.sources.map(({ policy: name, vni, source }) => [
        cell(name),
        cell(vni === 0 ? 'any' : String(vni)),
        cell(source),
      ]);
      io.out(
        table([left('POLICY'), left('VNI'), left('SOURCE')], said, io.colour, Number.POSITIVE_INFINITY).join(
          '\n',
        ),
      );
    }
    if (answer.drops.length === 0) return 0;
    const rows = answer.drops.map((drop) => [
      cell(drop.pod),
      cell(drop.direction),
      cell(String(drop.packets)),
      cell(drop.policies.join(', ')),
    ]);
    const columns = [left('POD'), left('DIRECTION'), right('REFUSED'), left('UNDER')];
    io.out(table(columns, rows, io.colour, Number.POSITIVE_INFINITY).join('\n'));
    return 0;
  });
}

function protocolOf(text: string): PolicyProtocol {
  const name = text.toUpperCase();
  if (name === 'TCP' || name === 'UDP' || name === 'SCTP') return name;
  throw new VxsealError(
    'request',
    `--protocol ${text}: one of TCP, UDP, SCTP`,
    'leave the port out for others',
  );
}

function portOf(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65535) return port;
  throw new VxsealError('request', `${text} is not a port`, 'give a number from 1 to 65535');
}
