// Single packets reported to the agent: every drop as far as the meter goes, flows only while somebody watches.
import { decodeFlow } from '../../agent/abi/events';
import { ethernet, packet, udp } from './frames';
import { DROPPED, native, PASS, REDIRECTED, World } from './world';

type Flow = NonNullable<ReturnType<typeof decodeFlow>>;

const [POD, REMOTE, NODE_A, NODE_B] = ['10.1.0.2', '10.2.0.2', '192.0.2.1', '192.0.2.2'];
const LO = 1;
const WATCHED = 2;
/** REPORT_DROPS of bpf/report.h. */
const DROPS_A_WINDOW = 8;

let world: World;
let ring: { close(): void };
const flows: Flow[] = [];

beforeAll(() => {
  world = new World('bpf/steer', 'bpf/open', 'bpf/guard', 'test/bpf/opened');
  world.own(42, '10.1.0.0/24', 0);
  world.own(42, '10.2.0.0/24', 7);
  world.own(42, '10.0.0.0/8', 0xffffffff);
  world.peer(7, NODE_B, NODE_A);
  world.pod(LO, 42, POD, 'fd01::2');
  world.own(42, 'fd01::/64', 0);
  world.own(42, 'fd02::/64', 0xffffffff);
  ring = native.openRingBuffer(world.map('events'), (record) => {
    const flow = decodeFlow(record);
    if (flow !== undefined) flows.push(flow);
  });
});
afterAll(() => {
  ring.close();
  world.close();
});
beforeEach(async () => {
  world.configure();
  await turn();
  flows.length = 0;
});

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

const clear = (from: string, to: string, sport = 1): Buffer =>
  ethernet(packet(from, to, udp(sport, 2, Buffer.from('x'))));

function run(program: string, frame: Buffer, repeat = 1): number {
  const ctx = Buffer.alloc(192);
  ctx.writeUInt32LE(LO, 40);
  return native.testRun(world.program(program), { data: frame, ctx, repeat }).retval;
}

describe('a drop', () => {
  const dropped = {
    peer: 0,
    atNs: expect.any(BigInt),
    direction: 'egress',
    vni: 0,
    ifindex: LO,
    outer: false,
    protocol: 17,
    unreported: expect.any(Number),
  };

  test('at steer, by address and port', async () => {
    const frame = clear(POD, '10.9.0.1', 5353);
    expect(run('steer', frame)).toBe(DROPPED);
    await until(() => flows.length > 0);
    const [source, destination] = [POD, '10.9.0.1'];
    const ports = { sourcePort: 5353, destinationPort: 2 };
    const bytes = frame.length;
    expect(flows).toEqual([{ ...dropped, reason: 'no_peer', source, destination, ...ports, bytes }]);
  });

  test('IPv6', async () => {
    run('steer', clear('fd01::2', 'fd02::1'));
    await until(() => flows.length > 0);
    expect(flows[0]).toMatchObject({ reason: 'no_peer', source: 'fd01::2', destination: 'fd02::1' });
  });

  test('at open, under XDP, is the outer packet', async () => {
    const forged = ethernet(packet(NODE_B, NODE_A, udp(9, 14789, Buffer.alloc(60))));
    expect(world.xdp('open_xdp', forged).retval).toBe(1);
    await until(() => flows.length > 0);
    expect(flows[0]).toMatchObject({
      reason: 'forged_vxlan',
      direction: 'ingress',
      outer: true,
      source: NODE_B,
      destination: NODE_A,
      destinationPort: 14789,
      bytes: forged.length,
    });
  });

  test('a fragment has no ports, and a truncated packet no addresses', async () => {
    const later = packet(POD, '10.9.0.1', udp(1, 2, Buffer.alloc(30)));
    later.writeUInt16BE(0x2000 | 5, 6);
    run('steer', ethernet(later));
    await until(() => flows.length > 0);
    expect(flows[0]).toMatchObject({ source: POD, sourcePort: 0, destinationPort: 0 });
    const broken = clear(POD, '10.9.0.1');
    broken.writeUInt8(0x41, 14); // a header of 4 bytes
    run('steer', broken);
    await until(() => flows.length > 1);
    expect(flows[1]).toMatchObject({ reason: 'malformed', protocol: 17 });
  });

  test('a flood is reported in part, and the rest is counted', async () => {
    const total = 5000;
    run('guard', clear(REMOTE, NODE_A), total);
    const told = (): number => flows.reduce((sum, { unreported }) => sum + 1 + unreported, 0);
    await until(() => flows.length > 0);
    await turn();
    const early = flows.length;
    expect(early).toBeGreaterThanOrEqual(DROPS_A_WINDOW);
    expect(early).toBeLessThan(total / 10);
    // The next report on that CPU tells of all that were left out; which CPU it is, the scheduler says.
    let more = 0;
    await until(() => {
      // The last that was sent has come: nothing is on its way that the next test would take for its own.
      if (told() >= total && flows.at(-1)?.sourcePort === 1 + more) return true;
      more += 1;
      run('guard', clear(REMOTE, NODE_A, 1 + more));
      return false;
    });
    expect(told()).toBeLessThanOrEqual(total + more);
    expect(flows.every(({ reason }) => reason === 'naked_inner')).toBe(true);
  });
});

describe('a flow', () => {
  test('is not reported while nobody watches', async () => {
    expect(run('steer', clear(POD, REMOTE), 100)).toBe(REDIRECTED);
    run('steer', clear(POD, '10.9.0.1'));
    await until(() => flows.length > 0);
    expect(flows.map(({ reason }) => reason)).toEqual(['no_peer']);
  });

  test('is reported about once a second, each for itself', async () => {
    world.configure({ flags: WATCHED });
    run('steer', clear(POD, REMOTE, 1000), 1000);
    run('steer', clear(POD, REMOTE, 1001), 1000);
    run('steer', clear(POD, '10.9.0.1'));
    await until(() => flows.some(({ reason }) => reason !== undefined));
    const samples = flows.filter(({ reason }) => reason === undefined);
    expect(samples.length).toBeGreaterThanOrEqual(2);
    expect(samples.length).toBeLessThanOrEqual(4); // a second may end in the middle
    expect(samples[0]).toMatchObject({
      peer: 7,
      direction: 'egress',
      vni: 42,
      source: POD,
      destination: REMOTE,
      sourcePort: 1000,
      destinationPort: 2,
      outer: false,
    });
    expect(new Set(samples.map(({ sourcePort }) => sourcePort))).toEqual(new Set([1000, 1001]));
  });

  test('what passes beside the overlay is none', async () => {
    world.configure({ flags: WATCHED });
    expect(run('steer', clear(POD, '198.51.100.1'), 10)).toBe(PASS);
    run('steer', clear(POD, '10.9.0.1'));
    await until(() => flows.length > 0);
    expect(flows.map(({ reason }) => reason)).toEqual(['no_peer']);
  });
});
