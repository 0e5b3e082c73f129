// The ways a connection between two named ends can take, one for each pair of addresses of one family, and what the
// policies say of each, in words.
import { addressFamily, hostPrefix, parseAddress } from '../core/bytes';
import type { IpAddress, Vni } from '../core/ids';
import { type PolicyPod, type PolicyProtocol, type PolicyReading, podName } from '../core/policy';
import { type Decision, decide, type Party } from '../core/policyexplain';
import { type SharedService, serviceBetween } from '../core/shared';
import { VxsealError } from '../errors';

export interface Ends {
  readonly from: Party;
  readonly to: Party;
  /** The shared service over which the two tenants meet. */
  readonly service?: string;
}

export interface Way {
  /** '' where a pod's manifest tells no address. */
  readonly from: IpAddress | '';
  readonly to: IpAddress | '';
  readonly service?: string;
  readonly allowed: boolean;
  readonly egress: Decision;
  readonly ingress: Decision;
}

/**
 * At least one.
 * @param source "namespace/pod" or an address; @param destination likewise
 * @param shared ways between tenants
 */
export function waysBetween(
  world: PolicyReading,
  source: string,
  destination: string,
  shared: readonly SharedService[] = [],
): Ends[] {
  const named = [source, destination].map((text) => world.pods.find((pod) => podName(pod) === text));
  const vni = named.find((pod) => pod !== undefined)?.vni;
  const [from, to] = [partiesOf(world, source, vni), partiesOf(world, destination, vni)];
  const pairs = from
    .flatMap((each) => to.filter((end) => meet(each, end)).map((end) => ({ from: each, to: end })))
    .map((ends) => acrossTenants(world, ends, shared));
  const ways = pairs.filter(
    ({ from: one, to: other, service }) =>
      service !== undefined ||
      one.pod === undefined ||
      other.pod === undefined ||
      one.pod.vni === other.pod.vni,
  );
  if (ways.length > 0) return ways;
  const [apart] = pairs;
  if (apart !== undefined)
    throw new VxsealError(
      'request',
      `${source} is in VNI ${apart.from.pod?.vni}, ${destination} in ${apart.to.pod?.vni}`,
      'there is no way between tenants, whatever policies say, but to addresses that overlay.shared names',
    );
  throw new VxsealError(
    'request',
    `${source} and ${destination} have no addresses of the same family`,
    'compare their status.podIPs',
  );
}

/** With the service that joins the two ends, and the pods behind their addresses; as they are where none does. */
function acrossTenants({ pods }: PolicyReading, { from, to }: Ends, shared: readonly SharedService[]): Ends {
  if (from.address === undefined || to.address === undefined) return { from, to };
  const [source, destination] = [hostPrefix(from.address), hostPrefix(to.address)];
  for (const service of shared)
    for (const client of service.clients) {
      if (from.pod === undefined && to.pod === undefined) continue;
      if ((from.pod?.vni ?? client.vni) !== client.vni || (to.pod?.vni ?? service.vni) !== service.vni)
        continue;
      const ends = [
        { vni: client.vni, prefix: source },
        { vni: service.vni, prefix: destination },
      ] as const;
      if (serviceBetween([service], ...ends) === undefined) continue;
      const podAt = (vni: Vni, { pod, address }: Party): Party => ({
        pod: pod ?? pods.find((each) => each.vni === vni && each.addresses.some((own) => own === address)),
        address,
      });
      return { from: podAt(client.vni, from), to: podAt(service.vni, to), service: service.name };
    }
  return { from, to };
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
  { from, to, service }: Ends,
  protocol: PolicyProtocol | undefined,
  port: number,
): Way {
  const across = service !== undefined;
  const egress = decide(world, { from, to, protocol, port }, 'egress', across);
  const ingress = decide(world, { from, to, protocol, port }, 'ingress', across);
  const allowed = egress.allowed && ingress.allowed;
  const addresses = { from: from.address ?? '', to: to.address ?? '' } as const;
  return { ...addresses, ...(across && { service }), allowed, egress, ingress };
}

/** Once where all ways are alike, else each with its addresses. */
export function describeWays(title: string, ways: readonly Way[]): string[] {
  const alike = new Set(ways.map(({ egress, ingress }) => JSON.stringify([egress, ingress]))).size === 1;
  return (alike ? ways.slice(0, 1) : ways).flatMap(({ from, to, service, allowed, egress, ingress }) => [
    `${allowed ? 'allowed' : 'refused'}: ${title}${alike ? '' : ` (${from} to ${to})`}`,
    ...(service === undefined ? [] : [`  between tenants          by the shared service ${service}`]),
    `  out of the source        ${inWords(egress)}`,
    `  into the destination     ${inWords(ingress)}`,
  ]);
}

function inWords({ allowed, isolating, by }: Decision): string {
  if (by !== undefined) return `allowed by ${by.policy}, rule ${by.rule}`;
  if (isolating.length === 0 && !allowed) return "refused: no policy allows the client's address (ipBlock)";
  if (isolating.length === 0) return 'allowed: no policy selects it';
  const names = isolating.join(', ');
  return allowed ? `allowed: it is the same pod (under ${names})` : `refused: no rule of ${names} allows it`;
}
