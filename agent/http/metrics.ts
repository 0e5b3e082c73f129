// The metrics of the agent: the only file that names them. Most are read from the status when they are asked for, so
// that they say what status, page and commands say; durations are observed as they happen. Base units; few labels.
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { PEER_STATES, type Status } from '../control/status';
import type { Measures } from '../ports';

const SECOND_MS = 1000;

/** Fills one metric from a status. */
type Fill = (status: Status) => void;

export class Metrics implements Measures {
  private readonly registry = new Registry();
  private readonly fills: Fill[] = [];
  private readonly reconciles: Histogram;
  private readonly drift: Gauge;
  private readonly rotations: Counter;
  private readonly rotationSeconds: Histogram;
  private readonly cniSeconds: Histogram;

  constructor() {
    const registers = [this.registry];
    collectDefaultMetrics({ register: this.registry });
    this.reconciles = new Histogram({
      name: 'vxseal_reconcile_duration_seconds',
      help: 'Time of one pass that compares the kernel with what should be',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    });
    this.drift = new Gauge({
      name: 'vxseal_desired_drift',
      help: 'Steps that the last pass found to be done; not 0 for long: something undoes them or they fail',
      registers,
    });
    this.rotations = new Counter({
      name: 'vxseal_rotations_total',
      help: 'Epochs begun, by how it ended',
      labelNames: ['result'],
      registers,
    });
    for (const result of ['published', 'failed']) this.rotations.inc({ result }, 0);
    this.rotationSeconds = new Histogram({
      name: 'vxseal_rotation_duration_seconds',
      help: 'From the making of an epoch to its publication',
      buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
      registers,
    });
    this.cniSeconds = new Histogram({
      name: 'vxseal_cni_duration_seconds',
      help: 'Time of a CNI call in the agent',
      labelNames: ['command'],
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
      registers,
    });
    this.nodeMetrics();
    this.peerMetrics();
    this.trafficMetrics();
    this.busMetrics();
    this.informerMetrics();
    this.kernelMetrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** Prometheus text format. */
  async text(status: Status): Promise<string> {
    for (const fill of this.fills) fill(status);
    return await this.registry.metrics();
  }

  // ------------------------------------------------------------------------------------------ observed

  reconciled(durationMs: number): void {
    this.reconciles.observe(durationMs / SECOND_MS);
  }

  drifted(steps: number): void {
    this.drift.set(steps);
  }

  rotated(result: 'published' | 'failed', durationMs: number): void {
    this.rotations.inc({ result });
    if (result === 'published') this.rotationSeconds.observe(durationMs / SECOND_MS);
  }

  answeredCni(command: string, durationMs: number): void {
    this.cniSeconds.observe({ command }, durationMs / SECOND_MS);
  }

  // --------------------------------------------------------------------------------- from the status

  private nodeMetrics(): void {
    const info = this.gauge('build_info', 'Always 1; the version of the agent', ['version']);
    const ready = this.gauge('ready', '1 when nothing blocks readiness');
    const problems = this.gauge('problems', 'Problems that stand now');
    const epoch = this.gauge('epoch', "Number of this node's newest epoch");
    const epochCreated = this.gauge('epoch_created_timestamp_seconds', 'When it was made');
    const expiry = this.gauge('certificate_expiry_timestamp_seconds', "End of this node's certificate");
    this.fills.push(({ node, readiness, problems: standing }) => {
      info.reset();
      info.set({ version: node.version }, 1);
      ready.set(readiness.ready ? 1 : 0);
      problems.set(standing.length);
      epoch.set(node.epoch.number);
      epochCreated.set(node.epoch.createdMs / SECOND_MS);
      expiry.set(node.certificateNotAfterMs / SECOND_MS);
    });
  }

  private peerMetrics(): void {
    const states = this.gauge('peers', 'Peers by state', ['state']);
    const rtt = this.gauge('peer_rtt_seconds', 'Smoothed round trip of probes', ['peer']);
    const loss = this.gauge('peer_probe_loss_ratio', 'Share of probes unanswered', ['peer']);
    const lastOpened = this.gauge(
      'peer_last_opened_timestamp_seconds',
      'When a packet of the peer was last authenticated',
      ['peer'],
    );
    const left = this.gauge('sa_packets_remaining', 'Packets left before the sending SA stops', ['peer']);
    this.fills.push(({ peers }) => {
      for (const metric of [states, rtt, loss, lastOpened, left]) metric.reset();
      for (const state of PEER_STATES)
        states.set({ state }, peers.filter((peer) => peer.state === state).length);
      const nowMs = Date.now();
      for (const peer of peers) {
        const label = { peer: peer.node };
        // -1 means "not known": then there is no sample.
        if (peer.rttMs >= 0) rtt.set(label, peer.rttMs / SECOND_MS);
        if (peer.loss >= 0) loss.set(label, peer.loss);
        if (peer.lastOpenedAgeMs >= 0) lastOpened.set(label, (nowMs - peer.lastOpenedAgeMs) / SECOND_MS);
        if (peer.saPacketsRemaining >= 0) left.set(label, peer.saPacketsRemaining);
      }
    });
  }

  private trafficMetrics(): void {
    const drops = this.counter('drops_total', 'Packets dropped', ['reason', 'direction']);
    const clear = this.counter('clear_packets_total', 'Packets of permissive pods in clear', ['direction']);
    const sealedPackets = this.counter('sealed_packets_total', 'Packets encrypted', ['peer']);
    const sealedBytes = this.counter('sealed_bytes_total', 'Bytes of inner frames encrypted', ['peer']);
    const openedPackets = this.counter('opened_packets_total', 'Packets authenticated and decrypted', [
      'peer',
    ]);
    const openedBytes = this.counter('opened_bytes_total', 'Bytes of inner frames decrypted', ['peer']);
    this.fills.push((status) => {
      for (const metric of [drops, clear, sealedPackets, sealedBytes, openedPackets, openedBytes])
        metric.reset();
      for (const { reason, direction, packets } of status.drops) drops.inc({ reason, direction }, packets);
      clear.inc({ direction: 'egress' }, status.adoption.sent.packets);
      clear.inc({ direction: 'ingress' }, status.adoption.received.packets);
      for (const { node: peer, sealed, opened } of status.peers) {
        sealedPackets.inc({ peer }, sealed.packets);
        sealedBytes.inc({ peer }, sealed.bytes);
        openedPackets.inc({ peer }, opened.packets);
        openedBytes.inc({ peer }, opened.bytes);
      }
    });
  }

  private busMetrics(): void {
    const connected = this.gauge('bus_connected', '1 while the bus can be used');
    const staleness = this.gauge('bus_staleness_seconds', 'Since the last sign of life of the bus');
    const records = this.counter('records_total', 'Records read from the bus, by how they were judged', [
      'kind',
      'result',
    ]);
    this.fills.push(({ bus }) => {
      connected.set(bus.connected ? 1 : 0);
      staleness.set(bus.stalenessMs / SECOND_MS);
      records.reset();
      for (const { kind, result, count } of bus.records) records.inc({ kind, result }, count);
    });
  }

  private informerMetrics(): void {
    const connected = this.gauge('nri_connected', '1 while the container runtime tells the labels of pods');
    const refused = this.counter('nri_refused_total', 'What it sent that could not be used', ['reason']);
    this.fills.push(({ informer }) => {
      connected.set(informer.connected ? 1 : 0);
      refused.reset();
      for (const { reason, count } of informer.refused) refused.inc({ reason }, count);
    });
  }

  private kernelMetrics(): void {
    const entries = this.gauge('bpf_map_entries', 'Entries in a map of the data plane', ['map']);
    const capacity = this.gauge('bpf_map_capacity', 'Entries that fit', ['map']);
    const evictions = this.counter('bpf_map_evictions_total', 'Entries that had to make room for others', [
      'map',
    ]);
    const attached = this.gauge('program_attached', '1 where a program is attached, 0 where one is missing', [
      'hook',
      'device',
      'mode',
    ]);
    const pods = this.gauge('pods', 'Local pods', ['ready']);
    const permissive = this.gauge('permissive_pods', 'Local pods that may speak in clear');
    this.fills.push((status) => {
      for (const metric of [entries, capacity, evictions, attached]) metric.reset();
      for (const { map, entries: used, capacity: room, evicted } of status.maps) {
        entries.set({ map }, used);
        capacity.set({ map }, room);
        evictions.inc({ map }, evicted);
      }
      for (const { program, device, mode } of status.hooks)
        attached.set({ hook: program, device, mode: mode === '' ? 'none' : mode }, mode === '' ? 0 : 1);
      for (const ready of [true, false])
        pods.set({ ready: String(ready) }, status.pods.filter((pod) => pod.ready === ready).length);
      permissive.set(status.adoption.permissivePods);
    });
  }

  private gauge(name: string, help: string, labelNames: readonly string[] = []): Gauge {
    return new Gauge({
      name: `vxseal_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
    });
  }

  private counter(name: string, help: string, labelNames: readonly string[]): Counter {
    return new Counter({
      name: `vxseal_${name}`,
      help,
      labelNames: [...labelNames],
      registers: [this.registry],
    });
  }
}
