// The pods of this node: who was attached, under which namespace, with which addresses. A pod is its network
// namespace, not its name. Keeps a checkpoint, so that a restarted agent wants the same pods. It hooks nothing
// itself: the reconciler does, and attach() answers once that is done.
import { addressFamily, hostPrefix, prefixContains } from '../core/bytes';
import type { IpAddress, Prefix, Vni } from '../core/ids';
import type { PodEntry } from '../core/state';
import { KernelError, VxsealError } from '../errors';
import type { AddressInfo, Clock, LinkInfo, LocalPod, Log, Netlink, Netns, NetnsOpener } from '../ports';
import type { Checkpoint, SavedPod } from './checkpoint';
import { reasonOf } from './problems';
import type { AttachRequest } from './status';

const DEFAULT_DEVICE = 'eth0';
/** Attach answers "try again later" after this long. */
const ATTACH_DEADLINE_MS = 10_000;
const RETRY_MS = 200;

/** A pod as it was found in its namespace. */
export interface AttachedPod {
  readonly pod: LocalPod;
  /** Inside the pod. */
  readonly device: string;
  readonly entry: PodEntry;
  readonly mtuBytes: number;
}

export interface PodSettings {
  readonly hostVni: Vni;
  /** Prefixes of this node by VNI: a pod's addresses must lie in them. */
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
}

export interface PodParts {
  readonly opener: NetnsOpener;
  /** Of the agent's own namespace. */
  readonly netlink: Netlink;
  readonly clock: Clock;
  readonly log: Log;
  readonly checkpoint: Checkpoint;
  /** Inner MTU; undefined while the underlay is not known. */
  readonly mtuBytes: () => number | undefined;
  /** Runs a whole pass that begins after the call. */
  readonly reconcile: () => Promise<void>;
  /** Undefined once the pod is hooked, else what is missing. */
  readonly missing: (pod: AttachedPod) => string | undefined;
}

export class PodStore {
  private readonly pods = new Map<string, AttachedPod>();

  constructor(
    private readonly settings: PodSettings,
    private readonly parts: PodParts,
  ) {}

  /** Sorted by id. */
  list(): AttachedPod[] {
    return [...this.pods.values()].sort((a, b) => (a.pod.id < b.pod.id ? -1 : 1));
  }

  /** Errors: 'request' for what the caller must change, 'not-ready' at the deadline; the pod stays attached then. */
  async attach(request: AttachRequest): Promise<AttachedPod> {
    const vni = (request.vni ?? this.settings.hostVni) as Vni;
    const mtuBytes = this.parts.mtuBytes();
    if (mtuBytes === undefined)
      throw new VxsealError(
        'not-ready',
        'the tunnel MTU is not known yet: no underlay device',
        'see `vxseal status`',
      );
    const asked = {
      netnsPath: request.netnsPath,
      device: request.device ?? DEFAULT_DEVICE,
      name: request.name,
      namespace: request.namespace,
      vni,
    };
    const found = await this.inspect(asked, mtuBytes);
    await this.remember(found);
    await this.waitUntilHooked(found);
    this.parts.log.info(
      { pod: podName(found), id: found.pod.id, addresses: found.pod.addresses },
      'pod attached',
    );
    return found;
  }

  /** False when there was no such pod. */
  async detach(id: string): Promise<boolean> {
    const pod = this.pods.get(id);
    if (pod === undefined) return false;
    await this.forget(pod, 'detached');
    await this.parts.reconcile();
    return true;
  }

  /** Detaches pods whose host device is gone, or is another one under the same number. */
  async dropVanished(links: readonly LinkInfo[]): Promise<void> {
    const byIndex = new Map(links.map((link) => [link.ifindex, link]));
    for (const pod of this.list()) {
      const link = byIndex.get(pod.entry.ifindex);
      if (link?.name === pod.pod.hostDevice && link.kind === 'veth') continue;
      await this.forget(pod, `host device ${pod.pod.hostDevice} is gone`);
    }
  }

  /** Takes up the pods of a former process; one whose namespace is gone is dropped with a log line. */
  async reload(): Promise<void> {
    for (const saved of await this.parts.checkpoint.load()) {
      try {
        // The MTU was lowered when the pod came; what its owner did to it since is not ours to undo.
        const found = await this.inspect(saved, Number.MAX_SAFE_INTEGER);
        if (found.pod.id !== saved.id)
          throw new VxsealError('not-found', 'its network namespace is another one now');
        this.pods.set(found.pod.id, found);
      } catch (error) {
        this.parts.log.warn(
          { pod: `${saved.namespace}/${saved.name}`, reason: reasonOf(error) },
          'pod dropped at start',
        );
      }
    }
    await this.save();
  }

  private async remember(found: AttachedPod): Promise<void> {
    // A device or an address has one owner: what is attached later is what is there now.
    for (const other of this.list()) {
      const sameAddress =
        other.pod.vni === found.pod.vni && other.pod.addresses.some((a) => found.pod.addresses.includes(a));
      if (other.pod.id !== found.pod.id && (other.entry.ifindex === found.entry.ifindex || sameAddress))
        await this.forget(other, `replaced by ${podName(found)}`);
    }
    this.pods.set(found.pod.id, found);
    await this.save();
  }

  private async forget(pod: AttachedPod, why: string): Promise<void> {
    this.pods.delete(pod.pod.id);
    await this.save();
    this.parts.log.info({ pod: podName(pod), id: pod.pod.id, why }, 'pod detached');
  }

