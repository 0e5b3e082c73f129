// Services shared between tenants, packet by packet: who may begin what with whom, under which policy, and what of it a
// peer's key vouches for. Tenant 44 has a service that two named ranges of tenant 43 may use.
import type { IpAddress, Prefix, Vni } from '../../agent/core/ids';
import type { NetworkPolicy, PolicyRule } from '../../agent/core/policy';
import { compilePolicies } from '../../agent/core/policytables';
import { PolicyMaps } from '../../agent/kernel/policy';
import { icmp, opening, SYN, SYN_ACK, tcp } from './openings';
import { DROPPED, native, PASS, REDIRECTED, World } from './world';

const LO = 1;
const [HOSTS, CLIENTS, SERVERS, OTHERS] = [42, 43, 44, 45];
const [CLIENT_WAY, SERVER_WAY] = [2, 4] as const;

/** One family: a client and a service of this node, the same of peer 7, and what is not shared. */
interface Family {
  readonly name: string;
  readonly net: (tenant: number, node: number) => string;
  readonly at: (tenant: number, node: number, host: number) => string;
  readonly echo: number;
  readonly unreachable: number;
}
const bits = (family: Family): number => (family.name === 'IPv4' ? 32 : 128);
const families: Family[] = [
  {
    name: 'IPv4',
    net: (tenant, node) => `10.${tenant}.${node}.0/24`,
    at: (tenant, node, host) => `10.${tenant}.${node}.${host}`,
    echo: 8,
    unreachable: 3,
  },
  {
    name: 'IPv6',
    net: (tenant, node) => `fd${tenant}:0:0:${node}::/64`,
    at: (tenant, node, host) => `fd${tenant}:0:0:${node}::${host}`,
    echo: 128,
    unreachable: 1,
  },
];

let world: World;
let maps: PolicyMaps;

/** At the loopback device is the pod of that tenant, host number 2; nothing else of the world changes. */
const become = (tenant: number, family: Family): void => world.pod(LO, tenant, family.at(tenant, 1, 2));

beforeAll(() => {
  world = new World('bpf/steer', 'bpf/gate', 'test/bpf/opened', 'test/bpf/stamped');
  world.configure({ hostVni: HOSTS });
  maps = new PolicyMaps(native, (name) => world.map(name));
  for (const family of families) {
    const { net, at } = family;
    for (const tenant of [HOSTS, CLIENTS, SERVERS, OTHERS]) {
      world.own(tenant, net(tenant, 1), 0);
      world.own(tenant, net(tenant, 2), 7);
      world.own(tenant, net(tenant, 3), 8);
      world.own(tenant, net(tenant, 4), 0xffffffff);
    }
    const alone = (tenant: number, node: number, host: number) => `${at(tenant, node, host)}/${bits(family)}`;
    for (const node of [1, 2, 4]) world.share(CLIENTS, alone(SERVERS, node, 2), SERVERS, CLIENT_WAY);
    for (const node of [1, 2]) world.share(SERVERS, net(CLIENTS, node), CLIENTS, SERVER_WAY);
    // A second service, for others; to tenant 43 only its own clients would be named, and there are none.
    world.share(CLIENTS, alone(SERVERS, 2, 9), SERVERS, CLIENT_WAY, 2);
    world.share(OTHERS, alone(SERVERS, 2, 9), SERVERS, CLIENT_WAY, 2);
    world.share(SERVERS, net(OTHERS, 1), OTHERS, SERVER_WAY, 2);
    world.pod(LO + 100, SERVERS, at(SERVERS, 1, 2));
    world.pod(LO + 101, CLIENTS, at(CLIENTS, 1, 2));
  }
  world.peer(7, '192.0.2.2', '192.0.2.1');
  world.peer(8, '192.0.2.3', '192.0.2.1');
});
afterAll(() => world.close());
beforeEach(() => world.drops());

const everything = { labels: {}, expressions: [] };
const block = (cidr: string, ...except: string[]): PolicyRule => ({
  ports: [],
  peers: [{ ipBlock: { cidr: cidr as Prefix, except: except as Prefix[] } }],
});

