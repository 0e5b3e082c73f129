// The cases: traffic both ways, keys that change in the middle, then forgeries before either end. Each case is judged
// by the counters of both: none moved that speaks of an error, and for each forgery exactly the one that should.
import { randomBytes } from 'node:crypto';
import { inNetns, type Outcome, start, until } from '../../lab/command';
import type { Proof } from '../../lab/context';
import { Foreign, type Runner } from './foreign';
import { aheadOf, flipped, resealed } from './forge';
import { OurNode } from './ours';
import {
  type Case,
  caseMtuBytes,
  caseName,
  FOREIGN,
  IP_AND_ICMP_BYTES,
  type Keys,
  newKeys,
  OURS,
  STREAM_INTERVAL_S,
  STREAM_PACKETS,
  TCP_BYTES,
  TCP_PORT,
} from './plan';
import type { Wire } from './wire';

const WAIT_MS = 10_000;

export interface Scene {
  readonly wire: Wire;
  readonly ours: OurNode;
  readonly foreign: Foreign;
  /** Port of the bridge behind which the foreign end is. */
  readonly foreignPort: string;
}

/** @param foreignPort exists on the wire already, with the foreign machine's eth0 behind it */
export async function interop(
  wire: Wire,
  foreignPort: string,
  runner: Runner,
  cases: readonly Case[],
): Promise<Proof[]> {
  const proofs: Proof[] = [];
  const ours = new OurNode(wire.netns);
  const foreign = new Foreign(runner);
  try {
    const hooks = await ours.open();
    await foreign.prepare();
    const path = [...new Set(hooks.map(({ mode }) => mode))].join(', ');
    for (const chosen of cases) {
      const name = `${caseName(chosen)} against the kernel's own IPsec`;
      try {
        const detail = await tryCase({ wire, ours, foreign, foreignPort }, chosen);
        proofs.push({ name, ok: true, detail: `${detail}; our path: ${path}` });
      } catch (cause) {
        proofs.push({ name, ok: false, detail: cause instanceof Error ? cause.message : String(cause) });
      }
    }
  } finally {
    await foreign.close();
    ours.close();
  }
  return proofs;
}

async function tryCase(scene: Scene, chosen: Case): Promise<string> {
  const { ours, foreign } = scene;
  const keys = newKeys(1);
  ours.build(chosen, keys);
  await foreign.build(chosen, keys);
  const before = await readings(scene);
  const pings = await pingAll(scene, chosen);
  await tcpBothWays(scene);
  const rotated = await rotate(scene, chosen, keys);
  expectSame('an error was counted', before, await readings(scene));
  const forgeries = await forgeAll(scene, chosen, rotated);
  return `${pings} pings up to the MTU, TCP both ways, 0 of ${STREAM_PACKETS} lost over a rotation, no Xfrm error; ${forgeries} forgeries counted as they should`;
}

/** Counters of both ends: "XfrmInNoStates", "our replay". */
async function readings({ ours, foreign }: Scene): Promise<Map<string, number>> {
  const ourOwn = [...ours.refusals()].map(([reason, count]) => [`our ${reason}`, count] as const);
  return new Map([...(await foreign.counters()), ...ourOwn]);
}

/** Counters that moved: "XfrmInNoStates +1". */
export function moved(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): string[] {
  return [...after].flatMap(([name, count]) => {
    const by = count - (before.get(name) ?? 0);
    return by === 0 ? [] : [`${name} +${by}`];
  });
}

function expectSame(
  what: string,
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): void {
  const found = moved(before, after);
  if (found.length > 0) throw new Error(`${what}: ${found.join(', ')}`);
}

export const ping = (to: string, bytes: number, count = 1): string[] =>
  `ping -n -q -c ${count} -W 3 -M do -s ${bytes} ${to}`.split(' ');

/** Both inner families, both ways, up to the largest packet. @returns how many. */
async function pingAll({ ours, foreign }: Scene, chosen: Case): Promise<number> {
  const failed: string[] = [];
  let tried = 0;
  for (const inner of [4, 6] as const) {
    const largest = caseMtuBytes(chosen) - IP_AND_ICMP_BYTES[inner];
    for (const bytes of [1, 56, 1000, largest - 3, largest - 2, largest - 1, largest]) {
      const there = await start(inNetns(ours.pod.name, ping(FOREIGN.inner[inner], bytes)));
      const back = await foreign.try(ping(OURS.inner[inner], bytes));
      tried += 2;
      if (there.status !== 0) failed.push(`IPv${inner} ${bytes} B to the kernel`);
      if (back.status !== 0) failed.push(`IPv${inner} ${bytes} B from the kernel`);
    }
  }
  if (failed.length > 0) throw new Error(`pings were lost: ${failed.join(', ')}`);
  return tried;
}

