// SAs in the kernel's own IPsec behind the port of the SA maps. A state for each SA; to send, a policy for each (VNI,
// peer) that names the SPI, so that the change to another key is one step; to receive, an entry of the map `xfrm_rx`,
// by which `open` knows whose packets to hand to the kernel. A policy without its state lets nothing out.
import { encodeRxKey } from '../../abi/codec';
import { decodeXfrmRx, encodeXfrmRx, type XfrmRx } from '../../abi/xfrm';
import type { IpAddress, PeerNumber, Spi, Vni } from '../../core/ids';
import { saFingerprint } from '../../core/keyschedule';
import type { Sliced } from '../../core/slices';
import type { PeerEntry, RxSa, TxSa } from '../../core/state';
import { KernelError } from '../../errors';
import type { InstalledRxSa, InstalledTxSa, SaTables } from '../../ports';
import { attempt } from '../fault';
import type { Fd, Native } from '../native';
import { requireKey } from '../sas';
import { MARK_MASK, markOf, SEALED_MARK, vniOf } from './marks';
import { familyNumber } from './messages';
import type { Policy, PolicyId } from './policy';
import type { XfrmSocket } from './socket';
import type { FoundState, StateId } from './state';

const HALF_PUT = 'packets may have been sealed under its key already: run "vxseal rotate" for another';
/** Packets that have found a state reach the wire within this. */
const ON_THEIR_WAY_NS = 1_000_000_000n;

export interface XfrmSaParts {
  readonly native: Native;
  readonly socket: XfrmSocket;
  /** The map `xfrm_rx`. */
  readonly rxMap: Fd;
  readonly peer: (number: PeerNumber) => PeerEntry | undefined;
  readonly peers: () => readonly PeerEntry[];
  /** VXLAN and ESP port, in force. */
  readonly ports: () => { readonly vxlanPort: number; readonly espPort: number };
  /** CLOCK_MONOTONIC. */
  readonly nowNs: () => bigint;
}

/** Packets that the kernel refused under an SA, or under several. */
export interface Refused {
  readonly replays: number;
  readonly forged: number;
}

interface Seen {
  readonly packets: bigint;
  readonly atNs: bigint;
}

export class XfrmSaTables implements SaTables {
  /** When the packets of an SA were last found to have become more: the kernel keeps no such time on every version. */
  private readonly seen = new Map<string, Seen>();
  /** By fingerprint, what the kernel had refused when it was last asked; and by peer, of SAs that are gone. */
  private readonly counted = new Map<string, Refused & { readonly peer: PeerNumber }>();
  private readonly gone = new Map<PeerNumber, Refused>();
  /** Keys whose policy the kernel did not acknowledge. */
  private readonly halfPut = new Set<string>();
  /** Sending states that no policy names: since when. */
  private readonly unnamed = new Map<string, bigint>();

  constructor(private readonly parts: XfrmSaParts) {}

  listTx(): InstalledTxSa[] {
    const states = this.byPlace();
    const byEnds = new Map(this.parts.peers().map((peer) => [endsOf(peer), peer.number]));
    const policies = this.parts.socket.policies();
    this.tidyTx(policies, states, byEnds);
    return policies.flatMap((policy) => {
      const sending = sendingOf(policy);
      const state = sending && states.get(place(sending));
      const peer = sending && byEnds.get(sending.ends);
      if (state === undefined || peer === undefined || sending === undefined) return [];
      const { spi, fingerprint, sent, limit } = state;
      return [{ vni: sending.vni, peer, spi, fingerprint, sequence: sent, limit }];
    });
  }

  listRx(): InstalledRxSa[] {
    const states = this.byPlace();
    const peers = new Map(this.parts.peers().map((peer) => [peer.number, peer]));
    const found = this.receiving().flatMap((row): InstalledRxSa[] => {
      const { vni, peer, spi, source, local } = row;
      const state = states.get(placeOf(row));
      const moved = local !== (peers.get(peer)?.local ?? local);
      if (moved || state?.source !== source || state.setMark !== markOf(vni)) {
        this.removeRx(spi, source);
        return [];
      }
      const { fingerprint, top, packets } = state;
      return [{ vni, peer, spi, source, fingerprint, top, packets, lastOpenedNs: this.lastOpened(state) }];
    });
    this.tidyRx(states, new Set(found.map(({ fingerprint }) => fingerprint)));
    return found;
  }