function enforce(tenant: number, family: Family, policy?: Pick<NetworkPolicy, 'ingress' | 'egress'>): void {
  const pod = {
    vni: tenant as Vni,
    namespace: 'x',
    name: 'a',
    labels: {},
    addresses: [family.at(tenant, 1, 2) as IpAddress],
    ports: [],
  };
  maps.install(
    compilePolicies({
      policies: policy ? [{ namespace: 'x', name: 'p', podSelector: everything, ...policy }] : [],
      namespaces: [],
      pods: [pod],
      local: [{ ...pod, ifindex: LO }],
      hostVni: HOSTS as Vni,
      hostAddresses: [],
    }),
  );
}

function told(program: string, frame: Buffer, cb?: readonly number[]): string {
  const { retval } = world.tc(program, frame, cb === undefined ? {} : { cb });
  const drops = world.drops();
  expect(drops).toHaveLength(retval === DROPPED ? 1 : 0);
  return { [PASS]: 'pass', [REDIRECTED]: 'redirected' }[retval] ?? (drops[0] as string).replace(/^\w+:/, '');
}

let port = 20_000;

describe.each(families)('$name', (family) => {
  const { at, net } = family;
  const client = at(CLIENTS, 1, 2);
  const service = at(SERVERS, 2, 2);

  describe('a client', () => {
    beforeAll(() => {
      become(CLIENTS, family);
      world.pod(LO + 100, SERVERS, at(SERVERS, 1, 2));
    });
    beforeEach(() => enforce(CLIENTS, family));
    const send = (from: string, to: string): string => told('steer', tcp(from, to, ++port, 80));

    test.each<[string, string, () => string]>([
      ['1 to the service elsewhere', 'redirected', () => send(client, service)],
      ['2 to the one here', 'redirected', () => send(client, at(SERVERS, 1, 2))],
      ['3 to its tenant’s other pods', 'tenant', () => send(client, at(SERVERS, 2, 3))],
      ['4 to the service of others', 'tenant', () => send(client, at(SERVERS, 2, 9))],
      ['5 to one that nobody announced', 'no_peer', () => send(client, at(SERVERS, 4, 2))],
      ['6 from another client’s address', 'spoofed_source', () => send(at(CLIENTS, 1, 3), service)],
      ['7 from nobody’s address', 'tenant', () => send(at(60, 1, 1), service)],
      ['8 to a tenant that shares nothing', 'tenant', () => send(client, at(OTHERS, 2, 2))],
      ['9 to its own', 'redirected', () => send(client, at(CLIENTS, 2, 2))],
    ])('%s: %s', (_, expected, run) => {
      expect(run()).toBe(expected);
    });

    test('whose address is not named, of the same tenant', () => {
      const unnamed = at(CLIENTS, 3, 5);
      world.pod(LO, CLIENTS, unnamed);
      world.own(CLIENTS, `${unnamed}/${bits(family)}`, 0);
      expect(send(unnamed, service)).toBe('tenant');
      expect(send(unnamed, at(CLIENTS, 2, 2))).toBe('redirected');
    });

    test('is held to its own egress policy', () => {
      enforce(CLIENTS, family, { egress: [] });
      expect(send(client, service)).toBe('policy');
      enforce(CLIENTS, family, { egress: [block(net(SERVERS, 2))] });
      expect(send(client, service)).toBe('redirected');
      expect(send(client, at(SERVERS, 1, 2))).toBe('policy');
    });

    test('is answered, and nothing else comes', () => {
      const mine = ++port;
      expect(told('steer', tcp(client, service, mine, 80))).toBe('redirected');
      expect(told('gate_opened', tcp(service, client, 80, mine, SYN_ACK))).toBe('pass');
      expect(told('gate_opened', tcp(service, client, 80, mine, SYN))).toBe('policy');
      expect(told('gate_opened', tcp(service, client, 81, mine, SYN_ACK))).toBe('policy');
      expect(told('gate_opened', opening(service, client, 17, 53, ++port))).toBe('policy');
      expect(told('gate_opened', icmp(service, client, family.echo, ++port))).toBe('policy');
    });

    test('also where its ingress is open to everybody', () => {
      enforce(CLIENTS, family, { ingress: [block(net(SERVERS, 2)), { ports: [], peers: [] }] });
      expect(told('gate_opened', tcp(service, client, 80, ++port))).toBe('policy');
    });

    test('takes nothing opened from whoever is nobody to it', () => {
      expect(told('gate_opened', tcp(at(SERVERS, 2, 3), client, 80, ++port))).toBe('tenant');
      expect(told('gate_opened', tcp(at(OTHERS, 2, 2), client, 80, ++port))).toBe('tenant');
      expect(told('gate_opened', tcp(at(CLIENTS, 2, 2), client, 80, ++port))).toBe('pass');
    });

    test('takes nothing from the service that no key opened', () => {
      expect(told('steer', tcp(client, service, ++port, 80))).toBe('redirected');
      expect(told('gate', tcp(service, client, 80, port, SYN_ACK))).toBe('tenant');
    });
  });

  describe('a service', () => {
    const mine = at(SERVERS, 1, 2);
    const theirs = at(CLIENTS, 2, 5);
    const ask = (from = theirs): string => told('gate_opened', tcp(from, mine, ++port, 80));
    beforeAll(() => {
      become(SERVERS, family);
      world.pod(LO + 101, CLIENTS, at(CLIENTS, 1, 2));
    });

    test.each<[string, string, Pick<NetworkPolicy, 'ingress' | 'egress'> | undefined]>([
      ['1 no policy selects it', 'policy', undefined],
      ['2 only its egress', 'policy', { egress: [] }],
      ['3 everybody may', 'policy', { ingress: [{ ports: [], peers: [] }] }],
      [
        '4 everybody at that port',
        'policy',
        { ingress: [{ ports: [{ protocol: 'TCP', port: 80 }], peers: [] }] },
      ],
      ['5 all pods may', 'policy', { ingress: [{ ports: [], peers: [{ namespaceSelector: everything }] }] }],
      ['6 the client’s address may', 'pass', { ingress: [block(net(CLIENTS, 2))] }],
      ['7 it is excepted', 'policy', { ingress: [block(net(CLIENTS, 2), `${theirs}/${bits(family)}`)] }],
      ['8 another may', 'policy', { ingress: [block(net(CLIENTS, 3))] }],
      [
        '9 at that port',
        'pass',
        { ingress: [{ ...block(net(CLIENTS, 2)), ports: [{ protocol: 'TCP', port: 80 }] }] },
      ],
      [
        '10 at another',
        'policy',
        { ingress: [{ ...block(net(CLIENTS, 2)), ports: [{ protocol: 'TCP', port: 81 }] }] },
      ],
    ])('%s: %s', (_, expected, policy) => {
      enforce(SERVERS, family, policy);
      expect(ask()).toBe(expected);
      expect(ask(at(CLIENTS, 3, 5))).toBe('tenant'); // of the tenant, but not named as a client
      expect(ask(at(OTHERS, 1, 5))).toBe('tenant'); // a client of another service
    });

    const open = { ingress: [block(net(CLIENTS, 2))] };

    test('answers, and begins nothing', () => {
      enforce(SERVERS, family, open);
      expect(ask()).toBe('pass');
      const asked = port;
      expect(told('steer', tcp(mine, theirs, 80, asked, SYN_ACK))).toBe('redirected');
      expect(told('steer', tcp(mine, theirs, 80, asked, SYN))).toBe('policy');
      expect(told('steer', tcp(mine, theirs, 81, asked, SYN_ACK))).toBe('policy');
      expect(told('steer', opening(mine, theirs, 17, 53, ++port))).toBe('policy');
      expect(told('steer', icmp(mine, theirs, family.echo, ++port))).toBe('policy');
      expect(told('steer', tcp(mine, at(CLIENTS, 3, 5), 80, asked, SYN_ACK))).toBe('tenant');
    });

    test('is not asked by ping where ports are named, and answers where none are', () => {
      const [reply] = family.name === 'IPv4' ? [0] : [129];
      const id = ++port;
      enforce(SERVERS, family, open);
      expect(told('steer', icmp(mine, theirs, reply as number, id))).toBe('policy');
      expect(told('gate_opened', icmp(theirs, mine, family.echo, id))).toBe('pass');
      expect(told('steer', icmp(mine, theirs, reply as number, id))).toBe('redirected');
    });

    test('a change of policy ends what it had begun', () => {
      enforce(SERVERS, family, open);
      expect(ask()).toBe('pass');
      enforce(SERVERS, family, { ingress: [{ ports: [], peers: [] }] });
      expect(told('steer', tcp(mine, theirs, 80, port, SYN_ACK))).toBe('policy');
      expect(told('gate_opened', tcp(theirs, mine, port, 80, 0x10))).toBe('policy');
    });

    test('believes an error about a client’s connection of the client only', () => {
      enforce(SERVERS, family, open);
      expect(ask()).toBe('pass');
      const about = (to: string, source: number) =>
        icmp(theirs, mine, family.unreachable, 0, tcp(mine, to, 80, source).subarray(14));
      expect(told('gate_opened', about(theirs, port))).toBe('pass');
      // The tenant's own connection is none of the client's business; allowed as ICMP by the rule, not as an answer.
      const strict = {
        ingress: [{ ...block(net(CLIENTS, 2)), ports: [{ protocol: 'TCP', port: 80 } as const] }],
      };
      enforce(SERVERS, family, strict);
      const own = at(SERVERS, 2, 7);
      expect(told('steer', tcp(mine, own, 80, ++port))).toBe('redirected');
      expect(told('gate_opened', about(own, port))).toBe('policy');
    });
  });

  test('without any policy at all both sides refuse it', () => {
    const bare = new World('bpf/steer', 'bpf/gate', 'test/bpf/opened');
    bare.configure({ hostVni: HOSTS });
    bare.own(CLIENTS, net(CLIENTS, 1), 0);
    bare.own(SERVERS, net(SERVERS, 2), 7);
    bare.share(CLIENTS, net(SERVERS, 2), SERVERS, CLIENT_WAY);
    bare.share(SERVERS, net(CLIENTS, 1), CLIENTS, SERVER_WAY);
    bare.pod(LO, CLIENTS, client);
    expect([bare.tc('steer', tcp(client, service, 1, 80)).retval, bare.drops()]).toEqual([
      DROPPED,
      ['egress:policy'],
    ]);
    expect([bare.tc('gate_opened', tcp(service, client, 80, 1, SYN_ACK)).retval, bare.drops()]).toEqual([
      DROPPED,
      ['ingress:policy'],
    ]);
    bare.close();
  });

  describe('what a key opened', () => {
    beforeAll(() => {
      become(CLIENTS, family);
      world.pod(LO + 100, SERVERS, at(SERVERS, 1, 2));
    });
    const opened = (vni: number, peer: number, from: string, to: string): string =>
      told('deliver_opened', tcp(from, to, 1, 2), [vni, peer]);
    const here = at(SERVERS, 1, 2);

    test.each<[string, string, () => string]>([
      ['1 the peer’s client to the service', 'redirected', () => opened(SERVERS, 7, at(CLIENTS, 2, 5), here)],
      ['2 of another peer', 'inner_source@8', () => opened(SERVERS, 8, at(CLIENTS, 2, 5), here)],
      ['3 a client of this node, from a peer', 'inner_source@7', () => opened(SERVERS, 7, client, here)],
      ['4 under the client’s key', 'inner_destination@7', () => opened(CLIENTS, 7, at(CLIENTS, 2, 5), here)],
      ['5 under the hosts’ key', 'inner_source@7', () => opened(HOSTS, 7, at(CLIENTS, 2, 5), here)],
      ['6 under a third’s key', 'inner_source@7', () => opened(OTHERS, 7, at(CLIENTS, 2, 5), here)],
      ['7 to another pod', 'inner_source@7', () => opened(SERVERS, 7, at(CLIENTS, 2, 5), at(SERVERS, 1, 3))],
      ['8 not a named client', 'inner_source@8', () => opened(SERVERS, 8, at(CLIENTS, 3, 5), here)],
      ['9 a client of another service', 'inner_source@7', () => opened(SERVERS, 7, at(OTHERS, 1, 5), here)],
      ['10 the service’s answer', 'redirected', () => opened(SERVERS, 7, service, client)],
      ['11 another pod’s', 'inner_destination@7', () => opened(SERVERS, 7, at(SERVERS, 2, 3), client)],
      [
        '12 for a client elsewhere',
        'inner_destination@7',
        () => opened(SERVERS, 7, service, at(CLIENTS, 2, 5)),
      ],
      ['13 of a peer that has no such service', 'inner_source@8', () => opened(SERVERS, 8, service, client)],
      ['14 under the client’s key', 'inner_source@7', () => opened(CLIENTS, 7, service, client)],
      ['15 between two strangers', 'inner_source@7', () => opened(OTHERS, 7, service, client)],
    ])('%s: %s', (_, expected, run) => {
      expect(run()).toBe(expected);
    });
  });
});
