// A status in which every field holds something, as the API and the commands show it. Built from the types alone:
// a field that is added there must be added here to compile.
import type {
  AgentView,
  AttachRequest,
  FlowStatus,
  PeerStatus,
  PodStatus,
  PolicyStatus,
  ProbeRequest,
  ProbeStatus,
  RemotePodStatus,
  Status,
} from '../../agent/control/status';
import type { CniAnswer } from '../../agent/ports';

export const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

export function samplePeer(changes: Partial<PeerStatus> = {}): PeerStatus {
  return {
    node: 'node2',
    number: 1,
    state: 'up',
    rotating: false,
    why: '',
    sinceMs: NOW_MS - 600_000,
    remedy: '',
    epochs: { ours: [4, 3], theirs: [7], txSpi: '0x1a2b3c4d', rxSpis: ['0x00001001', '0x00001002'] },
    lastOpenedAgeMs: 1200,
    rttMs: 0.21,
    loss: 0,
    sealed: { packets: 12_345, bytes: 1_234_567 },
    opened: { packets: 250_000, bytes: 7_654_321 },
    dropsByReason: [],
    saPacketsRemaining: 1_099_511_000_000,
    certificateNotAfterMs: NOW_MS + 20 * 86_400_000,
    leaseNotAfterMs: NOW_MS + 3_600_000,
    vtep: '192.0.2.2',
    prefixes: ['10.244.2.0/24'],
    agentVersion: '0.1.0',
    ...changes,
  };
}

export function samplePod(changes: Partial<PodStatus> = {}): PodStatus {
  return {
    id: '4:4026532001',
    name: 'pod1-1',
    namespace: 'default',
    vni: 1,
    mode: 'strict',
    netnsPath: '/run/netns/pod1-1',
    hostDevice: 'pod1-1',
    addresses: ['10.244.1.2'],
    mtuBytes: 1408,
    labels: { app: 'web' },
    ready: true,
    why: '',
    ...changes,
  };
}

export function sampleFlow(changes: Partial<FlowStatus> = {}): FlowStatus {
  return {
    atMs: NOW_MS - 5000,
    verdict: 'dropped',
    reason: 'replay',
    direction: 'ingress',
    node: 'node2',
    pod: '',
    vni: 0,
    outer: true,
    source: '192.0.2.2',
    destination: '192.0.2.1',
    protocol: 17,
    sourcePort: 51_234,
    destinationPort: 4500,
    bytes: 140,
    policies: [],
    unreported: 0,
    ...changes,
  };
}

export function sampleProbe(changes: Partial<ProbeStatus> = {}): ProbeStatus {
  return {
    node: 'node2',
    state: 'up',
    local: '192.0.2.1',
    vtep: '192.0.2.2',
    sent: 10,
    answered: 10,
    rtt: { leastMs: 0.18, meanMs: 0.21, mostMs: 0.4 },
    mtuBytes: 1408,
    largestBytes: 1408,
    why: '',
    remedy: '',
    ...changes,
  };
}