  /** One dump of the kernel's; there is no more to slice. */
  *listingTx(): Sliced<InstalledTxSa[]> {
    yield;
    return this.listTx();
  }

  *listingRx(): Sliced<InstalledRxSa[]> {
    yield;
    return this.listRx();
  }

  putTx(sa: TxSa): void {
    const { socket } = this.parts;
    const op = `install sending SA of VNI ${sa.vni}, peer ${sa.peer}`;
    requireKey(op, sa);
    const peer = this.requirePeer(op, sa.peer);
    const { vxlanPort, espPort } = this.parts.ports();
    const id = { destination: peer.vtep, spi: sa.spi };
    const fingerprint = saFingerprint(sa.key, sa.salt);
    if (socket.state(id)?.fingerprint === fingerprint)
      throw new Error(`${op}: the installed SA has the same key, its counter would start again`);
    if (this.halfPut.has(fingerprint)) throw new KernelError(op, 17, 'EEXIST', HALF_PUT);
    const { key, salt, limit } = sa;
    const ends = { source: peer.local, port: vxlanPort, setMark: SEALED_MARK };
    socket.addState(op, { ...id, ...ends, key, salt, limit, encapPort: espPort });
    // The state before it stays for the packets that have found it already; tidyTx() removes it.
    try {
      socket.putPolicy(op, { ...sendingId(sa.vni, peer, vxlanPort), rule: { spi: sa.spi } });
    } catch (cause) {
      this.halfPut.add(fingerprint);
      socket.removeState(id);
      throw cause;
    }
  }

  putRx(sa: RxSa): void {
    const { socket, native, rxMap } = this.parts;
    const op = `install receiving SA 0x${sa.spi.toString(16).padStart(8, '0')} from ${sa.source}`;
    requireKey(op, sa);
    const { local } = this.requirePeer(op, sa.peer);
    const { key, salt, spi, source, vni, peer } = sa;
    const id = { destination: local, spi };
    // The replay window would forget what it has seen.
    if (socket.state(id)?.fingerprint !== saFingerprint(key, salt)) {
      const { vxlanPort } = this.parts.ports();
      socket.addState(op, { ...id, source, port: vxlanPort, setMark: markOf(vni), key, salt });
    }
    attempt(op, () => native.mapUpdate(rxMap, encodeRxKey(spi, source), encodeXfrmRx({ peer, vni, local })));
  }

  removeTx(vni: Vni, peer: PeerNumber): void {
    const { socket } = this.parts;
    const entry = this.parts.peer(peer);
    if (entry === undefined) return;
    // Another peer has the address now, and the policy.
    if (this.parts.peers().some((other) => other.number !== peer && other.vtep === entry.vtep)) return;
    const id = sendingId(vni, entry, this.parts.ports().vxlanPort);
    const found = socket.policy(id);
    socket.removePolicy(id);
    const sending = found && sendingOf(found);
    if (sending !== undefined) socket.removeState(sending);
  }

  removeRx(spi: Spi, source: IpAddress): void {
    const { native, rxMap, socket } = this.parts;
    const key = encodeRxKey(spi, source);
    const op = `remove receiving SA 0x${spi.toString(16).padStart(8, '0')} from ${source}`;
    const value = attempt(op, () => native.mapLookup(rxMap, key));
    if (value === undefined) return;
    const { peer, local } = decodeXfrmRx(key, value);
    const state = socket.state({ destination: local, spi });
    attempt(op, () => native.mapDelete(rxMap, key));
    if (state?.source !== source) return;
    const { replays, forged } = state;
    this.counted.set(state.fingerprint, { peer, replays, forged });
    socket.removeState(state);
  }

  /** What the kernel refused by peer: of the SAs that are there, and of those that were. Never falls. */
  refused(): Map<PeerNumber, Refused> {
    const states = this.byPlace();
    const there = new Set<string>();
    for (const row of this.receiving()) {
      const state = states.get(placeOf(row));
      if (state === undefined) continue;
      there.add(state.fingerprint);
      const { replays, forged } = state;
      this.counted.set(state.fingerprint, { peer: row.peer, replays, forged });
    }
    const refused = new Map<PeerNumber, Refused>();
    for (const [fingerprint, { peer, replays, forged }] of this.counted) {
      const into = there.has(fingerprint) ? refused : this.gone;
      into.set(peer, sum(into.get(peer), { replays, forged }));
      if (!there.has(fingerprint)) this.counted.delete(fingerprint);
    }
    for (const [peer, counts] of this.gone) refused.set(peer, sum(refused.get(peer), counts));
    return refused;
  }

