import type { IpAddress, PeerNumber, Prefix, Spi, Vni } from '../../../agent/core/ids';
import { saFingerprint } from '../../../agent/core/keyschedule';
import { type ActualState, plan, type Step } from '../../../agent/core/plan';
import type {
  DesiredState,
  OverlayEntry,
  ProgramName,
  RouteEntry,
  RxSa,
  SharedEntry,
  TxSa,
} from '../../../agent/core/state';
import { seeded, shuffled } from './random';

const SETTINGS = {
  hostVni: 42 as Vni,
  vxlanPort: 4790,
  espPort: 4500,
  underlayMtuBytes: 1500,
  vxlanMtuBytes: 1408,
  mac: '02:00:00:00:00:01',
  sharedPort: false,
};
const VXLAN = { name: 'vxseal0', mac: SETTINGS.mac, port: 4790, mtuBytes: 1408 };

const EMPTY: DesiredState = {
  settings: SETTINGS,
  vxlan: VXLAN,
  peers: [],
  overlay: [],
  shared: [],
  rxSas: [],
  txSas: [],
  keptRxSas: [],
  keptTxSas: [],
  pods: [],
  hooks: [],
  routes: [],
};
const NOTHING: ActualState = {
  settings: undefined,
  vxlan: undefined,
  peers: [],
  overlay: [],
  shared: [],
  rxSas: [],
  txSas: [],
  pods: [],
  hooks: [],
  routes: [],
};
const STANDING: ActualState = {
  ...NOTHING,
  settings: SETTINGS,
  vxlan: { ...VXLAN, ifindex: 9, external: true, up: true, drifted: false },
};

const key = (n: number): Uint8Array => new Uint8Array(32).fill(n);
const SALT = new Uint8Array(4);
const rx = (spi: number, peer: number, seed = spi): RxSa => ({
  key: key(seed),
  salt: SALT,
  spi: spi as Spi,
  vni: 42 as Vni,
  peer: peer as PeerNumber,
  source: `192.0.2.${peer}` as IpAddress,
});
const tx = (peer: number, seed: number): TxSa => ({
  key: key(seed),
  salt: SALT,
  spi: (256 + seed) as Spi,
  vni: 42 as Vni,
  peer: peer as PeerNumber,
  limit: 1000n,
});
const found = <S extends RxSa | TxSa>(sa: S): S & { fingerprint: string } => ({
  ...sa,
  fingerprint: saFingerprint(sa.key, sa.salt),
});
const overlay = (prefix: string, peer: number): OverlayEntry => ({
  vni: 42 as Vni,
  prefix: prefix as Prefix,
  peer: peer as PeerNumber,
  node: false,
});
const peer = (number: number) => ({
  number: number as PeerNumber,
  identity: `id${number}`,
  vtep: `192.0.2.${number}` as IpAddress,
  local: '192.0.2.100' as IpAddress,
  mac: `02:00:00:00:01:0${number}`,
});
const pod = (ifindex: number) => ({
  ifindex,
  vni: 42 as Vni,
  mac: '0a:00:00:00:00:01',
  hostMac: '0a:00:00:00:00:02',
  addresses: [`10.1.0.${ifindex}` as IpAddress],
});
const hook = (program: ProgramName, ifindex: number) => ({ program, ifindex });
const route = (prefix: string) => ({ prefix: prefix as Prefix, device: 'vxseal0' });
const barrier = (prefix: string) => ({ prefix: prefix as Prefix, device: undefined });

const shared = (prefix: string, services = 1n): SharedEntry => ({
  vni: 42 as Vni,
  prefix: prefix as Prefix,
  other: 43 as Vni,
  way: 'client',
  services,
});

const FULL: DesiredState = {
  ...EMPTY,
  peers: [peer(1)],
  overlay: [overlay('10.2.0.0/24', 1)],
  shared: [shared('10.43.0.1/32')],
  rxSas: [rx(300, 1)],
  txSas: [tx(1, 7)],
  pods: [pod(5)],
  hooks: [hook('steer', 5)],
  routes: [route('10.2.0.0/24'), barrier('10.2.0.0/24')],
};
const ALL_THERE: ActualState = {
  ...STANDING,
  peers: FULL.peers,
  overlay: FULL.overlay,
  shared: FULL.shared,
  rxSas: FULL.rxSas.map(found),
  txSas: FULL.txSas.map(found),
  pods: FULL.pods,
  hooks: FULL.hooks,
  routes: FULL.routes,
};

