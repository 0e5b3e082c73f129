// How full the maps are; and of the tracked connections, how many had to make room for others. The kernel drops the
// least recently used without a word: what was begun, and neither ended nor is there, is gone that way.
import { decodeConnectionStats, MAP_LAYOUT } from '../abi/codec';
import { attempt } from './fault';
import type { Fd, Native } from './native';
import { perCpuBytes } from './tables';

/** Always as full as they can be, or without entries: nothing to watch. */
const UNCOUNTED: ReadonlySet<string> = new Set([
  'config',
  'events',
  'meters',
  'flow_seen',
  'translated',
  'clear_stats',
  'policy_state',
  'policy_work',
  'connection_stats',
  'fragments',
]);
const STATS_KEY = Buffer.alloc(4);

export interface MapUsage {
  readonly map: string;
  readonly entries: number;
  readonly capacity: number;
  /** That had to make room for others; 0 where new ones are refused instead. */
  readonly evicted: number;
}

export class MapUsages {
  /** Never falls: connections that were there before the counters would make it. */
  private evictedConnections = 0;

  constructor(
    private readonly native: Native,
    private readonly map: (name: string) => Fd,
  ) {}

  read(): MapUsage[] {
    return Object.keys(MAP_LAYOUT)
      .filter((name) => !UNCOUNTED.has(name))
      .map((name) => attempt(`look at map ${name}`, () => this.look(name)));
  }

  private look(name: string): MapUsage {
    const map = this.map(name);
    const tracked = name === 'connections' ? this.tracked() : 0n; // before the count: one that begins meanwhile is no loss
    const entries = this.native.mapCount(map);
    const capacity = this.native.mapInfo(map).maxEntries;
    if (name !== 'connections') return { map: name, entries, capacity, evicted: 0 };
    this.evictedConnections = Math.max(this.evictedConnections, Number(tracked) - entries);
    return { map: name, entries, capacity, evicted: this.evictedConnections };
  }

  /** Connections begun and not ended by a change of policy. */
  private tracked(): bigint {
    const stats = this.map('connection_stats');
    const size = this.native.mapInfo(stats).valueSize;
    const value = this.native.mapLookup(stats, STATS_KEY) ?? Buffer.alloc(0);
    let sum = 0n;
    for (let at = 0; at + size <= value.length; at += perCpuBytes(size)) {
      const { begun, ended } = decodeConnectionStats(value.subarray(at, at + size));
      sum += begun - ended;
    }
    return sum;
  }
}