  private byPlace(): Map<string, FoundState> {
    return new Map(this.parts.socket.states().map((state) => [place(state), state]));
  }

  private receiving(): XfrmRx[] {
    const { native, rxMap } = this.parts;
    return attempt('list receiving SAs', () => native.mapEntries(rxMap)).map(({ key, value }) =>
      decodeXfrmRx(key, value),
    );
  }

  private lastOpened({ fingerprint, packets }: FoundState): bigint {
    const known = this.seen.get(fingerprint);
    if (known?.packets === packets) return known.atNs;
    const atNs = packets === 0n ? 0n : this.parts.nowNs();
    this.seen.set(fingerprint, { packets, atNs });
    return atNs;
  }

  /**
   * Away with policies between addresses that no peer and we have, and with states that no policy has named for a while:
   * of the key before, of a process that died in the middle. No packet is put under one.
   */
  private tidyTx(
    policies: readonly Policy[],
    states: ReadonlyMap<string, FoundState>,
    byEnds: ReadonlyMap<string, PeerNumber>,
  ): void {
    const { socket } = this.parts;
    const named = new Set<string>();
    for (const policy of policies) {
      const sending = sendingOf(policy);
      if (sending === undefined) continue;
      if (byEnds.has(sending.ends)) named.add(place(sending));
      else socket.removePolicy(policy);
    }
    const left = [...states].filter(([at, { setMark }]) => setMark === SEALED_MARK && !named.has(at));
    const still = new Set(left.map(([at]) => at));
    for (const at of this.unnamed.keys()) if (!still.has(at)) this.unnamed.delete(at);
    const nowNs = this.parts.nowNs();
    for (const [at, state] of left) {
      const sinceNs = this.unnamed.get(at) ?? nowNs;
      this.unnamed.set(at, sinceNs);
      if (nowNs - sinceNs >= ON_THEIR_WAY_NS) socket.removeState(state);
    }
  }

  /** Away with states to receive that `open` hands nothing to: of a process that died in the middle. */
  private tidyRx(states: ReadonlyMap<string, FoundState>, installed: ReadonlySet<string>): void {
    for (const state of states.values())
      if (vniOf(state.setMark) !== undefined && !installed.has(state.fingerprint))
        this.parts.socket.removeState(state);
    for (const fingerprint of this.seen.keys())
      if (!installed.has(fingerprint)) this.seen.delete(fingerprint);
  }

  private requirePeer(op: string, number: PeerNumber): PeerEntry {
    const peer = this.parts.peer(number);
    if (peer === undefined) throw new KernelError(op, 2, 'ENOENT', `peer ${number} has no entry yet`);
    return peer;
  }
}

const place = ({ destination, spi }: StateId): string => `${destination}/${spi}`;
const placeOf = ({ local, spi }: XfrmRx): string => place({ destination: local, spi });
const endsOf = ({ local, vtep }: Pick<PeerEntry, 'local' | 'vtep'>): string => `${local} ${vtep}`;

const sum = (a: Refused | undefined, b: Refused): Refused => ({
  replays: (a?.replays ?? 0) + b.replays,
  forged: (a?.forged ?? 0) + b.forged,
});

/** The policy by which the VNI's packets to that peer leave. */
const sendingId = (vni: Vni, { vtep, local }: PeerEntry, port: number): PolicyId => ({
  direction: 'out',
  selector: { family: familyNumber(vtep), ends: { source: local, destination: vtep }, port },
  mark: { value: markOf(vni), mask: MARK_MASK },
});

/** Undefined for a policy that is none of those. */
function sendingOf({
  direction,
  selector,
  mark,
  rule,
}: Policy): (StateId & { readonly vni: Vni; readonly ends: string }) | undefined {
  const vni = mark === undefined ? undefined : vniOf(mark.value);
  if (direction !== 'out' || rule === 'refuse' || vni === undefined) return undefined;
  if (selector.ends === undefined || rule.spi === undefined) return undefined;
  const { source, destination } = selector.ends;
  return { vni, destination, spi: rule.spi, ends: endsOf({ local: source, vtep: destination }) };
}
