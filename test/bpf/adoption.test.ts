// Incremental adoption as truth tables: mode of the pod × where to or from × the guards on the way. Each packet takes
// its whole way through the hooks (adopting.bpf.c, adopted.bpf.c), and is sent, dropped by its reason, or counted in
// clear: never two of them.
import { ethernet, ip, packet, udp } from './frames';
import { DROPPED, PASS, REDIRECTED, World } from './world';

const POD = '10.1.0.2';
const SIBLING = '10.1.0.3';
const POD6 = 'fd01::2';
const REMOTE = '10.2.0.2';
const REMOTE6 = 'fd02::2';
/** In a named prefix, and no node's. */
const PLAIN = '10.4.0.2';
const PLAIN6 = 'fd04::2';
/** In the named prefix, but a longer one is a peer's, or a peer's that is gone. */
const ADOPTED = '10.4.7.2';
const GONE = '10.4.8.2';
/** Protected, and not named. */
const UNNAMED = '10.9.0.1';
const SERVICE = '172.20.0.1';
const WORLD = '198.51.100.1';
const NODE_A = '192.0.2.1';
const NODE_B = '192.0.2.2';
const NOBODY = 0xffffffff;
const LO = 1;

let world: World;
beforeAll(() => {
  world = new World(
    'bpf/steer',
    'bpf/encap',
    'bpf/gate',
    'bpf/guard',
    'bpf/fence',
    'bpf/seal',
    'bpf/deliver',
    'test/bpf/adopting',
    'test/bpf/adopted',
    'test/bpf/stamped',
  );
  world.configure();
  for (const vni of [42, 43]) {
    world.own(vni, '10.1.0.0/24', 0);
    world.own(vni, '10.2.0.0/24', 7);
    world.own(vni, '10.4.0.0/16', NOBODY, false, true);
    world.own(vni, '10.4.7.0/24', 7);
    world.own(vni, '10.4.8.0/24', NOBODY);
    world.own(vni, '10.0.0.0/8', NOBODY);
    world.own(vni, 'fd01::/64', 0);
    world.own(vni, 'fd02::/64', 7);
    world.own(vni, 'fd04::/64', NOBODY, false, true);
  }
  world.own(42, '192.0.2.1/32', 0, true);
  world.own(42, '192.0.2.2/32', 7, true);
  world.peer(7, NODE_B, NODE_A);
  world.pod(LO, 42, POD, POD6);
  world.pod(LO + 100, 42, SIBLING);
});
afterAll(() => world.close());
beforeEach(() => {
  world.drops();
  world.inClear();
});

const clear = (from: string, to: string): Buffer => ethernet(packet(from, to, udp(1, 2, Buffer.from('x'))));
const as = (address: string | undefined): number =>
  address === undefined ? 0 : Buffer.from(ip(address)).readUInt32LE(0);

type Outcome = 'tunnel' | 'clear' | 'passes' | 'no_peer' | 'clear_egress' | 'spoofed_source' | 'naked_inner';

/** What became of it, from verdict, drops and counters together. */
function outcome(program: string, frame: Buffer, cb: readonly number[] = []): string {
  const { retval } = world.tc(program, frame, { cb });
  const drops = world.drops();
  const [sent = 0, received = 0] = world.inClear();
  const told = `${drops.map((drop) => drop.replace(/^[a-z]+:/, '')).join()}`;
  if (retval === DROPPED && drops.length === 1 && sent + received === 0) return told;
  if (retval === REDIRECTED && drops.length === 0 && sent + received === 0) return 'tunnel';
  if (retval === PASS && drops.length === 0 && sent + received === 0) return 'passes';
  if (retval === PASS && drops.length === 0 && sent + received === 1) return 'clear';
  return `verdict ${retval}, drops ${told}, in clear ${sent} and ${received}`;
}

