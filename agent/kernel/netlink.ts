// The Netlink port: devices, addresses and our own routes of one network namespace. It touches only the VXLAN
// device of the given name, MTUs it is told to set, and routes that carry ROUTE_PROTOCOL.
import { FlagsNew, rt } from 'netlink';
import type { RouteEntry, VxlanSpec } from '../core/state';
import { KernelError } from '../errors';
import type { AddressInfo, LinkInfo, Netlink } from '../ports';
import { acceptsAdvertisements, refuseAdvertisements } from './advertisements';
import { attempt, isErrno } from './fault';
import {
  type LinkChange,
  type LinkDetail,
  readAddress,
  readLink,
  readLinkDetail,
  writeHostAddress,
  writeLink,
} from './link';
import type { Fd, Native } from './native';
import { isOwn, type MainRoute, readRoute, UNREACHABLE_METRIC, writeRoute } from './route';
import { withLowerMtu } from './routemtu';
import { isStrict, loosen } from './rpfilter';
import { RtNetlink } from './rtnetlink';
import { createdVxlan, DUMMY_ADDRESS, differsForGood, settingsDrifted, vxlanChange } from './vxlan';

/** What must be off on the VXLAN device, see switchOffloads. */
const OFFLOADS = ['tx', 'tso', 'gso'] as const;

const { NEWLINK, DELLINK, GETLINK, NEWADDR, GETADDR, NEWROUTE, DELROUTE, GETROUTE } = rt.MessageType;

/** @param netns the namespace to work in; without it, the one that the thread is in now. */
export function createNetlink(native: Native, netns?: Fd): Netlink {
  const socket = netns === undefined ? new RtNetlink() : native.inNetns(netns, () => new RtNetlink());
  return new NamespaceNetlink(native, socket, netns);
}

class NamespaceNetlink implements Netlink {
  constructor(
    private readonly native: Native,
    private readonly socket: RtNetlink,
    private readonly netns: Fd | undefined,
  ) {}

  async links(): Promise<LinkInfo[]> {
    const addresses = await this.addresses();
    return (await this.linkMessages()).map((message) =>
      this.judged(readLink(message), readLinkDetail(message), addresses),
    );
  }

  async addresses(): Promise<AddressInfo[]> {
    const messages = await this.socket.dump('list addresses', GETADDR, (out) =>
      rt.formatAddressMessage({ kind: 'address', data: {}, attrs: {} }, out),
    );
    return messages.flatMap((message) => readAddress(message) ?? []);
  }

  async ensureVxlan(spec: VxlanSpec): Promise<LinkInfo> {
    const op = `set up VXLAN device ${spec.name}`;
    let found = await this.find(spec.name);
    if (found !== undefined && found.link.kind !== 'vxlan') {
      const kind = found.link.kind === '' ? 'hardware' : found.link.kind;
      throw new KernelError(
        op,
        17,
        'EEXIST',
        `a device of kind ${kind} has that name; set overlay.device to another`,
      );
    }
    if (found !== undefined && differsForGood(found.link, spec)) {
      await this.removeLink(found.link.ifindex);
      found = undefined;
    }
    if (found === undefined) {
      await this.create(op, spec);
      found = await this.find(spec.name);
    }
    if (found === undefined)
      throw new KernelError(op, 19, 'ENODEV', 'the device went away while it was set up');
    for (const change of vxlanChange(found.link, found.detail, spec)) await this.change(op, change);
    this.switchOffloads(spec.name);
    this.loosenReversePath(spec.name);
    this.refuseAdvertisements(spec.name);
    await this.addDummyAddress(spec.name, found.link.ifindex);
    const done = await this.find(spec.name);
    if (done === undefined)
      throw new KernelError(op, 19, 'ENODEV', 'the device went away while it was set up');
    return done.link;
  }

  async raiseVxlan(name: string): Promise<void> {
    const op = `raise VXLAN device ${name}`;
    const ifindex = (await this.find(name))?.link.ifindex;
    if (ifindex === undefined) throw new KernelError(op, 19, 'ENODEV', 'no such device');
    await this.change(op, { ifindex, up: true });
  }

