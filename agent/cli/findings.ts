// What is wrong, gathered from all corners of a status: blockers, problems, peers that are not up. Pure.
import type { Status } from '../control/status';

export interface Finding {
  readonly object: string;
  readonly reason: string;
  readonly remedy: string;
  /** 0 where the status does not say. */
  readonly sinceMs: number;
}

/** Each object once, blockers of readiness first. Empty: all is well. */
export function findings(status: Status): readonly Finding[] {
  const found: Finding[] = [];
  const add = (finding: Finding): void => {
    if (!found.some(({ object, reason }) => object === finding.object && reason === finding.reason)) {
      found.push(finding);
    }
  };
  for (const { name, reason, remedy } of status.readiness.blockers) {
    add({ object: name, reason, remedy, sinceMs: 0 });
  }
  for (const { object, reason, remedy, sinceMs } of status.problems) {
    add({ object, reason, remedy, sinceMs });
  }
  const named = new Set(found.map(({ object }) => object));
  for (const peer of status.peers) {
    const object = `peer ${peer.node}`;
    if (peer.state !== 'up' && !named.has(object)) {
      const reason = peer.why === '' ? peer.state : `${peer.state}: ${peer.why}`;
      add({ object, reason, remedy: peer.remedy, sinceMs: peer.sinceMs });
    }
  }
  if (!status.readiness.ready && found.length === 0) {
    const remedy = "Read the agent's log.";
    add({ object: 'agent', reason: 'is not ready and names no blocker', remedy, sinceMs: 0 });
  }
  return found;
}
