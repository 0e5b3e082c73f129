// `vxseal policy apply | withdraw`: signs documents as a policy author and publishes them on the bus of the
// configuration. Needs the author's certificate and no agent.
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { SystemClock } from '../clock';
import type { Config } from '../config';
import type { KeyPath } from '../config/keys';
import { type ConfigSources, readKey } from '../config/load';
import type { Vni } from '../core/ids';
import { formatKey, type PolicyDocument, parseKey, placeOf } from '../core/policydocument';
import { POLICIES_TOPIC } from '../core/policyrecord';
import { VxsealError } from '../errors';
import { errnoOf } from '../files';
import { loadAuthor } from '../identity/author';
import { createLog } from '../log';
import { makeBus } from '../sources/bus';
import { parseObjects } from '../sources/manifests';
import { type PlacedDocument, PolicyPublisher } from '../sources/policypublisher';
import { action, type Cli, type Values } from './command';
import { writeJson } from './io';
import { configSources, jsonAsked, textOption, withConfig, withJson } from './options';

export function registerApply(policy: Command, cli: Cli): void {
  const command = policy
    .command('apply')
    .description('sign NetworkPolicy, Namespace and Pod manifests, and publish them for all nodes')
    .argument('<file...>', 'manifests, YAML or JSON');
  withAuthor(command);
  action(cli, command, async (values, files) => {
    const sources = configSources(values, cli.io);
    const placed = await readFiles(files, vniOf(values, sources));
    const keys = await publishing(values, sources, (publisher) => publisher.apply(placed));
    if (jsonAsked(values)) writeJson(cli.io, { applied: keys });
    else for (const key of keys) cli.io.out(`applied ${key}`);
    return 0;
  });
}

export function registerWithdraw(policy: Command, cli: Cli): void {
  const command = policy
    .command('withdraw')
    .description('take policy of the bus back, by a signed withdrawal')
    .argument('[key...]', 'VNI/namespace/name, as `policy apply` prints it')
    .option('--file <path>', 'everything in this file of manifests (repeatable)', collect, []);
  withAuthor(command);
  action(cli, command, async (values, names) => {
    const sources = configSources(values, cli.io);
    const vni = vniOf(values, sources);
    const placed = await readFiles((values.file as string[] | undefined) ?? [], vni);
    const keys = [
      ...names.map(checkedKey),
      ...placed.map((each) => formatKey(placeOf(each.document, each.vni))),
    ];
    if (keys.length === 0)
      throw new VxsealError('request', 'nothing to withdraw is named', 'give keys, or --file PATH');
    const known = await publishing(values, sources, (publisher) => publisher.withdraw(keys));
    const outcomes = keys.map((key, index) => ({ key, known: known[index] === true }));
    if (jsonAsked(values)) writeJson(cli.io, { withdrawn: outcomes });
    else
      for (const { key, known: stood } of outcomes)
        cli.io.out(`withdrew ${key}${stood ? '' : ' (it did not stand on the bus)'}`);
    return 0;
  });
}

function withAuthor(command: Command): void {
  command
    .requiredOption('--identity <folder>', "the author's author.key, author.crt and roots.crt")
    .option('--vni <number>', 'VNI of what names none (default: overlay.vni)');
  withConfig(withJson(command));
}

async function publishing<T>(
  values: Values,
  sources: ConfigSources,
  run: (publisher: PolicyPublisher) => Promise<T>,
): Promise<T> {
  const clock = new SystemClock();
  const author = await loadAuthor(textOption(values, 'identity') ?? '', clock.nowMs());
  const hostVni = readKey(sources, 'overlay.vni');
  // The log of the bus says nothing that the command's own error does not.
  const log = createLog({ level: 'error', stream: 'stderr' });
  const publisher = new PolicyPublisher({
    bus: makeBus({ ...busOf(sources), topics: [POLICIES_TOPIC], clock, log }),
    clock,
    author: author.grant.author,
    sign: (record) => author.sign(record),
    verify: (record, nowMs) => author.verify(record, nowMs, hostVni),
  });
  try {
    await publisher.open();
    return await run(publisher);
  } finally {
    await publisher.close();
  }
}

/** Both sections by themselves: who signs policy need not be a node, with all that one is configured with. */
function busOf(sources: ConfigSources): Pick<Config, 'bus' | 'kafka'> {
  const key = <P extends KeyPath>(path: P) => readKey(sources, path);
  return {
    bus: { type: key('bus.type'), path: key('bus.path') },
    kafka: {
      brokers: key('kafka.brokers'),
      clientId: key('kafka.clientId'),
      topicPrefix: key('kafka.topicPrefix'),
      replicationFactor: key('kafka.replicationFactor'),
      tls: key('kafka.tls'),
      tlsCa: key('kafka.tlsCa'),
      tlsCert: key('kafka.tlsCert'),
      tlsKey: key('kafka.tlsKey'),
      saslMechanism: key('kafka.saslMechanism'),
      saslUsername: key('kafka.saslUsername'),
      saslPasswordFile: key('kafka.saslPasswordFile'),
    },
  };
}

function vniOf(values: Values, sources: ConfigSources): Vni {
  const text = textOption(values, 'vni');
  if (text === undefined) return readKey(sources, 'overlay.vni');
  const vni = /^\d{1,8}$/.test(text) ? Number(text) : 0;
  if (vni >= 1 && vni <= 0xffffff) return vni as Vni;
  throw new VxsealError('request', `--vni ${text} is not a VNI`, 'give a number from 1 to 16777215');
}

/** A namespace that says its VNI (annotation vxseal/vni) says it for all that is in it. */
async function readFiles(paths: readonly string[], fallback: Vni): Promise<PlacedDocument[]> {
  const documents: PolicyDocument[] = [];
  for (const path of paths) {
    const parsed = parseObjects(await readText(path));
    if (!parsed.ok)
      throw new VxsealError('request', `${path}: ${parsed.detail}`, 'correct it; nothing was published');
    documents.push(...parsed.value);
  }
  const vnis = new Map(
    documents.flatMap((document) =>
      document.kind === 'Namespace' && document.namespace.vni !== undefined
        ? [[document.namespace.name, document.namespace.vni] as const]
        : [],
    ),
  );
  return documents.map((document) => ({
    document,
    vni: vnis.get(placeOf(document, fallback).namespace) ?? fallback,
  }));
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new VxsealError(
      'request',
      `${path}: cannot be read: ${errnoOf(cause)}`,
      'name a file of manifests',
      {
        cause,
      },
    );
  }
}

function checkedKey(key: string): string {
  if (parseKey(key) !== undefined) return key;
  throw new VxsealError('request', `${key}: no key of a document`, 'for example 42/web/allow-ingress');
}

const collect = (value: string, before: string[]): string[] => [...before, value];
