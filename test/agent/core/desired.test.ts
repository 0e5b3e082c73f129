import { type DesiredInput, desired, overlayMtus } from '../../../agent/core/desired';
import {
  type IpAddress,
  type NodeName,
  PEER_NONE,
  type PeerNumber,
  type Prefix,
  type Vni,
} from '../../../agent/core/ids';
import { nodeIdentity, nodeMac } from '../../../agent/core/names';
import type { OverlayConfig } from '../../../agent/core/peers';
import { numberPeers, selectPeers, tunnelAddresses } from '../../../agent/core/peers';
import { announces, type RemotePod } from '../../../agent/core/podroster';
import type { NodeState, RosterNode } from '../../../agent/core/roster';
import type { Rotation } from '../../../agent/core/rotation';
import type { PodEntry } from '../../../agent/core/state';
import { seeded, shuffled } from './random';

const HOST = 42 as Vni;
const TENANT = 7 as Vni;
const groups = (of: Readonly<Record<number, readonly string[]>>) =>
  Object.entries(of).map(([vni, prefixes]) => ({ vni: Number(vni) as Vni, prefixes: prefixes as Prefix[] }));

const CONFIG: OverlayConfig = {
  node: 'me' as NodeName,
  hostVni: HOST,
  device: 'vxseal0',
  vxlanPort: 4790,
  espPort: 4500,
  sharedPort: false,
  mtuBytes: 0,
  vteps: ['192.0.2.1' as IpAddress],
  prefixes: groups({ 7: ['10.1.0.0/24'], 42: ['10.1.0.0/24'] }),
  protectedPrefixes: groups({ 42: ['10.0.0.0/8'] }),
  pools: [],
};

function rosterNode(
  name: string,
  vteps: readonly string[],
  prefixes: Readonly<Record<number, readonly string[]>>,
  state: NodeState = 'live',
): RosterNode {
  const node = name as NodeName;
  return {
    node,
    state,
    why: '',
    certificateNotAfterMs: 0,
    duplicateIdentity: false,
    record:
      state === 'withdrawn'
        ? undefined
        : {
            kind: 'node',
            node,
            bootId: 'aa',
            generation: 1,
            sequence: 1,
            notBeforeMs: 0,
            notAfterMs: 1,
            vteps: vteps as IpAddress[],
            port: 4500,
            prefixes: groups(prefixes),
            suites: [],
            epoch: { number: 1, publicKey: new Uint8Array(32) },
            agentVersion: '0',
          },
  };
}

const ROTATION: Rotation = {
  rxSas: [],
  txSas: [],
  keptRxSas: [],
  keptTxSas: [],
  peers: [],
  laggards: [],
  readyToPublish: true,
  announce: undefined,
  retirable: [],
  wish: 'none',
};
const LINKS = [
  { ifindex: 1, name: 'lo', mtuBytes: 65536, loopback: true },
  { ifindex: 2, name: 'eth0', mtuBytes: 1500, loopback: false },
  { ifindex: 3, name: 'eth1', mtuBytes: 1500, loopback: false },
  { ifindex: 4, name: 'vxseal0', mtuBytes: 1408, loopback: false },
  { ifindex: 5, name: 'veth1', mtuBytes: 1408, loopback: false },
  { ifindex: 6, name: 'docker0', mtuBytes: 1500, loopback: false },
];
const POD = {
  ifindex: 5,
  vni: TENANT,
  mac: '0a:00:00:00:00:01',
  hostMac: '0a:00:00:00:00:02',
  addresses: ['10.1.0.5' as IpAddress],
};

const ROSTER = [
  rosterNode('b', ['192.0.2.2'], {
    7: ['10.1.0.0/24'],
    42: ['10.2.0.0/24', '10.22.0.0/24'],
    99: ['10.9.0.0/24'],
  }),
  rosterNode('c', ['2001:db8::3'], { 42: ['10.3.0.0/24'] }), // no family in common
  rosterNode('d', ['192.0.2.4'], { 42: ['10.4.0.0/24'] }, 'expired'),
  rosterNode('e', ['192.0.2.5'], { 42: ['10.5.0.0/24'] }, 'quarantined'),
  rosterNode('f', ['192.0.2.6'], {}, 'withdrawn'),
  rosterNode('g', ['192.0.2.7'], {}),
];

function input(change: Partial<DesiredInput> = {}): DesiredInput {
  const roster = change.roster ?? ROSTER;
  const numbers = numberPeers(
    [],
    roster.map((each) => each.node),
  );
  return {
    config: CONFIG,
    links: LINKS,
    underlay: ['eth0', 'eth1'],
    roster,
    peers: selectPeers(change.config ?? CONFIG, roster, numbers),
    rotation: ROTATION,
    pods: [POD],
    ...change,
  };
}

