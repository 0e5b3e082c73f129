// What a pod's network namespace holds, as it is found: its device, the host's end of it, its addresses. Lowers MTUs
// that are larger than the tunnel's; changes nothing else. Which pods there are is pods.ts'.
import { addressFamily, hostPrefix, prefixContains } from '../core/bytes';
import type { IpAddress, Prefix, Vni } from '../core/ids';
import type { PodEntry } from '../core/state';
import { KernelError, VxsealError } from '../errors';
import type { AddressInfo, LinkInfo, LocalPod, Netlink, Netns, NetnsOpener } from '../ports';
import type { SavedPod } from './checkpoint';

/** A pod as it was found in its namespace. */
export interface AttachedPod {
  readonly pod: LocalPod;
  /** Inside the pod. */
  readonly device: string;
  readonly entry: PodEntry;
  readonly mtuBytes: number;
}

export type AskedPod = Omit<SavedPod, 'id' | 'hostDevice' | 'addresses'>;

export interface InspectionParts {
  readonly opener: NetnsOpener;
  /** Of the agent's own namespace. */
  readonly netlink: Netlink;
  /** Prefixes of this node by VNI: a pod's addresses must lie in them. */
  readonly prefixes: readonly { readonly vni: Vni; readonly prefixes: readonly Prefix[] }[];
}

interface Found {
  readonly device: LinkInfo;
  readonly host: LinkInfo | undefined;
  readonly addresses: readonly IpAddress[];
  /** "<device>:<inode>" */
  readonly id: string;
}

/**
 * @param mtuBytes what the pod may send at most; undefined: leave MTUs as they are.
 * @throws VxsealError 'request' for what the caller must change
 */
export async function inspectPod(
  parts: InspectionParts,
  asked: AskedPod,
  mtuBytes: number | undefined,
): Promise<AttachedPod> {
  return within(parts.opener, asked.netnsPath, async (netns, inside) => {
    const found = await look(parts, asked, netns, inside);
    const host = requireHost(found, asked.netnsPath);
    checkAddresses(parts.prefixes, found.addresses, asked.vni, `${asked.namespace}/${asked.name}`);
    if (mtuBytes !== undefined) await lowerMtus(inside, found.device, parts.netlink, host, mtuBytes);
    const limitBytes = mtuBytes ?? Number.MAX_SAFE_INTEGER;
    return attachedPod(
      asked,
      { ...found, host },
      limitBytes,
      asked.mode === 'permissive' ? { permissive: true } : {},
    );
  });
}

/** A pod of mode off: any address, any MTU. Undefined: its device is no veth with its other end on this host. */
export async function inspectOffPod(
  parts: Pick<InspectionParts, 'opener' | 'netlink'>,
  asked: AskedPod,
): Promise<AttachedPod | undefined> {
  return within(parts.opener, asked.netnsPath, async (netns, inside) => {
    const { host, ...found } = await look(parts, asked, netns, inside);
    if (host === undefined) return undefined;
    return attachedPod(asked, { ...found, host }, Number.MAX_SAFE_INTEGER, { off: true });
  });
}

async function within<T>(
  opener: NetnsOpener,
  path: string,
  body: (netns: Netns, inside: Netlink) => Promise<T>,
): Promise<T> {
  const netns = openNetns(opener, path);
  try {
    const inside = netns.netlink();
    try {
      return await body(netns, inside);
    } finally {
      inside.close();
    }
  } finally {
    netns.close();
  }
}

async function look(
  parts: Pick<InspectionParts, 'netlink'>,
  asked: AskedPod,
  netns: Netns,
  inside: Netlink,
): Promise<Found> {
  const device = pickDevice(await inside.links(), asked.device, asked.netnsPath);
  const host = hostDevice(await parts.netlink.links(), device);
  const addresses = podAddresses(await inside.addresses(), device);
  return { device, host, addresses, id: `${netns.device}:${netns.inode}` };
}

function attachedPod(
  asked: AskedPod,
  { device, host, addresses, id }: Found & { readonly host: LinkInfo },
  limitBytes: number,
  flags: Pick<PodEntry, 'permissive' | 'off'>,
): AttachedPod {
  const { device: _, ...pod } = asked;
  return {
    pod: { ...pod, id, hostDevice: host.name, addresses },
    device: asked.device,
    entry: {
      ifindex: host.ifindex,
      vni: asked.vni,
      mac: device.mac,
      hostMac: host.mac,
      addresses,
      ...flags,
    },
    mtuBytes: Math.min(device.mtuBytes, limitBytes),
  };
}

/**
 * Both ends: what the host sends to a smaller device than it believes in is dropped without a word. Routes first, for
 * the kernel refuses none that is larger than its device.
 */
async function lowerMtus(
  inside: Netlink,
  device: LinkInfo,
  outside: Netlink,
  host: LinkInfo,
  mtuBytes: number,
): Promise<void> {
  await inside.lowerRouteMtus(device.ifindex, mtuBytes);
  if (device.mtuBytes > mtuBytes) await inside.setMtu(device.ifindex, mtuBytes);
  await outside.lowerRouteMtus(host.ifindex, mtuBytes);
  if (host.mtuBytes > mtuBytes) await outside.setMtu(host.ifindex, mtuBytes);
}

function checkAddresses(
  groups: InspectionParts['prefixes'],
  addresses: readonly IpAddress[],
  vni: Vni,
  name: string,
): void {
  const own = groups.filter((entry) => entry.vni === vni).flatMap((entry) => entry.prefixes);
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
function hostDevice(links: readonly LinkInfo[], device: LinkInfo): LinkInfo | undefined {
  const host = links.find((link) => link.ifindex === device.linkIndex);
  return device.kind === 'veth' && host?.kind === 'veth' && host.linkIndex === device.ifindex
    ? host
    : undefined;
}

function requireHost({ device, host }: Found, path: string): LinkInfo {
  if (host !== undefined) return host;
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