  async setMtu(ifindex: number, mtuBytes: number): Promise<void> {
    await this.change(`set MTU ${mtuBytes} of device ${ifindex}`, { ifindex, mtuBytes });
  }

  async removeLink(ifindex: number): Promise<void> {
    const op = `remove device ${ifindex}`;
    await succeedOn(['ENODEV'], () =>
      this.socket.change(op, DELLINK, 0, (out) => writeLink(out, { ifindex })),
    );
  }

  async lowerRouteMtus(ifindex: number, mtuBytes: number): Promise<number> {
    const op = `lower the MTU of routes through device ${ifindex}`;
    const lowered = (await this.routeMessages()).flatMap((message) => {
      const changed = withLowerMtu(message, ifindex, mtuBytes);
      return changed === undefined ? [] : [changed];
    });
    for (const route of lowered)
      await this.socket.change(op, NEWROUTE, FlagsNew.REPLACE, (out) => out.emit(route));
    return lowered.length;
  }

  async ownRoutes(): Promise<RouteEntry[]> {
    const links = (await this.linkMessages()).map(readLink);
    const names = new Map(links.map((link) => [link.ifindex, link.name]));
    return (await this.mainRoutes()).filter(isOwn).map(({ prefix, ifindex, unreachable, source }) => ({
      prefix,
      device: unreachable ? undefined : (names.get(ifindex) ?? ''),
      ...(source === undefined ? {} : { source }),
    }));
  }

  async putRoute(route: RouteEntry): Promise<void> {
    const op = `add ${describe(route)}`;
    const ifindex = await this.routeDevice(route);
    if (ifindex === 0) throw new KernelError(op, 19, 'ENODEV', 'no such device');
    const put = (flags: number) =>
      this.socket.change(op, NEWROUTE, flags, (out) => writeRoute(out, route.prefix, ifindex, route.source));
    try {
      await put(FlagsNew.CREATE | FlagsNew.EXCL);
    } catch (cause) {
      if (!isErrno(cause, 'EEXIST')) throw cause;
      const rivals = (await this.mainRoutes()).filter(
        (other) =>
          other.prefix === route.prefix &&
          (other.metric === UNREACHABLE_METRIC) === (route.device === undefined),
      );
      const own = rivals.find(isOwn);
      if (own === undefined) throw occupied(op, rivals[0]);
      if (own.unreachable || (own.ifindex === ifindex && own.source === route.source)) return;
      // In one step, or packets of the host would be refused in between; beside another's it might take that one's place.
      if (rivals.every(isOwn)) return await put(FlagsNew.REPLACE);
      await this.deleteRoute(op, route, own.ifindex);
      await put(FlagsNew.CREATE | FlagsNew.EXCL);
    }
  }

  async removeRoute(route: RouteEntry): Promise<void> {
    const ifindex = await this.routeDevice(route);
    if (ifindex === 0) return; // routes go with their device
    await this.deleteRoute(`remove ${describe(route)}`, route, ifindex);
  }

  close(): void {
    this.socket.close();
  }

  /** @returns undefined for a route that needs no device, 0 for a device that is not there. */
  private async routeDevice({ device }: RouteEntry): Promise<number | undefined> {
    return device === undefined ? undefined : ((await this.find(device))?.link.ifindex ?? 0);
  }

  private async deleteRoute(op: string, route: RouteEntry, ifindex: number | undefined): Promise<void> {
    await succeedOn(['ESRCH', 'ENOENT', 'ENODEV'], () =>
      this.socket.change(op, DELROUTE, 0, (out) => writeRoute(out, route.prefix, ifindex)),
    );
  }

  private async create(op: string, spec: VxlanSpec): Promise<void> {
    const flags = FlagsNew.CREATE | FlagsNew.EXCL;
    await this.socket.change(op, NEWLINK, flags, (out) => writeLink(out, createdVxlan(spec)));
  }

