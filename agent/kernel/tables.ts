// The maps that the reconciler sees as sets: overlay, shared, peers, pods. Each entry may stand in several maps; the order of
// writes is such that a crash in between leaves nothing half that list() would not show or a repeat not mend.
import {
  decodeEndpoint,
  decodeOverlay,
  decodePeer,
  decodePod,
  decodeShared,
  encodeEndpointKey,
  encodeEndpointValue,
  encodeOverlayKey,
  encodeOverlayValue,
  encodePeerKey,
  encodePeerValue,
  encodePodKey,
  encodePodValue,
  encodeSharedValue,
  encodeVtepKey,
} from '../abi/codec';
import type { IpAddress, PeerNumber } from '../core/ids';
import type { OverlayEntry, PeerEntry, PodEntry, SharedEntry } from '../core/state';
import type { Table } from '../ports';
import { attempt, isErrno } from './fault';
import type { Fd, Native } from './native';

const BPF_NOEXIST = 1;

/** Bytes from the value of one CPU to that of the next, in what a per-CPU map hands over. */
export const perCpuBytes = (valueSize: number): number => Math.ceil(valueSize / 8) * 8;

export function createOverlayTable(native: Native, overlay: Fd): Table<OverlayEntry> {
  const name = 'overlay';
  const describe = (entry: OverlayEntry) => `overlay entry ${entry.prefix} of VNI ${entry.vni}`;
  return {
    name,
    capacity: native.mapInfo(overlay).maxEntries,
    key: (entry) => `${entry.vni}/${entry.prefix}`,
    equal: (a, b) =>
      a.vni === b.vni &&
      a.prefix === b.prefix &&
      a.peer === b.peer &&
      a.node === b.node &&
      a.clear === b.clear,
    list: () =>
      attempt('list overlay', () => native.mapEntries(overlay)).map(({ key, value }) =>
        decodeOverlay(key, value),
      ),
    put: (entry) =>
      attempt(`put ${describe(entry)}`, () =>
        native.mapUpdate(overlay, encodeOverlayKey(entry), encodeOverlayValue(entry)),
      ),
    remove: (entry) =>
      void attempt(`remove ${describe(entry)}`, () => native.mapDelete(overlay, encodeOverlayKey(entry))),
  };
}

export function createSharedTable(native: Native, shared: Fd): Table<SharedEntry> {
  const describe = (entry: SharedEntry) => `entry of shared services ${entry.prefix}, VNI ${entry.vni}`;
  return {
    name: 'shared',
    capacity: native.mapInfo(shared).maxEntries,
    key: (entry) => `${entry.vni}/${entry.prefix}`,
    equal: (a, b) =>
      a.vni === b.vni &&
      a.prefix === b.prefix &&
      a.other === b.other &&
      a.way === b.way &&
      a.services === b.services,
    list: () =>
      attempt('list shared services', () => native.mapEntries(shared)).map(({ key, value }) =>
        decodeShared(key, value),
      ),
    put: (entry) =>
      attempt(`put ${describe(entry)}`, () =>
        native.mapUpdate(shared, encodeOverlayKey(entry), encodeSharedValue(entry)),
      ),
    remove: (entry) =>
      void attempt(`remove ${describe(entry)}`, () => native.mapDelete(shared, encodeOverlayKey(entry))),
  };
}

