// Every combination of pods' and nodes' address families, jumbo frames, every way to open packets, and devices without
// offloads, on real agents: everything arrives, the wire shows ESP only, sizes are told right, forgeries are refused.
// The IPv4 lab with all proofs is lab.test.ts.
import { randomBytes } from 'node:crypto';
import { logTail } from './agents';
import { Context, prove } from './context';
import { bringUp } from './lab';
import { type LabShape, labLayout, PLAIN_SHAPE, seenIn } from './layout';
import { PLAIN_FORGERIES } from './proofs/clear';
import { refused } from './proofs/forged';
import { attachLowersMtu, tcpWithoutIcmp, tooBigIsTold } from './proofs/mtu';
import { reachUnseen } from './proofs/reach';
import { teardown } from './teardown';

const TIMEOUT_MS = 180_000;
const PROOFS = [attachLowersMtu, reachUnseen, tooBigIsTold, tcpWithoutIcmp, ...PLAIN_FORGERIES.map(refused)];

const shapes: readonly [name: string, Partial<LabShape>, mtuBytes: number][] = [
  ['native XDP, no offloads', { xdp: 'native', offloads: false }, 1408],
  ['tc alone', { xdp: 'tc' }, 1408],
  ['tc alone, no offloads', { xdp: 'tc', offloads: false }, 1408],
  ['a bridge as underlay', { nic: 'bridge' }, 1408],
  ['a macvlan device as underlay', { nic: 'macvlan' }, 1408],
  ['jumbo frames: XDP has them in several buffers', { underlayMtuBytes: 9000, xdp: 'native' }, 8908],
  ['jumbo frames, tc alone', { underlayMtuBytes: 9000, xdp: 'tc' }, 8908],
  ['IPv6 over IPv4', { overlay: [6], underlay: [4] }, 1408],
  ['IPv4 over IPv6', { overlay: [4], underlay: [6] }, 1388],
  ['IPv6 over IPv6', { overlay: [6], underlay: [6] }, 1388],
  ['both over both', { overlay: [4, 6], underlay: [4, 6] }, 1388],
  ['both, the last node over IPv6 only', { overlay: [4, 6], underlay: [4, 6], mixed: true }, 1388],
];

test.each(shapes)(
  '%s',
  async (_name, change, mtuBytes) => {
    const name = `f${randomBytes(3).toString('hex')}`;
    const shape = { ...PLAIN_SHAPE, ...change };
    try {
      const lab = await bringUp(name, 3, 1, () => undefined, shape).catch((cause: unknown) => {
        const logs = labLayout(name, 3, 1, shape).nodes.map((node) => `--- ${node.name}\n${logTail(node)}`);
        throw new Error(`the lab did not come up\n${logs.join('\n')}`, { cause });
      });
      expect(lab.overlayMtuBytes).toBe(mtuBytes);
      const failed: string[] = [];
      for (const family of shape.overlay) {
        const context = new Context(seenIn(lab, family));
        for (const proof of PROOFS) {
          const { ok, detail } = await prove(context, proof);
          if (!ok) failed.push(`IPv${family}: ${proof.name}: ${detail}`);
        }
        await context.close();
      }
      expect(failed).toEqual([]);
    } finally {
      teardown(name);
    }
  },
  TIMEOUT_MS,
);
