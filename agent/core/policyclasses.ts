// Which addresses no policy of this node tells apart: every prefix that a rule names, and every pod's address, with the
// peers that name it. Addresses named by the same peers share an identity. Pure; its time grows with the number of
// prefixes and pods, not with their product.
import { hostPrefix, prefixCoversMapped } from './bytes';
import type { IpAddress, Prefix, Vni } from './ids';
import {
  addressesOf,
  type Labels,
  type NetworkPolicy,
  namesPod,
  namespaceLabels,
  type PolicyPeer,
  type PolicyPod,
  type PolicyWorld,
} from './policy';
import { PrefixIndex } from './prefixindex';

/** This node itself: never refused, so that it can probe its pods, and they it. */
export const IDENTITY_HOST = 1;
/** Addresses that no policy names. */
export const IDENTITY_WORLD = 2;
const EVERY_IPV4 = '0.0.0.0/0' as Prefix;

export interface IdentityEntry {
  readonly vni: Vni;
  readonly prefix: Prefix;
  readonly identity: number;
}

export interface ClassInput extends Pick<PolicyWorld, 'namespaces' | 'pods'> {
  readonly hostVni: Vni;
  /** Every address of this node. */
  readonly hostAddresses: readonly IpAddress[];
}

/** Addresses of one identity. */
export interface PeerClass {
  readonly identity: number;
  /** Ports by name that receive, of the pods in it. */
  readonly ports: PolicyPod['ports'];
}

export interface Classes {
  readonly entries: readonly IdentityEntry[];
  /** Rising by identity. */
  readonly all: readonly PeerClass[];
  /** Those that any of the peers of a rule names, rising by identity. */
  named(namespace: string, peers: readonly PolicyPeer[]): PeerClass[];
}

/** A peer in a policy of a namespace; blocks are the same in all. */
interface PeerSpec {
  readonly namespace: string;
  readonly peer: PolicyPeer;
}

const specKey = (namespace: string, peer: PolicyPeer): string =>
  'ipBlock' in peer ? JSON.stringify(peer) : JSON.stringify([namespace, peer]);

/** @param used policies of pods of this node; @param firstIdentity that is free */
export function classify(
  input: ClassInput,
  used: readonly NetworkPolicy[],
  vni: Vni,
  firstIdentity: number,
): Classes {
  const specs = peerSpecs(used);
  const names = [...specs.keys()];
  const matching = new SpecMatcher([...specs.values()], input, vni);
  const named = namedPorts(used);
  const hosts = new Set<Prefix>(vni === input.hostVni ? input.hostAddresses.map(hostPrefix) : []);
  const known = new Map<string, PeerClass>();
  const bySpec = new Map<string, PeerClass[]>();
  const own = [...hosts].map((prefix): IdentityEntry => ({ vni, prefix, identity: IDENTITY_HOST }));
  const regions: Region[] = [];
  for (const [prefix, pod] of regionsOf(input, specs, vni)) {
    const matched = matching.of(prefix, pod);
    const ports = (pod?.ports ?? []).filter((port) => named.has(`${port.protocol}/${port.name}`));
    const key = JSON.stringify([matched, ports]);
    let found = known.get(key);
    if (found === undefined && matched.length + ports.length > 0) {
      found = { identity: firstIdentity + known.size, ports };
      known.set(key, found);
      for (const index of matched) {
        const name = names[index] ?? '';
        const others = bySpec.get(name);
        if (others === undefined) bySpec.set(name, [found]);
        else others.push(found);
      }
    }
    const identity = found?.identity ?? IDENTITY_WORLD;
    if (!hosts.has(prefix)) regions.push({ entry: { vni, prefix, identity }, isPod: pod !== undefined });
  }
  return {
    entries: [...own, ...withoutNeedless(regions)],
    all: [...known.values()],
    named(namespace, peers) {
      const found = peers.flatMap((peer) => bySpec.get(specKey(namespace, peer)) ?? []);
      return [...new Set(found)].sort((a, b) => a.identity - b.identity);
    },
  };
}

interface Region {
  readonly entry: IdentityEntry;
  readonly isPod: boolean;
}

