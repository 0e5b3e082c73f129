// Since when each peer is in its state. A change of state is logged once, with its reason.
import type { NodeName } from '../core/ids';
import type { Clock, Log } from '../ports';
import type { PeerState } from './status';
import type { Verdict } from './verdict';

export class PeerStates {
  private readonly states = new Map<NodeName, { readonly state: PeerState; readonly sinceMs: number }>();

  constructor(
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** @returns since when, wall clock */
  note(node: NodeName, { state, why, remedy }: Verdict): number {
    const before = this.states.get(node);
    if (before?.state === state) return before.sinceMs;
    const sinceMs = this.clock.nowMs();
    this.states.set(node, { state, sinceMs });
    const fields = { peer: node, state, before: before?.state ?? 'unknown', why, remedy };
    if (state === 'up') this.log.info(fields, `peer ${node} is up`);
    // At first sight a peer without keys is what is to be expected.
    else if (before === undefined) this.log.info(fields, `peer ${node}: ${state}: ${why}`);
    else this.log.warn(fields, `peer ${node}: ${state}: ${why}`);
    return sinceMs;
  }

  /** Forgets nodes that are not in `nodes`. */
  keep(nodes: ReadonlySet<NodeName>): void {
    for (const node of [...this.states.keys()]) if (!nodes.has(node)) this.states.delete(node);
  }
}
