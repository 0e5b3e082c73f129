// What the data plane reports of single packets, for people: drops, and a sample of what it forwards as long as
// somebody watches. Gives numbers their names; keeps the newest drops.
import type { NodeName, PeerNumber } from '../core/ids';
import type { PolicyDirection } from '../core/policy';
import type { Clock, Datapath, FlowReport, IpAddress } from '../ports';
import type { AttachedPod } from './inspection';
import type { FlowStatus } from './status';

const KEPT_DROPS = 20;

export interface FlowParts {
  readonly clock: Clock;
  readonly datapath: Pick<Datapath, 'onFlow' | 'sampleFlows'>;
  readonly nameOf: (peer: PeerNumber) => NodeName | '';
  readonly pods: () => readonly AttachedPod[];
  /** That isolate the pod at that device. */
  readonly policiesAt: (ifindex: number, direction: PolicyDirection) => readonly string[];
}

export class Flows {
  private readonly watchers = new Set<(flow: FlowStatus) => void>();
  /** Newest first. */
  private drops: readonly FlowStatus[] = [];

  constructor(private readonly parts: FlowParts) {
    parts.datapath.onFlow((report) => this.take(report));
  }

  /** @returns how to stop. Forwarded packets are sampled only meanwhile. */
  watch(listener: (flow: FlowStatus) => void): () => void {
    this.watchers.add(listener);
    if (this.watchers.size === 1) this.parts.datapath.sampleFlows(true);
    return () => {
      const was = this.watchers.delete(listener);
      if (was && this.watchers.size === 0) this.parts.datapath.sampleFlows(false);
    };
  }

  recentDrops(): readonly FlowStatus[] {
    return this.drops;
  }

  private take(report: FlowReport): void {
    const flow = this.named(report);
    if (flow.verdict === 'dropped') this.drops = [flow, ...this.drops].slice(0, KEPT_DROPS);
    for (const watcher of this.watchers) watcher(flow);
  }

  private named(report: FlowReport): FlowStatus {
    const { clock, nameOf, policiesAt } = this.parts;
    const { reason, source = '', destination = '', vni, outer } = report;
    const ageMs = Math.max(0, Number(clock.monotonicNs() - report.atNs) / 1e6);
    return {
      atMs: Math.round(clock.nowMs() - ageMs),
      verdict: reason === undefined ? 'forwarded' : 'dropped',
      reason: reason ?? '',
      direction: report.direction,
      node: nameOf(report.peer),
      pod: this.podOf(report),
      vni,
      outer,
      source,
      destination,
      protocol: report.protocol,
      sourcePort: report.sourcePort,
      destinationPort: report.destinationPort,
      bytes: report.bytes,
      policies: reason === 'policy' ? policiesAt(report.ifindex, report.direction) : [],
      unreported: report.unreported,
    };
  }

  /** By its device, where the packet was seen there, else by address: a spoofed one is not the sender's. */
  private podOf({ ifindex, outer, vni, source, destination }: FlowReport): string {
    const pods = this.parts.pods();
    const at = (address: IpAddress | undefined): AttachedPod | undefined =>
      pods.find(
        ({ pod }) =>
          address !== undefined && (vni === 0 || pod.vni === vni) && pod.addresses.includes(address),
      );
    const seenAt = pods.find(({ entry }) => entry.ifindex === ifindex);
    const found = seenAt ?? (outer ? undefined : (at(source) ?? at(destination)));
    return found === undefined ? '' : `${found.pod.namespace}/${found.pod.name}`;
  }
}
