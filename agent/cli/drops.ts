// `vxseal drops`: what was dropped, by reason, direction and peer.
import type { Command } from 'commander';
import type { DropStatus } from '../control/status';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { clientOf, jsonAsked, withJson, withSocket } from './options';
import { dropTable } from './show';

export function registerDrops(program: Command, cli: Cli): void {
  const command = program.command('drops').description('packets that were dropped, by reason');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const answer = (await clientOf(values, io).get('/v1/drops')) as {
        readonly drops: readonly DropStatus[];
      };
      const lines = dropTable(answer.drops, io.colour);
      if (jsonAsked(values)) writeJson(io, answer);
      else io.out(lines.length === 0 ? 'nothing was dropped' : lines.join('\n'));
      return 0;
    },
    'waiting for the agent',
  );
}
