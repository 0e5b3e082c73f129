// `vxseal monitor`: every reported drop with its reason and a sample of what is forwarded, as it happens. And `vxseal
// events`: changes of state. Both run until they are interrupted.
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { FlowStatus } from '../control/status';
import { action, type Cli, type Values } from './command';
import { clean, type Io, writeJsonLine } from './io';
import { clientOf, jsonAsked, textOption, withJson, withSocket } from './options';
import { readStream } from './stream';
import { NOTHING, paint } from './table';

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'ICMP',
  6: 'TCP',
  17: 'UDP',
  50: 'ESP',
  58: 'ICMPv6',
};

/** What `http/changes.ts` sends. */
interface Change {
  readonly atMs: number;
  readonly object: string;
  readonly state: string;
  readonly reason: string;
  readonly remedy: string;
}

export function registerMonitor(program: Command, cli: Cli): void {
  const command = program
    .command('monitor')
    .description('drops with their reasons and sampled flows as they happen, until interrupted')
    .option('--peer <node>', 'only packets of this peer')
    .option('--pod <name>', 'only packets of this pod: name, or namespace/name')
    .option('--reason <reason>', 'only drops of this reason, e.g. no_sa')
    .addOption(new Option('--verdict <verdict>', 'only these').choices(['dropped', 'forwarded']))
    .addOption(new Option('--direction <direction>', 'only this way').choices(['egress', 'ingress']))
    .option('--count <number>', 'end after so many packets', parseCount)
    .addHelpText(
      'after',
      '\nDrops: the first few a second of each reason; "+N" tells how many more there were. Flows: one packet a' +
        '\nsecond of each. Addresses in <> are the outer ones. Sampling goes on only while somebody looks.',
    );
  withSocket(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    if (!jsonAsked(values)) io.err('watching; end with Ctrl-C');
    const wanted = typeof values.count === 'number' ? values.count : Number.POSITIVE_INFINITY;
    let shown = 0;
    await readStream(clientOf(values, io).socketPath, '/v1/flows', ({ name, data }) => {
      if (name === 'missed')
        io.err(`${(data as { count: number }).count} packets were not shown: too many at once`);
      if (name !== 'flow' || !matches(data as FlowStatus, values)) return true;
      if (jsonAsked(values)) writeJsonLine(io, data);
      else io.out(flowLine(data as FlowStatus, io.colour));
      shown += 1;
      return shown < wanted;
    });
    return 0;
  });
}

export function registerEvents(program: Command, cli: Cli): void {
  const command = program
    .command('events')
    .description('changes of state of agent, peers, pods and bus as they happen, until interrupted');
  withSocket(withJson(command));
  action(cli, command, async (values) => {
    const { io } = cli;
    if (!jsonAsked(values)) io.err('watching; end with Ctrl-C');
    await readStream(clientOf(values, io).socketPath, '/v1/events', ({ name, data }) => {
      if (name === 'change') tellChange(data as Change, io, jsonAsked(values));
      return true;
    });
    return 0;
  });
}

function tellChange(change: Change, io: Io, json: boolean): void {
  if (json) {
    writeJsonLine(io, change);
    return;
  }
  const { atMs, object, state, reason, remedy } = change;
  io.out(clean(`${timeText(atMs)}  ${object}: ${state}${reason === '' ? '' : `: ${reason}`}`));
  if (remedy !== '') io.out(clean(`              -> ${remedy}`));
}

export function matches(flow: FlowStatus, values: Values): boolean {
  const same = (option: string, ...found: readonly string[]): boolean => {
    const wanted = textOption(values, option);
    return wanted === undefined || found.includes(wanted);
  };
  return (
    same('peer', flow.node) &&
    same('pod', flow.pod, flow.pod.slice(flow.pod.indexOf('/') + 1)) &&
    same('reason', flow.reason) &&
    same('verdict', flow.verdict) &&
    same('direction', flow.direction)
  );
}

export function flowLine(flow: FlowStatus, colour: boolean): string {
  const verdict =
    flow.verdict === 'dropped' ? paint('dropped', 'bad', colour) : paint('passed ', 'good', colour);
  const protocol = PROTOCOLS[flow.protocol] ?? `protocol ${flow.protocol}`;
  const way =
    flow.source === ''
      ? 'not IP'
      : `${protocol} ${endText(flow, 'source')} -> ${endText(flow, 'destination')}`;
  const who = [
    flow.pod === '' ? '' : `pod ${flow.pod}`,
    flow.node === '' ? '' : `peer ${flow.node}`,
    flow.policies.length === 0 ? '' : `no rule of ${flow.policies.join(', ')} allows it`,
    flow.unreported > 0 ? `+${flow.unreported}` : '',
  ].filter((text) => text !== '');
  const words = [
    timeText(flow.atMs),
    verdict,
    flow.direction.padEnd(7),
    clean(flow.reason || NOTHING).padEnd(13),
    clean(flow.outer ? `<${way}>` : way),
    `${flow.bytes} B`,
    clean(who.join(', ')),
  ];
  return words.join('  ').trimEnd();
}

function endText(flow: FlowStatus, end: 'source' | 'destination'): string {
  const [address, port] = [flow[end], flow[`${end}Port`]];
  if (port === 0) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Of the day, to the millisecond. */
const timeText = (atMs: number): string => new Date(atMs).toISOString().slice(11, 23);

function parseCount(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('It is not a whole number from 1 on.');
  return count;
}
