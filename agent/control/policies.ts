// Keeps the data plane's policies those of the folder and of the bus together: at every pass, before pods are hooked, so
// that no pod is ever reachable under fewer rules than it has. Attributes refused packets to the policies that isolate a pod.
import { isDeepStrictEqual } from 'node:util';
import type { IpAddress } from '../core/ids';
import {
  type NetworkPolicy,
  type PolicyDirection,
  type PolicyPod,
  type PolicyReading,
  type PolicySource,
  type PolicyWorld,
  policyName,
} from '../core/policy';
import {
  compilePolicies,
  type LocalPolicyPod,
  type PolicyInput,
  type PolicyTables,
  type RulesetEntry,
} from '../core/policytables';
import type { Datapath, Netlink } from '../ports';
import type { AttachedPod } from './inspection';
import { type Problems, reasonOf } from './problems';
import type { PolicyDropStatus, PolicyStatus } from './status';

/** Generations whose rulesets are remembered: packets they refused may be counted still. */
const REMEMBERED = 64;
const READ = 'policies';
const INSTALL = 'policies of the data plane';

export interface PolicyKeeperParts {
  readonly netlink: Pick<Netlink, 'addresses'>;
  readonly datapath: Pick<Datapath, 'policies'>;
  readonly problems: Problems;
  /** A folder of manifests; undefined: none is configured. */
  readonly source: PolicySource | undefined;
  /** What signed records say. */
  readonly signed: () => PolicyWorld;
  readonly hostVni: PolicyInput['hostVni'];
  /** Pods of other nodes by their nodes' records; another version when they are others. */
  readonly remote: () => { readonly version: number; readonly pods: () => readonly PolicyPod[] };
}

export class PolicyKeeper {
  private reading: PolicyReading | undefined;
  private installed = '';
  private inForce: readonly NetworkPolicy[] = [];
  private readonly rulesets = new Map<number, readonly RulesetEntry[]>();
  private tables: PolicyTables | undefined;
  private generation = 0;
  /** Devices of the pods that the rules in force were made for; undefined: no rules are wanted. */
  private judged: ReadonlySet<number> | undefined;

  constructor(private readonly parts: PolicyKeeperParts) {}

  /** Never rejects: failures are told as problems, and the rules before stand. */
  async pass(pods: readonly AttachedPod[]): Promise<void> {
    const { source, signed, problems, datapath, netlink } = this.parts;
    try {
      if (source !== undefined) await this.read(source);
      // A folder that could not be read yet: what a former process installed stands, or less would hold than before.
      if (source !== undefined && this.reading === undefined) {
        this.judged ??= new Set();
        return;
      }
      const world = joined(this.reading, signed());
      // Where there were any, none is a set of tables too: a generation that came again would bring back the rules and
      // the connections that were of it before.
      const never = datapath.policies.generation() === 0;
      if (source === undefined && world.policies.length === 0 && never) {
        this.inForce = [];
        this.judged = undefined;
      } else {
        this.judged ??= new Set();
        const addresses = (await netlink.addresses()).map(({ address }) => address);
        this.install(world, pods, addresses);
        this.judged = new Set(pods.map(({ entry }) => entry.ifindex));
      }
      problems.clear(INSTALL);
    } catch (error) {
      problems.report(
        INSTALL,
        reasonOf(error),
        'the rules before stand; use fewer policies if a map is full',
      );
    }
  }

  /** What the manifests say of a pod of this node, those of the folder and the signed ones, or its runtime. */
  describe(pod: AttachedPod): Pick<PolicyPod, 'labels' | 'ports'> {
    return localPod(pod, joined(this.reading, this.parts.signed()).pods);
  }

  /** A pod that no rules were made for would be open: why, or undefined. One that is off has none. */
  missing({ entry }: AttachedPod): string | undefined {
    if (this.judged === undefined || this.judged.has(entry.ifindex) || entry.off === true) return undefined;
    return this.parts.problems.get(INSTALL)?.reason ?? 'its policies are not in force yet';
  }

  status(): PolicyStatus {
    return {
      generation: this.parts.datapath.policies.generation(),
      policies: this.inForce.map(policyName),
      sources: this.inForce.map((policy) => ({
        policy: policyName(policy),
        vni: policy.vni ?? 0,
        source: policy.origin ?? 'policies.path',
      })),
      drops: this.drops(),
    };
  }

  /** Policies that isolate the pod at that device, as of the tables in force: "namespace/name". */
  isolatingAt(ifindex: number, direction: PolicyDirection): readonly string[] {
    const number = this.tables?.pods.find((pod) => pod.ifindex === ifindex)?.[direction];
    const newest = [...this.rulesets.values()].at(-1) ?? [];
    return newest.find(({ ruleset }) => ruleset === number)?.policies ?? [];
  }

