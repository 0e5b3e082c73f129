// Reads what the data plane has counted: drops and traffic, per CPU, summed here. Resets nothing.
import { type Counter, decodeCounter, decodeDropKey, decodePeerKey, decodePeerStats } from '../abi/codec';
import type { ClearTraffic, DropCount, PeerTraffic } from '../ports';
import { attempt } from './fault';
import type { Fd, Native } from './native';
import { perCpuBytes } from './tables';

export function readDrops(native: Native, drops: Fd): DropCount[] {
  const size = attempt('look at drops', () => native.mapInfo(drops)).valueSize;
  return attempt('list drops', () => native.mapEntries(drops)).map(({ key, value }) => {
    let [packets, bytes] = [0n, 0n];
    for (const one of perCpu(value, size)) {
      const counter = decodeCounter(one);
      packets += counter.packets;
      bytes += counter.bytes;
    }
    return { ...decodeDropKey(key), packets, bytes };
  });
}

export function readTraffic(native: Native, peerStats: Fd): PeerTraffic[] {
  const size = attempt('look at traffic counters', () => native.mapInfo(peerStats)).valueSize;
  return attempt('list traffic counters', () => native.mapEntries(peerStats)).map(({ key, value }) => {
    const sum = { sealedPackets: 0n, sealedBytes: 0n, openedPackets: 0n, openedBytes: 0n };
    for (const one of perCpu(value, size)) {
      const { sealed, opened } = decodePeerStats(one);
      sum.sealedPackets += sealed.packets;
      sum.sealedBytes += sealed.bytes;
      sum.openedPackets += opened.packets;
      sum.openedBytes += opened.bytes;
    }
    return { peer: decodePeerKey(key), ...sum };
  });
}

/** By enum direction. */
export function readClear(native: Native, clearStats: Fd): ClearTraffic {
  const size = attempt('look at counters of clear text', () => native.mapInfo(clearStats)).valueSize;
  const [sent = NOTHING, received = NOTHING] = attempt('list counters of clear text', () =>
    native.mapEntries(clearStats),
  )
    .sort((a, b) => a.key.readUInt32LE() - b.key.readUInt32LE())
    .map(({ value }) => sum([...perCpu(value, size)].map(decodeCounter)));
  return { sent, received };
}

const NOTHING: Counter = { packets: 0n, bytes: 0n };

const sum = (counters: readonly Counter[]): Counter =>
  counters.reduce((a, b) => ({ packets: a.packets + b.packets, bytes: a.bytes + b.bytes }), NOTHING);

function* perCpu(value: Buffer, valueSize: number): Generator<Buffer> {
  const step = perCpuBytes(valueSize);
  for (let at = 0; at + valueSize <= value.length; at += step) yield value.subarray(at, at + valueSize);
}