/** Nothing is wrong. */
export function sampleStatus(changes: Partial<Status> = {}): Status {
  return {
    node: {
      name: 'node1',
      version: '0.1.0',
      bootId: '00112233445566778899aabbccddeeff',
      uptimeMs: 7_980_000,
      epoch: {
        number: 4,
        publicKeyFingerprint: 'a1b2c3d4e5f60718',
        createdMs: NOW_MS - 60_000,
        published: true,
        retiring: [3],
        laggards: ['node3'],
      },
      vteps: ['192.0.2.1'],
      vni: 1,
      mtuBytes: 1408,
      underlay: [{ device: 'eth0', ifindex: 2, mtuBytes: 1500 }],
      overlayDevice: 'vxseal0',
      engine: 'bpf',
      prefixes: [{ vni: 1, prefixes: ['10.244.1.0/24'] }],
      certificateNotAfterMs: NOW_MS + 20 * 86_400_000,
    },
    readiness: { ready: true, blockers: [] },
    bus: {
      type: 'directory',
      connected: true,
      inSync: true,
      lastSeenMs: NOW_MS - 2000,
      stalenessMs: 2000,
      error: '',
      acceptedRecords: 9,
      refusedRecords: [{ reason: 'bad-signature', count: 2 }],
      records: [
        { kind: 'topology', result: 'accepted', count: 8 },
        { kind: 'topology', result: 'bad-signature', count: 2 },
        { kind: 'policy', result: 'accepted', count: 1 },
      ],
    },
    informer: {
      socket: '/var/run/nri/nri.sock',
      connected: true,
      reason: '',
      refused: [{ reason: 'protobuf', count: 1 }],
    },
    peers: [samplePeer()],
    pods: [samplePod()],
    adoption: {
      permissivePods: 0,
      permissivePrefixes: ['10.244.3.0/24'],
      adoptedPrefixes: [],
      sent: { packets: 5, bytes: 420 },
      received: { packets: 4, bytes: 336 },
    },
    shared: [
      { name: 'dns', vni: 7, prefixes: ['10.7.0.53/32'], clients: ['8=10.8.0.0/24'], why: '' },
      { name: 'log', vni: 9, prefixes: ['10.9.0.1/32'], clients: ['8=10.8.0.0/24'], why: 'no keys of VNI 9' },
    ],
    sas: [
      {
        direction: 'tx',
        node: 'node2',
        vni: 1,
        spi: '0x1a2b3c4d',
        fingerprint: '0011223344556677',
        sequence: 12_345,
        packets: 1_099_511_000_000,
        lastOpenedAgeMs: -1,
      },
    ],
    drops: [
      { node: 'node2', reason: 'replay', direction: 'ingress', packets: 3, bytes: 420 },
      { node: '', reason: 'no_key', direction: 'egress', packets: 0, bytes: 0 },
    ],
    recentDrops: [sampleFlow()],
    hooks: [{ program: 'seal', device: 'eth0', ifindex: 2, mode: 'tcx' }],
    maps: [
      { map: 'peers', entries: 1, capacity: 16_384, evicted: 0 },
      { map: 'connections', entries: 7, capacity: 131_072, evicted: 2 },
    ],
    problems: [],
    ...changes,
  };
}

/** Answers with `status` and keeps what it was asked to do. */
export class FakeAgent implements AgentView {
  readonly attached: AttachRequest[] = [];
  readonly detached: string[] = [];
  readonly watchers = new Set<(flow: FlowStatus) => void>();
  readonly calls: Buffer[] = [];
  cniAnswer: CniAnswer = { ok: true, body: '' };
  rotations = 0;
  readonly probes: ProbeRequest[] = [];
  probed: ProbeStatus[] = [sampleProbe()];
  /** Thrown by the next change. */
  failure: Error | undefined;

  constructor(public current: Status = sampleStatus()) {}

  remotePods(): RemotePodStatus[] {
    return [
      {
        vni: 42,
        address: '10.2.0.5',
        node: 'node2',
        namespace: 'shop',
        name: 'web',
        labels: ['app=web'],
        state: 'live',
        why: '',
      },
    ];
  }

  policies(): PolicyStatus {
    return { generation: 0, policies: [], sources: [], drops: [] };
  }

  status(): Status {
    return this.current;
  }

  readiness(): Status['readiness'] {
    return this.current.readiness;
  }

  watchFlows(listener: (flow: FlowStatus) => void): () => void {
    this.watchers.add(listener);
    return () => void this.watchers.delete(listener);
  }

  /** To everybody who watches. */
  flow(changes: Partial<FlowStatus> = {}): void {
    for (const watcher of this.watchers) watcher(sampleFlow(changes));
  }

  async attachPod(request: AttachRequest): Promise<PodStatus> {
    this.throwFailure();
    this.attached.push(request);
    return samplePod({ name: request.name, namespace: request.namespace, netnsPath: request.netnsPath });
  }

  async detachPod(id: string): Promise<boolean> {
    this.throwFailure();
    this.detached.push(id);
    return this.current.pods.some((pod) => pod.id === id);
  }

  async answerCni(request: Uint8Array): Promise<CniAnswer> {
    this.throwFailure();
    this.calls.push(Buffer.from(request));
    return this.cniAnswer;
  }

  async probe(request: ProbeRequest): Promise<ProbeStatus[]> {
    this.throwFailure();
    this.probes.push(request);
    return this.probed;
  }

  async rotate(): Promise<{ readonly epoch: number }> {
    this.throwFailure();
    this.rotations += 1;
    return { epoch: this.current.node.epoch.number + this.rotations };
  }

  private throwFailure(): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }
}