/** `peers`, with `vteps` (whose outer address is it) and the counters in `peer_stats`. */
export function createPeerTable(native: Native, peers: Fd, vteps: Fd, peerStats: Fd): Table<PeerEntry> {
  const emptyStats = Buffer.alloc(perCpuBytes(native.mapInfo(peerStats).valueSize) * native.possibleCpus);

  function lookup(number: PeerNumber): PeerEntry | undefined {
    const key = encodePeerKey(number);
    const value = native.mapLookup(peers, key);
    return value === undefined ? undefined : decodePeer(key, value);
  }

  /** Only while the address is still this peer's: another may have taken it over. */
  function forgetVtep(vtep: IpAddress, number: PeerNumber): void {
    const key = encodeVtepKey(vtep);
    const owner = native.mapLookup(vteps, key);
    if (owner?.equals(encodePeerKey(number))) native.mapDelete(vteps, key);
  }

  function put(entry: PeerEntry): void {
    const key = encodePeerKey(entry.number);
    const before = lookup(entry.number);
    try {
      native.mapUpdate(peerStats, key, emptyStats, BPF_NOEXIST);
    } catch (cause) {
      if (!isErrno(cause, 'EEXIST')) throw cause; // the counters go on
    }
    native.mapUpdate(vteps, encodeVtepKey(entry.vtep), key);
    native.mapUpdate(peers, key, encodePeerValue(entry));
    if (before !== undefined && before.vtep !== entry.vtep) forgetVtep(before.vtep, entry.number);
  }

  function remove(entry: PeerEntry): void {
    const installed = lookup(entry.number);
    for (const vtep of new Set([entry.vtep, installed?.vtep ?? entry.vtep])) forgetVtep(vtep, entry.number);
    native.mapDelete(peerStats, encodePeerKey(entry.number));
    native.mapDelete(peers, encodePeerKey(entry.number));
  }

  return {
    name: 'peers',
    capacity: native.mapInfo(peers).maxEntries,
    key: (entry) => String(entry.number),
    equal: (a, b) =>
      a.number === b.number &&
      a.identity === b.identity &&
      a.vtep === b.vtep &&
      a.local === b.local &&
      a.mac === b.mac,
    list: () =>
      attempt('list peers', () => native.mapEntries(peers)).map(({ key, value }) => decodePeer(key, value)),
    put: (entry) => attempt(`put peer ${entry.number}`, () => put(entry)),
    remove: (entry) => attempt(`remove peer ${entry.number}`, () => remove(entry)),
  };
}

/** `pods`, with one entry of `endpoints` for each address. */
export function createPodTable(native: Native, pods: Fd, endpoints: Fd): Table<PodEntry> {
  const owned = () =>
    native.mapEntries(endpoints).map(({ key, value }) => ({ key, ...decodeEndpoint(key, value) }));

  function put(entry: PodEntry): void {
    native.mapUpdate(pods, encodePodKey(entry.ifindex), encodePodValue(entry));
    const wanted = new Set(entry.addresses);
    for (const endpoint of owned()) {
      const stale = endpoint.vni !== entry.vni || !wanted.has(endpoint.address);
      if (endpoint.ifindex === entry.ifindex && stale) native.mapDelete(endpoints, endpoint.key);
    }
    for (const address of entry.addresses) {
      native.mapUpdate(endpoints, encodeEndpointKey(entry.vni, address), encodeEndpointValue(entry.ifindex));
    }
  }

  /** An address that has moved to another pod is that pod's. */
  function remove(entry: PodEntry): void {
    for (const endpoint of owned()) {
      if (endpoint.ifindex === entry.ifindex) native.mapDelete(endpoints, endpoint.key);
    }
    native.mapDelete(pods, encodePodKey(entry.ifindex));
  }

  function list(): PodEntry[] {
    const addresses = new Map<string, IpAddress[]>();
    for (const { ifindex, vni, address } of owned()) {
      const at = `${ifindex}/${vni}`;
      addresses.set(at, [...(addresses.get(at) ?? []), address]);
    }
    return native.mapEntries(pods).map(({ key, value }) => {
      const pod = decodePod(key, value);
      return { ...pod, addresses: (addresses.get(`${pod.ifindex}/${pod.vni}`) ?? []).sort() };
    });
  }

  return {
    name: 'pods',
    capacity: native.mapInfo(pods).maxEntries,
    key: (entry) => String(entry.ifindex),
    equal: (a, b) =>
      a.ifindex === b.ifindex &&
      a.vni === b.vni &&
      a.mac === b.mac &&
      a.hostMac === b.hostMac &&
      [...a.addresses].sort().join() === [...b.addresses].sort().join(),
    list: () => attempt('list pods', list),
    put: (entry) => attempt(`put pod at device ${entry.ifindex}`, () => put(entry)),
    remove: (entry) => attempt(`remove pod at device ${entry.ifindex}`, () => remove(entry)),
  };
}
