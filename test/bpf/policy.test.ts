// Policy in the data plane, packet by packet: the programs at a pod's device over tables that the compiler made and the
// kernel room installed, against the naive twin; and the state that answers, errors and fragments need.
import type { IpAddress, Prefix } from '../../agent/core/ids';
import type { NetworkPolicy, PolicyPod, PolicyWorld } from '../../agent/core/policy';
import { compilePolicies, PROTOCOLS } from '../../agent/core/policytables';
import { PolicyMaps } from '../../agent/kernel/policy';
import { allowedByPolicies } from '../agent/core/policytwin';
import {
  HOST_VNI,
  PROTOCOL_NAMES,
  randomWorld,
  upstreamNamespaces,
  upstreamPods,
} from '../agent/core/policyworlds';
import { seeded } from '../agent/core/random';
import { ethernet, packet, udp } from './frames';
import { ACK, FIN_ACK, icmp, opening, SYN, SYN_ACK, tcp } from './openings';
import { native, PASS, World } from './world';

const LO = 1;
const HOST = '192.0.2.1';
const STRANGER = '10.9.9.9';
const everything = { labels: {}, expressions: [] };

let world: World;
let maps: PolicyMaps;
beforeAll(() => {
  world = new World('bpf/steer', 'bpf/gate');
  world.configure({ hostVni: HOST_VNI });
  maps = new PolicyMaps(native, (name) => world.map(name));
});
afterAll(() => world.close());

