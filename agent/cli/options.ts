// Options that several commands share: --json, --socket, and one flag for every configuration key.
import { type Command, Option } from 'commander';
import { DEFAULT_FILE } from '../config/file';
import { flagName, KEY_PATHS, KEYS, type KeyPath, type KeySpec } from '../config/keys';
import { type ConfigSources, readKey, socketPathIn } from '../config/load';
import { fallbackOf } from '../config/reference';
import { type AgentClient, agentClient } from './client';
import type { Io } from './io';

type Values = Readonly<Record<string, unknown>>;

export function withJson(command: Command): Command {
  return command.option('--json', 'answer as JSON');
}

/** For commands that ask the running agent. */
export function withSocket(command: Command): Command {
  return command
    .option('--socket <path>', 'socket of the agent (default: agent.sock in runDir of the configuration)')
    .option('--config <file>', `configuration file (default: ${DEFAULT_FILE})`);
}

/** --config and a flag for every key. */
export function withConfig(command: Command): Command {
  command.option('--config <file>', `configuration file (default: ${DEFAULT_FILE})`);
  command.optionsGroup('Configuration keys (see docs/configuration.md):');
  for (const path of KEY_PATHS) command.addOption(keyOption(path));
  return command;
}

/** The same for commands of which the flags are not the point: they take them, and their help stays one screen. */
export function withHiddenConfig(command: Command): Command {
  command.option('--config <file>', `configuration file (default: ${DEFAULT_FILE})`);
  for (const path of KEY_PATHS) command.addOption(keyOption(path).hideHelp());
  return command.addHelpText(
    'after',
    '\nEvery configuration key is an option here too: vxseal agent --help lists them.',
  );
}

function keyOption(path: KeyPath): Option {
  const spec: KeySpec<unknown> = KEYS[path];
  const boolean = spec.type.label === 'true or false';
  const description = `${spec.description} (default: ${fallbackOf(path).replaceAll('`', '')})`;
  const option = new Option(`${flagName(path)} ${boolean ? '[value]' : '<value>'}`, description);
  return boolean ? option.preset('true') : option;
}

export function jsonAsked(values: Values): boolean {
  return values.json === true;
}

export function configSources(values: Values, io: Io): ConfigSources {
  const flags: Record<string, string> = {};
  for (const path of KEY_PATHS) {
    const value = values[keyOption(path).attributeName()];
    if (typeof value === 'string') flags[path] = value;
  }
  return { file: textOption(values, 'config'), environment: io.environment, flags };
}

/** Errors: ConfigError when neither --socket nor runDir tells where the agent is. */
export function clientOf(values: Values, io: Io): AgentClient {
  const socket = textOption(values, 'socket');
  return agentClient(socket ?? socketPathIn(readKey(configSources(values, io), 'runDir')));
}

export function textOption(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}