describe('what a pod sends', () => {
  // destination, what the node makes of it, strict, permissive
  const table: [string, string, string | undefined, Outcome, Outcome][] = [
    ['a peer’s pod', REMOTE, undefined, 'tunnel', 'tunnel'],
    ['a peer’s pod inside a named prefix', ADOPTED, undefined, 'tunnel', 'tunnel'],
    ['a pod of a peer that is gone', GONE, undefined, 'no_peer', 'no_peer'],
    ['a named prefix without a node', PLAIN, undefined, 'no_peer', 'clear'],
    ['a protected range that is not named', UNNAMED, undefined, 'no_peer', 'no_peer'],
    ['the world', WORLD, undefined, 'passes', 'passes'],
    ['a service with a pod in a named prefix', SERVICE, PLAIN, 'clear_egress', 'clear'],
    ['a service with a peer’s pod, led past the tunnel', SERVICE, REMOTE, 'clear_egress', 'clear_egress'],
    ['a service with an adopted pod, led past it', SERVICE, ADOPTED, 'clear_egress', 'clear_egress'],
    ['a service with a pod that is gone', SERVICE, GONE, 'clear_egress', 'clear_egress'],
    ['a named prefix, translated to a peer’s pod', PLAIN, REMOTE, 'no_peer', 'clear_egress'],
  ];
  describe.each([
    ['leave_by_wire', 'the underlay (seal)'],
    ['leave_by_other', 'any other device (fence)'],
    ['leave_by_bridge', 'its bridge (guard) and the underlay'],
  ])('%s: over %s', (program) => {
    test.each(table)('to %s', (_name, to, translated, strict, permissive) => {
      for (const [mode, expected] of [
        [false, strict],
        [true, permissive],
      ] as const) {
        world.permit(LO, 42, mode);
        expect([mode, outcome(program, clear(POD, to), [as(translated)])]).toEqual([mode, expected]);
      }
    });

    test('IPv6', () => {
      world.permit(LO, 42, false);
      expect(outcome(program, clear(POD6, PLAIN6))).toBe('no_peer');
      world.permit(LO, 42, true);
      expect(outcome(program, clear(POD6, PLAIN6))).toBe('clear');
      expect(outcome(program, clear(POD6, REMOTE6))).toBe('tunnel');
    });

    test('from an address that is not its own, whatever its mode', () => {
      for (const mode of [false, true]) {
        world.permit(LO, 42, mode);
        expect(outcome(program, clear(SIBLING, PLAIN))).toBe('spoofed_source');
        expect(outcome(program, clear(PLAIN, POD))).toBe('spoofed_source');
      }
    });
  });

  test('a tenant’s pod is strict, whatever its entry says', () => {
    world.permit(LO, 43, true);
    world.pod(LO, 43, POD);
    world.permit(LO, 43, true);
    expect(outcome('leave_by_wire', clear(POD, PLAIN))).toBe('no_peer');
    world.permit(LO, 42, true);
  });
});

describe('the last guards, without steer’s stamp', () => {
  const table: [string, Buffer][] = [
    ['a permissive pod’s address, to a named prefix', clear(POD, PLAIN)],
    ['the node itself, to a named prefix', clear(NODE_A, PLAIN)],
    ['a stranger, to a named prefix', clear(WORLD, PLAIN)],
    ['IPv6', clear(POD6, PLAIN6)],
  ];
  test.each(table)('%s', (_name, frame) => {
    world.permit(LO, 42, true);
    for (const program of ['seal', 'fence', 'seal_opened'])
      expect([program, outcome(program, frame)]).toEqual([program, 'clear_egress']);
    expect(outcome('encap', frame)).toBe('no_peer');
  });
});

