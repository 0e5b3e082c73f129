// Tables of what the agent reports, shared by status and the single listings.
import type { DropStatus, PeerStatus } from '../control/status';
import {
  age,
  type Cell,
  cell,
  count,
  left,
  milliseconds,
  NOTHING,
  percent,
  right,
  type Tone,
  table,
} from './table';

const MAX_EPOCHS = 3;

export function peerTable(peers: readonly PeerStatus[], colour: boolean): string[] {
  const columns = [
    left('PEER'),
    left('STATE'),
    right('RTT'),
    right('LOSS'),
    right('SENT'),
    right('RECEIVED'),
    left('EPOCHS'),
    right('LAST'),
    left('WHY'),
  ];
  return table(columns, peers.map(peerRow), colour);
}

function peerRow(peer: PeerStatus): Cell[] {
  const why = peer.state === 'up' && peer.rotating ? 'rotating' : peer.why;
  return [
    cell(peer.node),
    cell(peer.state, peerTone(peer)),
    cell(milliseconds(peer.rttMs)),
    cell(percent(peer.loss), peer.loss > 0 ? 'warn' : 'plain'),
    cell(count(peer.sealed.packets)),
    cell(count(peer.opened.packets)),
    cell(epochPair(peer)),
    cell(age(peer.lastOpenedAgeMs)),
    cell(why),
  ];
}

export function peerTone(peer: { readonly state: PeerStatus['state'] }): Tone {
  if (peer.state === 'up') return 'good';
  return peer.state === 'no-key' ? 'warn' : 'bad';
}

/** Ours / theirs, newest first: "4,3/7". */
export function epochPair(peer: PeerStatus): string {
  return `${epochList(peer.epochs.ours)}/${epochList(peer.epochs.theirs)}`;
}

function epochList(numbers: readonly number[]): string {
  if (numbers.length === 0) return NOTHING;
  const newest = [...numbers].sort((a, b) => b - a);
  const more = newest.length > MAX_EPOCHS ? '…' : '';
  return newest.slice(0, MAX_EPOCHS).join(',') + more;
}

/** Only what was dropped at all; most first. Exact numbers: they are compared. */
export function dropTable(drops: readonly DropStatus[], colour: boolean): string[] {
  const columns = [left('REASON'), left('DIRECTION'), left('PEER'), right('PACKETS'), right('BYTES')];
  const rows = drops
    .filter(({ packets }) => packets > 0)
    .sort((a, b) => b.packets - a.packets || a.reason.localeCompare(b.reason))
    .map(({ reason, direction, node, packets, bytes }) => [
      cell(reason),
      cell(direction),
      cell(node),
      cell(String(packets)),
      cell(String(bytes)),
    ]);
  return rows.length === 0 ? [] : table(columns, rows, colour);
}