describe('numbering', () => {
  const identities = (of: Readonly<Record<string, number>>) =>
    Object.entries(of).map(([name, number]) => ({
      identity: nodeIdentity(name as NodeName),
      number: number as PeerNumber,
    }));
  const numbered = (existing: Readonly<Record<string, number>>, nodes: readonly string[]) =>
    Object.fromEntries(numberPeers(identities(existing), nodes as NodeName[]));

  test.each([
    [1, {}, ['b', 'a'], { a: 1, b: 2 }],
    [2, { b: 1 }, ['a', 'b'], { a: 2, b: 1 }],
    [3, { b: 7 }, ['a', 'b', 'c'], { a: 1, b: 7, c: 2 }],
    [4, { gone: 1, c: 3 }, ['a', 'b', 'c'], { a: 2, b: 4, c: 3 }], // its entries are still there
    [5, { a: 5 }, ['a', 'a'], { a: 5 }],
  ])('%i', (_, existing, nodes, expected) => {
    expect(numbered(existing, nodes)).toEqual(expected);
  });

  test('a number is nobody else’s, and stays through restarts', () => {
    const random = seeded(41);
    const all = Array.from({ length: 30 }, (_, i) => `n${i}`);
    let map: Record<string, number> = {};
    for (let round = 0; round < 200; round++) {
      const present = shuffled(all, random).filter(() => random() < 0.6);
      const next = numbered(map, present);
      for (const [node, number] of Object.entries(next)) expect(map[node] ?? number).toBe(number);
      expect(new Set([...Object.values({ ...map, ...next })]).size).toBe(
        Object.keys({ ...map, ...next }).length,
      );
      map = random() < 0.5 ? next : { ...map, ...next };
    }
  });
});

test.each([
  [1, ['192.0.2.1'], ['192.0.2.2'], '192.0.2.1', '192.0.2.2'],
  [2, ['2001:db8::1', '192.0.2.1'], ['2001:db8::2', '192.0.2.2'], '192.0.2.1', '192.0.2.2'],
  [3, ['2001:db8::1', '192.0.2.1'], ['2001:db8::2'], '2001:db8::1', '2001:db8::2'],
  [4, ['2001:db8::1'], ['192.0.2.2'], undefined, undefined],
])('tunnel addresses %i', (_, own, theirs, local, vtep) => {
  const chosen = tunnelAddresses(own as IpAddress[], theirs as IpAddress[]);
  const mirrored = tunnelAddresses(theirs as IpAddress[], own as IpAddress[]);
  expect([chosen?.local, chosen?.vtep]).toEqual([local, vtep]);
  expect([mirrored?.vtep, mirrored?.local]).toEqual([local, vtep]);
});

test('peers: the live ones we can reach, with the VNIs of both', () => {
  expect(input().peers.map(({ node, vnis, entry }) => ({ node, vnis, ...entry }))).toEqual([
    {
      node: 'b',
      vnis: [7, 42],
      number: 1,
      identity: nodeIdentity('b' as NodeName),
      vtep: '192.0.2.2',
      local: '192.0.2.1',
      mac: nodeMac('b' as NodeName),
    },
    {
      node: 'g',
      vnis: [42],
      number: 6,
      identity: nodeIdentity('g' as NodeName),
      vtep: '192.0.2.7',
      local: '192.0.2.1',
      mac: nodeMac('g' as NodeName),
    },
  ]);
});

test('overlay: ours, peers, and what nobody may get in clear', () => {
  const shown = desired(input()).overlay.map(({ vni, prefix, peer, node }) => {
    const owner = peer === 0 ? 'local' : peer === 0xffffffff ? 'none' : `peer ${peer}`;
    return `${vni} ${prefix} ${owner}${node ? ' node' : ''}`;
  });
  expect(shown).toEqual([
    '7 10.1.0.0/24 local', // b's of the same VNI gives way: roster would have put it in quarantine
    '42 10.0.0.0/8 none',
    '42 10.1.0.0/24 local',
    '42 10.2.0.0/24 peer 1',
    '42 10.22.0.0/24 peer 1',
    '42 10.3.0.0/24 none',
    '42 10.4.0.0/24 none',
    '42 10.5.0.0/24 none',
    '42 192.0.2.1/32 local node',
    '42 192.0.2.2/32 peer 1 node',
    '42 192.0.2.4/32 none node',
    '42 192.0.2.5/32 none node',
    '42 192.0.2.7/32 peer 6 node',
    '42 2001:db8::3/128 none node',
  ]);
});