const verbs = (steps: readonly Step[]): string[] =>
  steps.map((step) =>
    'route' in step && step.route.device === undefined ? `${step.do} unreachable` : step.do,
  );
const PUTS = [
  'put-route unreachable',
  'ensure-vxlan',
  'put-settings',
  'put-peer',
  'put-rx',
  'put-overlay',
  'put-shared',
  'put-pod',
  'attach',
  'raise-vxlan',
  'put-tx',
  'put-route',
];
const REMOVALS = [
  'remove-route',
  'remove-tx',
  'detach',
  'remove-pod',
  'remove-overlay',
  'remove-peer',
  'remove-rx',
  'remove-route unreachable',
];

test('everything is put in order; nothing is done twice', () => {
  expect(verbs(plan(FULL, NOTHING, true))).toEqual(PUTS);
  expect(plan(FULL, ALL_THERE, true)).toEqual([]);
});

test('everything goes in reverse order, and only once the bus was read', () => {
  const standing = { ...ALL_THERE, shared: [] };
  expect(verbs(plan(EMPTY, standing, true))).toEqual(REMOVALS);
  expect(plan(EMPTY, standing, false)).toEqual([]);
});

test('a way between tenants ends first of all, and waits for no bus', () => {
  expect(verbs(plan(EMPTY, ALL_THERE, true))).toEqual(['remove-shared', ...REMOVALS]);
  expect(verbs(plan(EMPTY, ALL_THERE, false))).toEqual(['remove-shared']);
  const other = { ...ALL_THERE, shared: [shared('10.43.0.1/32', 3n)] };
  expect(verbs(plan(FULL, other, false))).toEqual(['put-shared']);
});

test.each([
  [0, { drifted: true }],
  [1, { external: false }],
  [3, { mac: '02:00:00:00:00:99' }],
  [4, { port: 4789 }],
  [5, { mtuBytes: 1500 }],
])('%i: a device that differs is set right, and its settings written again', (_, difference) => {
  const vxlan = { ...VXLAN, ifindex: 9, external: true, up: true, drifted: false, ...difference };
  expect(verbs(plan(EMPTY, { ...STANDING, vxlan }, false))).toEqual(['ensure-vxlan', 'put-settings']);
});

test('a device that is down is raised behind its hooks, and not otherwise touched', () => {
  const vxlan = { ...VXLAN, ifindex: 9, external: true, up: false, drifted: false };
  const hooks = [hook('admit', 9)];
  expect(verbs(plan({ ...EMPTY, hooks }, { ...STANDING, vxlan }, false))).toEqual(['attach', 'raise-vxlan']);
  expect(verbs(plan({ ...EMPTY, hooks }, { ...STANDING, vxlan, hooks }, false))).toEqual(['raise-vxlan']);
});

test('clear text is kept in first, and what open decrypts finds deliver in place; the reverse when they go', () => {
  const programs: ProgramName[] = [
    'deliver',
    'open',
    'seal',
    'fence',
    'guard',
    'encap',
    'admit',
    'steer',
    'gate',
  ];
  const hooks = shuffled(programs, seeded(5)).map((program, at) => hook(program, 2 + (at % 3)));
  const order = (steps: readonly Step[]) =>
    steps.flatMap((step) => ('hook' in step ? step.hook.program : []));
  const attached = order(plan({ ...EMPTY, hooks }, STANDING, true));
  expect(attached).toEqual(['seal', 'fence', 'encap', 'admit', 'guard', 'gate', 'steer', 'deliver', 'open']);
  const detached = order(plan(EMPTY, { ...STANDING, hooks }, true));
  expect(detached).toEqual([...attached].reverse());
});

