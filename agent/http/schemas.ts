// JSON schemas of the API. They are also the whitelist: the serializer writes only the fields named here, so what
// a status object might carry by mistake does not leave the process.

const text = { type: 'string' } as const;
const whole = { type: 'integer' } as const;
const real = { type: 'number' } as const;
const flag = { type: 'boolean' } as const;
const texts = { type: 'array', items: text } as const;
const textsByName = { type: 'object', additionalProperties: text } as const;

/** All fields required, none beside them. */
function record(properties: Readonly<Record<string, object>>): object {
  return { type: 'object', required: Object.keys(properties), additionalProperties: false, properties };
}

function list(items: object): object {
  return { type: 'array', items };
}

const prefixGroups = list(record({ vni: whole, prefixes: texts }));
const traffic = record({ packets: whole, bytes: whole });

export const drop = record({ node: text, reason: text, direction: text, packets: whole, bytes: whole });

export const readiness = record({
  ready: flag,
  blockers: list(record({ name: text, reason: text, remedy: text })),
});

const node = record({
  name: text,
  version: text,
  bootId: text,
  uptimeMs: real,
  epoch: record({
    number: whole,
    publicKeyFingerprint: text,
    createdMs: real,
    published: flag,
    retiring: list(whole),
    laggards: texts,
  }),
  vteps: texts,
  vni: whole,
  mtuBytes: whole,
  underlay: list(record({ device: text, ifindex: whole, mtuBytes: whole })),
  overlayDevice: text,
  engine: text,
  prefixes: prefixGroups,
  certificateNotAfterMs: real,
});

const bus = record({
  type: text,
  connected: flag,
  inSync: flag,
  lastSeenMs: real,
  stalenessMs: real,
  error: text,
  acceptedRecords: whole,
  refusedRecords: list(record({ reason: text, count: whole })),
  records: list(record({ kind: text, result: text, count: whole })),
});

const informer = record({
  socket: text,
  connected: flag,
  reason: text,
  refused: list(record({ reason: text, count: whole })),
});

export const peer = record({
  node: text,
  number: whole,
  state: text,
  rotating: flag,
  why: text,
  sinceMs: real,
  remedy: text,
  epochs: record({ ours: list(whole), theirs: list(whole), txSpi: text, rxSpis: texts }),
  lastOpenedAgeMs: real,
  rttMs: real,
  loss: real,
  sealed: traffic,
  opened: traffic,
  dropsByReason: list(drop),
  saPacketsRemaining: real,
  certificateNotAfterMs: real,
  leaseNotAfterMs: real,
  vtep: text,
  prefixes: texts,
  agentVersion: text,
});

export const pod = record({
  id: text,
  name: text,
  namespace: text,
  vni: whole,
  mode: text,
  netnsPath: text,
  hostDevice: text,
  addresses: texts,
  mtuBytes: whole,
  labels: textsByName,
  ready: flag,
  why: text,
});

const remotePod = record({
  vni: whole,
  address: text,
  node: text,
  namespace: text,
  name: text,
  labels: texts,
  state: text,
  why: text,
});
export const remotePods = record({ pods: list(remotePod) });

export const sa = record({
  direction: text,
  node: text,
  vni: whole,
  spi: text,
  fingerprint: text,
  sequence: real,
  packets: real,
  lastOpenedAgeMs: real,
});

export const flow = record({
  atMs: real,
  verdict: text,
  reason: text,
  direction: text,
  node: text,
  pod: text,
  vni: whole,
  outer: flag,
  source: text,
  destination: text,
  protocol: whole,
  sourcePort: whole,
  destinationPort: whole,
  bytes: whole,
  policies: texts,
  unreported: whole,
});

const adoption = record({
  permissivePods: whole,
  permissivePrefixes: texts,
  adoptedPrefixes: texts,
  sent: traffic,
  received: traffic,
});

export const status = record({
  node,
  readiness,
  bus,
  informer,
  peers: list(peer),
  pods: list(pod),
  adoption,
  shared: list(record({ name: text, vni: whole, prefixes: texts, clients: texts, why: text })),
  sas: list(sa),
  drops: list(drop),
  recentDrops: list(flow),
  hooks: list(record({ program: text, device: text, ifindex: whole, mode: text })),
  maps: list(record({ map: text, entries: whole, capacity: whole, evicted: whole })),
  problems: list(record({ object: text, reason: text, remedy: text, sinceMs: real, count: whole })),
});

export const live = record({ live: flag });
export const peers = record({ peers: list(peer) });
export const pods = record({ pods: list(pod) });
export const sas = record({ sas: list(sa) });
export const policies = record({
  generation: whole,
  policies: texts,
  sources: list(record({ policy: text, vni: whole, source: text })),
  drops: list(record({ pod: text, direction: text, policies: texts, packets: whole, bytes: whole })),
});
export const drops = record({ drops: list(drop), recentDrops: list(flow) });
export const detached = record({ detached: flag });
export const probed = record({
  peers: list(
    record({
      node: text,
      state: text,
      local: text,
      vtep: text,
      sent: whole,
      answered: whole,
      rtt: record({ leastMs: real, meanMs: real, mostMs: real }),
      mtuBytes: whole,
      largestBytes: whole,
      why: text,
      remedy: text,
    }),
  ),
});
export const rotated = record({ epoch: whole });

export const change = record({ atMs: real, object: text, state: text, reason: text, remedy: text });

export const failure = record({ code: text, message: text, remedy: text });

// Lengths bound what a client can make us keep; meaning (a path that is a namespace, a VNI that is ours) is the
// pod store's to judge.
export const attachRequest = {
  type: 'object',
  required: ['netnsPath', 'name', 'namespace'],
  additionalProperties: false,
  properties: {
    netnsPath: { type: 'string', minLength: 1, maxLength: 4096 },
    device: { type: 'string', minLength: 1, maxLength: 15 },
    name: { type: 'string', maxLength: 253 },
    namespace: { type: 'string', maxLength: 253 },
    vni: { type: 'integer', minimum: 1, maximum: 16777215 },
    mode: { type: 'string', enum: ['strict', 'permissive'] },
  },
} as const;

// Bounds what one request can make us send to a peer, and how long it is held open.
export const probeRequest = {
  type: 'object',
  additionalProperties: false,
  properties: {
    peers: {
      type: 'array',
      minItems: 1,
      maxItems: 1000,
      items: { type: 'string', minLength: 1, maxLength: 253 },
    },
    count: { type: 'integer', minimum: 1, maximum: 20 },
    timeoutMs: { type: 'integer', minimum: 100, maximum: 10_000 },
  },
} as const;
