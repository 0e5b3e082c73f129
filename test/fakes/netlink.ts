// Network namespaces as plain tables: links, addresses, routes. A FakeNetwork outlives the FakeNetlinks opened on
// it, as a namespace outlives its sockets.
import type { IpAddress } from '../../agent/core/ids';
import type { RouteEntry, VxlanSpec } from '../../agent/core/state';
import { KernelError } from '../../agent/errors';
import type { AddressInfo, LinkInfo, Netlink, Netns, NetnsOpener } from '../../agent/ports';

let lastIfindex = 1;

export class FakeNetwork {
  readonly linkTable = new Map<number, LinkInfo>();
  readonly addressTable: AddressInfo[] = [];
  readonly routeTable = new Map<string, RouteEntry>();
  /** MTUs of routes, by ifindex of their device. */
  readonly routeMtus = new Map<number, number>();
  /** What was called, in order: "putRoute 10.1.0.0/24". */
  readonly calls: string[] = [];
  /** Returns an errno name to make the call fail. */
  fail: (call: string) => string | undefined = () => undefined;

  addLink(link: Partial<LinkInfo> & { readonly name: string }): LinkInfo {
    lastIfindex += 1;
    const made: LinkInfo = {
      ifindex: lastIfindex,
      kind: '',
      mac: `02:00:00:00:00:${(lastIfindex & 0xff).toString(16).padStart(2, '0')}`,
      mtuBytes: 1500,
      up: true,
      loopback: false,
      linkIndex: 0,
      linkNsid: -1,
      gsoMaxSegs: 65535,
      ...link,
    };
    this.linkTable.set(made.ifindex, made);
    return made;
  }

  addAddress(ifindex: number, address: string, prefixLength: number): void {
    this.addressTable.push({ ifindex, address: address as IpAddress, prefixLength });
  }

  changeLink(ifindex: number, change: Partial<LinkInfo>): void {
    const link = this.linkTable.get(ifindex);
    if (link) this.linkTable.set(ifindex, { ...link, ...change });
  }

  /** A device goes, and with it its addresses and routes. */
  dropLink(ifindex: number): void {
    const link = this.linkTable.get(ifindex);
    this.linkTable.delete(ifindex);
    for (const [key, route] of this.routeTable) if (route.device === link?.name) this.routeTable.delete(key);
  }

  linkNamed(name: string): LinkInfo | undefined {
    return [...this.linkTable.values()].find((link) => link.name === name);
  }

  /** Those that lead somewhere: not the ones that refuse. */
  tunnelRoutes(): RouteEntry[] {
    return [...this.routeTable.values()].filter((route) => route.device !== undefined);
  }

  netlink(): Netlink {
    return new FakeNetlink(this);
  }

  enter(call: string): void {
    this.calls.push(call);
    const errno = this.fail(call);
    if (errno) throw new KernelError(call, 1, errno);
  }
}

const routeKey = (route: RouteEntry): string => `${route.prefix} ${route.device}`;

const routeCall = (verb: string, { prefix, device }: RouteEntry): string =>
  `${verb} ${device === undefined ? 'unreachable ' : ''}${prefix}`;

class FakeNetlink implements Netlink {
  constructor(private readonly network: FakeNetwork) {}

  async links(): Promise<LinkInfo[]> {
    this.network.enter('links');
    return [...this.network.linkTable.values()];
  }

  async addresses(): Promise<AddressInfo[]> {
    this.network.enter('addresses');
    return [...this.network.addressTable];
  }

  async ensureVxlan(spec: VxlanSpec): Promise<LinkInfo> {
    const found = this.network.linkNamed(spec.name);
    if (found && found.kind !== 'vxlan') throw new KernelError(`create ${spec.name}`, 17, 'EEXIST');
    this.network.enter(`ensureVxlan ${spec.name}`);
    const wanted = {
      name: spec.name,
      kind: 'vxlan',
      mac: spec.mac,
      mtuBytes: spec.mtuBytes,
      up: found?.up ?? false,
      gsoMaxSegs: 1,
      vxlan: { port: spec.port, external: true, drifted: false },
    };
    if (!found) return this.network.addLink(wanted);
    this.network.changeLink(found.ifindex, wanted);
    return { ...found, ...wanted };
  }

  async raiseVxlan(name: string): Promise<void> {
    this.network.enter(`raiseVxlan ${name}`);
    const found = this.network.linkNamed(name);
    if (!found) throw new KernelError(`raise ${name}`, 19, 'ENODEV');
    this.network.changeLink(found.ifindex, { up: true });
  }

  async setMtu(ifindex: number, mtuBytes: number): Promise<void> {
    this.network.enter(`setMtu ${ifindex} ${mtuBytes}`);
    this.network.changeLink(ifindex, { mtuBytes });
  }

  async removeLink(ifindex: number): Promise<void> {
    this.network.enter(`removeLink ${ifindex}`);
    this.network.dropLink(ifindex);
  }

  async lowerRouteMtus(ifindex: number, mtuBytes: number): Promise<number> {
    this.network.enter(`lowerRouteMtus ${ifindex} ${mtuBytes}`);
    const found = this.network.routeMtus.get(ifindex);
    if (found === undefined || found <= mtuBytes) return 0;
    this.network.routeMtus.set(ifindex, mtuBytes);
    return 1;
  }

  async ownRoutes(): Promise<RouteEntry[]> {
    this.network.enter('ownRoutes');
    return [...this.network.routeTable.values()];
  }

  async putRoute(route: RouteEntry): Promise<void> {
    this.network.enter(routeCall('putRoute', route));
    if (route.device !== undefined && !this.network.linkNamed(route.device))
      throw new KernelError(`route ${route.prefix}`, 19, 'ENODEV');
    this.network.routeTable.set(routeKey(route), route);
  }

  async removeRoute(route: RouteEntry): Promise<void> {
    this.network.enter(routeCall('removeRoute', route));
    this.network.routeTable.delete(routeKey(route));
  }

  close(): void {}
}

export interface FakeNetnsEntry {
  readonly network: FakeNetwork;
  readonly inode: bigint;
}

export class FakeNetnsOpener implements NetnsOpener {
  readonly paths = new Map<string, FakeNetnsEntry>();
  private lastInode = 4026531840n;

  add(path: string): FakeNetwork {
    const network = new FakeNetwork();
    this.lastInode += 1n;
    this.paths.set(path, { network, inode: this.lastInode });
    return network;
  }

  open(path: string): Netns {
    const entry = this.paths.get(path);
    if (!entry) throw new KernelError(`open ${path}`, 2, 'ENOENT');
    return { inode: entry.inode, device: 4n, netlink: () => entry.network.netlink(), close: () => {} };
  }
}

/** A pod as a ptp plugin leaves it: its namespace with eth0, and the host side in `host`. Returns the path. */
export function addPod(
  host: FakeNetwork,
  opener: FakeNetnsOpener,
  name: string,
  address: string,
  prefixLength = 24,
): { readonly path: string; readonly inside: FakeNetwork; readonly hostDevice: LinkInfo } {
  const path = `/run/netns/${name}`;
  const inside = opener.add(path);
  const hostDevice = host.addLink({ name, kind: 'veth' });
  const eth0 = inside.addLink({ name: 'eth0', kind: 'veth', linkIndex: hostDevice.ifindex, linkNsid: 0 });
  inside.addAddress(eth0.ifindex, address, prefixLength);
  host.changeLink(hostDevice.ifindex, { linkIndex: eth0.ifindex, linkNsid: 0 });
  return { path, inside, hostDevice };
}
