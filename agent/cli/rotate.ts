// `vxseal rotate`: a new epoch of this node's keys, now.
import type { Command } from 'commander';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { clientOf, jsonAsked, withJson, withSocket } from './options';

export function registerRotate(program: Command, cli: Cli): void {
  const command = program
    .command('rotate')
    .description('start a new key epoch; answers once it is published');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const answer = (await clientOf(values, io).post('/v1/rotate')) as { readonly epoch: number };
      if (jsonAsked(values)) writeJson(io, answer);
      else io.out(`epoch ${answer.epoch} is published; vxseal peers shows who has moved to it`);
      return 0;
    },
    'waiting until the new epoch is published',
  );
}
