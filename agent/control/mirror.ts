// What must be there now, after steps that all succeeded: the observation before them with their effect. So that a pass
// need not read thousands of entries again to know of the few it has just written. Knows the tables that nobody looks
// at but the pass; whatever else was touched is to be read.
import type { Step } from '../core/plan';
import type { OverlayEntry, PeerEntry, RouteEntry } from '../core/state';
import type { InstalledRxSa, InstalledTxSa } from '../ports';
import type { Observation } from './drivers/observe';

const keys = {
  rx: ({ spi, source }: Pick<InstalledRxSa, 'spi' | 'source'>): string => `${spi}/${source}`,
  tx: ({ vni, peer }: Pick<InstalledTxSa, 'vni' | 'peer'>): string => `${vni}/${peer}`,
  peer: ({ number }: PeerEntry): number => number,
  overlay: ({ vni, prefix }: OverlayEntry): string => `${vni}/${prefix}`,
  route: ({ prefix, device }: RouteEntry): string => `${prefix} ${device === undefined}`,
};

/** A table with what was written to it. Makes a new list only if something was. */
class Written<E> {
  private readonly entries = new Map<string | number, E | undefined>();

  constructor(private readonly keyOf: (entry: E) => string | number) {}

  put(entry: E): void {
    this.entries.set(this.keyOf(entry), entry);
  }

  remove(key: string | number): void {
    this.entries.set(key, undefined);
  }

  over(list: readonly E[]): readonly E[] {
    if (this.entries.size === 0) return list;
    const others = list.filter((entry) => !this.entries.has(this.keyOf(entry)));
    return [...others, ...[...this.entries.values()].filter((entry) => entry !== undefined)];
  }
}

/** @returns undefined when it has to be read */
export function mirrored(observed: Observation, steps: readonly Step[]): Observation | undefined {
  const rx = new Written<InstalledRxSa>(keys.rx);
  const tx = new Written<InstalledTxSa>(keys.tx);
  const peers = new Written<PeerEntry>(keys.peer);
  const overlay = new Written<OverlayEntry>(keys.overlay);
  const routes = new Written<RouteEntry>(keys.route);
  for (const step of steps) {
    switch (step.do) {
      case 'put-rx': {
        const { vni, peer, spi, source } = step.sa;
        const { fingerprint } = step;
        rx.put({ vni, peer, spi, source, fingerprint, top: 0n, packets: 0n, lastOpenedNs: 0n });
        break;
      }
      case 'put-tx': {
        const { vni, peer, spi, limit } = step.sa;
        tx.put({ vni, peer, spi, limit, fingerprint: step.fingerprint, sequence: 0n });
        break;
      }
      case 'put-peer':
        peers.put(step.peer);
        break;
      case 'put-overlay':
        overlay.put(step.entry);
        break;
      case 'put-route':
        routes.put(step.route);
        break;
      case 'remove-rx':
        rx.remove(keys.rx(step));
        break;
      case 'remove-tx':
        tx.remove(keys.tx(step));
        break;
      case 'remove-peer':
        peers.remove(keys.peer(step.peer));
        break;
      case 'remove-overlay':
        overlay.remove(keys.overlay(step.entry));
        break;
      case 'remove-route':
        routes.remove(keys.route(step.route));
        break;
      default:
        return undefined;
    }
  }
  return {
    ...observed,
    rxSas: rx.over(observed.rxSas),
    txSas: tx.over(observed.txSas),
    peers: peers.over(observed.peers),
    overlay: overlay.over(observed.overlay),
    routes: routes.over(observed.routes),
  };
}
