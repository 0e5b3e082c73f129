// Prints what it costs a packet that its other end is another tenant's, over a shared service, beside one within the
// tenant: the look-ups in `shared` that come on top, under the same policy. Run by scripts/bench policy.
import type { IpAddress, Prefix, Vni } from '../agent/core/ids';
import { compilePolicies } from '../agent/core/policytables';
import { PolicyMaps } from '../agent/kernel/policy';
import { ACK, tcp } from '../test/bpf/openings';
import { native, PASS, REDIRECTED, World } from '../test/bpf/world';

const [HOSTS, CLIENTS, SERVERS] = [42, 43, 44];
const [CLIENT_WAY, SERVER_WAY] = [2, 4] as const;
const LO = 1;
const PEER = 7;
const MINE = '10.44.1.2';
/** Who speaks with it: a pod of its own tenant, and a client of the other. Both are peer 7's. */
const REMOTES = { within: '10.44.2.2', between: '10.43.2.2' } as const;
type Remote = keyof typeof REMOTES;
/** Services that the configuration names. */
const SERVICES = [1, 1000];
const ROUNDS = 31;
const REPEAT = 2000;
const CONNECTIONS = 500;

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

interface Times {
  readonly first: number[];
  readonly established: number[];
  readonly answers: number[];
}

function prepare(world: World): void {
  world.configure({ hostVni: HOSTS });
  for (const tenant of [CLIENTS, SERVERS]) {
    world.own(tenant, `10.${tenant}.1.0/24`, 0);
    world.own(tenant, `10.${tenant}.2.0/24`, PEER);
  }
  world.peer(PEER, '192.0.2.2', '192.0.2.1');
  world.pod(LO, SERVERS, MINE);
  const pod = {
    vni: SERVERS as Vni,
    namespace: 'x',
    name: 'a',
    labels: {},
    addresses: [MINE as IpAddress],
    ports: [],
  };
  const peers = Object.values(REMOTES).map((address) => ({
    ipBlock: { cidr: `${address}/32` as Prefix, except: [] },
  }));
  const policy = { namespace: 'x', name: 'p', podSelector: { labels: {}, expressions: [] } };
  const tables = compilePolicies({
    policies: [{ ...policy, ingress: [{ ports: [], peers }] }],
    namespaces: [],
    pods: [pod],
    local: [{ ...pod, ifindex: LO }],
    hostVni: HOSTS as Vni,
    hostAddresses: [],
  });
  new PolicyMaps(native, (name) => world.map(name)).install(tables);
}

/** The first service is the pod's; each of the others is of an address of its own and shared with the same clients. */
function share(world: World, count: number): void {
  world.share(SERVERS, '10.43.2.0/24', CLIENTS, SERVER_WAY);
  for (let service = 0; service < count; service++) {
    const address = service === 0 ? MINE : `10.44.${100 + (service >> 8)}.${service & 255}`;
    world.share(CLIENTS, `${address}/32`, SERVERS, CLIENT_WAY);
  }
}

let source = 1024;

function run(world: World, program: string, data: Buffer, expected: number, repeat: number): number {
  const ctx = Buffer.alloc(192);
  ctx.writeUInt32LE(LO, 40);
  const { retval, durationNs } = native.testRun(world.program(program), { data, ctx, repeat });
  if (retval !== expected) throw new Error(`${program} gave ${retval}: ${world.drops()}`);
  return durationNs;
}

/** Connections come in through gate; the pod answers through steer. */
function measure(world: World, remote: string, times: Times): void {
  const comes = (flags?: number): Buffer => tcp(remote, MINE, source, 80, flags);
  const firsts = Array.from({ length: CONNECTIONS }, () => {
    source = source >= 65_535 ? 1024 : source + 1;
    return run(world, 'gate_opened', comes(), PASS, 1);
  });
  times.first.push(median(firsts));
  times.established.push(run(world, 'gate_opened', comes(ACK), PASS, REPEAT));
  times.answers.push(run(world, 'steer', tcp(MINE, remote, 80, source, ACK), REDIRECTED, REPEAT));
}

/** A world for each number of services, all of them at once: rounds take turns. */
export function printWays(): void {
  const worlds = SERVICES.map((count) => {
    const world = new World('bpf/steer', 'test/bpf/opened');
    prepare(world);
    share(world, count);
    const made = (): Times => ({ first: [], established: [], answers: [] });
    return { count, world, times: { within: made(), between: made() } };
  });
  try {
    for (let round = 0; round < ROUNDS; round++)
      for (const { world, times } of worlds)
        for (const remote of ['within', 'between'] as const) measure(world, REMOTES[remote], times[remote]);
  } finally {
    for (const { world } of worlds) world.close();
  }
  console.log("\na tenant's pod under one policy; what comes, and what it answers");
  console.log('services  other end        gate: established  first      steer: established');
  for (const { count, times } of worlds) {
    const line = (remote: Remote, name: string): string => {
      const [established, first, answers] = [
        times[remote].established,
        times[remote].first,
        times[remote].answers,
      ].map((values) => String(median(values))) as [string, string, string];
      return `${String(count).padEnd(10)}${name.padEnd(16)}${established.padStart(18)}${first.padStart(7)}${answers.padStart(25)}`;
    };
    console.log(line('within', 'its own tenant'));
    console.log(line('between', 'another tenant'));
  }
}
