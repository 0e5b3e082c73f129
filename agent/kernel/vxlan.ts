// What our VXLAN device looks like, and what must change to get there. Decides; netlink.ts applies.
import type { IpAddress } from '../core/ids';
import type { VxlanSpec } from '../core/state';
import type { LinkInfo } from '../ports';
import type { LinkChange, LinkDetail } from './link';

/**
 * No super-packets: the hook that encrypts runs before segmentation, and BPF cannot cut a packet in pieces. The
 * device is the place to refuse them; switching the underlay's offloads off does not help (docs/architecture.md).
 */
const GSO_MAX_SEGS = 1;

/**
 * The device as it is made. `external`: tunnel endpoint and VNI come with each packet from steer, and what arrives
 * needs metadata that only our programs set. No learning: addresses come from signed records.
 */
export function createdVxlan(spec: VxlanSpec): LinkChange {
  const port = Buffer.alloc(2);
  port.writeUInt16BE(spec.port);
  return {
    name: spec.name,
    mac: spec.mac,
    mtuBytes: spec.mtuBytes,
    gsoMaxSegs: GSO_MAX_SEGS,
    kind: 'vxlan',
    vxlan: {
      port,
      collectMetadata: 1,
      learning: 0,
      udpCsum: 0,
      ...(spec.receives === true ? { udpZeroCsum6Rx: 1 } : {}),
    },
  };
}

/** The kernel cannot change these on a device that exists (EOPNOTSUPP). */
export function differsForGood(link: LinkInfo, spec: VxlanSpec): boolean {
  return link.vxlan?.port !== spec.port || !link.vxlan.external;
}

/**
 * Loose reverse path filtering refuses every foreign source on a device that has no IPv4 address at all. The dummy
 * address (RFC 7600 §4.8) is enough; in host scope it is never chosen as a source.
 */
export const DUMMY_ADDRESS = '192.0.0.8' as IpAddress;

/** What a spec does not name and the device must keep. */
export function settingsDrifted(link: LinkInfo, detail: LinkDetail): boolean {
  return detail.makesAddresses || detail.learning || detail.arp || link.gsoMaxSegs !== GSO_MAX_SEGS;
}

/** Changes in order. It is not up yet when it is new, so the kernel has made no link-local address for it. */
export function vxlanChange(link: LinkInfo, detail: LinkDetail, spec: VxlanSpec): LinkChange[] {
  const { ifindex } = link;
  const changes: LinkChange[] = [];
  if (detail.makesAddresses) changes.push({ ifindex, withoutAddresses: true });
  if (link.mac !== spec.mac) changes.push({ ifindex, mac: spec.mac });
  if (link.mtuBytes !== spec.mtuBytes) changes.push({ ifindex, mtuBytes: spec.mtuBytes });
  if (link.gsoMaxSegs !== GSO_MAX_SEGS) changes.push({ ifindex, gsoMaxSegs: GSO_MAX_SEGS });
  if (detail.learning) changes.push({ ifindex, kind: 'vxlan', vxlan: { learning: 0 } });
  if (detail.arp) changes.push({ ifindex, arp: false });
  return changes;
}
