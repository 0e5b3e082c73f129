// `vxseal sas`: the security associations that are installed, by fingerprint.
import type { Command } from 'commander';
import type { SaStatus } from '../control/status';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { clientOf, jsonAsked, withJson, withSocket } from './options';
import { age, cell, count, left, right, table } from './table';

export function registerSas(program: Command, cli: Cli): void {
  const command = program.command('sas').description('installed security associations; keys as fingerprints');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const answer = (await clientOf(values, io).get('/v1/sas')) as { readonly sas: readonly SaStatus[] };
      if (jsonAsked(values)) writeJson(io, answer);
      else io.out(answer.sas.length === 0 ? 'no SA is installed' : saTable(answer.sas, io.colour).join('\n'));
      return 0;
    },
    'waiting for the agent',
  );
}

function saTable(sas: readonly SaStatus[], colour: boolean): string[] {
  const columns = [
    left('PEER'),
    left('DIRECTION'),
    right('VNI'),
    left('SPI'),
    left('FINGERPRINT'),
    right('SEQUENCE'),
    right('PACKETS'),
    right('LAST'),
  ];
  const rows = sas.map((sa) => [
    cell(sa.node),
    cell(sa.direction),
    cell(String(sa.vni)),
    cell(sa.spi),
    cell(sa.fingerprint),
    cell(count(sa.sequence)),
    cell(sa.direction === 'tx' ? `${count(sa.packets)} left` : count(sa.packets)),
    cell(age(sa.lastOpenedAgeMs)),
  ]);
  return table(columns, rows, colour);
}
