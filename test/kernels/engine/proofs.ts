// What must hold whichever engine a node has: everything arrives and is the same on the wire; keys change under traffic;
// no process is needed; forgeries are refused, each for its reason.
import { randomBytes } from 'node:crypto';
import type { ProbeReply } from '../../../agent/ports';
import { openEsp, parseOuter } from '../../bpf/esp-decoder';
import { inNetns, start, until } from '../../lab/command';
import { aheadOf, flipped, resealed } from '../interop/forge';
import type { OurNode } from '../interop/ours';
import {
  caseMtuBytes,
  FOREIGN_PEER,
  IP_AND_ICMP_BYTES,
  newKeys,
  STREAM_INTERVAL_S,
  STREAM_PACKETS,
  TCP_BYTES,
  TCP_PORT,
  TUNNEL_VNI,
} from '../interop/plan';
import { espKeys } from '../interop/run';
import { expectMoved, expectOk, type Scene, unsealed } from './scene';

export interface EngineProof {
  readonly name: string;
  readonly body: (scene: Scene) => Promise<string>;
}

const ETHERNET_BYTES = 14;
const WAIT_MS = 20_000;
/** In what ESP holds: behind UDP, the VNI in VXLAN; behind VXLAN and Ethernet, the source in IPv4. */
const VNI_AT = 12;
const INNER_SOURCE_AT = 16 + 14 + 12;

const reach: EngineProof = {
  name: 'everything arrives, up to the MTU, and nothing is counted as an error',
  body: async (scene) => {
    let pings = 0;
    for (const from of [scene.a, scene.b]) {
      await expectMoved(from, 'reach', [], async () => {
        for (const inner of [4, 6] as const) {
          const largest = caseMtuBytes(scene.chosen) - IP_AND_ICMP_BYTES[inner];
          for (const bytes of [1, 56, 1000, largest - 3, largest - 2, largest - 1, largest]) {
            expectOk(`IPv${inner} ${bytes} B`, await scene.ping(from, bytes, inner));
            pings += 1;
          }
        }
        await tcp(scene, from);
      });
    }
    return `${pings} pings, TCP both ways`;
  },
};

async function tcp(scene: Scene, from: OurNode): Promise<void> {
  const to = scene.other(from);
  const server = start(inNetns(to.pod.name, ['iperf3', '-s', '-1', '-p', String(TCP_PORT)]), 60_000);
  const size = ['-p', String(TCP_PORT), '-n', String(TCP_BYTES)];
  const client = ['iperf3', '-c', to.choice.own.inner[4], ...size];
  await until('TCP passes', WAIT_MS, async () =>
    (await start(inNetns(from.pod.name, client), WAIT_MS)).status === 0 ? true : undefined,
  );
  await server;
}

const probe: EngineProof = {
  name: "a probe of full size comes back from the peer's data plane",
  body: async (scene) => {
    // It goes in the VNI of the hosts, which is not a tenant's.
    if (scene.a.choice.hostVni !== TUNNEL_VNI) return 'not for a tenant';
    const bytes = caseMtuBytes(scene.chosen) + ETHERNET_BYTES;
    for (const [index, from] of [scene.a, scene.b].entries()) {
      const id = BigInt(index + 1);
      let reply: ProbeReply | undefined;
      from.inside((datapath) => {
        datapath.onProbeReply((each) => {
          if (each.id === id) reply = each;
        });
        datapath.sendProbe(FOREIGN_PEER, id, bytes);
      });
      const { bytes: back, peer } = await until('the reply', WAIT_MS, () => reply);
      if (back !== bytes || peer !== FOREIGN_PEER) throw new Error(`${back} B from peer ${peer}`);
    }
    return `${bytes} B each way`;
  },
};

const wire: EngineProof = {
  name: 'the wire shows ESP in UDP, a port for each flow, and what is inside only with the key',
  body: async (scene) => {
    const marker = randomBytes(16);
    for (const from of [scene.a, scene.b]) {
      const ports = new Set<number>();
      for (const inner of [4, 6] as const) {
        const frame = await scene.sealed(from, inner, '-p', marker.toString('hex'));
        const { esp, udp } = parseOuter(frame);
        const { payload } = openEsp(esp, espKeys(from.outgoing(scene.keys)));
        if (!payload.includes(marker)) throw new Error('the marker is not inside');
        if (frame.includes(marker)) throw new Error('the marker is in clear');
        if (udp === undefined) throw new Error('no UDP');
        ports.add(udp.source);
      }
      if (ports.size < 2) throw new Error(`one source port for two flows: ${[...ports].join()}`);
    }
    const clear = await scene.clear(() => scene.ping(scene.a));
    if (clear.length > 0) throw new Error(`${clear.length} frames in clear`);
    return '4 packets opened with the key, 0 in clear';
  },
};