const refusedIn = (state: ReturnType<typeof desired>) =>
  state.routes.filter((route) => route.device === undefined).map((route) => route.prefix);

test('routes: peers’ prefixes of the host VNI, no node addresses; behind them the whole overlay is unreachable', () => {
  const state = desired(input());
  expect(state.routes.filter((route) => route.device !== undefined)).toEqual([
    { prefix: '10.2.0.0/24', device: 'vxseal0', source: '192.0.2.1' },
    { prefix: '10.22.0.0/24', device: 'vxseal0', source: '192.0.2.1' },
  ]);
  expect(refusedIn(state)).toEqual([
    '10.0.0.0/8',
    '10.1.0.0/24', // our own: a pod that is gone
    '10.2.0.0/24',
    '10.22.0.0/24',
    '10.3.0.0/24', // not reachable for us, expired and in quarantine
    '10.4.0.0/24',
    '10.5.0.0/24',
  ]);
});

test('a range that holds an outer address is not unreachable: it may be the way to the peers themselves', () => {
  const ranges = (...prefixes: string[]) =>
    refusedIn(desired(input({ config: { ...CONFIG, protectedPrefixes: groups({ 42: prefixes }) } })));
  expect(ranges('192.0.0.0/16', '10.0.0.0/8')).toEqual(ranges('10.0.0.0/8')); // ours and theirs
  expect(ranges('2001:db8::/64', '10.0.0.0/8')).toEqual(ranges('10.0.0.0/8')); // only theirs
  expect(ranges('192.0.3.0/24', '10.0.0.0/8')).toContain('192.0.3.0/24');
});

test('hooks: every device but loopback has some', () => {
  const shown = desired(input()).hooks.map(({ program, ifindex }) => `${ifindex} ${program}`);
  expect(shown).toEqual([
    '2 seal',
    '2 open',
    '2 deliver',
    '3 seal',
    '3 open',
    '3 deliver',
    '4 encap',
    '4 admit',
    '5 steer',
    '5 gate',
    '6 guard',
    '6 fence',
  ]);
  const without = desired(input({ links: LINKS.filter((link) => link.name !== 'vxseal0') })).hooks;
  expect(without.some((hook) => hook.program === 'encap')).toBe(false);
});

test('a device that is closing keeps the hooks of a pod, on their way out', () => {
  const at6 = (change: Partial<DesiredInput>) =>
    desired(input(change)).hooks.filter(({ ifindex }) => ifindex === 6);
  expect(at6({ closing: [6] })).toEqual([
    { program: 'steer', ifindex: 6, leaving: true },
    { program: 'gate', ifindex: 6, leaving: true },
  ]);
  expect(at6({ closing: [6], pods: [{ ...POD, ifindex: 6 }] })).toEqual([
    { program: 'steer', ifindex: 6 },
    { program: 'gate', ifindex: 6 },
  ]);
});

test('a pod that is off is not hooked, and has the addresses that are nobody else’s', () => {
  const off = (ifindex: number, ...addresses: string[]): PodEntry => ({
    ...POD,
    ifindex,
    addresses: addresses as IpAddress[],
    off: true,
  });
  const [taken = ''] = POD.addresses;
  const { pods, hooks } = desired(
    input({ off: [off(6, '172.30.0.9', taken), off(7, '172.30.0.9', '172.30.0.10')] }),
  );
  expect(pods).toEqual([POD, off(6, '172.30.0.9'), off(7, '172.30.0.10')]);
  expect(hooks.filter(({ ifindex }) => ifindex === 6).map(({ program }) => program)).toEqual([
    'guard',
    'fence',
  ]);
});

test.each([
  [1, [1500], ['192.0.2.1'], 0, 1500, 1408],
  [2, [9000, 1500], ['192.0.2.1'], 0, 1500, 1408],
  [3, [1500], ['192.0.2.1', '2001:db8::1'], 0, 1500, 1388],
  [4, [1500], ['192.0.2.1'], 1300, 1500, 1300],
  [5, [1500], ['192.0.2.1'], 1450, 1500, 1408],
  [6, [65535], ['192.0.2.1'], 0, 9200, 9108],
])('%i: MTUs %j over %j, %i asked: %i outside, %i inside', (_, mtus, vteps, mtuBytes, outside, inside) => {
  const links = mtus.map((mtu, i) => ({ ifindex: i, name: `e${i}`, mtuBytes: mtu, loopback: false }));
  expect(overlayMtus({ ...CONFIG, vteps: vteps as IpAddress[], mtuBytes }, links, [])).toEqual({
    underlayMtuBytes: outside,
    vxlanMtuBytes: inside,
  });
});

