// `vxseal ca init | issue | renew | show`: makes and signs certificates with files. Needs no running agent.
import { type Command, InvalidArgumentError } from 'commander';
import type { CaArguments } from '../identity/commands';
import { type Io, processIo, writeJson } from './io';

export function registerCa(program: Command, io: Io = processIo()): void {
  const ca = program
    .command('ca')
    .description('make and sign certificates of nodes and policy authors, with files');
  registerInit(ca, io);
  registerIssue(ca, io);
  registerRenew(ca, io);
  registerShow(ca, io);
}

function registerInit(ca: Command, io: Io): void {
  ca.command('init')
    .description('make a CA: the root of a cluster, or with --parent one below it')
    .requiredOption('--dir <folder>', "the CA's folder")
    .requiredOption(
      '--trust-domain <name>',
      'SPIFFE trust domain of the cluster, for example cluster.example',
    )
    .option('--prefix <cidr>', 'only these pod prefixes may be issued (repeatable)', collect, [])
    .option('--vni <number>', 'only these VNIs may be issued (repeatable)', collect, [])
    .option('--parent <folder>', 'folder of the CA that signs this one')
    .option('--days <count>', 'how long it is valid (default: 3650, with --parent 365)', parseDays)
    .option('--json', 'answer as JSON')
    .action(async (options) => {
      const { dir, trustDomain, prefix, vni, parent, days } = options;
      await run({ action: 'init', dir, trustDomain, prefixes: prefix, vnis: vni, parent, days }, options, io);
    });
}

function registerIssue(ca: Command, io: Io): void {
  ca.command('issue')
    .description("make a node's key and certificate (node.key, node.crt), or a policy author's (author.*)")
    .requiredOption('--dir <folder>', "the CA's folder")
    .option('--node <name>', 'name of the node')
    .option('--policy-author <name>', 'not for a node, but for who signs policy: vxseal policy apply')
    .requiredOption('--out <folder>', 'where to put the files, on the node itself if possible')
    .option('--vtep <address>', 'outer address of the node (repeatable: one of each family)', collect, [])
    .option('--prefix <cidr>', 'pod prefix of the node (repeatable)', collect, [])
    .option(
      '--vni <number>',
      "VNI whose pods it may carry, or whose policy it may write (repeatable; default: the hosts' only)",
      collect,
      [],
    )
    .option('--days <count>', 'how long it is valid (default: 30)', parseDays)
    .option('--json', 'answer as JSON')
    .action(async (options) => {
      const { dir, node, policyAuthor, out, vtep, prefix, vni, days } = options;
      const subject = { node, policyAuthor };
      await run(
        { action: 'issue', dir, ...subject, out, vteps: vtep, prefixes: prefix, vnis: vni, days },
        options,
        io,
      );
    });
}

function registerRenew(ca: Command, io: Io): void {
  ca.command('renew')
    .description('a new certificate with the same name, addresses and key')
    .requiredOption('--dir <folder>', "the CA's folder")
    .requiredOption('--out <folder>', "the node's folder with node.key and node.crt")
    .option('--days <count>', 'how long it is valid (default: 30)', parseDays)
    .option('--if-due', 'only when two thirds of its life are over')
    .option('--json', 'answer as JSON')
    .action(async (options) => {
      const { dir, out, days, ifDue } = options;
      await run({ action: 'renew', dir, out, days, onlyIfDue: ifDue === true }, options, io);
    });
}

function registerShow(ca: Command, io: Io): void {
  ca.command('show')
    .description('what the certificates in a folder or PEM file say')
    .option('--dir <folder>', "a CA's folder")
    .option('--out <path>', "a node's folder, or a PEM file")
    .option('--json', 'answer as JSON')
    .action(async (options, command: Command) => {
      const path: unknown = options.dir ?? options.out;
      if (typeof path !== 'string') command.error('error: --dir or --out says what to show', { exitCode: 2 });
      else await run({ action: 'show', path }, options, io);
    });
}

async function run(args: CaArguments, options: { readonly json?: boolean }, io: Io): Promise<void> {
  // Loaded here, since no other command needs the X.509 generator; import() wants the extension.
  const { runCa } = await import('../identity/commands.js');
  const { text, json } = await runCa(args, io.nowMs());
  if (options.json === true) writeJson(io, json);
  else io.out(text);
}

const collect = (value: string, before: string[]): string[] => [...before, value];

function parseDays(text: string): number {
  if (!/^[1-9]\d{0,4}$/.test(text)) throw new InvalidArgumentError('whole days, at least 1');
  return Number(text);
}