  private async change(op: string, change: LinkChange): Promise<void> {
    // RTM_NEWLINK without NLM_F_CREATE: RTM_SETLINK passes over what only the driver knows, such as learning.
    // IPv6 can be off (in the kernel, or for the device): then there is no address to be made either.
    const harmless = change.withoutAddresses === true ? ['EAFNOSUPPORT', 'EINVAL', 'ENODEV'] : [];
    await succeedOn(harmless, () => this.socket.change(op, NEWLINK, 0, (out) => writeLink(out, change)));
  }

  /**
   * Checksums are completed, and super-packets cut, after the hook that encrypts: left to a later stage they
   * would be written into, or instead of, the ciphertext.
   */
  private switchOffloads(device: string): void {
    for (const feature of OFFLOADS) {
      const op = `switch ${feature} offload of ${device} off`;
      attempt(op, () =>
        this.here(() => {
          if (this.native.getOffload(device, feature)) this.native.setOffload(device, feature, false);
        }),
      );
    }
  }

  private loosenReversePath(device: string): void {
    attempt(`set rp_filter of ${device} to loose`, () =>
      this.here(() => {
        if (isStrict(device)) loosen(device);
      }),
    );
  }

  private refuseAdvertisements(device: string): void {
    attempt(`set accept_ra of ${device} to 0`, () =>
      this.here(() => {
        if (acceptsAdvertisements(device)) refuseAdvertisements(device);
      }),
    );
  }

  private async addDummyAddress(device: string, ifindex: number): Promise<void> {
    const op = `add address ${DUMMY_ADDRESS} to ${device}`;
    await succeedOn(['EEXIST'], () =>
      this.socket.change(op, NEWADDR, FlagsNew.CREATE | FlagsNew.EXCL, (out) =>
        writeHostAddress(out, ifindex, DUMMY_ADDRESS),
      ),
    );
  }

  /** What of a VXLAN device no message of it tells. */
  private judged(link: LinkInfo, detail: LinkDetail, addresses: readonly AddressInfo[]): LinkInfo {
    if (link.vxlan?.external !== true) return link;
    const drifted =
      settingsDrifted(link, detail) ||
      !addresses.some(({ ifindex, address }) => ifindex === link.ifindex && address === DUMMY_ADDRESS) ||
      this.here(
        () =>
          isStrict(link.name) ||
          acceptsAdvertisements(link.name) ||
          OFFLOADS.some((feature) => this.native.getOffload(link.name, feature)),
      );
    return { ...link, vxlan: { ...link.vxlan, drifted } };
  }

  private here<T>(body: () => T): T {
    return this.netns === undefined ? body() : this.native.inNetns(this.netns, body);
  }

  private async find(name: string) {
    for (const message of await this.linkMessages()) {
      const link = readLink(message);
      if (link.name === name) return { link, detail: readLinkDetail(message) };
    }
    return undefined;
  }

  private linkMessages(): Promise<Buffer[]> {
    return this.socket.dump('list devices', GETLINK, (out) => writeLink(out, {}));
  }

  private async mainRoutes(): Promise<MainRoute[]> {
    return (await this.routeMessages()).flatMap((message) => readRoute(message) ?? []);
  }

  /** Both families, every table. */
  private routeMessages(): Promise<Buffer[]> {
    return this.socket.dump('list routes', GETROUTE, (out) =>
      rt.formatRouteMessage({ kind: 'route', data: {}, attrs: {} }, out),
    );
  }
}

const describe = ({ prefix, device }: RouteEntry): string =>
  device === undefined ? `unreachable route ${prefix}` : `route ${prefix} dev ${device}`;

function occupied(op: string, rival: MainRoute | undefined): KernelError {
  const whose = rival === undefined ? '' : ` (protocol ${rival.protocol}, device ${rival.ifindex})`;
  return new KernelError(
    op,
    17,
    'EEXIST',
    `another route to that prefix is there${whose}; it is not ours to replace`,
  );
}

async function succeedOn(errnoNames: readonly string[], call: () => Promise<void>): Promise<void> {
  try {
    await call();
  } catch (cause) {
    if (!isErrno(cause, ...errnoNames)) throw cause;
  }
}