test('a peer with an IPv6 VTEP costs us 20 bytes, also where it is reached over IPv4', () => {
  const link = [{ ifindex: 2, name: 'eth0', mtuBytes: 1500, loopback: false }];
  const inside = (...vteps: string[]) =>
    overlayMtus(CONFIG, link, [{ vteps: ['192.0.2.3' as IpAddress] }, { vteps: vteps as IpAddress[] }])
      .vxlanMtuBytes;
  expect([inside('192.0.2.2'), inside('192.0.2.2', '2001:db8::2')]).toEqual([1408, 1388]);
});

test('settings and device agree', () => {
  const { settings, vxlan } = desired(input());
  expect(settings).toEqual({
    hostVni: 42,
    vxlanPort: 4790,
    espPort: 4500,
    underlayMtuBytes: 1500,
    vxlanMtuBytes: 1408,
    mac: nodeMac('me' as NodeName),
    sharedPort: false,
  });
  expect(vxlan).toEqual({ name: 'vxseal0', mac: settings.mac, port: 4790, mtuBytes: 1408 });
  const opened = desired(input({ config: { ...CONFIG, kernelOpens: true } }));
  expect(opened.vxlan).toEqual({ ...vxlan, receives: true });
});

test('the loopback has a guard where marks tell what is opened, and no hook elsewhere', () => {
  const hooks = (config: Partial<typeof CONFIG> & { kernelOpens?: true }) =>
    desired(input({ config: { ...CONFIG, ...config } })).hooks.filter(({ ifindex }) => ifindex === 1);
  expect(hooks({})).toEqual([]);
  expect(hooks({ kernelOpens: true })).toEqual([{ program: 'guard', ifindex: 1 }]);
});

test('the order of what comes in does not matter', () => {
  const random = seeded(43);
  const expected = desired(input({ pods: [POD, { ...POD, ifindex: 6 }] }));
  for (let round = 0; round < 20; round++) {
    const mixed = desired(
      input({
        roster: shuffled(ROSTER, random),
        links: shuffled(LINKS, random),
        pods: shuffled([POD, { ...POD, ifindex: 6 }], random),
      }),
    );
    expect(mixed).toEqual(expected);
  }
});

test('without any underlay device there is no desired state', () => {
  expect(() => desired(input({ underlay: ['eth9'] }))).toThrow('no underlay device of eth9 is there');
});

test('an address of a pod leads to its node, or to nobody where another node announces it as a whole', () => {
  const random = seeded(5);
  const any = (count: number): number => Math.floor(random() * count);
  const kinds = new Set<string>();
  for (let round = 0; round < 200; round++) {
    const roster = ['b', 'c', 'd'].map((name, index) =>
      rosterNode(name, [`192.0.2.${index + 2}`], {
        [random() < 0.8 ? HOST : TENANT]: [
          ['10.4.0.0/14', `10.${2 + any(4)}.0.0/16`, `10.${2 + any(4)}.0.0/24`][any(3)] ?? '',
        ],
      }),
    );
    const address = `10.${2 + any(4)}.0.9` as IpAddress;
    const owner = roster[any(3)] as RosterNode;
    const pod = {
      ...owner.record,
      kind: 'pod',
      vni: HOST,
      address,
      node: owner.node,
      uid: '',
      namespace: '',
      name: 'p',
      labels: {},
      ports: [],
      mtuBytes: 0,
    };
    const remotePods = [{ record: pod as unknown as RemotePod['record'], state: 'live' as const, why: '' }];
    const numbers = new Map(roster.map(({ node }, index) => [node, (index + 2) as PeerNumber]));
    const peers = selectPeers(CONFIG, roster, numbers);
    const { overlay } = desired(input({ roster, peers, remotePods }));
    const announcers = roster.filter(({ record }) =>
      announces(record?.prefixes ?? [], { vni: HOST, address }),
    );
    const expected = announcers.includes(owner)
      ? undefined
      : announcers.length > 0
        ? PEER_NONE
        : numbers.get(owner.node);
    kinds.add(announcers.includes(owner) ? 'in' : announcers.length > 0 ? 'other' : 'alone');
    expect(overlay.find(({ prefix }) => prefix === `${address}/32`)?.peer).toBe(expected);
  }
  expect([...kinds].sort()).toEqual(['alone', 'in', 'other']);
});
