// `vxseal cni install | remove`: our plugin behind the others in the container runtime's network configuration. Works
// on files, without a running agent.
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { readKey, socketPathIn } from '../config/load';
import { POD_MODES } from '../core/adoption';
import { installationFolder } from '../installation';
import { type ConflistTarget, installConflist, installPlugin, removeConflist } from '../sources/conflist';
import { action, type Cli, type Values } from './command';
import { writeJson } from './io';
import { configSources, jsonAsked, textOption, withJson, withSocket } from './options';

const DEFAULT_DIR = '/etc/cni/net.d';
const DEFAULT_BIN_DIR = '/opt/cni/bin';

export function registerCni(program: Command, cli: Cli): void {
  const cni = program.command('cni').description("put our plugin into the container runtime's chain");
  registerInstall(cni, cli);
  registerRemove(cni, cli);
}

function withFolder(command: Command): Command {
  return withSocket(withJson(command))
    .option('--dir <folder>', "the runtime's configuration folder", DEFAULT_DIR)
    .option('--name <network>', 'name of the network (default: the one the runtime takes)');
}

function registerInstall(cni: Command, cli: Cli): void {
  const command = cni
    .command('install')
    .description('append our plugin to the network list, and copy the plugin; repeating it changes nothing')
    .option('--bin-dir <folder>', "the runtime's plugin folder", DEFAULT_BIN_DIR)
    .option('--vni <number>', "VNI of the network's pods (default: the host's)", vni)
    .addOption(
      new Option(
        '--mode <mode>',
        "of the network's pods (default: strict); a weaker one only where adoption.allow of the node names it",
      ).choices(POD_MODES),
    )
    .option('--drop-in', 'a file of our own beside the list: for libcni 1.3 and later (containerd 2.1)');
  withFolder(command);
  action(cli, command, async (values) => {
    const { io } = cli;
    // The plugin first: a list that names what is not there would stop every pod.
    const binDir = textOption(values, 'binDir') ?? DEFAULT_BIN_DIR;
    const plugin = await installPlugin(join(installationFolder(), 'build/cni/vxseal'), binDir);
    const installed = await installConflist(targetOf(values, cli));
    if (jsonAsked(values)) writeJson(io, { ...installed, plugin: plugin ?? '' });
    else {
      if (plugin !== undefined) io.out(`plugin copied: ${plugin}`);
      const { file, network, changed } = installed;
      io.out(`network ${network}: ${changed ? 'plugin put in' : 'plugin stands'}: ${file}`);
    }
    return 0;
  });
}

function targetOf(values: Values, cli: Cli): ConflistTarget {
  return {
    dir: textOption(values, 'dir') ?? DEFAULT_DIR,
    network: textOption(values, 'name'),
    socket: textOption(values, 'socket') ?? socketPathIn(readKey(configSources(values, cli.io), 'runDir')),
    vni: typeof values.vni === 'number' ? values.vni : undefined,
    mode: POD_MODES.find((known) => known === values.mode),
    dropIn: values.dropIn === true,
  };
}

function registerRemove(cni: Command, cli: Cli): void {
  const command = cni
    .command('remove')
    .description('take our plugin out of the lists; the plugin itself stays for pods that still run');
  withFolder(command);
  action(cli, command, async (values) => {
    const { io } = cli;
    const files = await removeConflist(textOption(values, 'dir') ?? DEFAULT_DIR, textOption(values, 'name'));
    if (jsonAsked(values)) writeJson(io, { files });
    else io.out(files.length === 0 ? 'our plugin is in no list' : `taken out of ${files.join(', ')}`);
    return 0;
  });
}

function vni(text: string): number {
  const value = Number(text);
  if (!/^\d{1,8}$/.test(text) || value < 1 || value > 0xffffff)
    throw new InvalidArgumentError('It is not a VNI: 1 to 16777215.');
  return value;
}
