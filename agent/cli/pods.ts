// `vxseal pods list | attach | detach`: pods by hand, where no CNI plugin does it.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AttachRequest, PodStatus, RemotePodStatus } from '../control/status';
import { VxsealError } from '../errors';
import { action, type Cli, type Values } from './command';
import { type ExitCode, writeJson } from './io';
import { clientOf, jsonAsked, textOption, withJson, withSocket } from './options';
import { cell, left, right, table } from './table';

export function registerPods(program: Command, cli: Cli): void {
  const pods = program.command('pods').description('pods of this node: list, attach, detach');
  registerList(pods, cli);
  registerAttach(pods, cli);
  registerDetach(pods, cli);
}

function registerList(pods: Command, cli: Cli): void {
  const command = pods
    .command('list', { isDefault: true })
    .description('exit code 1 if one is not ready')
    .option('--remote', 'those of other nodes, by their records; exit code 1 if one is in quarantine');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      if (values.remote === true) return listRemote(cli, values);
      const answer = (await clientOf(values, io).get('/v1/pods')) as { readonly pods: readonly PodStatus[] };
      if (jsonAsked(values)) writeJson(io, answer);
      else
        io.out(answer.pods.length === 0 ? 'no pod is attached' : podTable(answer.pods, io.colour).join('\n'));
      return answer.pods.every(({ ready }) => ready) ? 0 : 1;
    },
    'waiting for the agent',
  );
}

async function listRemote({ io }: Cli, values: Values): Promise<ExitCode> {
  const answer = (await clientOf(values, io).get('/v1/pods/remote')) as {
    readonly pods: readonly RemotePodStatus[];
  };
  if (jsonAsked(values)) writeJson(io, answer);
  else if (answer.pods.length === 0) io.out('no pod of another node is known');
  else io.out(remoteTable(answer.pods, io.colour).join('\n'));
  return answer.pods.every(({ state }) => state === 'live') ? 0 : 1;
}

function remoteTable(pods: readonly RemotePodStatus[], colour: boolean): string[] {
  const columns = ['POD', 'NODE', 'STATE', 'ADDRESS', 'VNI', 'LABELS', 'WHY'].map((name) =>
    name === 'VNI' ? right(name) : left(name),
  );
  const rows = pods.map(({ namespace, name, node, state, address, vni, labels, why }) => [
    cell(namespace === '' ? name : `${namespace}/${name}`),
    cell(node),
    cell(state, state === 'live' ? 'good' : 'bad'),
    cell(address),
    cell(String(vni)),
    cell(labels.join(',')),
    cell(why),
  ]);
  return table(columns, rows, colour);
}

function podTable(pods: readonly PodStatus[], colour: boolean): string[] {
  const columns = [
    left('POD'),
    left('STATE'),
    left('MODE'),
    left('ADDRESSES'),
    right('VNI'),
    right('MTU'),
    left('DEVICE'),
    left('ID'),
    left('WHY'),
  ];
  const rows = pods.map((pod) => [
    cell(pod.namespace === '' ? pod.name : `${pod.namespace}/${pod.name}`),
    pod.ready ? cell('ready', 'good') : cell('not ready', 'bad'),
    cell(pod.mode, pod.mode === 'strict' ? 'plain' : 'warn'),
    cell(pod.addresses.join(',')),
    cell(String(pod.vni)),
    cell(String(pod.mtuBytes)),
    cell(pod.hostDevice),
    cell(pod.id),
    cell(pod.why),
  ]);
  return table(columns, rows, colour);
}

function registerAttach(pods: Command, cli: Cli): void {
  const command = pods
    .command('attach')
    .description('encrypt the traffic of a network namespace; answers once it is')
    .requiredOption('--netns <path>', 'its network namespace, e.g. /run/netns/pod1 or /proc/123/ns/net')
    .option('--device <name>', 'its device inside', 'eth0')
    .option('--name <name>', 'its name (default: last part of the path)')
    .option('--namespace <name>', 'what its name is unique in', 'default')
    .option('--vni <number>', "its VNI (default: the host's)", wholeNumber)
    .addOption(new Option('--mode <mode>', 'what it may do in clear').choices(['strict', 'permissive']));
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const pod = (await clientOf(values, io).post('/v1/pods', attachRequest(values))) as PodStatus;
      if (jsonAsked(values)) writeJson(io, pod);
      else io.out(podTable([pod], io.colour).join('\n'));
      return pod.ready ? 0 : 1;
    },
    'waiting until its hooks and keys stand',
  );
}

function attachRequest(values: Values): AttachRequest {
  const netnsPath = textOption(values, 'netns') ?? '';
  if (!netnsPath.startsWith('/')) {
    // The agent has another working folder.
    const remedy = 'Give the absolute path, e.g. /run/netns/pod1.';
    throw new VxsealError('request', `namespace ${netnsPath}: is not an absolute path`, remedy);
  }
  return {
    netnsPath,
    device: textOption(values, 'device') ?? 'eth0',
    name: textOption(values, 'name') ?? netnsPath.slice(netnsPath.lastIndexOf('/') + 1),
    namespace: textOption(values, 'namespace') ?? 'default',
    ...(typeof values.vni === 'number' ? { vni: values.vni } : {}),
    ...(values.mode === 'permissive' ? { mode: values.mode } : {}),
  };
}

function wholeNumber(text: string): number {
  if (!/^\d{1,8}$/.test(text)) throw new InvalidArgumentError('It is not a whole number.');
  return Number(text);
}

function registerDetach(pods: Command, cli: Cli): void {
  const command = pods
    .command('detach')
    .description('forget a pod; it is no error when there is none')
    .argument('<id>', 'as `vxseal pods list` shows it');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values, [id = '']) => {
      const { io } = cli;
      const path = `/v1/pods/${encodeURIComponent(id)}`;
      const answer = (await clientOf(values, io).remove(path)) as { readonly detached: boolean };
      if (jsonAsked(values)) writeJson(io, answer);
      else io.out(answer.detached ? `pod ${id} is detached` : `there is no pod ${id}`);
      return 0;
    },
    'waiting for the agent',
  );
}
