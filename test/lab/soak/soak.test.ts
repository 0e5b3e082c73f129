// The short soak: everything once, under traffic, in two minutes.
import { randomBytes } from 'node:crypto';
import { logTail } from '../agents';
import { bringUp } from '../lab';
import { labLayout } from '../layout';
import { teardown } from '../teardown';
import { EVENTS } from './events';
import { describeEvent, faultsOf, soak } from './soak';

const NAME = `k${randomBytes(3).toString('hex')}`;
const SOAK_TIMEOUT_MS = 600_000;

afterAll(() => {
  teardown(NAME);
});

test(
  'rotations, restarts, a kill, a hang, a reboot, a replaced node and root, a lost bus: nothing lost, nothing in clear',
  async () => {
    const lab = await bringUp(NAME, 3, 1, () => undefined);
    const told: string[] = [];
    let report: Awaited<ReturnType<typeof soak>> | undefined;
    try {
      report = await soak(lab, {
        minutes: 0.5,
        rotateMs: 40_000,
        tell: (outcome) => told.push(describeEvent(outcome)),
      });
    } finally {
      if (report === undefined || faultsOf(report).length > 0) {
        const logs = labLayout(NAME, 3, 1).nodes.map((node) => `--- ${node.name}\n${logTail(node, 40)}`);
        console.error([...told, ...logs].join('\n'));
      }
    }
    expect(faultsOf(report)).toEqual([]);
    expect(report.events).toHaveLength(EVENTS.length);
    // The control: a node that is off does lose, and it is seen.
    const off = report.events.filter((event) => event.name.includes('node3 reboots'));
    expect(off.map((event) => event.excused > 0)).toEqual([true]);
    expect(report.wire.spis.length).toBeGreaterThan(30);
    expect(report.byPackets).toBeGreaterThan(0);
  },
  SOAK_TIMEOUT_MS,
);
