// The wire between fake data planes: seals with the sender's SA, opens with the receiver's, counts and drops as the
// programs do. It also holds the promise that no (key, counter) is ever used twice.
import { PEER_LOCAL, type PeerNumber, type Vni } from '../../agent/core/ids';
import type { PeerEntry } from '../../agent/core/state';
import type { Clock } from '../../agent/ports';
import { FakeDatapath, FakePins, fakeFingerprint, rxKey, txKey } from './datapath';

interface Host {
  readonly name: string;
  readonly vtep: string;
  readonly pins: FakePins;
  datapath: FakeDatapath | undefined;
}

export type Outcome = 'delivered' | 'no-peer' | 'no-sa' | 'sa-exhausted' | 'lost' | 'unknown-spi' | 'bad-icv';

export class FakeFabric {
  private readonly hosts = new Map<string, Host>();
  private readonly used = new Set<string>();
  /** Packets for which this is true are lost on the way. */
  lose: (from: string, to: string, bytes: number) => boolean = () => false;
  readonly outcomes = new Map<Outcome, number>();

  constructor(private readonly clock: Clock) {}

  host(name: string, vtep: string): FakePins {
    const pins = new FakePins();
    this.hosts.set(name, { name, vtep, pins, datapath: undefined });
    return pins;
  }

  /** A new agent takes hold of the node's pins. */
  datapath(name: string): FakeDatapath {
    const host = this.get(name);
    const vnis = (): Vni => host.pins.settings?.hostVni ?? (0 as Vni);
    host.datapath = new FakeDatapath(host.pins, (peer, id, frameBytes) => {
      const sentNs = this.clock.monotonicNs();
      const target = this.target(host, peer);
      if (!target || this.carry(host, peer, vnis(), frameBytes) !== 'delivered') return;
      const back = [...target.pins.peers.values()].find((entry) => entry.vtep === host.vtep);
      if (!back || this.carry(target, back.number, vnis(), frameBytes) !== 'delivered') return;
      host.datapath?.reply({
        peer,
        id,
        sentNs,
        receivedNs: this.clock.monotonicNs() + 250_000n,
        bytes: frameBytes,
      });
    });
    return host.datapath;
  }

  /** One packet between two nodes by name; what became of it. */
  send(from: string, to: string, vni: number, bytes = 100): Outcome {
    const host = this.get(from);
    const entry = [...host.pins.peers.values()].find((peer) => peer.vtep === this.get(to).vtep);
    return this.carry(host, entry?.number ?? (0xffffffff as PeerNumber), vni as Vni, bytes);
  }

  private carry(from: Host, peer: PeerNumber, vni: Vni, bytes: number): Outcome {
    const outcome = this.deliver(from, peer, vni, bytes);
    this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
    return outcome;
  }

  private deliver(from: Host, peer: PeerNumber, vni: Vni, bytes: number): Outcome {
    const entry = from.pins.peers.get(`${peer}`);
    if (!entry) return this.dropAt(from, peer, 'no_peer', 'egress', 'no-peer');
    const tx = from.pins.tx.get(txKey(vni, peer));
    if (!tx) return this.dropAt(from, peer, 'no_sa', 'egress', 'no-sa');
    if (tx.sequence >= tx.limit) return this.dropAt(from, peer, 'sa_exhausted', 'egress', 'sa-exhausted');
    tx.sequence += 1n;
    this.useOnce(`${fakeFingerprint(tx.key, tx.salt)} ${tx.sequence}`);
    count(from.pins, peer, 'sealed');
    const to = this.hostOf(entry);
    if (!to || this.lose(from.name, to.name, bytes)) return 'lost';
    const rx = to.pins.rx.get(rxKey(tx.spi, entry.local));
    if (!rx) return this.dropAt(to, PEER_LOCAL, 'unknown_spi', 'ingress', 'unknown-spi');
    if (Buffer.compare(rx.key, tx.key) !== 0 || Buffer.compare(rx.salt, tx.salt) !== 0)
      return this.dropAt(to, rx.peer, 'bad_icv', 'ingress', 'bad-icv');
    rx.packets += 1n;
    rx.top = tx.sequence;
    rx.lastOpenedNs = this.clock.monotonicNs();
    count(to.pins, rx.peer, 'opened');
    return 'delivered';
  }

  private useOnce(pair: string): void {
    if (this.used.has(pair)) throw new Error(`(key, counter) used twice: ${pair}`);
    this.used.add(pair);
  }

  private dropAt(
    host: Host,
    peer: PeerNumber,
    reason: string,
    direction: 'egress' | 'ingress',
    outcome: Outcome,
  ): Outcome {
    host.pins.drop(peer, reason, direction);
    return outcome;
  }

  private target(host: Host, peer: PeerNumber): Host | undefined {
    const entry = host.pins.peers.get(`${peer}`);
    return entry && this.hostOf(entry);
  }

  private hostOf(entry: PeerEntry): Host | undefined {
    return [...this.hosts.values()].find((host) => host.vtep === entry.vtep);
  }

  private get(name: string): Host {
    const host = this.hosts.get(name);
    if (!host) throw new Error(`no host ${name}`);
    return host;
  }
}

function count(pins: FakePins, peer: PeerNumber, way: 'sealed' | 'opened'): void {
  const traffic = pins.traffic.get(peer) ?? { sealed: 0n, opened: 0n };
  traffic[way] += 1n;
  pins.traffic.set(peer, traffic);
}
