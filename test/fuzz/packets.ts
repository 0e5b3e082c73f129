// The eBPF programs under frames that no honest sender makes: fields set to their limits, headers cut, doubled and put
// into each other. Judged by an oracle of a few lines: nothing that was altered is ever opened, nothing in clear that
// names a remote pod ever leaves.
import type { TestRunResult } from '../../agent/kernel/native';
import { type EspKeys, sealEsp, withTrailer } from '../bpf/esp-decoder';
import { ethernet, packet, tcp, udp, vxlan } from '../bpf/frames';
import { DROPPED, ESN, KEY, PASS, REDIRECTED, SALT, World, XDP_DROP, XDP_PASS } from '../bpf/world';
import { below, mutateBytes, pick, type Random } from './mutate';
import type { Target } from './target';

const [NODE_A, NODE_B] = ['192.0.2.1', '192.0.2.2'];
const [NODE_A6, NODE_B6] = ['fd00::1', 'fd00::2'];
const PEER = 7;
const VNI = 42;
const SPI = 0x1000;
const keys: EspKeys = { key: KEY, salt: SALT, esn: true };
/** BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header, and nothing longer than a page with headroom. */
const [FRAME_LEAST_BYTES, FRAME_MOST_BYTES] = [14, 3000];
const TC_PROGRAMS = ['open_tc', 'seal', 'steer', 'deliver', 'encap', 'admit', 'gate', 'guard'] as const;
const VERDICTS = [0, PASS, DROPPED, REDIRECTED];

function createWorld(): World {
  const world = new World(
    'bpf/open',
    'bpf/seal',
    'bpf/steer',
    'bpf/deliver',
    'bpf/encap',
    'bpf/admit',
    'bpf/gate',
    'bpf/guard',
  );
  world.configure();
  for (const [prefix, peer] of [
    ['10.1.0.0/24', 0],
    ['10.2.0.0/24', PEER],
    ['10.0.0.0/8', 0xffffffff],
    ['fd00:1::/64', 0],
    ['fd00:2::/64', PEER],
  ] as const)
    world.own(VNI, prefix, peer);
  world.own(VNI, `${NODE_B}/32`, PEER, true);
  world.peer(PEER, NODE_B, NODE_A);
  world.vtep(PEER, NODE_B6);
  world.txSa(VNI, PEER, { spi: SPI });
  world.pod(1, VNI, '10.1.0.2', 'fd00:1::2');
  return world;
}

const SYN = 2;
const MSS = Buffer.from('020405b4', 'hex');
const options = (random: Random) =>
  Buffer.concat([
    MSS,
    Buffer.from(Array.from({ length: 4 * below(random, 10) }, () => below(random, 256))),
  ]).subarray(0, 40);

/** Frames that mean something to one of the programs. */
function anyFrame(random: Random, sequence: bigint): Buffer {
  const inner = pick(random, [
    () => ethernet(packet('10.2.0.2', '10.1.0.2', udp(1, 2, Buffer.alloc(below(random, 1400))))),
    () => ethernet(packet('fd00:2::2', 'fd00:1::2', udp(1, 2, Buffer.alloc(below(random, 1300))))),
    () =>
      ethernet(
        packet('10.1.0.2', '10.2.0.2', tcp('10.1.0.2', '10.2.0.2', SYN, options(random)), { protocol: 6 }),
      ),
    () => ethernet(Buffer.alloc(60, 1), 0x88b5),
    () =>
      ethernet(
        packet('10.1.0.2', '10.2.0.2', udp(9, 9, Buffer.alloc(20)), {
          options: Buffer.alloc(4 * below(random, 11), 1),
        }),
      ),
  ])();
  const kind = below(random, 5);
  if (kind === 0) return inner;
  if (kind === 1) return ethernet(packet(NODE_A, NODE_B, udp(5, 14789, vxlan(VNI, inner))));
  const iv = Buffer.alloc(8);
  iv.writeBigUInt64BE(sequence);
  const text = withTrailer(udp(4, 14789, vxlan(VNI, inner)));
  const esp = sealEsp(text, keys, SPI, sequence, iv);
  if (kind === 2) return ethernet(packet(NODE_B6, NODE_A6, udp(5, 4500, esp)));
  if (kind === 3) return ethernet(packet(NODE_B, NODE_A, esp, { protocol: 50 }));
  return ethernet(packet(NODE_B, NODE_A, udp(5, 4500, esp)));
}

