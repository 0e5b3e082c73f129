// Which devices carry the tunnel, and under which of our addresses. Pure: looks at links and addresses that were
// read, changes nothing. What MTU follows is core/desired.ts'.
import { type AddressFamily, addressFamily } from '../core/bytes';
import type { IpAddress } from '../core/ids';
import { accept, type Result, refuse } from '../core/result';
import type { AddressInfo, LinkInfo } from '../ports';

export interface Underlay {
  /** Ours, at most one of each family, IPv4 first. */
  readonly vteps: readonly IpAddress[];
  readonly devices: readonly LinkInfo[];
}

export interface UnderlaySettings {
  /** Empty: the devices that carry the VTEP addresses. */
  readonly devices: readonly string[];
  /** Empty: the granted ones that are configured here. */
  readonly vteps: readonly IpAddress[];
}

export type UnderlayReason = 'no-vtep' | 'no-device';

export const underlayRemedies: Readonly<Record<UnderlayReason, string>> = {
  'no-vtep': 'configure the address on a device, or issue the certificate for an address that is there',
  'no-device': 'bring the device up, or correct underlay.devices',
};

/** @param granted VTEPs of our certificate: peers refuse a record that names another. */
export function findUnderlay(
  settings: UnderlaySettings,
  granted: readonly IpAddress[],
  links: readonly LinkInfo[],
  addresses: readonly AddressInfo[],
): Result<Underlay, UnderlayReason> {
  const vteps = ownVteps(settings.vteps, granted, addresses);
  if (!vteps.ok) return vteps;
  const devices = ownDevices(settings.devices, vteps.value, links, addresses);
  if (!devices.ok) return devices;
  return accept({ vteps: vteps.value, devices: devices.value });
}

function ownVteps(
  wanted: readonly IpAddress[],
  granted: readonly IpAddress[],
  addresses: readonly AddressInfo[],
): Result<IpAddress[], 'no-vtep'> {
  const present = new Set(addresses.map((entry) => entry.address));
  const foreign = wanted.find((vtep) => !granted.includes(vtep));
  if (foreign !== undefined)
    return refuse(
      'no-vtep',
      `VTEP ${foreign} is not granted by the certificate (${granted.join(', ') || 'none'})`,
    );
  const absent = wanted.find((vtep) => !present.has(vtep));
  if (absent !== undefined) return refuse('no-vtep', `VTEP ${absent} is on no device of this host`);
  const vteps = wanted.length > 0 ? wanted : granted.filter((vtep) => present.has(vtep));
  const first = (family: AddressFamily): IpAddress[] =>
    vteps.filter((vtep) => addressFamily(vtep) === family).slice(0, 1);
  const chosen = [...first(4), ...first(6)];
  if (chosen.length > 0) return accept(chosen);
  return refuse(
    'no-vtep',
    `none of the granted VTEPs (${granted.join(', ') || 'none'}) is on a device of this host`,
  );
}

function ownDevices(
  wanted: readonly string[],
  vteps: readonly IpAddress[],
  links: readonly LinkInfo[],
  addresses: readonly AddressInfo[],
): Result<LinkInfo[], 'no-device'> {
  const absent = wanted.find((name) => !links.some((link) => link.name === name));
  if (absent !== undefined) return refuse('no-device', `underlay device ${absent} does not exist`);
  const carrying = new Set(
    addresses.filter((entry) => vteps.includes(entry.address)).map((entry) => entry.ifindex),
  );
  const devices = links.filter((link) =>
    wanted.length > 0 ? wanted.includes(link.name) : carrying.has(link.ifindex) && !link.loopback,
  );
  return devices.length > 0 ? accept(devices) : refuse('no-device', `no device carries ${vteps.join(', ')}`);
}
