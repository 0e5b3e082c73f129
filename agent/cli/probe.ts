// `vxseal probe [peer…]`: has the agent probe peers now, and says what came back.
import { type Command, InvalidArgumentError } from 'commander';
import { duration, integer, type ValueType } from '../config/values';
import type { ProbeRequest, ProbeStatus } from '../control/status';
import { action, type Cli, type Values } from './command';
import { clean, type ExitCode, type Io, writeJson } from './io';
import { clientOf, jsonAsked, withJson, withSocket } from './options';
import { peerTone } from './show';
import { type Cell, cell, left, NOTHING, paint, right, table } from './table';

export function registerProbe(program: Command, cli: Cli): void {
  const command = program
    .command('probe')
    .description('probe peers now; exit code 1 unless every probe comes back')
    .argument('[peer...]', 'only these (default: all)')
    .option('--count <number>', 'pairs of a small and a full-size probe, 1 to 20 (default: 5)', count)
    .option('--timeout <duration>', 'how long to wait for answers, 100ms to 10s (default: 3500ms)', timeout)
    .addHelpText(
      'after',
      "\nProbes are sealed as any packet is, and answered by the peer's data plane, not by its agent. LARGEST is the" +
        '\nlargest packet that came back, of what the tunnel is to carry.',
    );
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values, peers) => {
      const { io } = cli;
      const answer = await clientOf(values, io).post('/v1/probe', requestOf(values, peers));
      return tell((answer as { readonly peers: readonly ProbeStatus[] }).peers, io, jsonAsked(values));
    },
    'probing',
  );
}

function requestOf({ count, timeout }: Values, peers: readonly string[]): ProbeRequest {
  return {
    ...(peers.length > 0 ? { peers: [...new Set(peers)] } : {}),
    ...(typeof count === 'number' ? { count } : {}),
    ...(typeof timeout === 'number' ? { timeoutMs: timeout } : {}),
  };
}

/** Without a peer nothing is proven, and that is not well. */
function tell(peers: readonly ProbeStatus[], io: Io, json: boolean): ExitCode {
  if (json) writeJson(io, { peers });
  else if (peers.length === 0) io.out('no peer is known yet: nothing was probed');
  else
    io.out(
      [...probeTable(peers, io.colour), ...peers.flatMap((peer) => reasons(peer, io.colour))].join('\n'),
    );
  return peers.length > 0 && peers.every(isWell) ? 0 : 1;
}

const isWell = ({ state, sent, answered }: ProbeStatus): boolean =>
  state === 'up' && sent > 0 && answered === sent;

function probeTable(peers: readonly ProbeStatus[], colour: boolean): string[] {
  const columns = [
    left('PEER'),
    left('STATE'),
    left('PATH'),
    right('RTT LEAST/MEAN/MOST'),
    right('LOST'),
    right('LARGEST'),
  ];
  return table(columns, peers.map(probeRow), colour);
}

function probeRow(peer: ProbeStatus): Cell[] {
  const { node, state, local, vtep, sent, answered, rtt, largestBytes, mtuBytes } = peer;
  const times = [rtt.leastMs, rtt.meanMs, rtt.mostMs].map((ms) => ms.toFixed(2)).join('/');
  const path = local === '' ? vtep : `${local} > ${vtep}`;
  return [
    cell(node),
    cell(state, peerTone(peer)),
    cell(path),
    cell(rtt.leastMs < 0 ? NOTHING : `${times} ms`),
    cell(sent === 0 ? NOTHING : `${sent - answered} of ${sent}`, answered < sent ? 'warn' : 'plain'),
    cell(
      largestBytes < 0 ? NOTHING : `${largestBytes} of ${mtuBytes}`,
      largestBytes < mtuBytes ? 'warn' : 'plain',
    ),
  ];
}

function reasons(peer: ProbeStatus, colour: boolean): string[] {
  if (isWell(peer)) return [];
  const { node, state, why, remedy } = peer;
  const what = `${paint(clean(`peer ${node}`), 'bad', colour)}: ${clean(why === '' ? state : `${state}: ${why}`)}`;
  return remedy === '' ? [what] : [what, `  -> ${clean(remedy)}`];
}

const count = (text: string): number => parsed(integer(1, 20), text);
const timeout = (text: string): number => parsed(duration(100, 10_000), text);

function parsed(type: ValueType<number>, text: string): number {
  const result = type.parse(text);
  if (!result.ok) throw new InvalidArgumentError(result.detail);
  return result.value;
}