/** A pod like the addresses around it needs no entry: most pods of a cluster are none of this node's policies' business. */
function withoutNeedless(regions: readonly Region[]): IdentityEntry[] {
  const blocks = new PrefixIndex<IdentityEntry>();
  for (const { entry, isPod } of regions) if (!isPod) blocks.add(entry.prefix, entry);
  return regions.flatMap(({ entry, isPod }) => {
    const around = blocks.containing(entry.prefix).sort((a, b) => bitsOf(b.prefix) - bitsOf(a.prefix))[0];
    return isPod && entry.identity === (around?.identity ?? IDENTITY_WORLD) ? [] : [entry];
  });
}

const bitsOf = (prefix: Prefix): number => Number(prefix.slice(prefix.indexOf('/') + 1));

/** Within a region, and in no longer one, no rule tells two addresses apart. */
function regionsOf(
  input: ClassInput,
  specs: ReadonlyMap<string, PeerSpec>,
  vni: Vni,
): Map<Prefix, PolicyPod | undefined> {
  const regions = new Map<Prefix, PolicyPod | undefined>();
  for (const { peer } of specs.values()) {
    if ('ipBlock' in peer)
      for (const prefix of [peer.ipBlock.cidr, ...peer.ipBlock.except]) regions.set(prefix, undefined);
  }
  // In the data plane IPv4 addresses lie within ::/0 too (IPv4-mapped): a region of their own keeps them out of it.
  if ([...regions.keys()].some(prefixCoversMapped)) regions.set(EVERY_IPV4, regions.get(EVERY_IPV4));
  for (const pod of input.pods) {
    if (pod.vni === vni) for (const address of addressesOf(pod)) regions.set(address, pod);
  }
  return regions;
}

/** Which peers name a region, as their places in a list, rising. */
class SpecMatcher {
  private readonly within = new PrefixIndex<number>();
  private readonly outside = new PrefixIndex<number>();
  private readonly selectors: (readonly [number, PeerSpec])[] = [];
  private readonly labels = new Map<string, Labels | undefined>();
  /** By namespace and labels: pods of one deployment are alike. */
  private readonly selected = new Map<string, readonly number[]>();

  constructor(
    specs: readonly PeerSpec[],
    private readonly input: Pick<ClassInput, 'namespaces'>,
    private readonly vni: Vni,
  ) {
    for (const [index, spec] of specs.entries()) {
      if (!('ipBlock' in spec.peer)) {
        this.selectors.push([index, spec]);
        continue;
      }
      const { cidr, except } = spec.peer.ipBlock;
      this.within.add(cidr, index);
      for (const prefix of except) this.outside.add(prefix, index);
    }
  }

  of(prefix: Prefix, pod: PolicyPod | undefined): number[] {
    const excepted = new Set(this.outside.containing(prefix));
    const blocks = this.within.containing(prefix).filter((index) => !excepted.has(index));
    const selected = pod === undefined ? [] : this.selecting(pod);
    return [...blocks, ...selected].sort((a, b) => a - b);
  }

  private selecting(pod: PolicyPod): readonly number[] {
    if (pod.distrusted) return [];
    const key = JSON.stringify([pod.namespace, pod.labels]);
    const known = this.selected.get(key);
    if (known !== undefined) return known;
    const found = this.selectors
      .filter(([, { namespace, peer }]) => namesPod(peer, namespace, pod, (name) => this.labelsOf(name)))
      .map(([index]) => index);
    this.selected.set(key, found);
    return found;
  }

  private labelsOf(namespace: string): Labels | undefined {
    if (!this.labels.has(namespace))
      this.labels.set(namespace, namespaceLabels(this.input.namespaces, namespace, this.vni));
    return this.labels.get(namespace);
  }
}

function peerSpecs(used: readonly NetworkPolicy[]): Map<string, PeerSpec> {
  const specs = new Map<string, PeerSpec>();
  for (const { namespace, ingress = [], egress = [] } of used)
    for (const { peers } of [...ingress, ...egress])
      for (const peer of peers) specs.set(specKey(namespace, peer), { namespace, peer });
  return specs;
}

/** "TCP/web" for names that egress rules use: there the name is the other pod's. */
function namedPorts(used: readonly NetworkPolicy[]): Set<string> {
  return new Set(
    used.flatMap(({ egress = [] }) =>
      egress.flatMap(({ ports }) =>
        ports.flatMap(({ protocol, port }) => (typeof port === 'string' ? [`${protocol}/${port}`] : [])),
      ),
    ),
  );
}