/** Changes in the headers mostly, where parsers look. */
function altered(frame: Buffer, random: Random): Buffer {
  const front = Math.min(frame.length, 14 + below(random, 80));
  const changed =
    random() < 0.6
      ? Buffer.concat([mutateBytes(frame.subarray(0, front), random), frame.subarray(front)])
      : mutateBytes(frame, random);
  const filled = Buffer.concat([changed, Buffer.alloc(Math.max(0, FRAME_LEAST_BYTES - changed.length))]);
  return filled.subarray(0, FRAME_MOST_BYTES);
}

/** An IP packet that any host would read, to a remote pod. */
function namesRemotePod(frame: Buffer): boolean {
  if (frame.length >= 34 && frame.readUInt16BE(12) === 0x0800 && frame.readUInt8(14) >> 4 === 4) {
    const header = (frame.readUInt8(14) & 15) * 4;
    const total = frame.readUInt16BE(16);
    if (header < 20 || total < header || 14 + total > frame.length) return false;
    return frame.subarray(30, 33).equals(Buffer.from([10, 2, 0]));
  }
  if (frame.length < 54 || frame.readUInt16BE(12) !== 0x86dd || frame.readUInt8(14) >> 4 !== 6) return false;
  if (54 + frame.readUInt16BE(18) > frame.length) return false;
  return frame.subarray(38, 46).toString('hex') === 'fd00000200000000';
}

export function packetTarget(): Target {
  const world = createWorld();
  const sources = [NODE_B, NODE_B6];

  return {
    name: 'packets',
    fire: (random) => {
      // A window as new: what was opened before must not hide what is opened now.
      for (const source of sources) world.rxSa(VNI, PEER, source, { spi: SPI, flags: ESN });
      const sequence = BigInt(1 + below(random, 2 ** 31));
      const honest = anyFrame(random, sequence);
      const frame = altered(honest, random);
      const program = random() < 0.3 ? 'open_xdp' : pick(random, TC_PROGRAMS);
      const ran = tryRun(world, program, frame);
      if (ran === undefined) return 'not taken by the test run';
      const { retval, dataOut } = ran;
      if (dataOut.length > FRAME_MOST_BYTES + 64) throw new Error(`${program} made ${dataOut.length} bytes`);
      if (program === 'open_xdp' ? ![XDP_DROP, XDP_PASS].includes(retval) : !VERDICTS.includes(retval))
        throw new Error(`${program} gave verdict ${retval} to ${frame.toString('hex')}`);
      const opened = sources.some((source) => world.received(SPI, source) > 0n);
      // The ESP packet from its SPI on, which nobody may touch; the headers in front of it are not authenticated.
      if (opened && !frame.includes(honest.subarray(espOffset(honest))))
        throw new Error(`${program} opened an altered packet: ${frame.toString('hex')}`);
      if (program === 'seal' && retval === PASS && namesRemotePod(frame))
        throw new Error(`seal let a packet to a remote pod go in clear: ${frame.toString('hex')}`);
      const dropped = program === 'open_xdp' ? retval === XDP_DROP : retval === DROPPED;
      if (opened) return `${program} opened what is genuine`;
      return `${program} ${dropped ? 'dropped' : 'left alone'}`;
    },
    close: () => world.close(),
  };
}

/** Undefined where the kernel's test run itself refuses a frame: one with less than its network header says it has. */
function tryRun(world: World, program: string, frame: Buffer): TestRunResult | undefined {
  try {
    return program === 'open_xdp' ? world.xdp(program, frame) : world.tc(program, frame);
  } catch (cause) {
    if ((cause as { code?: string }).code === 'EINVAL' && program !== 'open_xdp' && frame.length < 54)
      return undefined;
    throw cause;
  }
}

/** Of the frames made here. */
function espOffset(frame: Buffer): number {
  const six = frame.readUInt16BE(12) === 0x86dd;
  const header = six ? 54 : 14 + (frame.readUInt8(14) & 15) * 4;
  return header + (frame.readUInt8(six ? 20 : 23) === 50 ? 0 : 8);
}
