// Prints what NetworkPolicy costs a packet at a pod's device, by BPF_PROG_TEST_RUN of the real programs over tables that
// the compiler made. Each rule allows one address one port; the packet is the last rule's. Run by scripts/bench policy.
import type { IpAddress, Prefix } from '../agent/core/ids';
import type { PolicyRule } from '../agent/core/policy';
import { compilePolicies } from '../agent/core/policytables';
import { PolicyMaps } from '../agent/kernel/policy';
import { HOST_VNI, upstreamNamespaces, upstreamPods } from '../test/agent/core/policyworlds';
import { ACK, tcp } from '../test/bpf/openings';
import { native, World } from '../test/bpf/world';
import { printWays } from './bench-ways';

const RULES = [10, 1000, 10_000];
const ROUNDS = 31;
/** Runs of one call: the programs and the tables are warm. */
const REPEAT = 2000;
/** First packets of a round, each of a connection of its own and therefore a call of its own. */
const CONNECTIONS = 500;
const LO = 1;
const MINE = '192.168.1.1';

type Program = 'steer' | 'gate';
const PROGRAMS: readonly Program[] = ['steer', 'gate'];

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

const world = new World('bpf/steer', 'bpf/gate');
world.configure({ hostVni: HOST_VNI });
world.pod(LO, HOST_VNI, MINE);
const maps = new PolicyMaps(native, (name) => world.map(name));
const pods = upstreamPods();

const address = (rule: number): string => `10.9.${rule >> 8}.${rule & 255}`;
const port = (rule: number): number => 1 + (rule % 10_000);
const allowing = (rule: number): PolicyRule => ({
  ports: [{ protocol: 'TCP', port: port(rule) }],
  peers: [{ ipBlock: { cidr: `${address(rule)}/32` as Prefix, except: [] } }],
});

/** @returns milliseconds that compiling and writing took */
function enforce(count: number): [compile: number, write: number] {
  const rules = Array.from({ length: count }, (_, rule) => allowing(rule));
  const started = performance.now();
  const tables = compilePolicies({
    policies: [
      {
        namespace: 'x',
        name: 'p',
        podSelector: { labels: {}, expressions: [] },
        ingress: rules,
        egress: rules,
      },
    ],
    namespaces: upstreamNamespaces(),
    pods,
    local: pods.slice(0, 1).map((pod) => ({ ...pod, ifindex: LO })),
    hostVni: HOST_VNI,
    hostAddresses: ['192.0.2.1' as IpAddress],
  });
  const compiled = performance.now();
  maps.install(tables);
  return [compiled - started, performance.now() - compiled];
}

let source = 1024;

/** A packet between the pod and the last rule's address, out of it for steer and into it for gate. */
function frame(program: Program, rule: number, flags?: number): Buffer {
  const [from, to] = program === 'steer' ? [MINE, address(rule)] : [address(rule), MINE];
  return tcp(from, to, source, port(rule), flags);
}

function run(program: Program, data: Buffer, repeat: number): number {
  const ctx = Buffer.alloc(192);
  ctx.writeUInt32LE(LO, 40);
  const { retval, durationNs } = native.testRun(world.program(program), { data, ctx, repeat });
  if (retval !== 0xffffffff) throw new Error(`${program} refused the packet: ${world.drops()}`);
  return durationNs;
}

/** A new connection's first packet and, once it is known, one that goes on. */
function measure(program: Program, rule: number): { first: number; established: number } {
  const firsts = Array.from({ length: CONNECTIONS }, () => {
    source = source >= 65_535 ? 1024 : source + 1;
    return run(program, frame(program, rule), 1);
  });
  return { first: median(firsts), established: run(program, frame(program, rule, ACK), REPEAT) };
}

const cases = [0, ...RULES];
const made = new Map<number, [number, number][]>(cases.map((count) => [count, []]));
const times = new Map(
  cases.flatMap((count) =>
    PROGRAMS.map((program) => [
      `${count}/${program}`,
      { first: [] as number[], established: [] as number[] },
    ]),
  ),
);
try {
  for (let round = 0; round < ROUNDS; round++) {
    for (const count of cases) {
      if (count === 0) maps.clear();
      else made.get(count)?.push(enforce(count));
      for (const program of PROGRAMS) {
        const { first, established } = measure(program, Math.max(0, count - 1));
        const kept = times.get(`${count}/${program}`);
        kept?.first.push(first);
        kept?.established.push(established);
      }
    }
  }
} finally {
  world.close();
}

console.log('nanoseconds a packet; medians of rounds that take turns');
console.log(
  '  established: mean of many runs at once; first: one run a call, with what a single run costs beside',
);
console.log('rules      steer: established  first      gate: established  first      compile ms  write ms');
for (const count of cases) {
  const cells = PROGRAMS.flatMap((program) => {
    const { first, established } = times.get(`${count}/${program}`) ?? { first: [], established: [] };
    return [
      String(median(established)).padStart(program === 'steer' ? 19 : 23),
      String(median(first)).padStart(7),
    ];
  });
  const steps = [0, 1].map((step) => median((made.get(count) ?? []).map((pair) => pair[step] ?? 0)));
  const told = count === 0 ? ['-', '-'] : steps.map((ms) => ms.toFixed(1));
  console.log(
    `${(count === 0 ? 'none' : String(count)).padEnd(6)}${cells.join('')}${told[0]?.padStart(16)}${told[1]?.padStart(10)}`,
  );
}
printWays();