describe('what arrives in clear', () => {
  // from, to, then source and destination as the node makes them, strict, permissive
  const table: [string, string, string, string | undefined, string | undefined, Outcome, Outcome][] = [
    ['a named prefix without a node', PLAIN, POD, undefined, undefined, 'naked_inner', 'clear'],
    ['a peer’s pod', REMOTE, POD, undefined, undefined, 'naked_inner', 'naked_inner'],
    ['a peer’s pod in a named prefix', ADOPTED, POD, undefined, undefined, 'naked_inner', 'naked_inner'],
    ['a pod of a peer that is gone', GONE, POD, undefined, undefined, 'naked_inner', 'naked_inner'],
    ['a range that is not named', UNNAMED, POD, undefined, undefined, 'naked_inner', 'naked_inner'],
    ['a peer’s node', NODE_B, POD, undefined, undefined, 'naked_inner', 'naked_inner'],
    ['the world', WORLD, POD, undefined, undefined, 'passes', 'passes'],
    ['a service’s answer', PLAIN, POD, SERVICE, undefined, 'naked_inner', 'clear'],
    ['a source that the node made a peer’s', PLAIN, POD, REMOTE, undefined, 'naked_inner', 'naked_inner'],
    ['to the node, led to the pod', PLAIN, NODE_A, undefined, POD, 'naked_inner', 'naked_inner'],
    ['to a strict pod, led to this one', PLAIN, SIBLING, undefined, POD, 'naked_inner', 'naked_inner'],
  ];
  describe.each(['arrive_by_wire', 'arrive_by_other'])('%s', (program) => {
    test.each(table)('%s', (_name, from, to, source, destination, strict, permissive) => {
      for (const [mode, expected] of [
        [false, strict],
        [true, permissive],
      ] as const) {
        world.permit(LO, 42, mode);
        const cb = [as(destination), as(source)];
        expect([mode, outcome(program, clear(from, to), cb)]).toEqual([mode, expected]);
      }
    });

    test('for a permissive pod, led to a strict one', () => {
      world.permit(LO, 42, false);
      world.permit(LO + 100, 42, true);
      expect(outcome(program, clear(PLAIN, SIBLING), [as(POD)])).toBe('naked_inner');
      world.permit(LO + 100, 42, false);
    });
  });

  test('gate without the stamp of a guard takes nothing', () => {
    world.permit(LO, 42, true);
    expect(outcome('gate', clear(PLAIN, POD))).toBe('naked_inner');
  });

  test('under a peer’s key the address of a named prefix is nobody’s', () => {
    world.permit(LO, 42, true);
    expect(outcome('deliver_opened', clear(PLAIN, POD), [42, 7])).toBe('inner_source@7');
  });
});

describe('a pod that is off speaks for itself only', () => {
  const OWN_NOWHERE = '172.30.0.9';
  // source, destination, of a pod that is off, of any other device that is not a pod's
  const table: [string, Buffer, Outcome, Outcome][] = [
    ['its own address, to a sibling', clear(POD, SIBLING), 'passes', 'passes'],
    ['its own address, to a peer’s pod', clear(POD, REMOTE), 'passes', 'passes'],
    ['its own address, to the world', clear(POD, WORLD), 'passes', 'passes'],
    ['its own address, IPv6', clear(POD6, REMOTE6), 'passes', 'passes'],
    ['a sibling’s, to another pod of the node', clear(SIBLING, POD), 'spoofed_source', 'passes'],
    ['a sibling’s, to a peer’s pod', clear(SIBLING, REMOTE), 'spoofed_source', 'passes'],
    ['a sibling’s, to the world', clear(SIBLING, WORLD), 'spoofed_source', 'passes'],
    ['one of the node’s range that nobody has', clear('10.1.0.77', REMOTE), 'spoofed_source', 'passes'],
    ['one of the node’s range, IPv6', clear('fd01::77', REMOTE6), 'spoofed_source', 'passes'],
    ['the node’s', clear(NODE_A, SIBLING), 'spoofed_source', 'passes'],
    ['a peer’s pod’s', clear(REMOTE, SIBLING), 'spoofed_source', 'naked_inner'],
    ['a named prefix’s', clear(PLAIN, SIBLING), 'spoofed_source', 'naked_inner'],
    ['one outside the overlay', clear(OWN_NOWHERE, SIBLING), 'passes', 'passes'],
  ];
  afterEach(() => world.leave(LO, 42, false));

  test.each(table)('%s', (_name, frame, off, other) => {
    world.leave(LO, 42, true);
    expect(outcome('guard', frame)).toBe(off);
    world.leave(LO, 42, false);
    expect(outcome('guard', frame)).toBe(other);
  });
});