  private async read(source: PolicySource): Promise<void> {
    const { problems } = this.parts;
    try {
      this.reading = await source.read();
    } catch (error) {
      problems.report(READ, reasonOf(error), 'check policies.path; the policies read last stand');
      return;
    }
    const [issue] = this.reading.issues;
    const more = this.reading.issues.length - 1;
    if (issue === undefined) problems.clear(READ);
    else
      problems.report(
        READ,
        more > 0 ? `${issue} (and ${more} more)` : issue,
        'correct the file; what it said before stands',
      );
  }

  private install(reading: PolicyWorld, pods: readonly AttachedPod[], addresses: readonly IpAddress[]): void {
    const local = pods.map((pod) => localPod(pod, reading.pods));
    const remote = this.parts.remote();
    const own = new Set(local.map(nameOf));
    const described = new Set([...own, ...reading.pods.map(nameOf)]);
    const common = {
      policies: sortedPolicies(reading.policies),
      namespaces: reading.namespaces,
      local,
      hostVni: this.parts.hostVni,
      hostAddresses: [...new Set(addresses)].sort(),
    };
    // There may be tens of thousands of remote pods: their version stands for them.
    const digest = JSON.stringify({ ...common, pods: [reading.pods, local, remote.version] });
    if (digest === this.installed && this.parts.datapath.policies.generation() !== 0) return;
    const input: PolicyInput = {
      ...common,
      // Of a pod that both speak of, the manifest counts.
      pods: [
        ...reading.pods.filter((pod) => !own.has(nameOf(pod))),
        ...remote.pods().filter((pod) => !described.has(nameOf(pod))),
        ...local,
      ],
    };
    const tables = compilePolicies(input);
    const same =
      this.parts.datapath.policies.generation() === this.generation && isDeepStrictEqual(tables, this.tables);
    const generation = same ? this.generation : this.parts.datapath.policies.install(tables);
    this.installed = digest;
    this.tables = tables;
    this.generation = generation;
    this.inForce = input.policies;
    this.rulesets.set(generation, tables.rulesets);
    for (const old of [...this.rulesets.keys()].slice(0, -REMEMBERED)) this.rulesets.delete(old);
  }

  private drops(): PolicyDropStatus[] {
    const sums = new Map<string, PolicyDropStatus>();
    for (const { generation, ruleset, packets, bytes } of this.parts.datapath.policies.drops()) {
      const entry = this.rulesets.get(generation)?.find((each) => each.ruleset === ruleset);
      if (entry === undefined) continue;
      const { direction, pod, policies } = entry;
      const key = JSON.stringify([direction, pod, policies]);
      const before = sums.get(key) ?? { direction, pod, policies, packets: 0, bytes: 0 };
      sums.set(key, {
        ...before,
        packets: before.packets + Number(packets),
        bytes: before.bytes + Number(bytes),
      });
    }
    return [...sums.values()].sort((a, b) => b.packets - a.packets || (a.pod < b.pod ? -1 : 1));
  }
}

const nameOf = ({ vni, namespace, name }: Pick<PolicyPod, 'vni' | 'namespace' | 'name'>): string =>
  `${vni}/${namespace}/${name}`;

/** Labels and ports are the manifest's, without one the runtime's; addresses those that were found in the pod. */
function localPod({ pod, entry }: AttachedPod, known: readonly PolicyPod[]): LocalPolicyPod {
  const manifest = known.find((each) => nameOf(each) === nameOf(pod));
  return {
    vni: pod.vni,
    namespace: pod.namespace,
    name: pod.name,
    labels: manifest?.labels ?? pod.labels ?? {},
    ports: manifest?.ports ?? [],
    addresses: entry.addresses,
    ...(manifest?.distrusted && { distrusted: true }),
    ifindex: entry.ifindex,
  };
}

/** Policies add up. What is said of a namespace or pod twice holds as the folder says it: it is this node's own. */
function joined(folder: PolicyWorld | undefined, signed: PolicyWorld): PolicyWorld {
  if (folder === undefined) return signed;
  const own = new Set(folder.pods.map(nameOf));
  return {
    policies: [...folder.policies, ...signed.policies],
    namespaces: [...folder.namespaces, ...signed.namespaces],
    pods: [...folder.pods, ...signed.pods.filter((pod) => !own.has(nameOf(pod)))],
  };
}

const sortedPolicies = (policies: readonly NetworkPolicy[]): NetworkPolicy[] =>
  [...policies].sort((a, b) => (policyName(a) < policyName(b) ? -1 : 1));
