// Pods as the bus knows them: has ours announced, and gives those of other nodes to policies and data plane. Tells two
// nodes' claims of one address as a problem. How far a record is believed is verify.ts' and the rosters'.
import type { PodContent } from '../core/announcement';
import type { IpAddress, NodeName } from '../core/ids';
import { describable } from '../core/podpayload';
import type { RemotePod } from '../core/podroster';
import type { PolicyPod } from '../core/policy';
import type { RosterNode } from '../core/roster';
import type { Sliced } from '../core/slices';
import type { AttachedPod } from './inspection';
import type { PodAnnouncer } from './parts';
import type { Problems } from './problems';
import type { RecordIntake } from './records';
import type { RemotePodStatus } from './status';

const OWN_RECORDS = 'own pod records';
const CLAIMS = 'addresses of pods';
/** Named in one problem. */
const NAMED = 3;

export interface PodRecordParts {
  readonly node: NodeName;
  readonly intake: Pick<RecordIntake, 'viewingPods' | 'ownPods'>;
  readonly announcer: PodAnnouncer;
  readonly problems: Problems;
  /** Labels and ports of a pod of this node. */
  readonly describe: (pod: AttachedPod) => Pick<PolicyPod, 'labels' | 'ports'>;
}

export class PodRecords {
  private remote: readonly RemotePod[] = [];
  /** Made when policies ask for them: where there are none, nobody does. */
  private policyPods: readonly PolicyPod[] | undefined = [];
  private version = 0;

  constructor(private readonly parts: PodRecordParts) {}

  /** As of the last look. */
  list(): readonly RemotePod[] {
    return this.remote;
  }

  status(): RemotePodStatus[] {
    return this.remote
      .map(({ record: { vni, address, node, namespace, name, labels }, state, why }) => ({
        vni,
        address,
        node,
        namespace,
        name,
        labels: Object.entries(labels).map(([key, value]) => `${key}=${value}`),
        state,
        why,
      }))
      .sort((a, b) => ((a.node === b.node ? a.address < b.address : a.node < b.node) ? -1 : 1));
  }

  /** For policies: who is in quarantine is nobody there. */
  forPolicies(): { readonly version: number; readonly pods: () => readonly PolicyPod[] } {
    const { version } = this;
    return {
      version,
      pods: () => {
        this.policyPods ??= byPod(this.remote.filter(({ state }) => state === 'live'));
        return this.policyPods;
      },
    };
  }

  /** @param nodes of the node roster @returns the same list as before while it says the same */
  *looking(nodes: readonly RosterNode[]): Sliced<readonly RemotePod[]> {
    const { intake, node } = this.parts;
    const found = yield* intake.viewingPods(nodes, node);
    if (!isSame(found, this.remote)) {
      this.policyPods = undefined;
      this.version += 1;
      this.remote = found;
    }
    this.tellClaims();
    return this.remote;
  }

  /** Never rejects: what the bus did not take is told, and done at the next pass. */
  async announce(pods: readonly AttachedPod[]): Promise<void> {
    const { announcer, intake, node, problems } = this.parts;
    try {
      await announcer.announce(
        pods.flatMap((pod) => this.contents(pod)),
        intake.ownPods(node),
      );
      problems.clear(OWN_RECORDS);
    } catch (error) {
      problems.reportError(OWN_RECORDS, error);
    }
  }

  private contents(pod: AttachedPod): PodContent[] {
    const { labels, ports } = this.parts.describe(pod);
    const { vni, namespace, name, runtime } = pod.pod;
    return pod.entry.addresses.map((address) => ({
      vni,
      address,
      uid: runtime?.uid ?? '',
      namespace,
      name,
      ...describable(labels, ports),
      mtuBytes: pod.mtuBytes,
    }));
  }

  private tellClaims(): void {
    const { problems } = this.parts;
    const disputed = this.remote
      .filter(({ state }) => state === 'quarantined')
      .map(({ record, why }) => `VNI ${record.vni}: ${why}`);
    const told = [...new Set(disputed)].sort();
    if (told.length === 0) {
      problems.clear(CLAIMS);
      return;
    }
    const named = told.slice(0, NAMED).join('; ');
    problems.report(
      CLAIMS,
      told.length > NAMED ? `${named}; and ${told.length - NAMED} more` : named,
      'give each pod an address of its own: see what assigns addresses on these nodes',
    );
  }
}

const isSame = (a: readonly RemotePod[], b: readonly RemotePod[]): boolean =>
  a === b ||
  (a.length === b.length &&
    a.every(({ record, state }, index) => record === b[index]?.record && state === b[index]?.state));

/** A pod has a record for each of its addresses. */
function byPod(remote: readonly RemotePod[]): PolicyPod[] {
  const pods = new Map<string, PolicyPod & { readonly addresses: IpAddress[] }>();
  for (const { record } of remote) {
    const { vni, node, uid, namespace, name, labels, ports, address } = record;
    const key = JSON.stringify([vni, node, uid, namespace, name, Object.entries(labels), ports]);
    const known = pods.get(key);
    if (known === undefined) pods.set(key, { vni, namespace, name, labels, ports, addresses: [address] });
    else known.addresses.push(address);
  }
  return [...pods.values()];
}
