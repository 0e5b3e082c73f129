// Who does the cipher: our programs, or the kernel's own IPsec. Same wire, same keys; behind this file nobody else in
// the room needs to know which. One at a time: a data plane that the other one left is refused, not taken over.
import type { PeerNumber } from '../core/ids';
import type { DatapathSettings, PeerEntry } from '../core/state';
import { KernelError } from '../errors';
import type { DropCount, SaTables } from '../ports';
import { isErrno } from './fault';
import type { Fd, Native } from './native';
import { createSaTables } from './sas';
import { readStatistics } from './xfrm/counters';
import { requireEsp } from './xfrm/probe';
import { XfrmSaTables } from './xfrm/sas';
import { XfrmSocket } from './xfrm/socket';
import { guardsStand, putGuards, removeOurs } from './xfrm/standing';

export type EngineName = 'bpf' | 'xfrm';

export interface Engine {
  readonly sas: SaTables;
  readonly name: EngineName;
  /** What must stand before the first key; settings that are in force without it are none. */
  prepare(settings: DatapathSettings): void;
  isPrepared(settings: DatapathSettings): boolean;
  /** Beside those that the programs count. */
  drops(): DropCount[];
}

export interface EngineParts {
  readonly native: Native;
  readonly map: (name: string) => Fd;
  readonly peer: (number: PeerNumber) => PeerEntry | undefined;
  readonly peers: () => readonly PeerEntry[];
  readonly settings: () => DatapathSettings | undefined;
  /** Of the kernel's IPsec, in the form of /proc/net/xfrm_stat. */
  readonly statistics: string;
}

/** @throws KernelError when this kernel has no such engine. */
export function createEngine(name: EngineName, parts: EngineParts): Engine {
  return name === 'xfrm' ? new XfrmEngine(parts) : bpfEngine(parts);
}

const bpfEngine = ({ native, map }: EngineParts): Engine => ({
  sas: createSaTables(native, map('tx_sa'), map('rx_sa')),
  name: 'bpf',
  prepare: () => {},
  isPrepared: () => true,
  drops: () => [],
});

class XfrmEngine implements Engine {
  readonly sas: XfrmSaTables;
  readonly name = 'xfrm';
  private readonly socket: XfrmSocket;
  private readonly statistics: string;

  constructor({ native, map, settings, statistics, ...peers }: EngineParts) {
    this.statistics = statistics;
    this.socket = new XfrmSocket(native);
    requireEsp(this.socket);
    const ports = (): DatapathSettings => {
      const installed = settings();
      if (installed === undefined)
        throw new KernelError('install SA', 2, 'ENOENT', 'the data plane is not configured yet');
      return installed;
    };
    const nowNs = (): bigint => process.hrtime.bigint();
    this.sas = new XfrmSaTables({
      native,
      socket: this.socket,
      rxMap: map('xfrm_rx'),
      ports,
      nowNs,
      ...peers,
    });
  }

  prepare({ vxlanPort }: DatapathSettings): void {
    putGuards(this.socket, vxlanPort);
  }

  isPrepared({ vxlanPort }: DatapathSettings): boolean {
    return guardsStand(this.socket, vxlanPort);
  }

  /** Bytes are not counted by the kernel. */
  drops(): DropCount[] {
    const ofSas = [...this.sas.refused()].flatMap(([peer, { replays, forged }]) => [
      { peer, reason: 'replay', packets: BigInt(replays) },
      { peer, reason: 'bad_icv', packets: BigInt(forged) },
    ]);
    return [
      ...ofSas
        .filter(({ packets }) => packets > 0n)
        .map((drop) => ({ ...drop, direction: 'ingress' as const, bytes: 0n })),
      ...readStatistics(this.statistics),
    ];
  }
}

/** Whatever of ours the kernel's IPsec holds, also of a former engine. A kernel without IPsec holds nothing. */
export function removeKernelSas(native: Native): void {
  try {
    removeOurs(new XfrmSocket(native));
  } catch (cause) {
    if (!isErrno(cause, 'EPROTONOSUPPORT', 'EAFNOSUPPORT')) throw cause;
  }
}

/** One count for each peer, reason and direction. */
export function joinDrops(counted: readonly DropCount[], more: readonly DropCount[]): DropCount[] {
  const joined = new Map<string, DropCount>();
  for (const drop of [...counted, ...more]) {
    const key = `${drop.peer}/${drop.reason}/${drop.direction}`;
    const before = joined.get(key);
    joined.set(
      key,
      before === undefined
        ? drop
        : { ...drop, packets: before.packets + drop.packets, bytes: before.bytes + drop.bytes },
    );
  }
  return [...joined.values()];
}
