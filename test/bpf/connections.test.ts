// The table of connections when it is too small for what a pod begins: it never grows, the least recently used make
// room, every one that did is counted, and a forgotten one is judged again as a new one.
import type { IpAddress } from '../../agent/core/ids';
import type { NetworkPolicy } from '../../agent/core/policy';
import { compilePolicies } from '../../agent/core/policytables';
import { PolicyMaps } from '../../agent/kernel/policy';
import { type MapUsage, MapUsages } from '../../agent/kernel/usage';
import { HOST_VNI, upstreamNamespaces, upstreamPods } from '../agent/core/policyworlds';
import { opening, SYN_ACK, tcp } from './openings';
import { DROPPED, native, PASS, World } from './world';

const LO = 1;
const CAPACITY = 1024;
const pods = upstreamPods();
const [me] = pods;
const [mine, remote] = ['192.168.1.1', '10.9.9.9'];

let world: World;
let maps: PolicyMaps;
let usages: MapUsages;
beforeEach(() => {
  world = new World('bpf/steer', 'bpf/gate', { connections: CAPACITY });
  world.configure({ hostVni: HOST_VNI });
  maps = new PolicyMaps(native, (name) => world.map(name));
  usages = new MapUsages(native, (name) => world.map(name));
  world.pod(LO, HOST_VNI, mine);
});
afterEach(() => world.close());

function enforce(given: Pick<NetworkPolicy, 'ingress' | 'egress'>): void {
  if (me === undefined) throw new Error('no pod');
  const podSelector = { labels: {}, expressions: [] };
  maps.install(
    compilePolicies({
      policies: [{ namespace: me.namespace, name: 'p', podSelector, ...given }],
      namespaces: upstreamNamespaces(),
      pods,
      local: [{ ...me, ifindex: LO }],
      hostVni: HOST_VNI,
      hostAddresses: ['192.0.2.1' as IpAddress],
    }),
  );
}

function usage(): MapUsage {
  const found = usages.read().find(({ map }) => map === 'connections');
  if (found === undefined) throw new Error('connections are not counted');
  return found;
}

const begin = (port: number): number => world.tc('steer', tcp(mine, remote, port, 80)).retval;
const answer = (port: number): number => world.tc('gate', tcp(remote, mine, 80, port, SYN_ACK)).retval;

test('five times as many as there is room for', () => {
  enforce({ ingress: [] });
  const first = 1000;
  const last = first + 5 * CAPACITY - 1;
  for (let port = first; port <= last; port++) {
    expect(begin(port)).toBe(PASS);
    if (port % 97 === 0) expect(answer(port)).toBe(PASS); // the newest is never the one that goes
  }
  const { entries, capacity, evicted } = usage();
  expect(capacity).toBe(CAPACITY);
  expect(entries).toBeLessThanOrEqual(CAPACITY);
  expect(entries).toBeGreaterThan(CAPACITY / 4);
  expect(entries + evicted).toBe(5 * CAPACITY);
  expect(answer(last)).toBe(PASS);
  expect(world.drops()).toEqual([]);
  expect(answer(first)).toBe(DROPPED);
  expect(world.drops()).toEqual(['ingress:policy']);
});

test('what goes on begins nothing, and what a policy ends has not made room', () => {
  enforce({ ingress: [] });
  for (let again = 0; again < 3; again++) for (const port of [1, 2, 3]) begin(port);
  expect(world.tc('steer', opening(mine, remote, 17, 1, 80)).retval).toBe(PASS);
  expect(usage()).toMatchObject({ entries: 4, evicted: 0 });
  enforce({ ingress: [], egress: [] });
  expect(begin(2)).toBe(DROPPED);
  expect(usage()).toMatchObject({ entries: 3, evicted: 0 });
});