test('a hook is held in the way that its device calls for', () => {
  // leaving | held by | -> attached anew
  const table = [
    [false, { mode: 'tcx' }, false],
    [false, { mode: 'clsact' }, false],
    [false, { mode: 'clsact', passing: true }, true],
    [true, { mode: 'tcx' }, true],
    [true, { mode: 'clsact', passing: true }, false],
    [true, { mode: 'clsact' }, false],
    [true, { mode: 'clsact', passing: true, behind: 9 }, true],
  ] as const;
  for (const [leaving, held, anew] of table) {
    const hooks = [{ ...hook('steer', 2), ...(leaving ? { leaving: true as const } : {}) }];
    const steps = plan({ ...EMPTY, hooks }, { ...STANDING, hooks: [{ ...hook('steer', 2), ...held }] }, true);
    expect([leaving, held, verbs(steps)]).toEqual([leaving, held, anew ? ['attach'] : []]);
  }
});

test("a hook behind somebody else's program is attached anew", () => {
  const wanted = { ...EMPTY, hooks: [hook('seal', 2)] };
  expect(verbs(plan(wanted, { ...STANDING, hooks: [hook('seal', 2)] }, true))).toEqual([]);
  expect(verbs(plan(wanted, { ...STANDING, hooks: [{ ...hook('seal', 2), behind: 9 }] }, true))).toEqual([
    'attach',
  ]);
});

test.each(Object.keys(SETTINGS))('settings that differ in %s are written', (field) => {
  const settings = { ...SETTINGS, [field]: 'other' };
  expect(verbs(plan(EMPTY, { ...STANDING, settings }, false))).toEqual(['put-settings']);
});

test.each([
  [1, false, 3, 0xffffffff, false], // an adopted peer's entry stands until we know better
  [2, true, 3, 0xffffffff, true],
  [3, false, 0, 0xffffffff, true],
  [4, false, 3, 4, true],
  [5, false, 0xffffffff, 3, true],
  [6, false, 3, 0, true],
])('%i: in sync %s, owner %i becomes %i: %s', (_, inSync, before, after, put) => {
  const desired = { ...EMPTY, overlay: [overlay('10.0.0.0/8', after)] };
  const actual = { ...STANDING, overlay: [overlay('10.0.0.0/8', before)] };
  expect(verbs(plan(desired, actual, inSync))).toEqual(put ? ['put-overlay'] : []);
});

test.each([
  // in sync, was in clear, is to be: written
  [1, false, false, true, false],
  [2, true, false, true, true],
  [3, false, true, false, true],
  [4, false, true, true, false],
])('%i: clear text, in sync %s, from %s to %s: %s', (_, inSync, before, after, put) => {
  const entry = (clear: boolean) => ({
    ...overlay('10.4.0.0/16', 0xffffffff),
    ...(clear ? { clear: true as const } : {}),
  });
  const actual = { ...STANDING, overlay: [entry(before)] };
  const steps = plan({ ...EMPTY, overlay: [entry(after)] }, actual, inSync);
  expect(verbs(steps)).toEqual(put ? ['put-overlay'] : []);
});

test('an SA with another key is replaced, kept ones stay', () => {
  const actual = {
    ...STANDING,
    txSas: [found(tx(1, 1)), found(tx(2, 2)), found(tx(3, 3))],
    rxSas: [found(rx(300, 1)), found(rx(301, 2)), found(rx(302, 3))],
  };
  const desired = {
    ...EMPTY,
    txSas: [tx(1, 9)],
    keptTxSas: [{ vni: 42 as Vni, peer: 2 as PeerNumber, fingerprint: found(tx(2, 2)).fingerprint }],
    rxSas: [rx(300, 1)],
    keptRxSas: [
      { spi: 301 as Spi, source: '192.0.2.2' as IpAddress, fingerprint: found(rx(301, 2)).fingerprint },
    ],
  };
  expect(plan(desired, actual, true)).toEqual([
    {
      do: 'put-tx',
      object: 'tx SA of VNI 42, peer 1',
      sa: tx(1, 9),
      fingerprint: found(tx(1, 9)).fingerprint,
    },
    { do: 'remove-tx', object: 'tx SA of VNI 42, peer 3', vni: 42, peer: 3 },
    { do: 'remove-rx', object: 'rx SA 0000012e of VNI 42, peer 3', spi: 302, source: '192.0.2.3' },
  ]);
});

test('no step shows a key', () => {
  const objects = plan(FULL, NOTHING, true).map((step) => step.object);
  expect(objects.join()).not.toContain(
    Buffer.from(key(300 & 0xff))
      .toString('hex')
      .slice(0, 8),
  );
});

const routeId = ({ prefix, device }: RouteEntry): string => `${prefix} ${device}`;