const pods = upstreamPods();
const pod = (name: string): PolicyPod => {
  const found = pods.find((each) => `${each.namespace}/${each.name}` === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
};
const addressOf = (name: string): string => pod(name).addresses[0] ?? '';

/** `me` is the pod at the device; its policies come into force. */
function become(me: PolicyPod, given: Pick<PolicyWorld, 'policies'> & Partial<PolicyWorld>): number {
  world.pod(LO, HOST_VNI, ...me.addresses);
  return maps.install(
    compilePolicies({
      namespaces: upstreamNamespaces(),
      pods,
      ...given,
      local: [{ ...me, ifindex: LO }],
      hostVni: HOST_VNI,
      hostAddresses: [HOST as IpAddress],
    }),
  );
}

/** '' when it passes, else the reason. */
function verdict(program: 'steer' | 'gate', frame: Buffer): string {
  const { retval } = world.tc(program, frame);
  const drops = world.drops();
  expect(drops.length).toBe(retval === PASS ? 0 : 1);
  return (drops[0] ?? '').replace(/^.*:/, '');
}

test('2,000 first packets under random policies: the kernel does what the naive twin says', () => {
  const random = seeded(23);
  let source = 20_000;
  let refused = 0;
  for (let round = 0; round < 200; round++) {
    const given = randomWorld(random);
    const me = pods[Math.floor(random() * pods.length)] as PolicyPod;
    become(me, given);
    for (let query = 0; query < 10; query++) {
      const other = pods[Math.floor(random() * pods.length)] as PolicyPod;
      const remote =
        random() < 0.2
          ? { address: STRANGER as IpAddress, pod: undefined }
          : { address: other.addresses[0] as IpAddress, pod: other };
      if (remote.pod === me) continue;
      const protocol = random() < 0.1 ? undefined : PROTOCOL_NAMES[Math.floor(random() * 3)];
      const number = protocol === undefined ? 1 : PROTOCOLS[protocol];
      const port = 78 + Math.floor(random() * 9);
      const direction = random() < 0.5 ? 'ingress' : 'egress';
      const [mine, theirs] = [me.addresses[0] ?? '', remote.address];
      source++;
      const frame =
        direction === 'egress'
          ? opening(mine, theirs, number, source, port)
          : opening(theirs, mine, number, source, port);
      const expected = allowedByPolicies(
        given,
        me,
        direction,
        remote,
        protocol,
        protocol === undefined ? 0 : port,
      );
      const got = verdict(direction === 'egress' ? 'steer' : 'gate', frame);
      expect([round, query, direction, got]).toEqual([round, query, direction, expected ? '' : 'policy']);
      if (!expected) refused++;
    }
  }
  expect(refused).toBeGreaterThan(300);
});

describe('connections', () => {
  const me = 'x/a';
  const [mine, b, c] = [addressOf(me), addressOf('x/b'), addressOf('x/c')];
  const policy = (given: Partial<NetworkPolicy>): NetworkPolicy => ({
    namespace: 'x',
    name: 'p',
    podSelector: everything,
    ...given,
  });
  const shut = policy({ ingress: [] });
  const only = (name: string, ports: NetworkPolicy['ingress'] = undefined): NetworkPolicy =>
    policy({
      ingress: ports ?? [{ ports: [], peers: [{ podSelector: { labels: { pod: name }, expressions: [] } }] }],
    });
  let port = 30_000;
  beforeEach(() => {
    port++;
  });

  test('an isolated pod gets the answers to what it began, and nothing else', () => {
    become(pod(me), { policies: [shut] });
    expect(verdict('gate', tcp(b, mine, 80, port, SYN_ACK))).toBe('policy'); // nobody asked
    expect(verdict('steer', tcp(mine, b, port, 80))).toBe('');
    expect(verdict('gate', tcp(b, mine, 80, port, SYN_ACK))).toBe('');
    expect(verdict('gate', tcp(b, mine, 80, port, ACK))).toBe('');
    expect(verdict('gate', tcp(b, mine, 80, port, SYN))).toBe('policy'); // the other way round is no answer
    expect(verdict('gate', tcp(b, mine, 81, port, ACK))).toBe('policy');
    expect(verdict('gate', tcp(c, mine, 80, port, ACK))).toBe('policy');
    expect(verdict('gate', opening(b, mine, 17, 80, port))).toBe('policy'); // another protocol
  });

  test.each([
    ['UDP', 17],
    ['SCTP', 132],
  ])('%s too', (_name, protocol) => {
    become(pod(me), { policies: [shut] });
    expect(verdict('steer', opening(mine, b, protocol, port, 80))).toBe('');
    expect(verdict('gate', opening(b, mine, protocol, 80, port))).toBe('');
    expect(verdict('gate', opening(b, mine, protocol, 80, port + 1))).toBe('policy');
  });

  test('echo replies, and the errors that speak of a connection', () => {
    become(pod(me), { policies: [shut] });
    expect(verdict('gate', icmp(b, mine, 0, port))).toBe('policy');
    expect(verdict('steer', icmp(mine, b, 8, port))).toBe('');
    expect(verdict('gate', icmp(b, mine, 0, port))).toBe('');
    expect(verdict('gate', icmp(b, mine, 8, port))).toBe('policy');
    const sent = tcp(mine, b, port, 80);
    expect(verdict('gate', icmp(c, mine, 3, 0, sent.subarray(14)))).toBe('policy'); // of nothing that was sent
    expect(verdict('steer', sent)).toBe('');
    expect(verdict('gate', icmp(c, mine, 3, 0, sent.subarray(14)))).toBe(''); // a router on the way
    const other = tcp(mine, b, port, 81);
    expect(verdict('gate', icmp(c, mine, 3, 0, other.subarray(14)))).toBe('policy');
  });

  test('an answering pod may answer whatever its own rules for egress say', () => {
    become(pod(me), { policies: [{ ...only('b'), egress: [] }] });
    expect(verdict('steer', tcp(mine, b, 80, port, SYN_ACK))).toBe('policy');
    expect(verdict('gate', tcp(b, mine, port, 80))).toBe('');
    expect(verdict('steer', tcp(mine, b, 80, port, SYN_ACK))).toBe('');
    expect(verdict('steer', tcp(mine, b, 80, port))).toBe('policy');
  });

  test('a change of policy ends what it forbids, at the next packet, and leaves the rest', () => {
    become(pod(me), { policies: [only('b')] });
    expect(verdict('gate', tcp(b, mine, port, 80))).toBe('');
    expect(verdict('steer', tcp(mine, b, 80, port, SYN_ACK))).toBe('');
    become(pod(me), { policies: [only('b'), { ...only('c'), name: 'q', egress: [] }] });
    expect(verdict('steer', tcp(mine, b, 80, port, ACK))).toBe(''); // the answer goes on
    expect(verdict('gate', tcp(b, mine, port, 80, ACK))).toBe('');
    become(pod(me), { policies: [{ ...only('c'), egress: [] }] });
    expect(verdict('steer', tcp(mine, b, 80, port, ACK))).toBe('policy');
    expect(verdict('gate', tcp(b, mine, port, 80, ACK))).toBe('policy');
    become(pod(me), { policies: [only('b')] });
    expect(verdict('gate', tcp(b, mine, port, 80, ACK))).toBe('');
  });

  test('policies that come later do not end what was begun before, when they allow it', () => {
    become(pod(me), { policies: [] });
    expect(verdict('steer', tcp(mine, b, port, 80))).toBe('');
    become(pod(me), { policies: [shut] });
    expect(verdict('gate', tcp(b, mine, 80, port, SYN_ACK))).toBe('');
    expect(verdict('steer', tcp(mine, b, port, 80, FIN_ACK))).toBe('');
    expect(verdict('gate', tcp(b, mine, 80, port, ACK))).toBe('');
  });

  test('the later fragments of what was allowed, and no others', () => {
    become(pod(me), {
      policies: [only('b', [{ ports: [{ protocol: 'UDP', port: 80 }], peers: [] }])],
    });
    const fragment = (id: number, fragmentField: number, payload: Buffer): Buffer => {
      const frame = ethernet(packet(b, mine, payload, { fragment: fragmentField }));
      frame.writeUInt16BE(id, 18);
      return frame;
    };
    const head = udp(port, 80, Buffer.alloc(24));
    const id = port & 0xffff;
    expect(verdict('gate', fragment(id, 0x0004, Buffer.alloc(32)))).toBe('policy');
    expect(verdict('gate', fragment(id, 0x2000, head))).toBe('');
    expect(verdict('gate', fragment(id, 0x0004, Buffer.alloc(32)))).toBe('');
    expect(verdict('gate', fragment(id + 1, 0x0004, Buffer.alloc(32)))).toBe('policy');
    expect(verdict('gate', fragment(id + 1, 0x2000, udp(port, 81, Buffer.alloc(24))))).toBe('policy');
  });

  test('the node itself, and neighbour discovery, are never refused', () => {
    become(pod(me), { policies: [policy({ ingress: [], egress: [] })] });
    expect(verdict('gate', tcp(HOST, mine, port, 80))).toBe('');
    expect(verdict('steer', tcp(mine, HOST, port, 6443))).toBe('');
    expect(verdict('steer', icmp('fe80::2', 'ff02::1:ff00:1', 135, 0, Buffer.alloc(16)))).toBe('');
    expect(verdict('gate', icmp('fe80::1', 'fd00::2', 136, 0, Buffer.alloc(16)))).toBe('');
    expect(verdict('steer', icmp('fd00::2', 'fd00::9', 128, 0, Buffer.alloc(16)))).toBe('policy');
    expect(verdict('steer', tcp(STRANGER, '10.8.8.8', port, 80))).toBe('policy'); // nor does another source help
  });

  test('with no policies in force nothing is looked at', () => {
    become(pod(me), { policies: [policy({ ingress: [] })] });
    expect(verdict('gate', tcp(b, mine, port, 80))).toBe('policy');
    maps.clear();
    expect(verdict('gate', tcp(b, mine, port, 80))).toBe('');
  });

  test('what was refused is counted by ruleset', () => {
    const generation = become(pod(me), { policies: [policy({ ingress: [], egress: [] })] });
    for (let i = 0; i < 3; i++) verdict('gate', tcp(b, mine, port + i, 80));
    verdict('steer', tcp(mine, b, port, 80));
    const counted = maps.drops().filter((drop) => drop.generation === generation);
    expect(counted.map(({ ruleset, packets }) => [ruleset, packets]).sort()).toEqual([
      [1, 3n],
      [2, 1n],
    ]);
  });
});

describe('switching', () => {
  const me = pod('x/a');
  const mine = addressOf('x/a');
  const allow = (name: string, ...prefixes: string[]): NetworkPolicy => ({
    namespace: 'x',
    name,
    podSelector: everything,
    ingress: [
      { ports: [], peers: prefixes.map((cidr) => ({ ipBlock: { cidr: cidr as Prefix, except: [] } })) },
    ],
  });

  test('1,000 times: what both allow always passes, what both refuse never does', () => {
    const sets = [allow('one', '10.1.0.0/16', '10.2.0.0/16'), allow('two', '10.1.0.0/16', '10.3.0.0/16')];
    for (let flip = 0; flip < 1000; flip++) {
      become(me, { policies: [sets[flip % 2] as NetworkPolicy] });
      const source = 1024 + flip;
      expect([
        verdict('gate', tcp('10.1.0.1', mine, 50_000, 80, ACK)), // one connection throughout
        verdict('gate', tcp('10.1.0.1', mine, source, 80)),
        verdict('gate', tcp('10.4.0.1', mine, source, 80)),
        verdict('gate', tcp('10.2.0.1', mine, 50_000, 80, ACK)),
      ]).toEqual(['', '', 'policy', flip % 2 === 0 ? '' : 'policy']);
    }
  });

  test('only two generations are kept, also over a restart', () => {
    become(me, { policies: [allow('one', '10.1.0.0/16')] });
    const before = become(me, { policies: [allow('one', '10.1.0.0/16')] });
    const entries = () => native.mapEntries(world.map('rules')).length;
    const kept = entries();
    for (let i = 0; i < 5; i++) become(me, { policies: [allow('one', '10.1.0.0/16')] });
    expect(entries()).toBe(kept);
    maps = new PolicyMaps(native, (name) => world.map(name));
    expect(maps.generation()).toBe(before + 5);
    expect(become(me, { policies: [allow('one', '10.1.0.0/16')] })).toBe(before + 6);
    expect(entries()).toBe(kept);
  });
});
