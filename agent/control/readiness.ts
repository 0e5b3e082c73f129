// Whether the node's data plane can be relied on, and if not, what stands in the way, by name. Losing the bus later
// is no blocker: what stands goes on. Pure.
import type { Blocker, Problem, Readiness } from './status';

export interface ReadinessFacts {
  /** The first pass over the kernel's state has ended well. */
  readonly pictured: boolean;
  readonly problem: (object: string) => Problem | undefined;
  readonly certificateNotAfterMs: number;
  readonly nowMs: number;
  readonly busInSync: boolean;
  readonly busError: string;
  readonly deviceName: string;
  readonly deviceUp: boolean;
  readonly configured: boolean;
  readonly epochPublished: boolean;
  /** "seal on eth0" */
  readonly missingHooks: readonly string[];
}

/** Hooks named in one blocker. */
const NAMED_HOOKS = 5;

export function judgeReadiness(facts: ReadinessFacts): Readiness {
  const blockers = [
    from(facts, 'config', 'overlay MTU', (problem) => problem.reason.includes('IPv6 needs')),
    from(facts, 'kernel', 'kernel state'),
    identity(facts),
    busSync(facts),
    from(facts, 'link', 'underlay'),
    ...(facts.pictured ? pictured(facts) : [waiting(facts)]),
    keys(facts),
  ].filter((blocker) => blocker !== undefined);
  return { ready: blockers.length === 0, blockers };
}

function from(
  facts: ReadinessFacts,
  name: Blocker['name'],
  object: string,
  blocks: (problem: Problem) => boolean = () => true,
): Blocker | undefined {
  const problem = facts.problem(object);
  if (problem === undefined || !blocks(problem)) return undefined;
  return { name, reason: `${object}: ${problem.reason}`, remedy: problem.remedy };
}

function waiting(facts: ReadinessFacts): Blocker | undefined {
  // With a reason of its own told above, "not yet" would only repeat it.
  if (facts.problem('kernel state') !== undefined || facts.problem('underlay') !== undefined)
    return undefined;
  return { name: 'datapath', reason: 'the data plane is being set up', remedy: 'wait a few seconds' };
}

function pictured({
  deviceName,
  deviceUp,
  configured,
  missingHooks,
  problem,
}: ReadinessFacts): (Blocker | undefined)[] {
  const hooks = missingHooks.slice(0, NAMED_HOOKS).join(', ');
  const more = missingHooks.length > NAMED_HOOKS ? ` and ${missingHooks.length - NAMED_HOOKS} more` : '';
  return [
    deviceUp
      ? undefined
      : {
          name: 'link',
          reason:
            problem(`apply device ${deviceName}`)?.reason ??
            `device ${deviceName} is missing or not as it must be`,
          remedy: 'see the problems; it is tried again at every pass',
        },
    configured
      ? undefined
      : { name: 'datapath', reason: 'settings are not in the data plane', remedy: 'see the problems' },
    missingHooks.length === 0
      ? undefined
      : { name: 'hooks', reason: `not attached: ${hooks}${more}`, remedy: 'see the problems' },
  ];
}

function identity({ certificateNotAfterMs, nowMs }: ReadinessFacts): Blocker | undefined {
  if (certificateNotAfterMs > nowMs) return undefined;
  return {
    name: 'identity',
    reason: `the certificate ended ${new Date(certificateNotAfterMs).toISOString()}`,
    remedy: 'renew it with `vxseal ca renew`: the agent reads it by itself',
  };
}

function busSync({ busInSync, busError }: ReadinessFacts): Blocker | undefined {
  if (busInSync) return undefined;
  return {
    name: 'bus-sync',
    reason: `records that stood on the bus are not all read${busError === '' ? '' : `: ${busError}`}`,
    remedy: 'check that the bus can be reached; nothing is deleted before',
  };
}

function keys({ epochPublished, problem }: ReadinessFacts): Blocker | undefined {
  if (epochPublished) return undefined;
  const own = problem('own record');
  return {
    name: 'keys',
    reason: `our epoch is not published yet${own === undefined ? '' : `: ${own.reason}`}`,
    remedy: own?.remedy ?? 'it follows once the bus is read and inbound keys stand',
  };
}