const rotation: EngineProof = {
  name: 'new keys of both ends under traffic lose no packet',
  body: async (scene) => {
    const { a, b, chosen, keys: old } = scene;
    const fresh = newKeys(2);
    const argv = [
      'ping',
      '-n',
      '-q',
      '-c',
      String(STREAM_PACKETS),
      '-i',
      String(STREAM_INTERVAL_S),
      '-W',
      '5',
    ];
    const stream = start(inNetns(a.pod.name, [...argv, b.choice.own.inner[4]]), 120_000);
    for (const node of [a, b]) node.receiveUnder(chosen, fresh);
    b.sendUnder(chosen, fresh);
    await until('a packet under the new keys', WAIT_MS, () => (a.received(fresh) > 0n ? true : undefined));
    a.sendUnder(chosen, fresh);
    await until('and one back', WAIT_MS, () => (b.received(fresh) > 0n ? true : undefined));
    const { stdout, stderr } = await stream;
    if (!stdout.includes(` ${STREAM_PACKETS} received`)) throw new Error(`lost: ${stdout}${stderr}`);
    for (const node of [a, b]) node.forget(chosen, old);
    scene.keys = fresh;
    for (const node of [a, b]) {
      const [tx, rx] = node.inside(({ sas }) => [sas.listTx(), sas.listRx()]);
      if (tx.length !== 1 || rx.length !== 1) throw new Error(`${tx.length} + ${rx.length} SAs are left`);
    }
    return `0 of ${STREAM_PACKETS} lost`;
  },
};

const alone: EngineProof = {
  name: 'traffic goes on with no process, and a new one finds every SA',
  body: async (scene) => {
    const nodes = [scene.a, scene.b];
    const sas = () => nodes.map((node) => node.inside((d) => [d.sas.listTx(), d.sas.listRx()].flat()));
    const names = () =>
      sas()
        .flat()
        .map(({ fingerprint, peer, vni }) => `${fingerprint} ${peer} ${vni}`);
    const before = names();
    for (const node of nodes) node.inside((datapath) => datapath.close());
    for (const inner of [4, 6] as const) {
      expectOk('there', await scene.ping(scene.a, 1000, inner));
      expectOk('and back', await scene.ping(scene.b, 1000, inner));
    }
    for (const node of nodes) node.inside((datapath) => datapath.open());
    if (names().join() !== before.join()) throw new Error(`found ${names().join()}, left ${before.join()}`);
    return `${before.length} SAs found again`;
  },
};

/** A forged frame and the one counter that it moves. */
type Forgery = readonly [name: string, frame: Buffer, counter: string];

async function forgeriesFor(scene: Scene, victim: OurNode): Promise<Forgery[]> {
  const sender = scene.other(victim);
  const frame = await scene.sealed(sender);
  const sa = sender.outgoing(scene.keys);
  const keys = espKeys(sa);
  let sequence = aheadOf(frame);
  const anew = (change?: (payload: Buffer) => Buffer, spi: number = sa.spi): Buffer => {
    sequence += 1n;
    return resealed(frame, keys, spi, sequence, change);
  };
  const byte = (at: number) => (payload: Buffer) => {
    const changed = Buffer.from(payload);
    changed.writeUInt8(changed.readUInt8(at) ^ 0x01, at);
    return changed;
  };
  const { payload } = openEsp(parseOuter(frame).esp, keys);
  const stranger = Buffer.from(anew());
  const sourceAt = scene.chosen.family === 4 ? 29 : 37;
  stranger.writeUInt8(stranger.readUInt8(sourceAt) ^ 0x40, sourceAt);
  return [
    ['VXLAN in clear', unsealed(frame, payload), 'our forged_vxlan +1'],
    ['a replay', frame, 'our replay +1'],
    ['a flipped bit', flipped(anew()), 'our bad_icv +1'],
    ['an SPI of nobody', anew(undefined, (sa.spi ^ 0x00a5a500) >>> 0), 'our unknown_spi +1'],
    ['the address of a stranger', stranger, 'our unknown_spi +1'],
    ['another VNI inside', anew(byte(VNI_AT + 2)), 'our wrong_vni +1'],
    ['an inner source that is not the peer’s', anew(byte(INNER_SOURCE_AT + 1)), 'our inner_source +1'],
  ];
}

const forged: EngineProof = {
  name: 'forgeries are refused, each with its reason, and honest packets pass behind them',
  body: async (scene) => {
    let count = 0;
    for (const victim of [scene.a, scene.b]) {
      for (const [name, frame, counter] of await forgeriesFor(scene, victim)) {
        const ownXfrm = victim.choice.engine === 'xfrm' ? XFRM_COUNTERS[counter] : undefined;
        await expectMoved(victim, name, [counter, ...(ownXfrm ?? [])], async () => {
          scene.wire.send(victim.choice.port, frame);
          expectOk(`a ping behind ${name}`, await scene.ping(scene.other(victim)));
        });
        count += 1;
      }
    }
    return `${count} forgeries`;
  },
};

/** What the kernel counts beside us, where it is the one that refuses. */
const XFRM_COUNTERS: Readonly<Record<string, readonly string[]>> = {
  'our replay +1': ['XfrmInStateSeqError +1'],
  'our bad_icv +1': ['XfrmInStateProtoError +1'],
};

export const PROOFS: readonly EngineProof[] = [reach, probe, wire, rotation, alone, forged];
