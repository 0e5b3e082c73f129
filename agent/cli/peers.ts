// `vxseal peers [node]`: all peers as a table, or one in full.
import type { Command } from 'commander';
import type { PeerStatus } from '../control/status';
import { action, type Cli } from './command';
import { writeJson } from './io';
import { clientOf, jsonAsked, withJson, withSocket } from './options';
import { dropTable, epochPair, peerTable } from './show';
import { age, count, milliseconds, pairs, percent } from './table';

export function registerPeers(program: Command, cli: Cli): void {
  const command = program
    .command('peers')
    .description('peers and the state of the tunnels to them; exit code 1 if one is not up')
    .argument('[node]', 'show this one in full');
  withSocket(withJson(command));
  action(
    cli,
    command,
    async (values, [node]) => {
      const { io } = cli;
      const client = clientOf(values, io);
      const peers =
        node === undefined
          ? ((await client.get('/v1/peers')) as { readonly peers: readonly PeerStatus[] }).peers
          : [(await client.get(`/v1/peers/${encodeURIComponent(node)}`)) as PeerStatus];
      if (jsonAsked(values)) {
        writeJson(io, node === undefined ? { peers } : peers[0]);
      } else if (node === undefined) {
        io.out(peers.length === 0 ? 'no peer is known yet' : peerTable(peers, io.colour).join('\n'));
      } else {
        for (const peer of peers) io.out(renderPeer(peer, io.nowMs(), io.colour).join('\n'));
      }
      return peers.every(({ state }) => state === 'up') ? 0 : 1;
    },
    'waiting for the agent',
  );
}

export function renderPeer(peer: PeerStatus, nowMs: number, colour: boolean): string[] {
  const ahead = (atMs: number): string => {
    if (atMs <= 0) return '';
    return atMs > nowMs ? `in ${age(atMs - nowMs)}` : `${age(nowMs - atMs)} ago`;
  };
  const traffic = ({ packets, bytes }: { packets: number; bytes: number }): string =>
    `${packets} packets, ${bytes} bytes`;
  const lines = pairs(
    [
      ['peer', peer.node],
      ['state', peer.rotating ? `${peer.state} (rotating)` : peer.state],
      ['why', peer.why],
      ['since', ahead(peer.sinceMs)],
      ['remedy', peer.remedy],
      ['vtep', peer.vtep],
      ['prefixes', peer.prefixes.join(', ')],
      ['epochs ours/theirs', epochPair(peer)],
      ['SPI sending', peer.epochs.txSpi],
      ['SPIs receiving', peer.epochs.rxSpis.join(', ')],
      ['packets left', count(peer.saPacketsRemaining)],
      ['last packet', peer.lastOpenedAgeMs < 0 ? '' : `${age(peer.lastOpenedAgeMs)} ago`],
      ['round trip', milliseconds(peer.rttMs)],
      ['probes lost', percent(peer.loss)],
      ['sent', traffic(peer.sealed)],
      ['received', traffic(peer.opened)],
      ['record ends', ahead(peer.leaseNotAfterMs)],
      ['certificate ends', ahead(peer.certificateNotAfterMs)],
      ['agent version', peer.agentVersion],
    ],
    colour,
  );
  const drops = dropTable(peer.dropsByReason, colour);
  return drops.length === 0 ? lines : [...lines, '', ...drops];
}