/** What a plan does to a kernel that obeys. */
function apply(actual: ActualState, steps: readonly Step[]): ActualState {
  const maps = {
    peers: new Map(actual.peers.map((each) => [each.number, each])),
    overlay: new Map(actual.overlay.map((each) => [each.prefix, each])),
    rxSas: new Map(actual.rxSas.map((each) => [each.spi, each])),
    txSas: new Map(actual.txSas.map((each) => [each.peer, each])),
    pods: new Map(actual.pods.map((each) => [each.ifindex, each])),
    hooks: new Map(actual.hooks.map((each) => [`${each.program}${each.ifindex}`, each])),
    routes: new Map(actual.routes.map((each) => [routeId(each), each])),
  };
  for (const step of steps) {
    if (step.do === 'put-rx') maps.rxSas.set(step.sa.spi, { ...step.sa, fingerprint: step.fingerprint });
    if (step.do === 'put-tx') maps.txSas.set(step.sa.peer, { ...step.sa, fingerprint: step.fingerprint });
    if (step.do === 'put-peer') maps.peers.set(step.peer.number, step.peer);
    if (step.do === 'put-overlay') maps.overlay.set(step.entry.prefix, step.entry);
    if (step.do === 'put-pod') maps.pods.set(step.pod.ifindex, step.pod);
    if (step.do === 'attach') maps.hooks.set(`${step.hook.program}${step.hook.ifindex}`, step.hook);
    if (step.do === 'put-route') maps.routes.set(routeId(step.route), step.route);
    if (step.do === 'remove-rx') maps.rxSas.delete(step.spi);
    if (step.do === 'remove-tx') maps.txSas.delete(step.peer);
    if (step.do === 'remove-peer') maps.peers.delete(step.peer.number);
    if (step.do === 'remove-overlay') maps.overlay.delete(step.entry.prefix);
    if (step.do === 'remove-pod') maps.pods.delete(step.pod.ifindex);
    if (step.do === 'detach') maps.hooks.delete(`${step.hook.program}${step.hook.ifindex}`);
    if (step.do === 'remove-route') maps.routes.delete(routeId(step.route));
  }
  return {
    ...STANDING,
    peers: [...maps.peers.values()],
    overlay: [...maps.overlay.values()],
    rxSas: [...maps.rxSas.values()],
    txSas: [...maps.txSas.values()],
    pods: [...maps.pods.values()],
    hooks: [...maps.hooks.values()],
    routes: [...maps.routes.values()],
  };
}

test('a kernel that obeys ends as wanted, from anywhere, and the second plan is empty', () => {
  const random = seeded(23);
  const some = <T>(make: (n: number) => T): T[] =>
    shuffled([1, 2, 3, 4, 5], random)
      .filter(() => random() < 0.5)
      .map(make);
  for (let round = 0; round < 300; round++) {
    const draw = () => ({
      peers: some(peer),
      overlay: some((n) => overlay(`10.${n}.0.0/16`, Math.floor(random() * 3))),
      rxSas: some((n) => rx(300 + n, n, n + Math.floor(random() * 2))),
      txSas: some((n) => tx(n, n + Math.floor(random() * 2))),
      pods: some(pod),
      hooks: some((n) => hook('steer', n)),
      routes: [...some((n) => route(`10.${n}.0.0/16`)), ...some((n) => barrier(`10.${n}.0.0/16`))],
    });
    const desired = { ...EMPTY, ...draw() };
    const start = draw();
    const actual = { ...STANDING, ...start, rxSas: start.rxSas.map(found), txSas: start.txSas.map(found) };
    const steps = plan(desired, actual, true);
    const end = apply(actual, steps);
    expect(plan(desired, end, true)).toEqual([]);
    for (const field of ['peers', 'overlay', 'rxSas', 'txSas', 'pods', 'hooks', 'routes'] as const) {
      expect(end[field]).toHaveLength(desired[field].length);
    }
    const order = verbs(steps).map((verb) => [...PUTS, ...REMOVALS].indexOf(verb));
    expect(order).toEqual([...order].sort((a, b) => a - b));
    // Before the bus was read the same puts, and nothing taken away.
    expect(plan(desired, actual, false)).toEqual(steps.filter((step) => PUTS.includes(step.do)));
  }
});
