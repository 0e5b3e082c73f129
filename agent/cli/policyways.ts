// The ways a connection between two named ends can take, one for each pair of addresses of one family, and what the
// policies say of each, in words.
import { addressFamily, parseAddress } from '../core/bytes';
import type { IpAddress } from '../core/ids';
import { type PolicyPod, type PolicyProtocol, type PolicyReading, podName } from '../core/policy';
import { type Decision, decide, type Party } from '../core/policyexplain';
import { VxsealError } from '../errors';

export interface Ends {
  readonly from: Party;
  readonly to: Party;
}

export interface Way {
  /** '' where a pod's manifest tells no address. */
  readonly from: IpAddress | '';
  readonly to: IpAddress | '';
  readonly allowed: boolean;
  readonly egress: Decision;
  readonly ingress: Decision;
}

/** At least one. @param source "namespace/pod" or an address; @param destination likewise. */
export function waysBetween(world: PolicyReading, source: string, destination: string): Ends[] {
  const named = [source, destination].map((text) => world.pods.find((pod) => podName(pod) === text));
  const vni = named.find((pod) => pod !== undefined)?.vni;
  const [from, to] = [partiesOf(world, source, vni), partiesOf(world, destination, vni)];
  const [one, other] = [from[0]?.pod, to[0]?.pod];
  if (one !== undefined && other !== undefined && one.vni !== other.vni)
    throw new VxsealError(
      'request',
      `${source} is in VNI ${one.vni}, ${destination} in ${other.vni}`,
      'there is no way between tenants, whatever policies say',
    );
  const ways = from.flatMap((each) =>
    to.filter((end) => meet(each, end)).map((end) => ({ from: each, to: end })),
  );
  if (ways.length > 0) return ways;
  throw new VxsealError(
    'request',
    `${source} and ${destination} have no addresses of the same family`,
    'compare their status.podIPs',
  );
}

const meet = (a: Party, b: Party): boolean =>
  a.address === undefined || b.address === undefined || addressFamily(a.address) === addressFamily(b.address);

/** @param vni that an address is looked for in; undefined: any. */
function partiesOf({ pods }: PolicyReading, text: string, vni: number | undefined): Party[] {
  const pod = pods.find((each) => podName(each) === text);
  if (pod !== undefined)
    return pod.addresses.length === 0 ? [{ pod }] : pod.addresses.map((address) => ({ pod, address }));
  const parsed = parseAddress(text);
  if (!parsed.ok) {
    const known = pods.slice(0, 10).map(podName).join(', ');
    throw new VxsealError(
      'request',
      `${text}: no such pod, and no address`,
      `known pods: ${known || 'none'}`,
    );
  }
  const isOwner = (each: PolicyPod): boolean =>
    (vni === undefined || each.vni === vni) && each.addresses.includes(parsed.value);
  return [{ pod: pods.find(isOwner), address: parsed.value }];
}

export function explainWay(
  world: PolicyReading,
  { from, to }: Ends,
  protocol: PolicyProtocol | undefined,
  port: number,
): Way {
  const egress = decide(world, { from, to, protocol, port }, 'egress');
  const ingress = decide(world, { from, to, protocol, port }, 'ingress');
  const allowed = egress.allowed && ingress.allowed;
  return { from: from.address ?? '', to: to.address ?? '', allowed, egress, ingress };
}

/** Once where all ways are alike, else each with its addresses. */
export function describeWays(title: string, ways: readonly Way[]): string[] {
  const alike = new Set(ways.map(({ egress, ingress }) => JSON.stringify([egress, ingress]))).size === 1;
  return (alike ? ways.slice(0, 1) : ways).flatMap(({ from, to, allowed, egress, ingress }) => [
    `${allowed ? 'allowed' : 'refused'}: ${title}${alike ? '' : ` (${from} to ${to})`}`,
    `  out of the source        ${inWords(egress)}`,
    `  into the destination     ${inWords(ingress)}`,
  ]);
}

function inWords({ allowed, isolating, by }: Decision): string {
  if (by !== undefined) return `allowed by ${by.policy}, rule ${by.rule}`;
  if (isolating.length === 0) return 'allowed: no policy selects it';
  const names = isolating.join(', ');
  return allowed ? `allowed: it is the same pod (under ${names})` : `refused: no rule of ${names} allows it`;
}