async function tcpBothWays({ ours, foreign }: Scene): Promise<void> {
  for (const back of [[], ['-R']]) {
    const server = foreign.try(['iperf3', '-s', '-1', '-p', String(TCP_PORT)], 30_000);
    const client = [
      'iperf3',
      '-c',
      FOREIGN.inner[4],
      '-p',
      String(TCP_PORT),
      '-n',
      String(TCP_BYTES),
      ...back,
    ];
    let last: Outcome | undefined;
    try {
      await until('TCP passes', WAIT_MS, async () => {
        last = await start(inNetns(ours.pod.name, client), 20_000);
        return last.status === 0 ? true : undefined; // until the server listens
      });
    } catch (cause) {
      throw new Error(`TCP ${back.length > 0 ? 'from' : 'to'} the kernel: ${last?.stdout}${last?.stderr}`, {
        cause,
      });
    }
    await server;
  }
}

/** New epochs at both ends under a stream of packets, in rotation's order (docs/keys.md §4). @returns the new keys. */
async function rotate({ ours, foreign }: Scene, chosen: Case, old: Keys): Promise<Keys> {
  const fresh = newKeys(2);
  let streaming = true;
  const argv = ['ping', '-n', '-q', '-c', String(STREAM_PACKETS), '-i', String(STREAM_INTERVAL_S), '-W', '3'];
  const stream = start(inNetns(ours.pod.name, [...argv, FOREIGN.inner[4]])).finally(() => {
    streaming = false;
  });
  ours.receiveUnder(chosen, fresh);
  await foreign.receiveUnder(chosen, fresh);
  await foreign.sendUnder(chosen, fresh);
  await until('a packet under the new keys', WAIT_MS, () => (ours.received(fresh) > 0n ? true : undefined));
  ours.sendUnder(chosen, fresh);
  if (!streaming) throw new Error('the stream ended before the rotation did');
  const { stdout, stderr } = await stream;
  if (!stdout.includes(` ${STREAM_PACKETS} received`))
    throw new Error(`lost over the rotation: ${stdout}${stderr}`);
  ours.forget(chosen, old);
  await foreign.forget(chosen, old);
  return fresh;
}

export const espKeys = ({ key, salt }: Keys['toOurs']) => ({
  key: Buffer.from(key),
  salt: Buffer.from(salt),
  esn: true,
});

/** Forged packets before either end, and an honest one behind each that shows that the judge was awake. */
async function forgeAll(scene: Scene, chosen: Case, keys: Keys): Promise<number> {
  const { wire, ours, foreignPort } = scene;
  const { family, encapsulation } = chosen;
  const esp = encapsulation === 'udp' ? 'udp port 4500' : family === 4 ? 'ip proto 50' : 'ip6 proto 50';
  const provoke = () => start(inNetns(ours.pod.name, ping(FOREIGN.inner[4], 56)));
  const toForeign = await wire.capture(`${esp} and src host ${OURS.vtep[family]}`, provoke);
  const toOurs = await wire.capture(`${esp} and src host ${FOREIGN.vtep[family]}`, provoke);
  const stranger = (spi: number) => (spi ^ 0x00a5a500) >>> 0;

  const sent = (frame: Buffer, sa: Keys['toOurs']): [string, Buffer][] => {
    const sequence = aheadOf(frame);
    const fresh = resealed(frame, espKeys(sa), sa.spi, sequence);
    return [
      ['replayed', frame],
      ['flipped', flipped(fresh)],
      ['unknown', resealed(frame, espKeys(sa), stranger(sa.spi), sequence)],
      ['honest', fresh],
      ['honest twice', fresh],
    ];
  };
  const theirs: Readonly<Record<string, string[]>> = {
    replayed: ['XfrmInStateSeqError +1'],
    flipped: ['XfrmInStateProtoError +1'],
    unknown: ['XfrmInNoStates +1'],
    honest: [],
    'honest twice': ['XfrmInStateSeqError +1'],
  };
  const own: Readonly<Record<string, string[]>> = {
    replayed: ['our replay +1'],
    flipped: ['our bad_icv +1'],
    unknown: ['our unknown_spi +1'],
    honest: [],
    'honest twice': ['our replay +1'],
  };
  const tries = [
    ...sent(toForeign, keys.toForeign).map(([kind, frame]) => ({
      kind,
      frame,
      port: foreignPort,
      expected: theirs[kind],
    })),
    ...sent(toOurs, keys.toOurs).map(([kind, frame]) => ({ kind, frame, port: 'ours', expected: own[kind] })),
  ];
  for (const { kind, frame, port, expected } of tries) {
    const before = await readings(scene);
    wire.send(port, frame);
    // Behind it on the same way: once this one is answered, the forged one has been judged.
    const marker = randomBytes(8).toString('hex');
    const answered = await start(inNetns(ours.pod.name, [...ping(FOREIGN.inner[4], 56), '-p', marker]));
    if (answered.status !== 0)
      throw new Error(`after a ${kind} packet before ${port} nothing passes any more`);
    const found = moved(before, await readings(scene));
    if (found.join() !== (expected ?? []).join())
      throw new Error(
        `a ${kind} packet before ${port}: counted ${found.join(', ') || 'nothing'}, expected ${expected?.join() || 'nothing'}`,
      );
  }
  return tries.filter(({ kind }) => kind !== 'honest').length;
}

/** A command in a namespace of this machine. */
export const runnerIn =
  (netns: string): Runner =>
  (argv, timeoutMs) =>
    start(inNetns(netns, argv), timeoutMs);
