// `vxseal status`: one screen that says what is wrong and what to do about it.
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { SharedStatus, Status } from '../control/status';
import { VxsealError } from '../errors';
import { action, type Cli } from './command';
import { type Finding, findings } from './findings';
import { clean, writeJson } from './io';
import { readFailure } from './lastfailure';
import { clientOf, jsonAsked, withJson, withSocket } from './options';
import { dropTable, peerTable } from './show';
import { age, NOTHING, paint } from './table';

const DAY_MS = 86_400_000;

export function registerStatus(program: Command, cli: Cli): void {
  const command = program
    .command('status')
    .description('what is wrong and what to do; exit code 1 if anything is');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values) => {
      const { io } = cli;
      const client = clientOf(values, io);
      const status = (await client.get('/v1/status').catch((error: unknown) => {
        throw withLastFailure(error, dirname(client.socketPath), io.nowMs());
      })) as Status;
      if (jsonAsked(values)) writeJson(io, status);
      else io.out(renderStatus(status, io.nowMs(), io.colour).join('\n'));
      return findings(status).length === 0 ? 0 : 1;
    },
    'waiting for the agent',
  );
}

/** Nobody answers: why the agent did not start says more than that it does not run. */
function withLastFailure(error: unknown, runDir: string, nowMs: number): unknown {
  const failure =
    error instanceof VxsealError && error.code === 'not-ready' ? readFailure(runDir) : undefined;
  if (failure === undefined || !(error instanceof VxsealError)) return error;
  const message = `${error.message}; its start failed ${age(nowMs - failure.atMs)} ago: ${failure.message}`;
  return new VxsealError('not-ready', message, failure.remedy || error.remedy, { cause: error });
}

export function renderStatus(status: Status, nowMs: number, colour: boolean): string[] {
  const { peers } = status;
  const up = peers.filter(({ state }) => state === 'up').length;
  const drops = dropTable(status.drops, colour);
  return [
    ...nodeLines(status, nowMs, colour),
    ...findingLines(findings(status), nowMs, colour),
    '',
    title('peers', peers.length === 0 ? 'none known' : `${up} of ${peers.length} up`, colour),
    ...(peers.length === 0 ? [] : peerTable(peers, colour)),
    '',
    title('drops', drops.length === 0 ? 'none' : '', colour),
    ...drops,
  ];
}

function nodeLines(status: Status, nowMs: number, colour: boolean): string[] {
  const { node, bus, informer, readiness } = status;
  const ready = readiness.ready ? paint('ready', 'good', colour) : paint('not ready', 'bad', colour);
  const epoch = `epoch ${node.epoch.number}${node.epoch.published ? '' : ' (not yet published)'}`;
  const underlay = node.underlay.map(({ device, mtuBytes }) => `${device} (${mtuBytes})`).join(', ');
  const readyPods = status.pods.filter((pod) => pod.ready).length;
  return [
    `node ${clean(node.name)}: ${ready}, up ${age(node.uptimeMs)}, ${epoch}, version ${clean(node.version)}`,
    clean(
      `  overlay   ${node.overlayDevice}, VNI ${node.vni}, MTU ${node.mtuBytes}, engine ${node.engine}; pods ready: ${readyPods} of ${status.pods.length}`,
    ),
    clean(`  underlay  ${node.vteps.join(', ') || NOTHING} on ${underlay || NOTHING}`),
    clean(`  bus       ${busText(bus)}`),
    ...(informer.socket === '' ? [] : [clean(`  labels    ${informerText(informer)}`)]),
    `  identity  certificate ${certificateText(node.certificateNotAfterMs, nowMs)}`,
    ...status.shared.map((service) => sharedLine(service, colour)),
    ...clearLines(status.adoption, colour),
  ];
}

function sharedLine({ name, vni, prefixes, clients, why }: SharedStatus, colour: boolean): string {
  const text = clean(`  shared    ${name}: ${prefixes.join(', ')} of VNI ${vni} to ${clients.join(', ')}`);
  return why === '' ? text : `${text}; ${paint(clean(why), 'warn', colour)}`;
}

/** Nothing at all where nothing may be, or ever was, in clear. */
function clearLines(adoption: Status['adoption'], colour: boolean): string[] {
  const { permissivePods, permissivePrefixes, sent, received } = adoption;
  if (permissivePods === 0 && sent.packets === 0 && received.packets === 0) return [];
  const pods = `${permissivePods} pod${permissivePods === 1 ? '' : 's'} permissive`;
  const packets = `in clear: ${sent.packets} packets sent, ${received.packets} received`;
  const ranges = clean(permissivePrefixes.join(', ')) || 'no prefix';
  return [`  adoption  ${paint(pods, 'warn', colour)} towards ${ranges}; ${packets}`];
}

function busText(bus: Status['bus']): string {
  const sync = bus.inSync ? 'in sync' : 'not yet read to its end';
  const state = bus.connected ? sync : `not connected, ${bus.error || 'no reason given'}`;
  const seen = bus.lastSeenMs === 0 ? 'never seen' : `last seen ${age(bus.stalenessMs)} ago`;
  return `${bus.type}: ${state}, ${seen}${counted('records refused', bus.refusedRecords)}`;
}

/** A note: pods work without. */
function informerText({ connected, reason, refused }: Status['informer']): string {
  const state = connected ? 'from the runtime' : `not told by the runtime (${reason})`;
  return `${state}${counted('messages refused', refused)}`;
}

function counted(what: string, counts: Status['bus']['refusedRecords']): string {
  const text = counts.map(({ reason, count }) => `${reason} ${count}`).join(', ');
  return text === '' ? '' : `; ${what}: ${text}`;
}

function certificateText(notAfterMs: number, nowMs: number): string {
  if (notAfterMs <= 0) return 'unknown';
  const leftMs = notAfterMs - nowMs;
  if (leftMs <= 0) return `expired ${age(-leftMs)} ago`;
  return leftMs > 2 * DAY_MS ? `ends in ${Math.floor(leftMs / DAY_MS)} days` : `ends in ${age(leftMs)}`;
}

function findingLines(found: readonly Finding[], nowMs: number, colour: boolean): string[] {
  if (found.length === 0) return [];
  const lines = found.flatMap(({ object, reason, remedy, sinceMs }) => {
    const since = sinceMs > 0 ? ` (since ${age(Math.max(0, nowMs - sinceMs))})` : '';
    const what = `  ${paint(clean(object), 'bad', colour)}: ${clean(reason)}${since}`;
    return remedy === '' ? [what] : [what, `    -> ${clean(remedy)}`];
  });
  return ['', title('problems', '', colour), ...lines];
}

function title(name: string, detail: string, colour: boolean): string {
  const word = paint(name.toUpperCase(), 'dim', colour);
  return detail === '' ? word : `${word}  ${detail}`;
}
