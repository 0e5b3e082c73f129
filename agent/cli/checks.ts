// The checks of `vxseal doctor` that need no kernel access of their own: from what was read to a verdict and its
// remedy. Reads through DoctorParts only, so that tests decide what the machine looks like.
import type { Config } from '../config';
import { addressFamily } from '../core/bytes';
import { claimOutsideGrant, type Grant } from '../core/grant';
import type { IpAddress } from '../core/ids';
import { innerMtuBytes } from '../core/mtu';
import type { InformerStatus } from '../core/podfacts';
import { VxsealError } from '../errors';
import type { AddressInfo, KernelProbe, LinkInfo } from '../ports';
import { age } from './table';

export type Level = 'ok' | 'warn' | 'fail';

export interface Check {
  readonly name: string;
  readonly level: Level;
  readonly detail: string;
  /** '' when nothing is to be done. */
  readonly remedy: string;
}

/** What the certificate and its files say. */
export interface IdentityFacts {
  readonly grant: Grant;
  readonly notAfterMs: number;
}

export interface DeviceFacts {
  readonly links: readonly LinkInfo[];
  readonly addresses: readonly AddressInfo[];
}

const DAY_MS = 86_400_000;
const CERTIFICATE_WARNING_MS = 3 * DAY_MS;
const FUTURE_TOLERANCE_MS = 60_000;
// No release of vxseal is older: a clock before it has lost its battery.
const EARLIEST_MS = Date.UTC(2025, 0, 1);
const IPV6_MIN_MTU_BYTES = 1280; // RFC 8200 §5
const CAP_SYS_ADMIN = 21n; // linux/capability.h

export function ok(name: string, detail: string): Check {
  return { name, level: 'ok', detail, remedy: '' };
}

export function warn(name: string, detail: string, remedy: string): Check {
  return { name, level: 'warn', detail, remedy };
}

export function fail(name: string, detail: string, remedy: string): Check {
  return { name, level: 'fail', detail, remedy };
}

/** A check that could not be made at all has failed. */
export function broken(name: string, cause: unknown): Check {
  const message = cause instanceof Error ? cause.message : String(cause);
  return fail(name, message, cause instanceof VxsealError ? cause.remedy : '');
}

/** A lower path that the kernel forces is passed with a remedy: a warning. */
export function kernelChecks(probe: KernelProbe): Check[] {
  return probe.checks.map(({ name, ok: passed, detail, remedy }) => {
    if (!passed) return fail(name, detail, remedy);
    return remedy === '' ? ok(name, detail) : warn(name, detail, remedy);
  });
}

/** Pods work without labels: to mind at most. */
export function informerCheck({ socket, connected, reason }: InformerStatus): Check {
  const name = `labels from ${socket}`;
  if (connected) return ok(name, 'the runtime tells them');
  const remedy = "Switch NRI on in the runtime's configuration, or leave cni.nriSocket out.";
  return warn(name, `not told: ${reason}; pods work without`, remedy);
}

