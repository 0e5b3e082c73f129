// The word for a peer's state, why, and what to do about it: made from what the roster, the keys and the probes say,
// the first that stands in the way winning. Pure; since when is peerstates.ts'.
import type { Peer } from '../core/peers';
import type { RosterNode } from '../core/roster';
import type { PeerKeyState } from '../core/rotation';
import type { IpAddress } from '../ports';
import type { Liveness } from './liveness';
import type { PeerState } from './status';

export interface PeerFacts {
  readonly node: RosterNode;
  /** Undefined when it cannot be reached: no address family in common. */
  readonly peer: Peer | undefined;
  readonly keys: PeerKeyState | undefined;
  readonly liveness: Liveness | undefined;
  /** Packets left in the sending SA; undefined when none is installed. */
  readonly packetsLeft: bigint | undefined;
  /** Age of the last authenticated packet; undefined for never. */
  readonly lastOpenedAgeMs: number | undefined;
  /** Silence from which a peer counts as stalled. */
  readonly timeoutMs: number;
  /** It has lately sent under keys that we do not have. */
  readonly unknownKeys: boolean;
  readonly ownVteps: readonly IpAddress[];
  readonly espPort: number;
  readonly mtuBytes: number;
}

export interface Verdict {
  readonly state: PeerState;
  readonly why: string;
  readonly remedy: string;
}

export function judgePeer(facts: PeerFacts): Verdict {
  return rosterVerdict(facts) ?? keyVerdict(facts) ?? probeVerdict(facts);
}

function rosterVerdict({ node, peer, ownVteps }: PeerFacts): Verdict | undefined {
  if (node.state === 'quarantined')
    return {
      state: 'quarantined',
      why: node.why,
      remedy: 'give each node prefixes and VTEPs of its own, and issue its certificate for them',
    };
  if (node.state === 'revoked')
    return {
      state: 'revoked',
      why: node.why,
      remedy: `if ${node.node} is to come back, issue a certificate for it that the roots and the list of revocations allow`,
    };
  if (node.state === 'expired' || node.state === 'withdrawn')
    return {
      state: 'expired',
      why: node.why,
      remedy: `see on ${node.node} whether its agent runs, reaches the bus, and has the right time`,
    };
  if (peer !== undefined) return undefined;
  const theirs = node.record?.vteps.join(', ') ?? '';
  return {
    state: 'no-route',
    why: `no address family in common: it has ${theirs || 'no VTEP'}, we have ${ownVteps.join(', ')}`,
    remedy: 'give both nodes a VTEP of the same family',
  };
}

function keyVerdict({ node, keys, packetsLeft, liveness }: PeerFacts): Verdict | undefined {
  if (keys === undefined || keys.state === 'no-key')
    return {
      state: 'no-key',
      why: keys?.why || 'no keys are derived yet',
      remedy: keys?.why.includes('pre-shared key')
        ? 'give both nodes the same keys.pskFile, and restart the agent whose was wrong'
        : `see \`vxseal status\` here and on ${node.node}; \`vxseal rotate\` makes new keys`,
    };
  if (packetsLeft === undefined)
    return {
      state: 'no-key',
      why: 'the sending key is not installed',
      remedy: 'see the problems in `vxseal status`',
    };
  if (packetsLeft <= 0n)
    return {
      state: 'no-key',
      why: 'the sending key stands at its packet limit',
      remedy: 'run `vxseal rotate`',
    };
  if (liveness === undefined || liveness.verdict === 'new')
    return {
      state: 'no-key',
      why: 'keys are installed here, no probe is answered yet',
      remedy: `wait a few seconds; else see \`vxseal status\` on ${node.node}`,
    };
  return undefined;
}

function probeVerdict(facts: PeerFacts): Verdict {
  const { peer, keys, liveness, lastOpenedAgeMs, timeoutMs, espPort, mtuBytes } = facts;
  if (liveness?.verdict === 'silent' && facts.unknownKeys)
    return {
      state: 'stalled',
      why: 'it sends under keys that we do not have: one of the two has not read the newest record of the other',
      remedy: `see the bus in \`vxseal status\` here and on ${facts.node.node}; with both in sync, \`vxseal rotate\` on both`,
    };
  if (liveness?.verdict === 'silent') {
    const hears = lastOpenedAgeMs !== undefined && lastOpenedAgeMs < timeoutMs;
    return {
      state: 'stalled',
      why: hears
        ? 'its packets arrive here, ours are not answered: the way from here to it fails'
        : 'no packet from it is authenticated any more, and no probe is answered',
      remedy: `let UDP port ${espPort} pass between ${peer?.entry.local} and ${peer?.entry.vtep} both ways; see \`vxseal drops\` on both nodes`,
    };
  }
  if (liveness?.verdict === 'small-only')
    return {
      state: 'mtu',
      why: `small probes are answered, those of ${mtuBytes} bytes are not`,
      remedy: 'raise the MTU on the path between the nodes, or lower overlay.mtuBytes on all of them',
    };
  return { state: 'up', why: keys?.state === 'rotating' ? keys.why : '', remedy: '' };
}
