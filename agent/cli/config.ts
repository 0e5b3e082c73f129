// `vxseal config check | show | reference`: what the agent would start with, before it does.
import type { Command } from 'commander';
import { ConfigError } from '../config/issue';
import { KEY_PATHS } from '../config/keys';
import { readConfig } from '../config/load';
import { plainConfig, plainValue, referenceEntries, referenceTable } from '../config/reference';
import { action, type Cli } from './command';
import { writeError, writeJson } from './io';
import { configSources, jsonAsked, withHiddenConfig, withJson } from './options';
import { cell, left, table } from './table';

export function registerConfig(program: Command, cli: Cli): void {
  const config = program.command('config').description('check and show the configuration');
  registerCheck(config, cli);
  registerShow(config, cli);
  const reference = config.command('reference').description('print the table of all keys (Markdown)');
  withJson(reference);
  action(cli, reference, async (values) => {
    if (jsonAsked(values)) writeJson(cli.io, { keys: referenceEntries() });
    else cli.io.out(referenceTable());
    return 0;
  });
}

function registerCheck(config: Command, cli: Cli): void {
  const command = config.command('check').description('every error at once; exit code 1 if there is one');
  withHiddenConfig(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    const { issues } = readConfig(configSources(values, io));
    if (jsonAsked(values)) writeJson(io, { ok: issues.length === 0, issues });
    else if (issues.length === 0) io.out('the configuration is good');
    else writeError(io, new ConfigError(issues), false);
    return issues.length === 0 ? 0 : 1;
  });
}

function registerShow(config: Command, cli: Cli): void {
  const command = config.command('show').description('each value and where it came from');
  withHiddenConfig(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    const { config: loaded, issues, origins } = readConfig(configSources(values, io));
    if (loaded === undefined) throw new ConfigError(issues);
    if (jsonAsked(values)) {
      writeJson(io, plainConfig(loaded));
      return 0;
    }
    const rows = KEY_PATHS.map((path) => {
      const value = plainValue(loaded, path);
      const text = typeof value === 'object' ? JSON.stringify(value) : String(value);
      return [cell(path), cell(text), cell(origins.get(path) ?? '', 'dim')];
    });
    const columns = [left('KEY'), left('VALUE'), left('FROM')];
    io.out(table(columns, rows, io.colour, Number.POSITIVE_INFINITY).join('\n'));
    return 0;
  });
}