/** @param procStatus /proc/self/status */
export function namespaceCheck(procStatus: string): Check {
  const name = 'pod namespaces';
  const mask = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(procStatus)?.[1] ?? '0'}`);
  return ((mask >> CAP_SYS_ADMIN) & 1n) === 1n
    ? ok(name, 'may be entered')
    : fail(name, 'may not be entered: pods cannot be attached', 'Run as root, or grant CAP_SYS_ADMIN.');
}

export function identityCheck(config: Config, facts: IdentityFacts, nowMs: number): Check {
  const name = 'certificate';
  const { node } = facts.grant;
  if (node !== config.nodeName) {
    const detail = `is for ${node}, but this node is ${config.nodeName}`;
    return fail(
      name,
      detail,
      `Set nodeName to ${node}, or issue one for ${config.nodeName}: vxseal ca issue.`,
    );
  }
  const claims = { vteps: config.underlay.vteps, prefixes: config.overlay.prefixes };
  const outside = claimOutsideGrant(facts.grant, claims, config.overlay.vni);
  if (outside !== undefined) {
    const remedy = `Correct the configuration, or issue one with ${outside}: vxseal ca issue.`;
    return fail(name, `does not grant ${outside}`, remedy);
  }
  const leftMs = facts.notAfterMs - nowMs;
  if (leftMs <= 0) return fail(name, `expired ${age(-leftMs)} ago`, 'Renew it: vxseal ca renew.');
  return leftMs < CERTIFICATE_WARNING_MS
    ? warn(name, `ends in ${age(leftMs)}`, 'Renew it: vxseal ca renew.')
    : ok(name, `for ${node}, ends in ${Math.floor(leftMs / DAY_MS)} days`);
}

/** Our outer addresses: those of the configuration, else those of the grant that stand on a device here. */
export function vtepsOf(
  config: Config,
  granted: readonly IpAddress[],
  devices: DeviceFacts,
): readonly IpAddress[] {
  const wanted = config.underlay.vteps.length > 0 ? config.underlay.vteps : granted;
  return wanted.filter((vtep) => devices.addresses.some(({ address }) => address === vtep));
}

/** One check for the addresses, one for each underlay device. */
export function underlayChecks(config: Config, granted: readonly IpAddress[], devices: DeviceFacts): Check[] {
  const vteps = vtepsOf(config, granted, devices);
  const wanted = config.underlay.vteps.length > 0 ? config.underlay.vteps : granted;
  const addresses =
    vteps.length === 0
      ? fail(
          'VTEP address',
          `none of ${wanted.join(', ') || '(none granted)'} is configured on this node`,
          'Configure the address, or issue a certificate for the one that is: vxseal ca issue --vtep ADDRESS.',
        )
      : ok('VTEP address', vteps.join(', '));
  return [addresses, ...underlayLinks(config, vteps, devices).map((link) => deviceCheck(link, vteps))];
}

export type NamedLink = LinkInfo | { readonly missing: string };

export function underlayLinks(
  config: Config,
  vteps: readonly IpAddress[],
  devices: DeviceFacts,
): NamedLink[] {
  if (config.underlay.devices.length > 0) {
    return config.underlay.devices.map(
      (name) => devices.links.find((link) => link.name === name) ?? { missing: name },
    );
  }
  const carriers = devices.addresses.filter(({ address }) => vteps.includes(address));
  return devices.links.filter((link) => carriers.some(({ ifindex }) => ifindex === link.ifindex));
}

function deviceCheck(link: NamedLink, vteps: readonly IpAddress[]): Check {
  if ('missing' in link) {
    return fail(`underlay ${link.missing}`, 'there is no such device', 'Correct underlay.devices.');
  }
  const name = `underlay ${link.name}`;
  if (!link.up) return fail(name, 'is down', `ip link set ${link.name} up`);
  const family = vteps.some((vtep) => addressFamily(vtep) === 6) ? 6 : 4;
  const inner = innerMtuBytes(link.mtuBytes, family);
  const detail = `MTU ${link.mtuBytes}, so ${inner} for pods`;
  return inner < IPV6_MIN_MTU_BYTES
    ? warn(
        name,
        `${detail}: below ${IPV6_MIN_MTU_BYTES}, IPv6 cannot be used`,
        `ip link set ${link.name} mtu 1500`,
      )
    : ok(name, detail);
}

type ReadText = (path: string) => string | undefined;

export function sysctlChecks(config: Config, underlay: readonly string[], readText: ReadText): Check[] {
  const value = (key: string): string | undefined => readText(`/proc/sys/net/${key}`)?.trim();
  const checks = [forwarding('ipv4/ip_forward', value('ipv4/ip_forward'))];
  if (hasIpv6(config)) {
    checks.push(forwarding('ipv6/conf/all/forwarding', value('ipv6/conf/all/forwarding')));
  }
  const strict = ['all', ...underlay].filter((device) => value(`ipv4/conf/${device}/rp_filter`) === '1');
  const name = 'sysctl rp_filter';
  checks.push(
    strict.length > 0 && underlay.length > 1
      ? warn(
          name,
          `strict on ${strict.join(', ')} with ${underlay.length} underlay devices: paths may not differ by direction`,
          'sysctl -w net.ipv4.conf.all.rp_filter=2',
        )
      : ok(name, strict.length > 0 ? 'strict; one underlay device, so that is well' : 'not strict'),
  );
  return checks;
}

/** Threaded NAPI, as /sys shows it: without it one core does the decryption of a receive queue and all behind it. */
export function tuningChecks(config: Config, underlay: readonly string[], readText: ReadText): Check[] {
  return underlay.map((device) => {
    const name = `threaded NAPI on ${device}`;
    const value = readText(`/sys/class/net/${device}/threaded`)?.trim();
    if (value === undefined) return warn(name, 'cannot be read', 'Mount /sys; the kernel has it since 5.12.');
    if (value !== '0') return ok(name, 'on: decryption is spread over the cores');
    return config.underlay.tune === 'off'
      ? warn(
          name,
          'off, and underlay.tune is off: one core decrypts',
          `echo 1 > /sys/class/net/${device}/threaded`,
        )
      : warn(
          name,
          'off: the agent switches it on when it runs and may',
          `See the agent's log, or: echo 1 > /sys/class/net/${device}/threaded`,
        );
  });
}

function hasIpv6(config: Config): boolean {
  return config.overlay.prefixes.some(({ prefixes }) =>
    prefixes.some((prefix) => addressFamily(prefix) === 6),
  );
}

function forwarding(key: string, value: string | undefined): Check {
  const name = `sysctl ${key}`;
  const remedy = `sysctl -w net.${key.replaceAll('/', '.')}=1`;
  if (value === undefined) return fail(name, 'cannot be read', 'Mount /proc.');
  return value === '0' ? fail(name, 'off: packets of pods are not passed on', remedy) : ok(name, 'on');
}

/** Leases and certificates need a clock that is about right. */
export function clockCheck(nowMs: number, newestRecordMs: number): Check {
  const name = 'clock';
  const remedy = 'Set the time and keep it: systemctl enable --now systemd-timesyncd (or chrony).';
  const shown = new Date(nowMs).toISOString();
  if (nowMs < EARLIEST_MS) return fail(name, `${shown} cannot be`, remedy);
  const aheadMs = newestRecordMs - nowMs;
  return aheadMs > FUTURE_TOLERANCE_MS
    ? warn(name, `${shown}, but a record on the bus is ${age(aheadMs)} newer`, remedy)
    : ok(name, shown);
}