  private async save(): Promise<void> {
    await this.parts.checkpoint.save(this.list().map(({ pod, device }) => ({ ...pod, device })));
  }

  private async waitUntilHooked(pod: AttachedPod): Promise<void> {
    const deadlineMs = this.parts.clock.nowMs() + ATTACH_DEADLINE_MS;
    for (;;) {
      await this.parts.reconcile();
      const missing = this.pods.has(pod.pod.id) ? this.parts.missing(pod) : 'its host device is gone';
      if (missing === undefined) return;
      if (this.parts.clock.nowMs() + RETRY_MS > deadlineMs)
        throw new VxsealError(
          'not-ready',
          `pod ${podName(pod)} is not hooked: ${missing}`,
          'try again; see `vxseal status`',
        );
      await new Promise<void>((resolve) => this.parts.clock.after(RETRY_MS, resolve));
    }
  }

  private async inspect(
    asked: Omit<SavedPod, 'id' | 'hostDevice' | 'addresses'>,
    mtuBytes: number,
  ): Promise<AttachedPod> {
    const netns = openNetns(this.parts.opener, asked.netnsPath);
    try {
      const inside = netns.netlink();
      try {
        return await this.look(asked, netns, inside, mtuBytes);
      } finally {
        inside.close();
      }
    } finally {
      netns.close();
    }
  }

  private async look(
    asked: Omit<SavedPod, 'id' | 'hostDevice' | 'addresses'>,
    netns: Netns,
    inside: Netlink,
    mtuBytes: number,
  ): Promise<AttachedPod> {
    const device = pickDevice(await inside.links(), asked.device, asked.netnsPath);
    const host = pickHostDevice(await this.parts.netlink.links(), device, asked.netnsPath);
    const addresses = podAddresses(await inside.addresses(), device);
    this.checkAddresses(addresses, asked.vni, `${asked.namespace}/${asked.name}`);
    if (device.mtuBytes > mtuBytes) await inside.setMtu(device.ifindex, mtuBytes);
    return {
      pod: {
        id: `${netns.device}:${netns.inode}`,
        name: asked.name,
        namespace: asked.namespace,
        vni: asked.vni,
        netnsPath: asked.netnsPath,
        hostDevice: host.name,
        addresses,
      },
      device: asked.device,
      entry: { ifindex: host.ifindex, vni: asked.vni, mac: device.mac, hostMac: host.mac, addresses },
      mtuBytes: Math.min(device.mtuBytes, mtuBytes),
    };
  }

  private checkAddresses(addresses: readonly IpAddress[], vni: Vni, name: string): void {
    const own = this.settings.prefixes
      .filter((entry) => entry.vni === vni)
      .flatMap((entry) => entry.prefixes);
    if (own.length === 0)
      throw new VxsealError(
        'request',
        `pod ${name}: this node has no prefix in VNI ${vni}`,
        'add one to overlay.prefixes',
      );
    if (addresses.length === 0)
      throw new VxsealError(
        'request',
        `pod ${name} has no address on its device`,
        'attach it after its address is set',
      );
    const foreign = addresses.filter(
      (address) => !own.some((prefix) => prefixContains(prefix, hostPrefix(address))),
    );
    if (foreign.length > 0)
      throw new VxsealError(
        'request',
        `pod ${name}: ${foreign.join(', ')} not in this node's prefixes of VNI ${vni} (${own.join(', ')})`,
        "give the pod an address of this node, or grant the prefix to this node's certificate and configuration",
      );
  }
}

const podName = ({ pod }: AttachedPod): string => `${pod.namespace}/${pod.name}`;

function openNetns(opener: NetnsOpener, path: string): Netns {
  try {
    return opener.open(path);
  } catch (error) {
    if (!(error instanceof KernelError) || error.retriable) throw error;
    throw new VxsealError(
      'request',
      `${path} is not a network namespace that can be opened: ${error.errnoName}`,
      'give the path of a namespace, such as /run/netns/NAME or /proc/PID/ns/net',
      { cause: error },
    );
  }
}

function pickDevice(links: readonly LinkInfo[], name: string, path: string): LinkInfo {
  const device = links.find((link) => link.name === name);
  if (device !== undefined) return device;
  const others = links.filter((link) => !link.loopback).map((link) => link.name);
  throw new VxsealError(
    'request',
    `no device ${name} in ${path} (there: ${others.join(', ') || 'none'})`,
    "name the pod's device with --device",
  );
}

/** The other end of the pod's veth, which must be here: both ends must name each other. */
function pickHostDevice(links: readonly LinkInfo[], device: LinkInfo, path: string): LinkInfo {
  const host = links.find((link) => link.ifindex === device.linkIndex);
  if (device.kind === 'veth' && host?.kind === 'veth' && host.linkIndex === device.ifindex) return host;
  throw new VxsealError(
    'request',
    `${device.name} in ${path} is no veth with its other end on this host (kind ${device.kind || 'hardware'})`,
    'only pods behind a veth pair can be attached',
  );
}

function podAddresses(addresses: readonly AddressInfo[], device: LinkInfo): IpAddress[] {
  return addresses
    .filter((entry) => entry.ifindex === device.ifindex && !isLinkLocal(entry.address))
    .map((entry) => entry.address)
    .sort();
}

/** fe80::/10 (RFC 4291 §2.5.6), 169.254.0.0/16 (RFC 3927): no overlay address. */
function isLinkLocal(address: IpAddress): boolean {
  const wide = addressFamily(address) === 6 ? 'fe80::/10' : '169.254.0.0/16';
  return prefixContains(wide as Prefix, hostPrefix(address));
}
