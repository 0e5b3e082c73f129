// What is new between two statuses, as events for people: state of the agent, of peers, problems that came and went,
// epochs. Made by comparing snapshots, so that nothing has to report and nothing can be forgotten. Pure.
import type { Status } from '../control/status';

export interface ChangeEvent {
  readonly atMs: number;
  /** "peer node2", "agent", "bus", or the object of a problem. */
  readonly object: string;
  /** The state it is in now: a peer's state, "ready", "problem", "well", "epoch 5" ... */
  readonly state: string;
  readonly reason: string;
  readonly remedy: string;
}

type Fact = Omit<ChangeEvent, 'atMs'>;

export function changesBetween(before: Status, after: Status, atMs: number): ChangeEvent[] {
  const old = factsOf(before);
  const now = factsOf(after);
  const changed = [...now.values()].filter((fact) => {
    const was = old.get(fact.object);
    return was === undefined || was.state !== fact.state || was.reason !== fact.reason;
  });
  const gone = [...old.values()]
    .filter(({ object }) => !now.has(object))
    .map(({ object, state }) => ({ object, state: goneState(state), reason: '', remedy: '' }));
  return [...changed, ...gone].map((fact) => ({ atMs, ...fact }));
}

const goneState = (state: string): string => (state === 'problem' ? 'well' : 'gone');

/** One fact an object. */
function factsOf({ readiness, node, bus, peers, pods, problems }: Status): Map<string, Fact> {
  const reasons = readiness.blockers.map(({ name, reason }) => `${name}: ${reason}`).join('; ');
  const facts: Fact[] = [
    {
      object: 'agent',
      state: readiness.ready ? 'ready' : 'not ready',
      reason: reasons,
      remedy: readiness.blockers[0]?.remedy ?? '',
    },
    { object: 'epoch', state: epochState(node), reason: '', remedy: '' },
    { object: `bus ${bus.type}`, state: busState(bus), reason: bus.error, remedy: '' },
    ...peers.map(({ node: name, state, why, remedy }) => ({
      object: `peer ${name}`,
      state,
      reason: why,
      remedy,
    })),
    ...pods.map(({ namespace, name, ready, why }) => ({
      object: `pod ${namespace}/${name}`,
      state: ready ? 'ready' : 'not ready',
      reason: why,
      remedy: '',
    })),
    ...problems.map(({ object, reason, remedy }) => ({
      object: `problem ${object}`,
      state: 'problem',
      reason,
      remedy,
    })),
  ];
  return new Map(facts.map((fact) => [fact.object, fact]));
}

const epochState = ({ epoch }: Status['node']): string =>
  `${epoch.number}${epoch.published ? '' : ' (not yet published)'}`;

function busState(bus: Status['bus']): string {
  if (!bus.connected) return 'not connected';
  return bus.inSync ? 'in sync' : 'being read';
}
